//! MPEG-TS by HTTP and WebSocket, as judged by a strict reader of our own, ffprobe, Wireshark's
//! dissector and GStreamer's demuxer. `make judges` installs what it needs.

#![allow(missing_docs)]

mod support;
#[path = "support/waiting.rs"]
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};

use bytes::{Bytes, BytesMut};
use corecast::container::ts::Mux;
use corecast::media::{Codec, Frame, Track, TrackKind, VideoCodec};
use corecast::time::Timestamp;
use support::child::Child;
use support::clips::{self, Clip};
use support::cues;
use support::http::{self, exchange, get};
use support::machine::{beside_others, secs};
use support::players::{self, Ffmpeg};
use support::server::{Server, Setup};
use support::ts_check::{Program, check};
use support::ws;
use waiting::wait_for_viewers;

const PACKET: usize = 188;
const H264: u8 = 0x1b;
const H265: u8 = 0x24;
const AAC: u8 = 0x0f;
const MP3: u8 = 0x03;
const PRIVATE: u8 = 0x06;
const AC3: u8 = 0x81;
const CUES: u8 = 0x86;

/// Reads a recording with our own checker.
#[track_caller]
fn read(path: &Path) -> Program {
    let bytes = fs::read(path).expect("it was recorded");
    check(&bytes).unwrap_or_else(|what| panic!("{}: {what}", path.display()))
}

fn stream_types(program: &Program) -> Vec<u8> {
    program.streams.iter().map(|listed| listed.stream_type).collect()
}

/// What one clip's viewers recorded: from before the publisher and from the midst, by HTTP and by
/// WebSocket.
struct Recorded {
    server: Server,
    early: [PathBuf; 2],
    late: PathBuf,
}

/// Publishes `clip` and records `/live/a.ts` with `query`.
fn recorded(clip: &Clip, query: &str) -> Recorded {
    let server = Server::with(&waiting::SETUP);
    let path = format!("live/a.ts{query}");
    let [by_http, by_ws, late] = ["http.ts", "ws.ts", "late.ts"].map(|name| server.dir.file(name));
    let viewer = http::record(server.http, &path, None, &by_http);
    let socket = ws::record(&server.ws(&path), &by_ws);
    wait_for_viewers(&server, "live/a", 2);
    let mut publisher = players::publish(clip, &server.rtmp("live/a"), &server.dir);
    server.expect_log(" publish client=", secs(20));
    sleep(secs(3));
    let latecomer = http::record(server.http, &path, None, &late);
    publisher.succeed(secs(40));
    for viewer in [viewer, latecomer] {
        assert!(viewer.join().expect("the viewer is well") > 0);
    }
    let seen = socket.join().expect("the viewer is well");
    assert!(seen.close.is_some() && seen.messages < 200, "{seen:?}");
    Recorded { server, early: [by_http, by_ws], late }
}

impl Recorded {
    /// All of `clip` that a transport stream carries came out, in all eyes.
    #[track_caller]
    fn must_be_right(self, clip: &Clip, types: &[u8], [pictures, sounds]: [usize; 2]) {
        for path in &self.early {
            let program = read(path);
            assert_eq!(stream_types(&program), types);
            assert_eq!(program.versions.len(), 1, "{:?}", program.versions);
            assert_eq!(program.video.len(), pictures);
            let [seen, heard] = ffprobe_counts(path);
            assert_eq!(seen, pictures);
            // Sound of before the first picture may be left out.
            assert!((heard..=heard + 1).contains(&sounds), "{heard} of {sounds}");
            tshark_finds_no_fault(path);
            same_when_decoded(clip, path, pictures > 0);
        }
        let late = read(&self.late);
        assert_eq!(stream_types(&late), types);
        if pictures > 0 {
            assert!(late.video[0].key, "a latecomer begins at a key frame");
            assert_eq!((pictures - late.video.len()) % clip.gop, 0);
        }
        assert!(late.video.len() + late.audio.len() > 100, "{}", late.audio.len());
        assert_eq!(ffprobe_counts(&self.late)[0], late.video.len());
        tshark_finds_no_fault(&self.late);
        self.server.stop();
    }
}

/// ffprobe reads it without a word, and counts the packets of both kinds.
#[track_caller]
fn ffprobe_counts(path: &Path) -> [usize; 2] {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning", "-count_packets", "-show_streams", "-of", "json"]).arg(path);
    let output = command.output().expect("ffprobe starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "ffprobe: {said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    ["video", "audio"].map(|kind| {
        let streams = found["streams"].as_array().expect("a list").iter();
        let counts = streams.filter(|stream| stream["codec_type"] == kind).map(|stream| {
            stream["nb_read_packets"].as_str().expect("a count").parse::<usize>().expect("a number")
        });
        counts.sum::<usize>()
    })
}

/// Wireshark's dissector finds nothing malformed and no jump of a counter.
#[track_caller]
fn tshark_finds_no_fault(path: &Path) {
    let mut command = Command::new("tshark");
    let faults = "_ws.malformed || mp2t.cc.drop || mp2t.analysis.skips > 0";
    // Left to itself it takes some for another kind of file.
    command.arg("-r").arg(path).args(["-X", "read_format:MPEG2 transport stream", "-Y", faults]);
    let output = command.output().expect("tshark starts");
    let (found, said) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "tshark: {said}");
    assert!(found.is_empty(), "tshark: {}", String::from_utf8_lossy(&found));
}

/// A decoder makes the same pictures of it as of the clip, or the same sound.
#[track_caller]
fn same_when_decoded(clip: &Clip, path: &Path, has_pictures: bool) {
    let decoded = |path: &Path| match has_pictures {
        true => players::pictures(Ffmpeg::Current, path),
        false => players::sounds(Ffmpeg::Current, path),
    };
    let (sent, came) = (decoded(&clip.path), decoded(path));
    // Without its first frame it takes a decoder of sound some to be where it would have been.
    let begin = if has_pictures { 0 } else { 100 };
    assert!(came.len() > begin && sent.len() - came.len() <= begin.min(1), "{}", came.len());
    let sent = &sent[sent.len() - came.len()..];
    assert!(sent[begin..] == came[begin..], "{} is decoded to something else", path.display());
}

/// GStreamer's demuxer and parsers find so many pictures.
#[track_caller]
fn gst_demuxes(path: &Path, parsers: &[&str], [pictures, sounds]: [usize; 2]) {
    let output = path.with_extension("mkv");
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "filesrc"]).arg(format!("location={}", path.display()));
    command.args("! tsdemux name=d matroskamux name=m ! filesink".split(' '));
    command.arg(format!("location={}", output.display()));
    for parser in parsers {
        let pad = if parser.starts_with('h') { "d.video_0_0100" } else { "d.audio_0_0101" };
        command.args([pad, "!", "queue", "!", parser, "!", "m."]);
    }
    Child::start(&mut command, &path.with_extension("gst.log")).succeed(secs(30));
    let found = ffprobe_counts(&output);
    // It drops what it cannot place in time at the begin and at the end.
    assert!(found[0] == pictures && found[1] + 4 >= sounds, "{found:?} of {pictures}, {sounds}");
}

/// Packets of a clip, as ffmpeg sends them.
fn counts(clip: &Clip) -> [usize; 2] {
    let sent = clip.sent();
    [sent.video.len(), sent.audio.len()]
}

/// Publishes `clip` and records it, for GStreamer's demuxer and `parsers` first of all.
fn demuxed(clip: &Clip, parsers: &[&str]) -> Recorded {
    let recorded = recorded(clip, "");
    gst_demuxes(&recorded.early[0], parsers, counts(clip));
    recorded
}

#[test]
fn h264_with_b_frames_and_aac() {
    let _machine = beside_others();
    let clip = clips::h264_aac();
    let recorded = demuxed(&clip, &["h264parse", "aacparse"]);
    let program = read(&recorded.early[0]);
    assert_eq!(program.audio.len(), counts(&clip)[1]);
    let reordered = program.video.windows(2).filter(|pair| pair[1].pts < pair[0].pts);
    assert!(reordered.count() > 50, "there are B-frames");
    recorded.must_be_right(&clip, &[H264, AAC], counts(&clip));
}

#[test]
fn h265_and_aac() {
    let _machine = beside_others();
    let clip = clips::h265_aac();
    let recorded = demuxed(&clip, &["h265parse", "aacparse"]);
    recorded.must_be_right(&clip, &[H265, AAC], counts(&clip));
}

#[test]
fn h264_and_mp3() {
    let _machine = beside_others();
    let clip = clips::h264_mp3();
    let recorded = demuxed(&clip, &["h264parse", "mpegaudioparse"]);
    recorded.must_be_right(&clip, &[H264, MP3], counts(&clip));
}

#[test]
fn h264_and_opus() {
    let _machine = beside_others();
    let clip = clips::h264_opus();
    let recorded = demuxed(&clip, &["h264parse", "opusparse"]);
    assert_eq!(read(&recorded.early[0]).audio.len(), counts(&clip)[1]);
    recorded.must_be_right(&clip, &[H264, PRIVATE], counts(&clip));
}

#[test]
fn h264_and_ac3() {
    let _machine = beside_others();
    let clip = clips::h264_ac3();
    recorded(&clip, "").must_be_right(&clip, &[H264, AC3], counts(&clip));
}

#[test]
fn aac_alone() {
    let _machine = beside_others();
    let clip = clips::aac();
    demuxed(&clip, &["aacparse"]).must_be_right(&clip, &[AAC], counts(&clip));
}

#[test]
fn video_alone() {
    let _machine = beside_others();
    let clip = clips::h264();
    recorded(&clip, "").must_be_right(&clip, &[H264], counts(&clip));
}

#[test]
fn sound_alone_can_be_asked_for() {
    let _machine = beside_others();
    let clip = clips::h264_aac();
    recorded(&clip, "?video=0").must_be_right(&clip, &[AAC], [0, counts(&clip)[1]]);
}

/// `clip` as GStreamer writes it with KLV beside it: 100 units of random bytes in nine seconds.
fn with_klv(clip: &Clip, path: &Path) {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "mpegtsmux", "name=m", "!", "filesink"]);
    command.arg(format!("location={}", path.display()));
    command.args(["filesrc"]).arg(format!("location={}", clip.path.display()));
    command.args("! flvdemux name=d d.video ! queue ! h264parse ! m.".split(' '));
    command.args("d.audio ! queue ! aacparse ! m.".split(' '));
    let units = "fakesrc num-buffers=100 format=time filltype=random sizetype=random sizemin=10 \
                 sizemax=700 datarate=4000 ! meta/x-klv,parsed=true ! queue ! m.";
    command.args(units.split_whitespace());
    Child::start(&mut command, &path.with_extension("gst.log")).succeed(secs(30));
}

/// curl sends three seconds in one, and more when it was held up: no viewer is skipped for that.
const FASTER_THAN_IT_PLAYS: Setup = Setup { app: "max_lag = '60s'", ..waiting::SETUP };

/// What ffprobe finds of private data.
struct Probed {
    codec: String,
    /// How it is registered.
    tag: String,
    /// When the first picture is shown.
    first: i64,
    /// For each packet its time behind the first picture's and the hash of its bytes.
    packets: Vec<(i64, String)>,
}

impl Probed {
    fn of(path: &Path) -> Self {
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-show_streams", "-show_packets", "-show_data_hash", "md5"]);
        let output = command.args(["-of", "json"]).arg(path).output().expect("ffprobe starts");
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let of_kind = |list: &str, kind: &str| {
            let list = found[list].as_array().expect("a list").iter();
            list.filter(|entry| entry["codec_type"] == kind).cloned().collect::<Vec<_>>()
        };
        let pts = |packet: &serde_json::Value| packet["pts"].as_i64();
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let first = pts(&of_kind("packets", "video")[0]).expect("it has a time");
        let packets = of_kind("packets", "data");
        // What has no time of its own has none here.
        let packets = packets
            .iter()
            .filter_map(|packet| pts(packet).map(|pts| (pts - first, text(&packet["data_hash"]))));
        let stream = &of_kind("streams", "data")[0];
        let [codec, tag] = ["codec_name", "codec_tag_string"].map(|name| text(&stream[name]));
        Self { codec, tag, first, packets: packets.collect() }
    }
}

#[test]
fn private_data_beside_the_media_comes_out_as_it_was_published() {
    let _machine = beside_others();
    let server = Server::with(&FASTER_THAN_IT_PLAYS);
    let clip = clips::h264_aac();
    let sent = server.dir.file("klv.ts");
    with_klv(&clip, &sent);
    let [by_http, by_ws] = ["http.ts", "ws.ts"].map(|name| server.dir.file(name));
    let viewer = http::record(server.http, "live/a.ts", None, &by_http);
    let socket = ws::record(&server.ws("live/a.ts"), &by_ws);
    let flv = players::play(Ffmpeg::Debian, &server.http("live/a.flv"), &server.dir);
    wait_for_viewers(&server, "live/a", 3);
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--limit-rate", "900k", "-T"]).arg(&sent).arg(server.http("live/a.ts"));
    Child::start(&mut curl, &server.dir.file("curl.log")).succeed(secs(40));
    viewer.join().expect("the viewer is well");
    socket.join().expect("the viewer is well");
    let sent = Probed::of(&sent);
    assert_eq!((&sent.tag[..], sent.packets.len()), ("KLVA", 100));
    for path in [&by_http, &by_ws] {
        let program = read(path);
        assert_eq!(stream_types(&program), [H264, AAC, PRIVATE]);
        assert!(program.streams[2].descriptors.starts_with(b"\x05\x04KLVA"));
        assert_eq!((program.private.len(), program.versions.len()), (100, 1));
        let came = Probed::of(path);
        assert_eq!((&came.codec, &came.tag), (&sent.codec, &sent.tag));
        for ((at, hash), (came_at, came)) in sent.packets.iter().zip(&came.packets) {
            assert!(hash == came && (at - came_at).abs() <= 1, "at {at}, and came at {came_at}");
        }
        assert_eq!(came.packets.len(), sent.packets.len());
        tshark_finds_no_fault(path);
    }
    let flv = flv.finish(secs(20));
    assert_eq!(flv.video.len(), counts(&clip)[0], "FLV goes without it");
    server.stop();
}

/// What ffmpeg makes of `clip` as a transport stream that began a while ago.
fn remuxed(clip: &Clip, path: &Path) {
    let mut command = clip.tool.command();
    command.arg("-i").arg(&clip.path).args(["-c", "copy", "-output_ts_offset", "1000"]);
    command.args(["-f", "mpegts"]).arg(path);
    Child::start(&mut command, &path.with_extension("log")).succeed(secs(30));
}

#[test]
fn a_cue_means_the_same_picture_when_it_comes_out() {
    let _machine = beside_others();
    let server = Server::with(&FASTER_THAN_IT_PLAYS);
    let clip = clips::h264_aac();
    let [plain, sent, by_http] =
        ["plain.ts", "sent.ts", "http.ts"].map(|name| server.dir.file(name));
    remuxed(&clip, &plain);
    let bytes = fs::read(&plain).expect("it was written");
    fs::write(&sent, cues::with_cues(&bytes)).expect("the run directory is ours");
    let viewer = http::record(server.http, "live/a.ts", None, &by_http);
    wait_for_viewers(&server, "live/a", 1);
    let mut curl = Command::new("curl");
    curl.args(["-sf", "--limit-rate", "900k", "-T"]).arg(&sent).arg(server.http("live/a.ts"));
    Child::start(&mut curl, &server.dir.file("curl.log")).succeed(secs(40));
    viewer.join().expect("the viewer is well");

    let program = read(&by_http);
    assert_eq!(stream_types(&program), [H264, AAC, CUES]);
    let [before, after] = [&sent, &by_http].map(|path| {
        let (probed, cues) = (Probed::of(path), cues::read(path));
        assert_eq!(probed.codec, "scte_35");
        let first = u64::try_from(probed.first).expect("it is");
        let behind: Vec<_> = cues.iter().map(|cue| (cue.event, cue.behind(first))).collect();
        (behind, cues)
    });
    assert_eq!(before.0, after.0);
    assert!(program.cues.len() >= 4 && program.cues.len() == after.1.len());
    let moved = |(sent, came): (&cues::Cue, &cues::Cue)| {
        sent.splice == came.splice && sent.adjustment != came.adjustment
    };
    assert!(before.1.iter().zip(&after.1).all(moved), "{:?} and {:?}", before.1, after.1);
    tshark_finds_no_fault(&by_http);
    server.stop();
}

/// The pictures have no place in it, which the log tells; the sound is there.
#[test]
fn opus_beside_av1_comes_alone_and_the_log_says_so() {
    let _machine = beside_others();
    let clip = clips::av1_opus();
    let (recorded, sounds) = (recorded(&clip, ""), counts(&clip)[1]);
    gst_demuxes(&recorded.early[0], &["opusparse"], [0, sounds]);
    recorded.server.expect_log("codec=av1", secs(20));
    recorded.must_be_right(&clip, &[PRIVATE], [0, sounds]);
}

/// Who asks for nothing that a transport stream carries is told, before or after the publisher.
#[test]
fn what_has_no_place_in_it_at_all_is_answered_415() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let early = {
        let (port, request) = (server.http, get("live/a.ts?audio=0"));
        thread::spawn(move || exchange(port, &request))
    };
    wait_for_viewers(&server, "live/a", 1);
    let clip = clips::av1_opus();
    let _publisher = players::publish(&clip, &server.rtmp("live/a"), &server.dir);
    let early = early.join().expect("it is answered");
    let late = exchange(server.http, &get("live/a.ts?audio=0"));
    for reply in [early, late] {
        assert_eq!(reply.status, 415, "{reply:?}");
        assert!(reply.text().contains("ts") && reply.text().contains("av1"), "{reply:?}");
    }
    server.stop();
}

#[test]
fn another_publisher_with_other_parameters_is_another_version_of_the_table() {
    let _machine = beside_others();
    // Long enough for the second publisher to start.
    let server = Server::with(&Setup { publisher_grace: "10s", ..waiting::SETUP });
    let path = server.dir.file("changed.ts");
    let viewer = http::record(server.http, "live/a.ts", None, &path);
    wait_for_viewers(&server, "live/a", 1);
    let (first, second) = (clips::h264_aac(), clips::small());
    for clip in [&first, &second] {
        players::publish(clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
    }
    viewer.join().expect("the viewer is well");
    let program = read(&path);
    assert_eq!(program.versions.len(), 2, "{:?}", program.versions);
    let pictures = counts(&first)[0] + counts(&second)[0];
    assert_eq!(program.video.len(), pictures);
    assert_eq!(players::pictures(Ffmpeg::Current, &path).len(), pictures);
    server.stop();
}

#[test]
fn a_viewer_that_is_skipped_is_told_that_counters_jump_and_decodes_on() {
    let _machine = beside_others();
    // It may be held up while it does not read, and is skipped all the same.
    let app = "max_lag = '2s'\nstall_timeout = '60s'";
    let server = Server::with(&Setup { app, ..Setup::default() });
    let forever = ["-stream_loop", "-1"];
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(&clips::h264_aac(), &url, &server.dir, &forever, &[]);
    let mut bytes = http::skipped(server.http, "live/a.ts");
    // Tables stand between whole units.
    let is_table = |packet: &&[u8]| packet[1] & 0x1f == 0 && packet[2] == 0;
    let last = bytes.chunks_exact(PACKET).collect::<Vec<_>>().iter().rposition(is_table);
    bytes.truncate(last.expect("there are tables") * PACKET);
    server.expect_log("moved to the newest key block", secs(20));
    let path = server.dir.file("skipped.ts");
    fs::write(&path, &bytes).expect("the run directory is ours");
    drop(publisher);

    let program = read(&path);
    assert!(program.jumps >= 2, "of pictures and of sound: {}", program.jumps);
    let mut command = Command::new(Ffmpeg::Debian.path());
    command.args(["-nostdin", "-nostats", "-v", "warning", "-i"]).arg(&path);
    let output = command.args(["-f", "null", "-"]).output().expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let pictures = players::pictures(Ffmpeg::Debian, &path).len();
    assert_eq!(pictures, program.video.len());
    server.stop();
}

/// What is done to the packets of a stream.
type Change<'a> = &'a dyn Fn(&mut Vec<Vec<u8>>);

/// A checker that takes everything would judge nothing.
#[test]
fn the_checker_finds_what_is_wrong() {
    let whole = muxed();
    let program = check(&whole).expect("a good stream");
    assert_eq!((program.video.len(), program.jumps), (100, 0));
    let packets = || whole.chunks(PACKET).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let find = |pid: u16, begins: bool, has_clock: bool| {
        packets().iter().rposition(|packet| {
            let is_of = packet[1] & 0x1f == (pid >> 8) as u8 && packet[2] == pid as u8;
            let clock = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
            is_of && (packet[1] & 0x40 != 0) == begins && clock == has_clock
        })
    };
    let (pmt, picture) = (find(0x1000, true, false), find(0x100, true, true));
    let (pmt, picture) = (pmt.expect("tables"), picture.expect("pictures"));
    let wrong = |change: Change<'_>| {
        let mut packets = packets();
        change(&mut packets);
        check(&packets.concat()).expect_err("it is wrong")
    };
    let told: [(&str, Change<'_>); 10] = [
        ("sync byte", &|packets| packets[3][0] = 0),
        ("expected", &|packets| drop(packets.remove(picture))),
        ("expected", &|packets| packets.insert(picture, packets[picture].clone())),
        ("CRC_32", &|packets| packets[pmt][16] ^= 1),
        ("before the tables", &|packets| drop(packets.drain(..2))),
        ("the clock", &|packets| packets[picture][7] ^= 0x10),
        ("random_access", &|packets| packets[picture][5] ^= 0x40),
        ("times", &|packets| {
            let header = 5 + usize::from(packets[picture][4]);
            packets[picture][header + 7] = 0;
        }),
        ("delimiter", &|packets| {
            let header = 5 + usize::from(packets[picture][4]);
            let unit = header + 9 + usize::from(packets[picture][header + 8]);
            packets[picture][unit + 4] = 0x41;
        }),
        ("no PAT for", &|packets| {
            let mut number = 0;
            packets.retain(|packet| {
                number += 1;
                number <= 2 || packet[1] & 0x1f == 1
            });
        }),
    ];
    for (word, change) in told {
        let what = wrong(change);
        assert!(what.contains(word), "expected {word:?}, found {what:?}");
    }
}

/// Four seconds of pictures, one key frame each second.
fn muxed() -> Vec<u8> {
    let avcc = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 1, 1, 0, 2, 0x68, 0xee];
    let codec = Codec::Video(VideoCodec::H264);
    let config = Bytes::from_static(avcc);
    let video = Track { codec, config, hdr: None, video: None, audio: None };
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video), None);
    for number in 0..100_u8 {
        let at = Timestamp::from_millis(40 * i64::from(number));
        let key = number % 25 == 0;
        if key {
            mux.tables(&mut out, at);
        }
        let mut data = vec![0, 0, 1, 0, if key { 0x65 } else { 0x41 }];
        data.resize(4 + 256, 0x80 | number);
        let frame = Frame { kind: TrackKind::Video, dts: at, pts: at, key, data: data.into() };
        mux.push(&mut out, &frame);
    }
    out.to_vec()
}
