//! Publishing by HTTP: what ffmpeg and curl send comes out again, and what else may become of it.

#![allow(missing_docs)]

#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
mod support;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use corecast::container::flv::{self, TagKind};
use corecast::media::StreamKey;
use corecast::proto::rtmp::Goal;
use corecast::serve::access::signed::{Method, Signer};
use hook_server::{HookServer, after, say, yes};
use node::{Node, connect_from, eventually, log};
use support::clips::{self, Clip};
use support::frames::{Expect, Recording, Start};
use support::machine::{RunDir, beside_others, secs};
use support::players::{self, Ffmpeg};
use support::server::{Server, Setup};
use talk::{Peer, frame};
use web::{Answer, Watcher, Web, get};

// --- Foreign publishers --------------------------------------------------------------------------

/// Publishes `clip` by ffmpeg, as fast as it plays.
fn ffmpeg(clip: &Clip, url: &str, dir: &RunDir, options: &[&str]) -> support::child::Child {
    let options = [options, &["-method", "POST"]].concat();
    players::publish_with(clip, url, dir, &[], &options)
}

/// Publishes a file by `curl -T`, some times as fast as it plays; or (`None`) what is at its
/// standard input. It sends nothing of it before it is told to go on. Tells what it said of the talk,
/// and the status.
fn curl(file: Option<&Path>, input: Stdio, url: &str, more: &[&str]) -> (String, String) {
    let upload = file.unwrap_or(Path::new("-"));
    let mut curl = Command::new("curl");
    curl.args(["-sv", "-m", "60", "--limit-rate", "900k", "-w", "%{http_code}"]);
    curl.args(["--expect100-timeout", "20"]).args(more);
    let output = curl.arg("-T").arg(upload).arg(url).stdin(input).output().expect("curl starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stderr), text(&output.stdout))
}

/// A server whose viewers are there before the publisher, however long that takes. `app`: lines of its
/// apps.
fn patient(app: &'static str) -> Server {
    Server::with(&Setup { app, wait_for_publisher: "60s", admin: true, ..Setup::default() })
}

#[test]
fn what_ffmpeg_posts_comes_out_bit_exact_by_http_flv_websocket_and_rtmp() {
    let _machine = beside_others();
    let server = patient("");
    let clip = clips::h264_aac();
    let tool = Ffmpeg::Debian;
    let view = || {
        let flv = players::play(tool, &server.http("live/a.flv"), &server.dir);
        let rtmp = players::play(tool, &server.rtmp("live/a"), &server.dir);
        let record = server.dir.file("ws.flv");
        let socket = support::ws::record(&server.ws("live/a.flv"), &record);
        (flv, rtmp, socket, record)
    };
    let early = view();
    players::wait_for_viewers(&server, 3);
    let mut publisher = ffmpeg(&clip, &server.http("live/a.flv"), &server.dir, &[]);
    // Three seconds of pictures and sound: the first key frame is past, and most is still to come.
    let about = support::http::get("api/v1/streams/live/a");
    eventually("the late ones come in its midst", || {
        let said = support::http::exchange(server.admin, &about).text();
        let told = serde_json::from_str::<serde_json::Value>(&said).unwrap_or_default();
        told["frames"].as_u64() >= Some(200)
    });
    let late = view();
    publisher.succeed(secs(30));
    let sent = clip.sent();
    for ((flv, rtmp, socket, record), expect) in
        [(early, Expect::WHOLE), (late, Expect::from_key(clip.gop))]
    {
        sent.assert_came_out(&flv.finish(secs(20)), expect);
        sent.assert_came_out(&rtmp.finish(secs(20)), expect);
        socket.join().expect("the viewer is well");
        sent.assert_came_out(&Recording::of_file(tool, &record), expect);
    }
    server.expect_log("unpublish: the body is over", secs(20));
    server.stop();
}

#[test]
fn codecs_of_enhanced_flv_and_sound_alone_pass_too() {
    let _machine = beside_others();
    let server = patient("");
    for (clip, name) in
        [(clips::h265_aac(), "hevc"), (clips::av1_opus(), "av1"), (clips::aac(), "sound")]
    {
        let path = format!("live/{name}.flv");
        let player = players::play(Ffmpeg::Current, &server.http(&path), &server.dir);
        players::wait_for_viewers(&server, 1);
        ffmpeg(&clip, &server.http(&path), &server.dir, &[]).succeed(secs(30));
        clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE.other_config());
    }
    server.stop();
}

#[test]
fn a_transport_stream_that_ffmpeg_posts_is_seen_whole_by_viewers_of_flv() {
    let _machine = beside_others();
    let server = patient("");
    let all = [(clips::h264_aac(), "h264"), (clips::h265_aac(), "hevc"), (clips::aac(), "sound")];
    for (clip, name) in all {
        let record = server.dir.file(&format!("{name}.flv"));
        let mut viewer = Command::new("curl");
        let viewer = viewer.args(["-s", "-m", "60", "-o"]).arg(&record);
        let mut viewer =
            viewer.arg(server.http(&format!("live/{name}.flv"))).spawn().expect("curl starts");
        players::wait_for_viewers(&server, 1);
        let mut publisher = clip.tool.command();
        publisher.args(["-re", "-i"]).arg(&clip.path);
        publisher.args(["-c", "copy", "-f", "mpegts", "-method", "POST"]);
        publisher.arg(server.http(&format!("live/{name}.ts")));
        support::child::Child::start(&mut publisher, &server.dir.file("publish.log"))
            .succeed(secs(40));
        assert!(viewer.wait().expect("it ends").success());
        assert_decodes_to_the_same(&clip, &record, name);
    }
    server.expect_log("unpublish: the body is over", secs(20));
    server.stop();
}

/// `seen` decodes to the pictures and the sound of `clip`, all of them. A transport stream of sound alone
/// does not say so, and pictures are waited for: then it is the second before that, and what follows.
#[track_caller]
fn assert_decodes_to_the_same(clip: &Clip, seen: &Path, name: &str) {
    let tool = Ffmpeg::Current;
    let (sent, heard) = (players::sounds(tool, &clip.path), players::sounds(tool, seen));
    let of = format!("{name}: {} of {}", heard.len(), sent.len());
    if name == "sound" {
        // A decoder that begins in the midst needs some frames until it says the same.
        assert!(heard.len() > sent.len() / 2 && sent.ends_with(&heard[10..]), "{of}");
        return;
    }
    assert!(sent.len() > 100 && sent == heard, "{of}");
    let (sent, seen) = (players::pictures(tool, &clip.path), players::pictures(tool, seen));
    assert!(sent.len() > 100 && sent == seen, "{name}: {} of {}", seen.len(), sent.len());
}

#[test]
fn transport_streams_that_curl_puts_are_seen_whole() {
    let _machine = beside_others();
    // Most are sent some times as fast as they play.
    let server = patient("max_lag = '60s'\nstall_timeout = '30s'");
    let cases = [
        ("file", clips::h264_aac(), "900k"),
        ("pipe", clips::h264_aac(), "900k"),
        // Slower than it plays: curl sends 64 KiB at once, a third of it, and the next are not to come
        // before pictures were waited for, on a busy machine either.
        ("sound", clips::aac(), "12k"),
    ];
    for (name, clip, rate) in cases {
        let file = server.dir.file(&format!("{name}.ts"));
        let mut command = clip.tool.command();
        command.args(["-v", "error", "-i"]).arg(&clip.path).args(["-c", "copy"]).arg(&file);
        assert!(command.status().expect("ffmpeg starts").success(), "{name}");
        let player =
            players::play_curl(clip.tool, &server.http(&format!("live/{name}.flv")), &server.dir);
        players::wait_for_viewers(&server, 1);
        let is_piped = name == "pipe";
        let (upload, input) = match is_piped {
            true => (None, File::open(&file).expect("it is there").into()),
            false => (Some(file.as_path()), Stdio::null()),
        };
        let url = server.http(&format!("live/{name}.ts"));
        let (talk, said) = curl(upload, input, &url, &["--limit-rate", rate]);
        assert_eq!(said, "ok\n200", "{talk}");
        assert!(talk.contains("< HTTP/1.1 100 Continue"), "{talk}");
        assert_eq!(talk.contains("> Transfer-Encoding: chunked"), is_piped, "{talk}");
        let seen = player.output().to_owned();
        player.finish(secs(30));
        assert_decodes_to_the_same(&clip, &seen, name);
    }
    server.stop();
}

/// What ffmpeg is told to write MP4 with.
const FRAGMENTS: &str = "frag_keyframe+empty_moov+default_base_moof";

/// `clip` as an MP4 file.
fn mp4(clip: &Clip, name: &str, flags: &str, dir: &RunDir) -> PathBuf {
    let path = dir.file(name);
    let mut command = clip.tool.command();
    command.args(["-v", "error", "-i"]).arg(&clip.path).args(["-c", "copy", "-movflags", flags]);
    // A pipe to ffmpeg, as a server is one, but where it has to go back.
    if matches!(flags, "faststart" | "-faststart") {
        command.args(["-f", "mp4"]).arg(&path);
    } else {
        command.args(["-f", "mp4", "pipe:1"]);
        command.stdout(File::create(&path).expect("the directory is ours"));
    }
    assert!(command.status().expect("ffmpeg starts").success(), "{flags}");
    path
}

/// Publishes `clip` as MP4 by ffmpeg, as fast as it plays.
fn ffmpeg_mp4(clip: &Clip, flags: &str, url: &str, dir: &RunDir) -> support::child::Child {
    let mut command = clip.tool.command();
    command.args(["-re", "-i"]).arg(&clip.path).args(["-c", "copy", "-movflags", flags]);
    command.args(["-f", "mp4", "-method", "POST", url]);
    support::child::Child::start(&mut command, &dir.file("publish.log"))
}

#[test]
fn what_ffmpeg_posts_as_mp4_comes_out_bit_exact_by_rtmp_and_http_flv() {
    let _machine = beside_others();
    let server = patient("");
    let each_frame = "frag_every_frame+empty_moov+default_base_moof";
    let runs = [
        (clips::h264_aac(), "h264", FRAGMENTS),
        (clips::h264_aac(), "each", each_frame),
        // The first samples are in the index, and places count from the beginning of the file.
        (clips::h264_aac(), "index", "frag_keyframe"),
        (clips::h264_mp3(), "mp3", FRAGMENTS),
        (clips::h265_aac(), "hevc", each_frame),
        (clips::av1_opus(), "av1", FRAGMENTS),
        (clips::aac(), "sound", FRAGMENTS),
    ];
    let runs = runs.map(|(clip, name, flags)| {
        let tool = Ffmpeg::Current;
        let flv = players::play(tool, &server.http(&format!("live/{name}.flv")), &server.dir);
        let rtmp = players::play(tool, &server.rtmp(&format!("live/{name}")), &server.dir);
        (clip, name, flags, flv, rtmp)
    });
    players::wait_for_viewers(&server, 2 * runs.len() as u32);
    let runs = runs.map(|(clip, name, flags, flv, rtmp)| {
        let url = server.http(&format!("live/{name}.mp4"));
        (ffmpeg_mp4(&clip, flags, &url, &server.dir), clip, name, flags, flv, rtmp)
    });
    for (mut publisher, clip, name, flags, flv, rtmp) in runs {
        publisher.succeed(secs(60));
        let file = mp4(&clip, &format!("{name}.mp4"), flags, &server.dir);
        let sent = Recording::of_file(Ffmpeg::Current, &file);
        let pictures = if name == "sound" { 0 } else { 250 };
        assert!(sent.video.len() == pictures && sent.audio.len() > 300, "{name}");
        // It counts sound in samples, and FLV in milliseconds.
        let expect = Expect::WHOLE.rounded_by(2);
        for player in [flv, rtmp] {
            sent.assert_came_out(&player.finish(secs(30)), expect);
        }
    }
    server.expect_log("unpublish: the body is over", secs(20));
    server.stop();
}

#[test]
fn pictures_that_cmaf_shows_before_they_are_decoded_are_put_in_order_and_in_time() {
    let _machine = beside_others();
    let server = patient("");
    let clip = clips::h264_aac();
    let player = players::play(clip.tool, &server.http("live/cmaf.flv"), &server.dir);
    players::wait_for_viewers(&server, 1);
    ffmpeg_mp4(&clip, "cmaf", &server.http("live/cmaf.mp4"), &server.dir).succeed(secs(40));
    let sent = Recording::of_file(clip.tool, &mp4(&clip, "cmaf.mp4", "cmaf", &server.dir));
    let got = player.finish(secs(20));
    let expect = Expect::WHOLE.rounded_by(2);
    sent.clone().without_audio().assert_came_out(&got.clone().without_audio(), expect);
    let sound = Expect { start: Start::Any, ..expect };
    sent.without_video().assert_came_out(&got.clone().without_video(), sound);
    // Both begin at zero in the file: ffmpeg, which reads it, puts pictures later and sound not.
    let apart = got.video[0].pts - got.audio[0].pts;
    assert!(apart.abs() <= 2, "{apart} ms apart");
    assert!(got.video.iter().all(|picture| picture.pts >= picture.dts && picture.dts >= 0));
    server.stop();
}

#[test]
fn mp4_files_that_curl_puts_come_out_bit_exact_if_their_index_is_in_front() {
    let _machine = beside_others();
    let server = patient("max_lag = '60s'\nstall_timeout = '30s'");
    let clip = clips::h264_aac();
    for (name, flags, piped) in
        [("plain", FRAGMENTS, false), ("piped", FRAGMENTS, true), ("front", "faststart", false)]
    {
        let file = mp4(&clip, &format!("{name}.mp4"), flags, &server.dir);
        let player =
            players::play_curl(clip.tool, &server.http(&format!("live/{name}.flv")), &server.dir);
        players::wait_for_viewers(&server, 1);
        let (upload, input) = match piped {
            true => (None, File::open(&file).expect("it is there").into()),
            false => (Some(file.as_path()), Stdio::null()),
        };
        let (talk, said) = curl(upload, input, &server.http(&format!("live/{name}.mp4")), &[]);
        assert_eq!(said, "ok\n200", "{talk}");
        assert!(talk.contains("< HTTP/1.1 100 Continue"), "{talk}");
        assert_eq!(talk.contains("> Transfer-Encoding: chunked"), piped, "{talk}");
        let sent = Recording::of_file(clip.tool, &file);
        sent.assert_came_out(&player.finish(secs(30)), Expect::WHOLE.rounded_by(2));
    }
    let file = mp4(&clip, "end.mp4", "-faststart", &server.dir);
    let (talk, said) = curl(Some(&file), Stdio::null(), &server.http("live/end.mp4"), &[]);
    assert!(said.ends_with("400"), "{said}\n{talk}");
    assert!(said.contains("-movflags frag_keyframe+empty_moov+default_base_moof"), "{said}");
    server.stop();
}

#[test]
fn what_curl_puts_comes_out_bit_exact_as_a_file_and_as_a_pipe() {
    let _machine = beside_others();
    // It is sent some times as fast as it plays.
    let server = patient("max_lag = '60s'\nstall_timeout = '30s'");
    let clip = clips::h264_aac();
    let sent = Recording::of_file(clip.tool, &clip.path);
    for piped in [false, true] {
        let path = format!("live/curl-{piped}.flv");
        let player = players::play_curl(Ffmpeg::Debian, &server.http(&path), &server.dir);
        players::wait_for_viewers(&server, 1);
        let (file, input) = match piped {
            true => (None, File::open(&clip.path).expect("it is there").into()),
            false => (Some(clip.path.as_path()), Stdio::null()),
        };
        let (talk, said) = curl(file, input, &server.http(&path), &[]);
        assert_eq!(said, "ok\n200", "{talk}");
        assert!(talk.contains("< HTTP/1.1 100 Continue"), "{talk}");
        assert_eq!(talk.contains("> Transfer-Encoding: chunked"), piped, "{talk}");
        sent.assert_came_out(&player.finish(secs(30)), Expect::WHOLE);
    }
    server.stop();
}

#[test]
fn curl_is_refused_before_it_sends_anything() {
    let _machine = beside_others();
    let server = Server::with(&Setup { app: "publish_keys = ['k3y']", ..Setup::default() });
    let clip = clips::h264_aac();
    for (path, status) in
        [("live/a.flv", "401"), ("live/a.flv?key=no", "401"), ("live/a.mkv", "415")]
    {
        let (talk, said) = curl(Some(&clip.path), Stdio::null(), &server.http(path), &[]);
        assert!(said.ends_with(status), "{said}\n{talk}");
        assert!(!talk.contains("100 Continue"), "{talk}");
    }
    let (talk, said) =
        curl(Some(&clip.path), Stdio::null(), &server.http("live/a.flv?key=k3y"), &[]);
    assert_eq!(said, "ok\n200", "{talk}");
    server.stop();
}

// --- At the socket -------------------------------------------------------------------------------

/// The beginning of a file of the tests' frames.
fn file_head() -> Vec<u8> {
    let mut file = flv::file_header(true, false).to_vec();
    tag(&mut file, 0, &[0xaf, 0, 0x12, 0x10]);
    file
}

/// Frame `number` of the tests as a tag.
fn frame_tag(number: i64) -> Vec<u8> {
    let mut file = Vec::new();
    let frame = frame(number);
    tag(&mut file, frame.dts.as_millis(), &[&[0xaf, 1], &frame.data[..]].concat());
    file
}

fn tag(file: &mut Vec<u8>, time_ms: i64, body: &[u8]) {
    file.extend(flv::tag_header(TagKind::Audio, body.len(), time_ms));
    file.extend(body);
    file.extend(flv::previous_tag_size(body.len()));
}

/// A file of `count` frames.
fn file(count: i64) -> Vec<u8> {
    (0..count).fold(file_head(), |file, number| [file, frame_tag(number)].concat())
}

/// A publisher by chunks.
struct Sender {
    web: Web,
}

impl Sender {
    /// Begins to publish at `path`, such as `live/x.flv`, and sends the head of the file.
    fn new(port: u16, path: &str) -> Self {
        Self::with(port, path, &file_head())
    }

    /// The same with another beginning, at once: from the head on the server waits for a frame.
    fn with(port: u16, path: &str, begin: &[u8]) -> Self {
        let mut web = Web::new(port);
        let fields = "Host: test\r\nTransfer-Encoding: chunked\r\nUser-Agent: sender\r\n";
        let head = format!("POST /{path} HTTP/1.1\r\n{fields}\r\n").into_bytes();
        web.socket.write_all(&[head, Self::chunk(begin)].concat()).expect("the server reads");
        Self { web }
    }

    fn chunk(content: &[u8]) -> Vec<u8> {
        [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
    }

    fn send(&mut self, content: &[u8]) {
        self.web.socket.write_all(&Self::chunk(content)).expect("the server reads");
    }

    fn frames(&mut self, numbers: std::ops::Range<i64>) {
        numbers.for_each(|number| self.send(&frame_tag(number)));
    }

    #[track_caller]
    fn end(mut self) -> Answer {
        self.web.send("0\r\n\r\n");
        self.web.answer()
    }
}

/// Sends `body` whole to `path` with `fields` besides, and hears the answer.
#[track_caller]
fn put(node: &Node, path: &str, fields: &str, body: &[u8]) -> Answer {
    put_on(&mut Web::new(node.http), path, fields, body)
}

#[track_caller]
fn put_on(web: &mut Web, path: &str, fields: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head =
        format!("PUT /{path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n");
    web.socket.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
    web.answer()
}

#[track_caller]
fn expect(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(why), "expected {why:?} in {}", answer.body);
}

#[test]
fn a_transport_stream_that_is_none_is_answered_400() {
    let node = Node::start("cores = 1", None);
    let answer = put(&node, "live/no.ts", "", &[b'x'; 70_000]);
    expect(&answer, 400, "ts: expected packets of 188 bytes, found none in");
}

#[test]
fn a_body_that_ends_without_sound_or_picture_is_answered_400() {
    let node = Node::start("cores = 1", None);
    for (path, body, container) in [
        ("live/no.ts", &b"x"[..], "MPEG-TS"),
        ("live/no.ts", &[b'x'; 500], "MPEG-TS"),
        ("live/no.flv", &flv::file_header(true, true), "FLV"),
    ] {
        let answer = put(&node, path, "", body);
        let length = body.len();
        let why = format!(
            "http/body: at byte {length} of the body, its end: expected audio or video in \
             {container}, found none"
        );
        expect(&answer, 400, &why);
    }
    expect(&put(&node, "live/no.mp4", "", b"x"), 400, "http/body: ");
    expect(&put(&node, "live/no.flv", "", &file(1)), 200, "ok");
}

/// Nobody could play it by HTTP: recordings are played from there.
#[test]
fn nobody_publishes_where_recordings_are_played_from() {
    let node = Node::start("cores = 1", None);
    let why = "expected an app of another name: /rec/ is where recordings are played from";
    expect(&put(&node, "rec/x.flv", "", &file(1)), 403, why);
    let mut peer = Peer::new(node.rtmp, Goal::Publish, "rec/x");
    let (_, reason) = peer.refusal();
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn what_is_in_another_container_than_its_name_says_is_told_its_right_name() {
    let node = Node::start("cores = 1", None);
    let packets = [[0x47; 188]; 3].concat();
    let why = "http/body: expected FLV, found what looks like MPEG-TS: name it .ts";
    expect(&put(&node, "live/no.flv", "", &packets), 400, why);
    let why = "expected MP4, found what looks like MPEG-TS: name it .ts";
    expect(&put(&node, "live/no.mp4", "", &packets), 400, why);
    let why = "expected MPEG-TS, found what looks like FLV: name it .flv";
    expect(&put(&node, "live/no.ts", "", &file(3)), 400, why);
    let why = "expected FLV, found what looks like MP4: name it .mp4";
    expect(&put(&node, "live/no.flv", "", b"\0\0\0\x20ftypisom\0\0\0\0"), 400, why);
}

#[test]
fn a_publisher_is_watched_while_it_sends_on_whichever_core() {
    let node = Node::start("cores = 2", None);
    for number in 0..8 {
        let path = format!("live/cores-{number}.flv");
        let mut sender = Sender::new(node.http, &path);
        // A part lies unread when the connection moves to the owner of the stream.
        sender.frames(0..20);
        let mut watcher = Watcher::new(node.http, &path);
        watcher.expect_frames(None, 19);
        sender.frames(20..40);
        watcher.expect_frames(Some(20), 39);
        assert_eq!(sender.end().status, 200);
    }
}

#[test]
fn a_connection_goes_on_behind_a_body_that_was_published() {
    let node = Node::start("cores = 2", None);
    let mut web = Web::new(node.http);
    for _ in 0..2 {
        let answer = put_on(&mut web, "live/again.flv", "", &file(3));
        expect(&answer, 200, "ok");
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        web.send("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
        expect(&web.answer(), 200, "ok");
    }
}

#[test]
fn what_cannot_be_published_is_answered_by_its_number() {
    let lines = "cores = 1\nlimits.log_violations_per_second = 1000\nlimits.message_bytes = '64KiB'\n\
                 app.closed.rules = ['deny publish any']\napp.keys.publish_keys = ['k3y']\n\
                 app.slow.publisher_bitrate_max = '800kbit/s'\nstrict_apps = true\n[app.live]";
    let node = Node::start(lines, None);
    let whole = file(3);
    for (path, status, why) in [
        ("live/x.mkv", 415, "expected /APP/NAME with .flv, .ts or .mp4, found /live/x.mkv"),
        ("live/x", 415, "expected /APP/NAME with .flv, .ts or .mp4, found /live/x"),
        ("", 415, "expected /APP/NAME with .flv, .ts or .mp4, found /"),
        ("healthz", 415, "found /healthz"),
        ("live.flv", 404, "expected"),
        ("none/x.flv", 403, "expected a configured app (strict_apps)"),
        ("closed/x.flv", 403, "publishing to closed is not allowed from 127.1."),
        ("keys/x.flv", 401, "expected key=KEY (publish_keys) in the URL, found none"),
        ("keys/x.flv?key=other", 401, "found another"),
        ("keys/x.flv?key=k3y", 200, "ok"),
    ] {
        let answer = put(&node, path, "", &whole);
        expect(&answer, status, why);
        let is_ok = status == 200;
        let connection = if is_ok { "keep-alive" } else { "close" };
        assert_eq!(answer.field("connection"), Some(connection), "{path}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401);
    }
    expect(&put(&node, "live/x.flv", "", b""), 411, "expected a body");
    for origin in ["http://elsewhere", "null", "http://test.elsewhere", "test"] {
        let fields = format!("Origin: {origin}\r\n");
        let why = format!("expected a page of this server, or none, found one of {origin}");
        expect(&put(&node, "live/x.flv", &fields, &whole), 403, &why);
    }
    expect(&put(&node, "live/x.flv", "Origin: https://TEST\r\n", &whole), 200, "ok");

    let broken = "in what begins at byte 0 of the body: flv/file header: expected \\\"FLV\\\"";
    expect(&put(&node, "live/x.flv", "", b"<html></html>"), 400, broken);
    let other = "http/body: mp4: at byte 0: expected a box such as \\\"ftyp\\\", found";
    expect(&put(&node, "live/x.mp4", "", b"<html></html>"), 400, other);
    let huge = b"\0\0\0\x10ftypisom\0\0\0\0\xff\0\0\0moov";
    expect(
        &put(&node, "live/x.mp4", "", huge),
        413,
        "mp4/moov: at byte 16: expected at most 65536",
    );
    let cut = "expected 112 bytes, found the end of the file after 107";
    expect(&put(&node, "live/x.flv", "", &whole[..whole.len() - 9]), 400, cut);
    let mut long = file_head();
    long.extend(flv::tag_header(TagKind::Audio, 1 << 20, 0));
    expect(
        &put(&node, "live/x.flv", "", &long),
        413,
        "expected at most 65536 bytes, found 1048576",
    );
    let mut sender = Sender::new(node.http, "live/x.flv");
    sender.web.send("\r\n");
    expect(&sender.web.answer(), 400, "http/body: at byte ");
    let both = "Transfer-Encoding: chunked\r\n";
    expect(&put(&node, "live/x.flv", both, &whole), 400, "found both");
    expect(&put(&node, "live/x.flv", "Expect: wonders\r\n", &whole), 417, "Expect: 100-continue");
    // All of that has left the name free.
    assert_eq!(put(&node, "live/x.flv", "", &whole).status, 200);

    let mut sender = Sender::new(node.http, "slow/x.flv");
    let body = [&[0xaf, 1][..], &[0; 60_000]].concat();
    // 10 s of 6 Mbit/s. It may be closed before all of it is sent.
    for number in 0..120 {
        let mut content = Vec::new();
        tag(&mut content, number * 80, &body);
        let chunk = [format!("{:x}\r\n", content.len()).as_bytes(), &content, b"\r\n"].concat();
        if sender.web.socket.write_all(&chunk).is_err() {
            break;
        }
    }
    expect(&sender.web.answer(), 403, "publisher_bitrate_max");
}

#[test]
fn a_port_for_viewers_alone_says_so() {
    let node = Node::start("cores = 1\nhttp.publish = false", None);
    expect(&put(&node, "live/x.flv", "", &file(3)), 403, "(http.publish)");
    assert_eq!(get(node.http, "/healthz").status, 200);
}

#[test]
fn one_name_has_one_publisher_and_who_is_put_out_hears_it() {
    let lines = "cores = 2\napp.take.on_conflict = 'take_over'\napp.one.publishers_max = 1";
    let node = Node::start(lines, None);
    // Whichever way they come.
    let mut first = Sender::new(node.http, "live/one.flv");
    first.frames(0..2);
    let mut watcher = Watcher::new(node.http, "live/one.flv");
    watcher.expect_frames(None, 1);
    expect(&put(&node, "live/one.flv", "", &file(3)), 409, "live/one is being published already");
    let (_, why) = Peer::new(node.rtmp, Goal::Publish, "live/one").refusal();
    assert!(why.contains("is being published already"), "{why}");
    first.frames(2..5);
    watcher.expect_frames(Some(2), 4);
    assert_eq!(first.end().status, 200);
    let rtmp = Peer::publish(node.rtmp, "live/one");
    expect(&put(&node, "live/one.flv", "", &file(3)), 409, "live/one is being published already");
    rtmp.leave();

    let mut first = Sender::new(node.http, "take/x.flv");
    first.frames(0..2);
    let mut watcher = Watcher::new(node.http, "take/x.flv");
    watcher.expect_frames(None, 1);
    let mut second = Sender::new(node.http, "take/x.flv");
    expect(&first.web.answer(), 409, "another publisher took over take/x");
    first.web.expect_closed();
    second.frames(2..5);
    watcher.expect_frames(Some(2), 4);
    assert_eq!(second.end().status, 200);

    let only = Sender::new(node.http, "one/x.flv");
    log().wait_for(&["stream=one/x ", "publish"]);
    let answer = put(&node, "one/y.flv", "", &file(3));
    expect(&answer, 503, "publishers_max");
    assert!(answer.field("retry-after").is_some());
    drop(only);
}

#[test]
fn a_publisher_that_is_cut_off_leaves_its_name_and_what_was_whole_is_seen() {
    let node = Node::start("cores = 1\napp_defaults.publisher_grace = '10s'", None);
    let mut sender = Sender::new(node.http, "live/cut.flv");
    sender.frames(0..10);
    let mut watcher = Watcher::new(node.http, "live/cut.flv");
    watcher.expect_frames(None, 9);
    let part = frame_tag(10);
    sender.send(&part[..part.len() / 2]);
    let address = sender.web.address();
    drop(sender);
    log().wait_for(&[" close ", &format!("peer={address} "), "the peer closed"]);
    // It comes back within the grace, and viewers go on.
    let mut sender = Sender::new(node.http, "live/cut.flv");
    sender.frames(10..20);
    watcher.expect_frames(Some(10), 19);
    // The same for one that told its length and sends less.
    assert_eq!(sender.end().status, 200);
    let mut web = Web::new(node.http);
    web.send("PUT /live/cut.flv HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
    let mut whole = file_head();
    (20..25).for_each(|number| whole.extend(frame_tag(number)));
    web.socket.write_all(&whole).expect("the server reads");
    watcher.expect_frames(Some(20), 24);
    drop(web);
    eventually("the name is free", || put(&node, "live/cut.flv", "", &file(1)).status == 200);
}

#[test]
fn a_silent_publisher_is_answered_408() {
    let lines = "cores = 1\nlimits.first_frame_timeout = '2s'\nlimits.publisher_silence = '3s'";
    let node = Node::start(lines, None);
    // The file's header alone is no media.
    let mut sender = Sender::with(node.http, "live/silent.flv", &file_head()[..13]);
    expect(&sender.web.answer(), 408, "expected the first audio or video within 2s");
    let mut sender = Sender::with(node.http, "live/silent.flv", &file(3));
    expect(&sender.web.answer(), 408, "expected audio or video within 3s");
    sender.web.expect_closed();
    assert_eq!(put(&node, "live/silent.flv", "", &file(1)).status, 200);
}

#[test]
fn a_signed_url_lets_in_who_publishes_what_it_names() {
    const SECRET: &str = "0123456789abcdef-of-the-test";
    let lines = format!("cores = 1\n[app.live]\nsign_secret = '{SECRET}'\nsign_publish = true");
    let node = Node::start(&lines, None);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let key = StreamKey::parse("live/signed").expect("a key");
    let sign = |method, exp| Signer::new(SECRET).query(method, &key, exp, None);
    let publish =
        |name: &str, query: &str| put(&node, &format!("live/{name}.flv?{query}"), "", &file(2));
    expect(&publish("signed", &sign(Method::Publish, now + 3600)), 200, "ok");
    let of_play = sign(Method::Play, now + 3600);
    expect(&publish("signed", &of_play), 401, "the signature by sign_secret of publish");
    expect(&publish("signed", &sign(Method::Publish, now - 10)), 401, "sign a new one");
    let other = publish("other", &sign(Method::Publish, now + 3600));
    expect(&other, 401, "expected the signature");
    expect(&publish("signed", ""), 401, "found none");
    for format in ["ts", "mp4"] {
        let answer = put(&node, &format!("live/signed.{format}"), "", b"never looked at");
        expect(&answer, 401, "found none");
    }
    let lines = log().lines(&["sig="]);
    assert!(lines.iter().all(|line| line.contains("sig=HEX")), "{lines:?}");
}

#[test]
fn hook_servers_are_asked_before_100_is_said_and_told_of_the_end() {
    let server = HookServer::start(|heard| match heard.said["stream"].as_str() {
        Some("unpaid") => after(100, say("{\"code\":402,\"msg\":\"not paid\"}")),
        Some("asked") => after(100, say("{\"code\":0,\"data\":{\"key\":\"live/given\"}}")),
        _ => after(100, yes()),
    });
    let hooks = ["on_publish", "on_publish_done"];
    // What is asked late is no subject here.
    let patience = "hooks.timeout = '15s'\nlimits.verdict_timeout = '20s'";
    let lines = format!("cores = 2\n{patience}\n{}", server.lines(&hooks));
    let node = Node::start(&lines, None);
    let begin = |name: &str, body: &[u8]| {
        let mut web = Web::new(node.http);
        let length = body.len();
        web.send(&format!(
            "PUT /live/{name}.flv?token=abc HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\
             User-Agent: encoder/1\r\nExpect: 100-continue\r\n\r\n"
        ));
        let (status, head) = web.head();
        (web, status, head)
    };
    let (mut web, status, _) = begin("unpaid", &file(1));
    assert_eq!(status, 403);
    web.expect_closed();
    let body = String::from_utf8(web.heard).expect("text");
    assert!(body.contains("not paid") && !body.contains("HTTP/1.1 "), "{body}");

    let whole = file(30);
    let (begun, rest) = whole.split_at(whole.len() / 2);
    let watch = |web: &mut Web, path: &str| {
        web.socket.write_all(begun).expect("the server reads");
        let mut watcher = Watcher::new(node.http, path);
        watcher.expect_frames(None, 10);
        web.socket.write_all(rest).expect("the server reads");
        watcher.expect_frames(Some(11), 29);
    };
    let (mut web, status, head) = begin("paid", &whole);
    assert_eq!((status, head.as_str()), (100, "HTTP/1.1 100 Continue\r\n\r\n"));
    watch(&mut web, "live/paid.flv");
    expect(&web.answer(), 200, "ok");
    let asked = server.of("on_publish").pop().expect("it was asked").said;
    for (name, value) in [
        ("protocol", "http"),
        ("key", "live/paid"),
        ("param", "?token=abc"),
        ("user_agent", "encoder/1"),
    ] {
        assert_eq!(asked[name], value, "{asked}");
    }
    // The connection stays, and yet the publish is over.
    let told = server.wait_for("on_unpublish", 1).remove(0).said;
    assert_eq!((&told["reason"], &told["started"]), (&"the body is over".into(), &true.into()));
    assert_eq!(told["client_id"], asked["client_id"]);
    assert!(told["recv_bytes"].as_u64() > Some(whole.len() as u64), "{told}");

    // Given another name, at whose owner it arrives.
    let (mut web, status, _) = begin("asked", &whole);
    assert_eq!(status, 100);
    watch(&mut web, "live/given.flv");
    expect(&web.answer(), 200, "ok");
    assert_eq!(server.wait_for("on_unpublish", 2).pop().expect("two").said["key"], "live/given");
}

#[test]
fn a_hook_server_has_a_say_in_a_publishers_silence() {
    let server = HookServer::start(|heard| match heard.said["stream"].as_str() {
        Some("kept") => say("{\"code\":0,\"close\":false}"),
        _ => say("{\"code\":0,\"close\":true}"),
    });
    // A hook server has as long to answer, and a busy machine may hold it up for a while.
    let lines = "cores = 2\nlimits.publisher_silence = '4s'\nhooks.timeout = '15s'";
    let node = Node::start(&format!("{}{lines}", server.lines(&["on_publish_timeout"])), None);
    let mut kept = Sender::new(node.http, "live/kept.flv");
    let mut closed = Sender::new(node.http, "live/closed.flv");
    expect(&closed.web.answer(), 408, "expected audio or video within 4s");
    eventually("it was asked about more than once", || {
        server.heard().iter().filter(|heard| heard.said["stream"] == "kept").count() > 1
    });
    kept.frames(0..3);
    assert_eq!(kept.end().status, 200);
}

#[test]
fn who_is_kicked_or_drained_hears_why() {
    let node = Node::start("cores = 2\ndrain.delay = 0\ndrain.timeout = '5s'", None);
    let api = |method: &str, path: &str| {
        let mut web = Web::new(node.admin);
        web.send(&format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!((200..300).contains(&web.answer().status), "{method} {path}");
    };
    let publish = |name: &str| {
        let mut sender = Sender::new(node.http, &format!("live/{name}.flv"));
        sender.frames(0..3);
        Watcher::new(node.http, &format!("live/{name}.flv")).expect_frames(None, 2);
        sender
    };
    let mut kicked = publish("kicked");
    api("DELETE", "streams/live/kicked?reason=enough");
    expect(&kicked.web.answer(), 403, "enough");
    kicked.web.expect_closed();
    let mut drained = publish("drained");
    api("POST", "drain");
    expect(&drained.web.answer(), 503, "going out of service");
}

#[test]
fn bodies_of_strangers_do_not_hold_a_connection() {
    let node = Node::start("cores = 1\nlimits.connections_per_address = 2", None);
    let address = [127, 3, 0, 9];
    // Neither what is refused while it sends on, nor what is cut short.
    for _ in 0..4 {
        eventually("a place is free", || {
            let mut web = Web::on(connect_from(address, node.http));
            web.send("POST /live/x.mkv HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
            let status = web.head().0;
            let _ = web.socket.write_all(&[b'x'; 1000]);
            status == 415
        });
    }
}
