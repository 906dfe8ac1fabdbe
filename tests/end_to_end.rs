//! The whole server from outside, in short: ffmpeg publishes and plays by every way out, HTTP
//! answers as it should, and one browser shows a picture. The long form is `tests/judges`.

mod support;

use std::io::{Read, Write};
use std::process::Command;

use support::clips;
use support::frames::{Expect, Recording};
use support::http::{connect, exchange, get, read_reply};
use support::machine::{beside_others, secs};
use support::players::{self, Ffmpeg};
use support::server::{Server, Setup};
use support::{browser, ws};

/// A server whose viewers are there before the publisher, however long that takes.
fn patient() -> Server {
    Server::with(&Setup { wait_for_publisher: "60s", admin: true, ..Setup::default() })
}

#[test]
fn what_ffmpeg_publishes_comes_out_bit_exact_by_rtmp_flv_and_websocket() {
    let _machine = beside_others();
    let server = patient();
    let clip = clips::h264_aac();
    let tool = Ffmpeg::Debian;
    let view = |suffix: &str| {
        let record = server.dir.file("ws.flv");
        let socket = ws::record(&server.ws("live/a.flv"), &record);
        let rtmp = players::play(tool, &server.rtmp(&format!("live/a{suffix}")), &server.dir);
        let flv = players::play(tool, &server.http("live/a.flv"), &server.dir);
        (rtmp, flv, socket, record)
    };
    // Three wait for the publisher, three come in the midst of a GOP.
    let early = view("");
    players::wait_for_viewers(&server, 3);
    let mut publisher = players::publish(&clip, &server.rtmp("live/a"), &server.dir);
    server.expect_log(" publish client=", secs(20));
    std::thread::sleep(secs(3));
    let late = view("");
    publisher.succeed(secs(30));

    let sent = clip.sent();
    for ((rtmp, flv, socket, record), expect) in
        [(early, Expect::WHOLE), (late, Expect::from_key(clip.gop))]
    {
        sent.assert_came_out(&rtmp.finish(secs(20)), expect);
        sent.assert_came_out(&flv.finish(secs(20)), expect);
        let seen = socket.join().expect("the viewer is well");
        assert!(seen.close.is_some(), "the server closes in order: {seen:?}");
        assert!(seen.messages < 200, "one message per block, not per frame: {seen:?}");
        sent.assert_came_out(&Recording::of_file(tool, &record), expect);
    }
    server.stop();
}

#[test]
fn audio_or_video_alone_can_be_asked_for() {
    let _machine = beside_others();
    let server = patient();
    let clip = clips::h264_aac();
    let play = |url: &str| players::play(Ffmpeg::Debian, url, &server.dir);
    let videos =
        [server.rtmp("live/a?audio=0"), server.http("live/a.flv?audio=0")].map(|u| play(&u));
    let audios =
        [server.rtmp("live/a?video=0"), server.http("live/a.flv?video=0")].map(|u| play(&u));
    players::wait_for_viewers(&server, 4);
    players::publish(&clip, &server.rtmp("live/a"), &server.dir).succeed(secs(30));
    for video in videos {
        clip.sent().without_audio().assert_came_out(&video.finish(secs(20)), Expect::WHOLE);
    }
    for audio in audios {
        clip.sent().without_video().assert_came_out(&audio.finish(secs(20)), Expect::WHOLE);
    }
    server.stop();
}

#[test]
fn http_answers_as_it_should() {
    let _machine = beside_others();
    let server = Server::with(&Setup { wait_for_publisher: "1s", ..Setup::default() });
    let ask = |request: &str| exchange(server.http, request);

    let none = ask(&get("live/nobody.flv"));
    assert_eq!(none.status, 404);
    assert!(none.header("content-type").is_some_and(|kind| kind.contains("application/json")));
    let body: serde_json::Value = serde_json::from_slice(&none.body).expect("JSON");
    assert!(body.is_object(), "{body}");

    let origin = "Origin: http://elsewhere.example";
    let options = ask(&format!(
        "OPTIONS /live/a.flv HTTP/1.1\r\nHost: h\r\n{origin}\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    ));
    assert!([200, 204].contains(&options.status), "{options:?}");
    assert!(options.header("access-control-allow-origin").is_some(), "{options:?}");
    assert!(options.header("access-control-allow-methods").is_some(), "{options:?}");

    let delete = ask("DELETE /live/a.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(delete.status, 405);
    assert!(delete.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{delete:?}");

    let long =
        format!("GET /live/a.flv HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(ask(&long).status, 431);
    assert_eq!(ask("GET\r\n\r\n").status, 400);
    assert_eq!(ask("GET /live/%zz.flv HTTP/1.1\r\nHost: h\r\n\r\n").status, 400);
    assert_eq!(ask("GET /nothing-of-the-kind HTTP/1.1\r\nHost: h\r\n\r\n").status, 404);
    server.stop();
}

#[test]
fn a_head_that_never_ends_is_answered_408() {
    let _machine = beside_others();
    let server = Server::start();
    let mut stream = connect(server.http, None);
    stream.write_all(b"GET /live/a.flv HTTP/1.1\r\nHost:").expect("the server reads");
    assert_eq!(read_reply(&mut stream, false).status, 408);
    server.stop();
}

#[test]
fn a_connection_is_kept_where_the_answer_has_a_length() {
    let _machine = beside_others();
    let server = Server::with(&Setup { wait_for_publisher: "1s", ..Setup::default() });
    let mut stream = connect(server.http, None);
    for _ in 0..2 {
        stream.write_all(get("live/nobody.flv").as_bytes()).expect("the server reads");
        let reply = read_reply(&mut stream, false);
        assert_eq!(reply.status, 404);
        assert!(reply.header("content-length").is_some(), "{reply:?}");
    }
    // HTTP/1.0 without keep-alive: the server closes.
    let mut stream = connect(server.http, None);
    stream.write_all(b"GET /live/nobody.flv HTTP/1.0\r\n\r\n").expect("the server reads");
    assert_eq!(read_reply(&mut stream, false).status, 404);
    assert_eq!(stream.read(&mut [0; 1]).expect("closed in order"), 0);
    server.stop();
}

#[test]
fn a_live_answer_is_not_stored_and_may_be_used_by_other_sites() {
    let _machine = beside_others();
    let server = Server::start();
    let clip = clips::h264_aac();
    // It does not end before the last curl is there, and each ends by itself: when there is something
    // to write, and no room for it.
    let (url, forever) = (server.rtmp("live/a"), ["-stream_loop", "-1"]);
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    let head = ["-sSN", "-m", "30", "-o", "/dev/full", "-D", "-", "-H", "Origin: http://e.example"];
    server.expect_log(" publish client=", secs(20));
    for (more, url) in
        [(None, "live/a.flv"), (Some("-I"), "live/a.flv"), (Some("-0"), "live/%61.flv")]
    {
        let mut curl = Command::new("curl");
        curl.args(head).args(more).arg(server.http(url));
        let said = String::from_utf8(curl.output().expect("curl starts").stdout).expect("ASCII");
        let said = said.to_ascii_lowercase();
        assert!(said.lines().next().is_some_and(|line| line.contains(" 200")), "{more:?}: {said}");
        for header in [
            "cache-control: no-store",
            "x-accel-buffering: no",
            "video/x-flv",
            "access-control-allow-origin:",
        ] {
            assert!(said.contains(header), "{more:?}: expected {header} in {said}");
        }
    }
    drop(publisher);
    server.stop();
}

#[test]
fn a_browser_shows_the_stream_on_the_servers_own_page() {
    let _machine = beside_others();
    let server = Server::start();
    let clip = clips::h264_aac();
    let forever = ["-stream_loop", "-1"];
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    let seen = browser::watch(&server.http("live/a"), &["--seconds", "3"]);
    assert_eq!((seen["width"].as_i64(), seen["height"].as_i64()), (Some(640), Some(360)), "{seen}");
    drop(publisher);
    server.stop();
}
