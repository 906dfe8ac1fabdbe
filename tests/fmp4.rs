//! Fragmented MP4, judged by programs no one here wrote: what ffmpeg publishes must come out of
//! `.mp4`, by HTTP and by WebSocket, as it went in, and must decode without a complaint.

mod support;
#[path = "support/waiting.rs"]
mod waiting;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, sleep};

use serde_json::Value;
use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::MoofBox;
use support::child::Child;
use support::clips::{self, Clip};
use support::frames::{Expect, Recording, Start};
use support::machine::{beside_others, root, secs};
use support::players::{self, Ffmpeg};
use support::server::{Server, Setup};
use support::{browser, http, ws};
use waiting::wait_for_viewers;

/// Sound is counted in samples, and then in milliseconds again.
const ROUNDING_MS: i64 = 2;

/// From before the publisher, and from the midst of a GOP: ffmpeg reads the stream itself, curl and a
/// WebSocket viewer write a file that is read and decoded then.
fn comes_out(clip: &Clip, sent: &Recording, whole: Expect, codecs: &[&str]) {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let dir = &server.dir;
    let whole = whole.rounded_by(ROUNDING_MS);
    let is_late = Cell::new(false);
    let view = || {
        let (url, record) = (server.http("live/a.mp4"), dir.file("ws.mp4"));
        let socket = ws::record(&server.ws("live/a.mp4"), &record);
        let ffmpeg = players::play(clip.tool, &url, dir);
        let curl = players::play_curl(clip.tool, &url, dir);
        if !is_late.replace(true) {
            wait_for_viewers(&server, "live/a", 3);
        }
        (ffmpeg, curl, socket, record)
    };
    let [early, late] = players::early_and_late(clip, &server, view);
    let midst = match sent.video.is_empty() {
        true => Start::Any,
        false => Start::KeyFrame { every: clip.gop },
    };
    for ((ffmpeg, curl, socket, record), expect) in
        [(early, whole), (late, Expect { start: midst, ..whole })]
    {
        let file = curl.output().to_owned();
        sent.assert_came_out(&ffmpeg.finish(secs(20)), expect);
        let by_curl = curl.finish(secs(20));
        socket.join().expect("the viewer is well");
        let by_socket = Recording::of_file(clip.tool, &record);
        for (file, got) in [(file, by_curl), (record, by_socket)] {
            sent.assert_came_out(&got, expect);
            decodes(clip.tool, &file);
            goes_on(&file);
            joins(&file);
            is_what_mp4box_reads(&file, &got, codecs, clip.gop);
        }
    }
    server.stop();
}

/// Every frame decodes.
#[track_caller]
fn decodes(tool: Ffmpeg, file: &Path) {
    let mut command = Command::new(tool.path());
    command.args(["-nostdin", "-v", "warning", "-i"]).arg(file).args(["-f", "null", "-"]);
    let output = command.stdin(Stdio::null()).output().expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", file.display());
}

/// Decoding times rise, no picture is shown before it is decoded or at the time of another.
#[track_caller]
fn goes_on(file: &Path) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=stream_index,pts,dts", "-of", "csv=p=0"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe starts");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let (mut last, mut shown) = ([None; 2], BTreeSet::new());
    for line in text.lines() {
        let numbers = line.trim_end_matches(',').split(',').map(|n| n.parse().expect(line));
        let [stream, pts, dts]: [i64; 3] = numbers.collect::<Vec<_>>().try_into().expect(line);
        let last = &mut last[usize::from(stream == 1)];
        assert!(pts >= dts && shown.insert((stream, pts)), "{line}");
        assert!(last.is_none_or(|last| dts > last), "{line}: after {last:?}");
        *last = Some(dts);
    }
    assert!(!shown.is_empty(), "{}", file.display());
}

/// Fragments are numbered and join: as the frames come evenly, each begins where the one before ends,
/// so what its last frames last was guessed right.
#[track_caller]
fn joins(file: &Path) {
    let bytes = fs::read(file).expect("a player has written it");
    let fragments = fragments(&bytes);
    assert_eq!(fragments.bytes, bytes.len(), "the last fragment is whole");
    assert!(fragments.pictures + fragments.sounds > 0, "no fragment");
    assert!(fragments.jumps.is_empty(), "{:?}", fragments.jumps);
    assert!(!fragments.some_are_missing);
}

/// What the fragments of some bytes hold.
#[derive(Default)]
struct Fragments {
    pictures: usize,
    sounds: usize,
    /// Of the bytes, up to the end of the last whole fragment.
    bytes: usize,
    /// Their numbers jump.
    some_are_missing: bool,
    /// Times between the end of one and the begin of the next, in seconds.
    jumps: Vec<f64>,
}

fn fragments(bytes: &[u8]) -> Fragments {
    let (mut found, mut number, mut ends) = (Fragments::default(), None, BTreeMap::new());
    let (mut at, mut moof) = (0, None);
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes[at..].first_chunk::<8>() {
        let end = at + u32::from_be_bytes([a, b, c, d]) as usize;
        if end > bytes.len() {
            break;
        }
        match kind {
            b"moof" => moof = Some(MoofBox::decode(&bytes[at..]).expect("a whole moof").0),
            b"mdat" => {
                let moof = moof.take().expect("moof precedes mdat");
                let this = moof.mfhd_box.sequence_number;
                found.some_are_missing |= number.replace(this).is_some_and(|last| this != last + 1);
                for run in moof.traf_boxes {
                    let (track, time) =
                        (run.tfhd_box.track_id, run.tfdt_box.expect("it says when"));
                    let samples = || run.trun_boxes.iter().flat_map(|trun| &trun.samples);
                    let lasts: u64 =
                        samples().map(|s| u64::from(s.duration.expect("its own"))).sum();
                    let hz = if track == 1 { 90_000.0 } else { 48_000.0 };
                    *if track == 1 { &mut found.pictures } else { &mut found.sounds } +=
                        samples().count();
                    let begins = time.base_media_decode_time;
                    let last: Option<u64> = ends.insert(track, begins + lasts);
                    if let Some(last) = last.filter(|last| *last != begins) {
                        found.jumps.push((begins as f64 - last as f64) / hz);
                    }
                }
                found.bytes = end;
            }
            _ => {}
        }
        at = end;
    }
    found
}

/// mp4box.js finds the same frames at the same times, names the codecs, and complains of nothing.
#[track_caller]
fn is_what_mp4box_reads(file: &Path, got: &Recording, codecs: &[&str], gop: usize) {
    let script = root().join("tests/node/mp4.mjs");
    let output = Command::new("node").arg(script).arg(file).output().expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
    let read: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    // It has no name for this one, and reads on.
    let known = |words: &&Value| !words.as_str().is_some_and(|words| words.contains("'.mp3'"));
    let complaints = read["complaints"].as_array().expect("a list").iter().filter(known);
    assert_eq!(complaints.collect::<Vec<_>>(), [&Value::Null; 0], "{}", file.display());
    assert_eq!(read["fragmented"], true);
    let tracks = read["tracks"].as_array().expect("a list");
    assert_eq!(tracks.iter().map(|track| &track["codec"]).collect::<Vec<_>>(), codecs);
    for track in tracks {
        let (is_video, samples) = (track["type"] == "video", track["samples"].as_array());
        let packets = if is_video { &got.video } else { &got.audio };
        let samples = samples.expect("a list");
        assert_eq!(samples.len(), packets.len(), "{track:?}");
        let hz = track["timescale"].as_i64().expect("a number");
        let ms = |ticks: &Value| ticks.as_i64().expect("a number") * 1000 / hz;
        for (at, (sample, packet)) in samples.iter().zip(packets).enumerate() {
            assert_eq!((ms(&sample["dts"]), ms(&sample["cts"])), (packet.dts, packet.pts));
            assert_eq!(sample["is_sync"], !is_video || at % gop == 0, "sample {at}");
            assert_eq!(sample["whole"], true, "sample {at}");
        }
    }
}

#[test]
fn h264_with_b_frames_and_aac() {
    let clip = clips::h264_aac();
    comes_out(&clip, &clip.sent(), Expect::WHOLE, &["avc1.64001e", "mp4a.40.2"]);
}

#[test]
fn h264_and_mp3() {
    let clip = clips::h264_mp3();
    comes_out(&clip, &clip.sent(), Expect::WHOLE, &["avc1.64001e", "mp3"]);
}

#[test]
fn sound_alone() {
    let clip = clips::aac();
    comes_out(&clip, &clip.sent(), Expect::WHOLE, &["mp4a.40.2"]);
}

#[test]
fn h265_as_hvc1_and_aac() {
    let clip = clips::h265_aac();
    // Its record is said to be complete, which that of RTMP leaves open.
    comes_out(&clip, &clip.sent(), Expect::WHOLE.other_config(), &["hvc1.1.6.L63.90", "mp4a.40.2"]);
}

/// Publishes two seconds of each of these sizes, with parameter sets in band before each key frame and the
/// first in a record too; tells what was sent, and what a viewer of all of it has written.
fn with_sets_in_band(server: &Server, sizes: &[&str]) -> [PathBuf; 2] {
    let dir = &server.dir;
    let mut stream = Vec::new();
    for size in sizes {
        let (part, source) = (dir.file("part.h265"), format!("testsrc2=size={size}:rate=25"));
        let mut command = Ffmpeg::Current.command();
        command.args(["-f", "lavfi", "-i", &source, "-t", "2", "-c:v", "libx265"]);
        command.args(["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params"]);
        command.arg("log-level=error:keyint=25:bframes=0:repeat-headers=1").arg(&part);
        Child::start(&mut command, &dir.file("encode.log")).succeed(secs(40));
        stream.extend(fs::read(&part).expect("it was made"));
    }
    let path = dir.file("in_band.h265");
    fs::write(&path, stream).expect("the run directory is ours");
    let clip = Clip { path, ..clips::h265_aac() };
    let mut viewer = players::play_curl(clip.tool, &server.http("live/a.mp4"), dir);
    wait_for_viewers(server, "live/a", 1);
    let rate = ["-framerate", "25"];
    players::publish_with(&clip, &server.rtmp("live/a"), dir, &rate, &[]).succeed(secs(40));
    viewer.child.succeed(secs(20));
    [clip.path, viewer.output().to_owned()]
}

/// How many pictures of 320 and 640 pixels `file` shows.
fn widths(file: &Path) -> [usize; 2] {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "frame=width", "-of", "json"]);
    let output = command.arg(file).output().expect("ffprobe starts");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let frames = seen["frames"].as_array().expect("a list");
    [320, 640].map(|width: u64| frames.iter().filter(|frame| frame["width"] == width).count())
}

/// How many of its samples have parameter sets (types 32 to 34) in them.
fn samples_with_sets(file: &Path) -> usize {
    let without = |types| {
        // Delimiters, of which there are none, so that both are written alike.
        let filter = format!("filter_units=remove_types={types}");
        Recording::of_file_with(Ffmpeg::Current, file, &["-bsf:v", &filter]).video
    };
    let (as_they_are, bare) = (without("35"), without("32-35"));
    as_they_are.iter().zip(&bare).filter(|(one, other)| one.hash != other.hash).count()
}

/// `hvc1` promises that its samples have none, and players of some makers count on it.
#[test]
fn h265_whose_parameter_sets_come_in_band_too_has_them_in_the_record_alone() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let [sent, seen] = with_sets_in_band(&server, &["320x180"]);
    assert_eq!((samples_with_sets(&sent), samples_with_sets(&seen)), (2, 0));
    assert_eq!(widths(&seen), [50, 0]);
    decodes(Ffmpeg::Current, &seen);
    server.stop();
}

/// An encoder that changes its parameter sets and sends no other record has them in band alone. They
/// stay in its samples, where decoders find them, although `hvc1` promises that there are none.
#[test]
fn h265_whose_parameter_sets_change_in_band_is_decoded_on() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let [_, seen] = with_sets_in_band(&server, &["320x180", "640x360", "320x180"]);
    assert_eq!(widths(&seen), [100, 50]);
    assert_eq!(samples_with_sets(&seen), 4, "those of the record, too, once they come again");
    server.stop();
}

#[test]
fn av1_without_temporal_delimiters_and_opus() {
    let clip = clips::av1_opus();
    let mut sent = clip.sent_with(&["-bsf:v", "filter_units=remove_types=2"]);
    // The filter takes the head of the record away.
    sent.config = clip.sent().config;
    comes_out(&clip, &sent, Expect::WHOLE, &["av01.0.01M.08", "Opus"]);
}

#[test]
fn vp9_and_opus() {
    let clip = clips::vp9_opus();
    let mut sent = clip.sent();
    // ffmpeg reads the record of MP4, but tells nobody of it.
    sent.config[0] = None;
    comes_out(&clip, &sent, Expect::WHOLE, &["vp09.00.21.08", "Opus"]);
}

/// Media Source Extensions take it as it comes, by HTTP and by WebSocket, in one range without gaps.
fn chromium_shows(clip: &Clip, mime: &str) {
    let _machine = beside_others();
    let server = Server::start();
    let forever = ["-stream_loop", "-1"];
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(clip, &url, &server.dir, &forever, &[]);
    sleep(secs(1));
    let (video, width) = if mime.contains(',') { ("yes", 640) } else { ("no", 0) };
    for media in [server.http("live/a.mp4"), server.ws("live/a.mp4")] {
        let options = ["--media", &media, "--mse", mime, "--video", video, "--seconds", "4"];
        let seen = browser::watch(&server.http("healthz"), &options);
        println!("{media}: {seen}");
        if browser::supports(&seen, mime) {
            assert_eq!(seen["width"], width, "{seen}");
            assert_eq!(seen["ranges"], 1, "{seen}");
            assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
        }
    }
    drop(publisher);
    server.stop();
}

#[test]
fn chromium_shows_h264_and_aac() {
    chromium_shows(&clips::h264_aac(), "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"");
}

#[test]
fn chromium_shows_h265_and_aac_where_it_can() {
    chromium_shows(&clips::h265_aac(), "video/mp4; codecs=\"hvc1.1.6.L93.B0,mp4a.40.2\"");
}

#[test]
fn chromium_shows_av1_and_opus() {
    chromium_shows(&clips::av1_opus(), "video/mp4; codecs=\"av01.0.01M.08,opus\"");
}

#[test]
fn chromium_shows_vp9_and_opus() {
    chromium_shows(&clips::vp9_opus(), "video/mp4; codecs=\"vp09.00.21.08,opus\"");
}

#[test]
fn chromium_plays_sound_alone() {
    chromium_shows(&clips::aac(), "video/mp4; codecs=\"mp4a.40.2\"");
}

/// Serves `bytes` to pages of any site; where.
fn serve(bytes: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/a.mp4", listener.local_addr().expect("it is bound"));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\
        Access-Control-Allow-Origin: *\r\n";
    let head = format!("{head}Content-Length: {}\r\n\r\n", bytes.len());
    let answer: Arc<[u8]> = [head.as_bytes(), bytes].concat().into();
    let serve_one = |mut stream: TcpStream, answer: &[u8]| {
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        while !asked.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => asked.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        // Who has seen enough leaves.
        let _ = stream.write_all(answer);
    };
    thread::spawn(move || {
        // Browsers open connections that they do not use, or not at once: none waits for another.
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve_one(stream, &answer));
        }
    });
    url
}

#[test]
fn a_viewer_that_is_skipped_goes_on_with_whole_fragments_and_decodes_on() {
    let _machine = beside_others();
    // It may be held up while it does not read, and is skipped all the same.
    let app = "max_lag = '2s'\nstall_timeout = '60s'";
    let server = Server::with(&Setup { app, ..Setup::default() });
    let (clip, forever) = (clips::h264_aac(), ["-stream_loop", "-1"]);
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    let mut bytes = http::skipped(server.http, "live/a.mp4");
    server.expect_log("moved to the newest key block", secs(20));
    drop(publisher);
    let fragments = fragments(&bytes);
    bytes.truncate(fragments.bytes);
    assert!(fragments.some_are_missing);
    let skips = fragments.jumps.iter().filter(|jump| **jump > 1.0).count();
    assert!(skips >= 2, "of pictures and of sound: {:?}", fragments.jumps);

    let path = server.dir.file("skipped.mp4");
    fs::write(&path, &bytes).expect("the run directory is ours");
    decodes(clip.tool, &path);
    assert_eq!(players::pictures(clip.tool, &path).len(), fragments.pictures);
    let media = serve(&bytes);
    let mime = "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"";
    let options = ["--media", &media, "--mse", mime, "--seconds", "6"];
    let seen = browser::watch(&server.http("healthz"), &options);
    println!("{seen}");
    assert!(seen["ranges"].as_u64() >= Some(2), "{seen}");
    assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
    server.stop();
}

#[test]
fn chromium_goes_on_with_another_size_and_rate_when_the_publisher_returns() {
    let _machine = beside_others();
    let server = Server::with(&Setup { publisher_grace: "10s", ..Setup::default() });
    let (url, dir) = (server.rtmp("live/a"), &server.dir);
    let publish = |clip: &Clip, input: &[&str]| players::publish_with(clip, &url, dir, input, &[]);
    let seen = std::thread::scope(|scope| {
        let browser = scope.spawn(|| {
            let mime = "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"";
            let media = server.http("live/a.mp4");
            let options = ["--media", &media, "--mse", mime, "--width", "640", "--seconds", "7"];
            browser::watch(&server.http("healthz"), &options)
        });
        sleep(secs(2));
        publish(&clips::small(), &[]).succeed(secs(20));
        let _second = publish(&clips::h264_aac(), &["-stream_loop", "-1"]);
        browser.join().expect("it is seen")
    });
    println!("{seen}");
    assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
    server.stop();
}
