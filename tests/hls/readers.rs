//! ffmpeg and GStreamer read live playlists: packet by packet what was published comes out, from
//! before the publisher and from the midst of it, and so it does for one who loads segment after
//! segment.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, sleep};

use serde_json::Value;

use crate::playlist_rules::Playlist;
use crate::session::Session;
use crate::support::child::Child;
use crate::support::clips::{self, Clip};
use crate::support::frames::{Expect, Recording, Start};
use crate::support::machine::{RunDir, beside_others, secs};
use crate::support::players::{self, Ffmpeg};
use crate::support::server::{Server, Setup};
use crate::waiting::{self, wait_for_viewers};

/// Sound is counted in samples, and then in milliseconds again.
const ROUNDING_MS: i64 = 2;

/// Who is to have all of a stream is there before it, however long that takes.
const SETUP: Setup = Setup { publisher_grace: "3s", ..waiting::SETUP };

/// One stream, and how it is served.
#[derive(Clone, Copy)]
struct Case<'a> {
    clip: &'a Clip,
    sent: &'a Recording,
    expect: Expect,
    /// Lines of `[app_defaults]`.
    app: &'static str,
    /// As ffprobe names them.
    codecs: &'a [&'a str],
    gst: &'a [Gst],
}

/// The two demuxers of GStreamer 1.22.
#[derive(Debug, Clone, Copy)]
enum Gst {
    /// `hlsdemux` gives the segments as they are.
    Segments,
    /// The same, those of pictures and those of sound in a file each.
    Renditions,
    /// `hlsdemux2` gives frames, here of H.264 and AAC, to Matroska.
    Frames,
}

fn comes_out(case: Case<'_>) {
    let _machine = beside_others();
    let server = Server::with(&Setup { app: case.app, ..SETUP });
    let (dir, port) = (&server.dir, server.http);
    let url = server.http("live/a.m3u8");
    thread::scope(|scope| {
        let early = players::play(case.clip.tool, &url, dir);
        let all = scope.spawn(|| download(port, "live/a", dir));
        wait_for_viewers(&server, "live/a", 2);
        let mut publisher = players::publish(case.clip, &server.rtmp("live/a"), dir);
        sleep(secs(6));
        // hlsdemux2 loses its way in a playlist that has had one segment only.
        let two = |playlist: &Playlist| playlist.segments.len() > 1;
        Session::open(port, "live/a").wait_for("two segments", two);
        let in_gst: Vec<_> = case.gst.iter().map(|gst| play_gst(*gst, &url, dir)).collect();
        let late = players::play(case.clip.tool, &url, dir);
        let found = probe(case.clip.tool, &url, dir);
        assert_eq!(found, BTreeSet::from_iter(case.codecs.iter().map(ToString::to_string)));
        publisher.succeed(secs(40));

        let midst = match case.sent.video.is_empty() {
            true => Start::Any,
            false => Start::KeyFrame { every: case.clip.gop },
        };
        let Case { clip, sent, expect, .. } = case;
        sent.assert_came_out(&early.finish(secs(30)), expect);
        sent.assert_came_out(&late.finish(secs(30)), Expect { start: midst, ..expect });
        let files = all.join().expect("all was there");
        sent.assert_came_out(&joined(clip.tool, &files), expect);
        for ((mut child, files), gst) in in_gst.into_iter().zip(case.gst) {
            child.succeed(secs(30));
            // If its elements agree on start codes, which is chance, they put delimiters and parameter
            // sets among the pictures. They are left out of what is compared, on both sides.
            let without: &[&str] = match gst {
                Gst::Frames => &["-bsf:v", "filter_units=remove_types=7-9"],
                Gst::Segments | Gst::Renditions => &[],
            };
            let seen = files.iter().map(|file| Recording::of_file_with(clip.tool, file, without));
            let sent = &match gst {
                Gst::Frames => clip.sent_with(without),
                Gst::Segments | Gst::Renditions => sent.clone(),
            };
            // Each rendition of two is begun where that is best for itself.
            let sent = if files.len() == 1 { vec![sent.clone()] } else { apart(sent) };
            for (sent, seen) in sent.iter().zip(seen) {
                sent.assert_came_out(&seen, Expect { start: midst, same_config: false, ..expect });
            }
        }
    });
    server.stop();
}

/// The packets of the renditions together.
fn joined(tool: Ffmpeg, files: &[PathBuf]) -> Recording {
    let mut all = Recording::default();
    for file in files {
        let Recording { video, audio, config: [of_video, of_audio] } =
            Recording::of_file(tool, file);
        all.video.extend(video);
        all.audio.extend(audio);
        all.config = [all.config[0].take().or(of_video), all.config[1].take().or(of_audio)];
    }
    all
}

/// The pictures and the sound of `all`.
fn apart(all: &Recording) -> Vec<Recording> {
    let Recording { video, audio, config: [of_video, of_audio] } = all.clone();
    vec![
        Recording { video, config: [of_video, None], ..Recording::default() },
        Recording { audio, config: [None, of_audio], ..Recording::default() },
    ]
}

/// Writes all segments behind one another, with what they need before them, while they are made: a
/// file of each rendition.
#[track_caller]
pub(crate) fn download(port: u16, key: &str, dir: &RunDir) -> Vec<PathBuf> {
    let mut session = Session::open(port, key);
    let Some(audio) = session.audio.take() else { return vec![rendition(session, dir)] };
    thread::scope(|scope| {
        let mut second = Session::open(port, key);
        second.main = audio;
        let audio = scope.spawn(|| rendition(second, dir));
        vec![rendition(session, dir), audio.join().expect("all was there")]
    })
}

#[track_caller]
fn rendition(mut session: Session, dir: &RunDir) -> PathBuf {
    let (mut bytes, mut inits, mut next) = (Vec::new(), HashSet::new(), 0);
    let mut playlist = session.read("");
    loop {
        for (segment, msn) in playlist.segments.iter().zip(playlist.media_sequence..) {
            if msn < next || segment.gap {
                continue;
            }
            if let Some(map) = segment.map.clone().filter(|map| inits.insert(map.clone())) {
                bytes.extend(session.fetch(&map));
            }
            bytes.extend(session.fetch(&segment.uri));
            next = msn + 1;
        }
        if playlist.ended {
            break;
        }
        // When the segment that is made now is whole.
        let (msn, _) = playlist.next_part();
        playlist = session.read(&format!("_HLS_msn={msn}"));
    }
    let file = dir.file("segments");
    fs::write(&file, bytes).expect("there is room");
    file
}

/// The codecs ffprobe finds in a live playlist, without a complaint.
#[track_caller]
fn probe(tool: Ffmpeg, url: &str, dir: &RunDir) -> BTreeSet<String> {
    // There is no current ffprobe, so what it cannot read yet is left to ffmpeg.
    if tool == Ffmpeg::Current {
        let mut command = tool.command();
        command.args(["-i", url, "-t", "1", "-c", "copy", "-f", "null", "-"]);
        let mut child = Child::start(&mut command, &dir.file("probe.log"));
        child.succeed(secs(30));
        let log = child.log();
        let input = log.split("Output #0").next().unwrap_or_default();
        let codecs = ["Video: ", "Audio: "].map(|kind| {
            let found = input.split(kind).nth(1).unwrap_or_default();
            found.split([' ', ',']).next().unwrap_or_default().to_owned()
        });
        return codecs.into_iter().filter(|codec| !codec.is_empty()).collect();
    }
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-show_streams", "-of", "json", url])
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe starts");
    let said = String::from_utf8_lossy(&output.stderr);
    // It reads the init again with each playlist.
    let news = said.lines().filter(|line| !line.contains("duplicated MOOV Atom"));
    assert!(output.status.success() && news.count() == 0, "ffprobe: {said}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let streams = found["streams"].as_array().expect("a list");
    streams.iter().map(|stream| stream["codec_name"].as_str().expect("a name").to_owned()).collect()
}

/// The files are whole when it has ended.
fn play_gst(gst: Gst, url: &str, dir: &RunDir) -> (Child, Vec<PathBuf>) {
    let mut command = Command::new("gst-launch-1.0");
    let (file, sound) = (dir.file("gst"), dir.file("gst"));
    let location = |file: &Path| format!("location={}", file.display());
    match gst {
        Gst::Renditions => {
            command.args(["-q", "souphttpsrc"]).arg(format!("location={url}"));
            command.args("! hlsdemux name=demux demux.src_1 ! queue ! filesink".split(' '));
            command.arg(location(&sound)).args("demux.src_0 ! queue ! filesink".split(' '));
        }
        Gst::Segments => {
            command.args(["-q", "souphttpsrc"]).arg(format!("location={url}"));
            command.args("! hlsdemux ! filesink".split(' '));
        }
        Gst::Frames => {
            command.args(["-q", "urisourcebin", "parse-streams=true", "name=source"]);
            command.arg(format!("uri={url}"));
            command.args("source. ! video/x-h264 ! h264parse ! queue ! mux.".split(' '));
            command.args("source. ! audio/mpeg ! aacparse ! queue ! mux.".split(' '));
            command.args("matroskamux name=mux ! filesink".split(' '));
        }
    }
    command.arg(location(&file));
    let child = Child::start(&mut command, &dir.file("gst.log"));
    (child, if let Gst::Renditions = gst { vec![file, sound] } else { vec![file] })
}

#[test]
fn h264_with_b_frames_and_aac() {
    let clip = clips::h264_aac();
    comes_out(Case {
        clip: &clip,
        sent: &clip.sent(),
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS),
        app: "",
        codecs: &["h264", "aac"],
        gst: &[Gst::Segments, Gst::Frames],
    });
}

#[test]
fn sound_with_a_playlist_of_its_own() {
    let clip = clips::h264_aac();
    comes_out(Case {
        clip: &clip,
        sent: &clip.sent(),
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS),
        app: "hls_audio = 'separate'",
        codecs: &["h264", "aac"],
        // hlsdemux2 gives nothing to Matroska where sound stands apart, of ffmpeg's playlists neither.
        gst: &[Gst::Renditions],
    });
}

#[test]
fn h265_and_aac() {
    let clip = clips::h265_aac();
    comes_out(Case {
        clip: &clip,
        sent: &clip.sent(),
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS).other_config(),
        app: "",
        codecs: &["hevc", "aac"],
        gst: &[Gst::Segments],
    });
}

#[test]
fn av1_and_opus() {
    let clip = clips::av1_opus();
    let mut sent = clip.sent_with(&["-bsf:v", "filter_units=remove_types=2"]);
    // The filter takes the head of the record away.
    sent.config = clip.sent().config;
    comes_out(Case {
        clip: &clip,
        sent: &sent,
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS),
        app: "",
        codecs: &["av1", "opus"],
        gst: &[Gst::Segments],
    });
}

#[test]
fn sound_alone() {
    let clip = clips::aac();
    comes_out(Case {
        clip: &clip,
        sent: &clip.sent(),
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS),
        app: "",
        codecs: &["aac"],
        gst: &[Gst::Segments],
    });
}

/// With a key frame each five seconds.
#[test]
fn a_picture_each_second() {
    let clip = clips::slideshow();
    comes_out(Case {
        clip: &clip,
        sent: &clip.sent(),
        expect: Expect::WHOLE.rounded_by(ROUNDING_MS),
        app: "",
        codecs: &["h264", "aac"],
        gst: &[Gst::Segments],
    });
}

/// In a transport stream the bytes of a picture are others, so what is decoded is compared; the sound
/// is the same to the byte.
fn comes_out_as_ts(clip: &Clip, codecs: &[&str]) {
    let _machine = beside_others();
    let server = Server::with(&Setup { app: "hls_container = 'ts'", ..SETUP });
    let (dir, port) = (&server.dir, server.http);
    let url = server.http("live/a.m3u8");
    thread::scope(|scope| {
        let all = scope.spawn(|| download(port, "live/a", dir));
        let record = |name: &str| {
            let file = dir.file(&format!("{name}.ts"));
            let mut command = clip.tool.command();
            command.args(["-i", &url, "-c", "copy", "-f", "mpegts"]).arg(&file);
            (Child::start(&mut command, &dir.file("record.log")), file)
        };
        let mut early = record("early");
        wait_for_viewers(&server, "live/a", 2);
        let mut publisher = players::publish(clip, &server.rtmp("live/a"), dir);
        let mut in_gst = play_gst(Gst::Segments, &url, dir);
        sleep(secs(6));
        let mut late = record("late");
        assert_eq!(
            probe(clip.tool, &url, dir),
            BTreeSet::from_iter(codecs.iter().map(ToString::to_string))
        );
        publisher.succeed(secs(40));
        for child in [&mut early.0, &mut late.0, &mut in_gst.0] {
            child.succeed(secs(30));
        }
        let files = all.join().expect("all was there");
        for whole in [&early.1, &files[0]] {
            assert_eq!(decodes_to_the_end(clip, whole), 0, "{}", whole.display());
        }
        for rest in [&late.1, &in_gst.1[0]] {
            assert_eq!(decodes_to_the_end(clip, rest) % clip.gop, 0, "{}", rest.display());
        }
    });
    server.stop();
}

/// `file` holds what the clip does, but for so many pictures at the begin.
#[track_caller]
fn decodes_to_the_end(clip: &Clip, file: &Path) -> usize {
    let packets = |path: &Path| {
        let recording = Recording::of_file_with(clip.tool, path, &["-bsf:a", "aac_adtstoasc"]);
        recording.audio.into_iter().map(|packet| packet.hash).collect::<Vec<_>>()
    };
    let sent: Vec<String> = clip.sent().audio.into_iter().map(|packet| packet.hash).collect();
    let came = packets(file);
    assert!(came.len() > 100 && sent.ends_with(&came), "{}: other sound", file.display());
    let pictures = |path: &Path| players::pictures(Ffmpeg::Current, path);
    let (sent, came) = (pictures(&clip.path), pictures(file));
    assert!(!came.is_empty() && sent.ends_with(&came), "{}: other pictures", file.display());
    sent.len() - came.len()
}

#[test]
fn h264_and_aac_in_transport_streams() {
    comes_out_as_ts(&clips::h264_aac(), &["h264", "aac"]);
}

#[test]
fn h265_and_aac_in_transport_streams() {
    comes_out_as_ts(&clips::h265_aac(), &["hevc", "aac"]);
}
