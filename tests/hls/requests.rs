//! Requests as players, caches and strangers make them.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::flv;
use crate::playlist_rules::expanded;
use crate::session::{Connection, Session, read, request};
use crate::support::child::Child;
use crate::support::clips;
use crate::support::http::Reply;
use crate::support::machine::beside_others;
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::wait_for_viewers;

/// A stream that goes on, on a server of two cores.
struct Live {
    server: Server,
    publisher: Child,
}

impl Live {
    fn start(app: &'static str) -> Self {
        let server = Server::with(&Setup { cores: 2, app, tables: PATIENT, ..Setup::default() });
        let publisher = publish(&server, "live/a");
        Self { server, publisher }
    }

    #[track_caller]
    fn open(&self) -> Session {
        Session::open(self.server.http, "live/a")
    }

    #[track_caller]
    fn stop(self) {
        drop(self.publisher);
        self.server.stop();
    }
}

fn publish(server: &Server, key: &str) -> Child {
    let forever = ["-stream_loop", "-1"];
    players::publish_with(&clips::h264_aac(), &server.rtmp(key), &server.dir, &forever, &[])
}

/// A publisher that is stopped, or that sends what it is told, stays for as long as a test takes.
const PATIENT: &str = "[limits]\npublisher_silence = '1h'";
/// How long nothing may come where nothing is to come.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn the_first_viewer_waits_for_the_publisher_and_then_plays() {
    let _machine = beside_others();
    let server = Server::with(&Setup { wait_for_publisher: "40s", ..Setup::default() });
    let mut connection = Connection::new(server.http);
    connection.ask("live/a.m3u8", "");
    assert!(connection.is_silent(QUIET), "there is nothing to play yet");
    let publisher = publish(&server, "live/a");
    let reply = connection.answer();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut session = Session::of(connection, "live/a", reply.text());
    let playlist = session.read("");
    assert!(!playlist.segments.is_empty() || !playlist.open.parts.is_empty(), "{playlist:?}");
    let part = playlist.segments.iter().chain([&playlist.open]).flat_map(|s| &s.parts).next();
    session.fetch(&part.expect("a part").uri);
    drop(publisher);
    server.stop();
}

#[test]
fn a_stream_that_does_not_come_is_not_found() {
    let _machine = beside_others();
    let server = Server::with(&Setup { wait_for_publisher: "500ms", ..Setup::default() });
    let mut connection = Connection::new(server.http);
    let reply = connection.get("live/nobody.m3u8");
    assert_eq!(reply.status, 404, "{}", reply.text());
    // The connection is good for the next.
    assert_eq!(connection.get("live/nobody.m3u8").status, 404);
    server.stop();
}

/// A publisher that sends what it is told: what is not sent is not there, however slow the machine is.
struct ByHand {
    publisher: flv::Publisher,
    tags: Vec<flv::Tag>,
    /// What was sent so far, as media time.
    sent_ms: u32,
}

impl ByHand {
    /// Has half a minute to send, key frames two seconds apart.
    fn start(server: &Server) -> Self {
        let clip = flv::read(&clips::h264_aac().path);
        let of = |begin: u32, later: u32| {
            let tags = clip.iter().filter(move |tag| (begin..begin + 2000).contains(&tag.ms));
            tags.map(move |tag| flv::Tag { ms: tag.ms + later, ..tag.clone() })
        };
        let tags = of(0, 0).chain((0..14).flat_map(|gop| of(2000, gop * 2000))).collect();
        Self { publisher: flv::Publisher::new(server.http, "live/a"), tags, sent_ms: 0 }
    }

    /// The same and its first `ms`, with a viewer who has waited for it: to that one it begins at 0.
    fn watched(server: &Server, ms: u32) -> (Self, Session) {
        let mut first = Connection::new(server.http);
        first.ask("live/a.m3u8", "");
        wait_for_viewers(server, "live/a", 1);
        let mut by_hand = Self::start(server);
        by_hand.send(ms);
        let multivariant = first.answer().text();
        (by_hand, Session::of(first, "live/a", multivariant))
    }

    /// A server for it.
    fn server(app: &'static str) -> Server {
        let (tables, wait_for_publisher, admin) = (PATIENT, "40s", true);
        let setup = Setup { cores: 2, app, tables, wait_for_publisher, admin, ..Setup::default() };
        Server::with(&setup)
    }

    /// Sends so much more.
    fn send(&mut self, ms: u32) {
        self.sent_ms += ms;
        let due = self.tags.iter().position(|tag| tag.ms > self.sent_ms).expect("there is more");
        self.publisher.send(&self.tags[..due]);
        self.tags.drain(..due);
    }
}

#[test]
fn a_blocking_reload_is_answered_when_its_part_is_there() {
    const PART_MS: u32 = 200;
    let _machine = beside_others();
    let server = ByHand::server("hls_window = '20s'");
    // Enough for deltas, and not to the end of a part.
    let (mut by_hand, mut session) = ByHand::watched(&server, 18_000 - PART_MS / 2);
    let mut beside = Session::open(server.http, "live/a");
    let mut last = session.wait_for("all of it", |playlist| {
        (playlist.segments.len(), playlist.open.parts.len()) == (8, 9)
    });
    for _ in 0..20 {
        let (msn, part) = last.next_part();
        session.connection.ask(&session.path(&format!("_HLS_msn={msn}&_HLS_part={part}")), "");
        assert!(
            session.connection.is_silent(Duration::from_millis(50)),
            "{msn}.{part} is not made"
        );
        // What ends it, and not the next.
        by_hand.send(PART_MS);
        let text = session.connection.answer().text();
        let now = read(&text);
        assert!([(msn, part + 1), (msn + 1, 0)].contains(&now.next_part()), "{msn}.{part}\n{text}");
        // One that looks now sees no less, and the answer of one that asks for what is there comes at
        // once, with all there is.
        assert_eq!(beside.read("").next_part(), now.next_part());
        let there = format!("_HLS_msn={msn}&_HLS_part={part}");
        assert_eq!(beside.read(&there).next_part(), now.next_part());
        last = now;
    }
    // Without a part: when the segment is whole.
    let (msn, _) = last.next_part();
    session.connection.ask(&session.path(&format!("_HLS_msn={msn}")), "");
    assert!(session.connection.is_silent(Duration::from_millis(50)), "{msn} is not whole");
    by_hand.send(2000);
    let whole = read(&session.connection.answer().text());
    assert_eq!(whole.next_part().0, msn + 1, "{whole:?}");
    // A delta of the same.
    let full = session.wait_for("all of it", |playlist| playlist.open.parts.len() == 9);
    let delta = beside.read("_HLS_skip=YES");
    assert!(delta.skipped > 0, "{delta:?}");
    assert_eq!(delta.next_part(), full.next_part());
    assert_eq!(expanded(&delta, &full), full.segments);
    // `v2` is a way to ask for them, too.
    let v2 = beside.read("_HLS_skip=v2");
    assert_eq!((v2.skipped, v2.segments), (delta.skipped, delta.segments));
    drop(by_hand);
    server.stop();
}

#[test]
fn a_blocking_reload_for_which_nothing_comes_is_answered_late_by_what_there_is() {
    let _machine = beside_others();
    let server = ByHand::server("");
    let (by_hand, mut session) = ByHand::watched(&server, 6100);
    let all = session.wait_for("all of it", |playlist| {
        (playlist.segments.len(), playlist.open.parts.len()) == (3, 0)
    });
    let (msn, part) = all.next_part();
    session.connection.ask(&session.path(&format!("_HLS_msn={msn}&_HLS_part={part}")), "");
    assert!(session.connection.is_silent(QUIET), "it may come yet");
    let answer = session.connection.answer();
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=1")));
    assert_eq!(read(&answer.text()).next_part(), (msn, part));
    // It is still a viewer.
    assert_eq!(session.read("").next_part(), (msn, part));
    drop(by_hand);
    server.stop();
}

#[test]
fn the_part_to_come_is_answered_when_it_is_whole() {
    let _machine = beside_others();
    for app in ["", "hls_container = 'ts'", "hls_audio = 'separate'"] {
        let live = Live::start(app);
        let mut session = live.open();
        let audio = session.audio.clone().map(|path| (path, live.open()));
        for _ in 0..10 {
            let playlist = session.read("");
            let hint = playlist.hint.clone().expect("it goes on");
            let (msn, part) = playlist.next_part();
            let mut early = Connection::new(live.server.http);
            early.ask(&format!("{}{hint}", session.dir), "");
            let reply = early.answer();
            assert_eq!(reply.status, 200, "{hint}: {}", reply.text());
            let playlist = session.read(&format!("_HLS_msn={msn}&_HLS_part={part}"));
            let all = playlist.segments.iter().chain([&playlist.open]);
            let listed = all.flat_map(|segment| &segment.parts).any(|part| part.uri == hint);
            assert!(listed, "{hint} is no part of {playlist:#?}");
            assert_eq!(reply.body, session.fetch(&hint), "{hint} has changed");
        }
        if let Some((path, mut session)) = audio {
            session.main = path;
            let hint = session.read("").hint.expect("it goes on");
            let early = session.fetch(&hint);
            assert_eq!(early, session.fetch(&hint));
        }
        live.stop();
    }
}

#[test]
fn requests_in_one_write_are_answered_in_their_order() {
    let _machine = beside_others();
    // What is listed now still is when all of it was asked for.
    let live = Live::start("hls_window = '60s'");
    let mut session = live.open();
    let playlist = session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    let (msn, part) = playlist.next_part();
    let [first, second] = [0, 1].map(|at| playlist.segments[at].uri.clone());
    let init = playlist.segments[0].map.clone().expect("one");
    let paths = [
        session.dir.clone() + &second,
        // Two that wait, in the midst.
        session.path(&format!("_HLS_msn={msn}&_HLS_part={part}")),
        session.dir.clone() + playlist.hint.as_ref().expect("one"),
        session.dir.clone() + "main-1.m4s",
        session.dir.clone() + &init,
        session.dir.clone() + &first,
        "healthz".to_owned(),
        "live/a.m3u8".to_owned(),
        session.main.clone(),
    ];
    let alone: Vec<Reply> = [&paths[0], &paths[4], &paths[5], &paths[6]]
        .map(|path| Connection::new(live.server.http).get(path))
        .into();
    for _ in 0..3 {
        let all: String = paths.iter().map(|path| request(path, "")).collect();
        session.connection.say(&all);
        let replies: Vec<Reply> = paths.iter().map(|_| session.connection.answer()).collect();
        let status: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        assert_eq!(status, [200, 200, 200, 404, 200, 200, 200, 200, 200]);
        for (reply, alone) in
            [&replies[0], &replies[4], &replies[5], &replies[6]].iter().zip(&alone)
        {
            assert!(reply.body == alone.body, "not the body of this request");
        }
        assert!(read(&replies[1].text()).next_part() > (msn, part));
        assert!(!replies[2].body.is_empty() && replies[7].text().contains("#EXT-X-STREAM-INF"));
        assert!(read(&replies[8].text()).next_part() >= read(&replies[1].text()).next_part());
    }
    live.stop();
}

#[test]
fn playlists_are_compressed_for_who_wants_that_and_are_the_same() {
    let _machine = beside_others();
    let mut live = Live::start("");
    let mut session = live.open();
    session.wait_for("three segments", |playlist| playlist.segments.len() > 2);
    // What is there stays the same, however long the programs take to start.
    live.publisher.signal(Signal::STOP);
    let url = live.server.http(&session.main);
    let curl = |head: &str, options: &[&str]| {
        let (head, body) = (live.server.dir.file(head), live.server.dir.file("body"));
        let mut command = Command::new("curl");
        command.args(["-sS", "-f", "-D"]).arg(&head).arg("-o").arg(&body).args(options).arg(&url);
        assert!(command.status().expect("curl starts").success());
        let text = |path| String::from_utf8(fs::read(path).expect("it is there")).expect("text");
        (text(head).to_ascii_lowercase(), text(body))
    };
    // Until nothing was made in between.
    let same = (0..50).any(|_| {
        let before = session.playlist("");
        let (head, body) = curl("compressed", &["--compressed"]);
        assert!(head.contains("content-encoding: gzip"), "{head}");
        assert!(head.contains("vary: accept-encoding"), "{head}");
        let (plain_head, plain) = curl("plain", &[]);
        assert!(!plain_head.contains("content-encoding"), "{plain_head}");
        let is_same = before == session.playlist("");
        assert!(!is_same || (body == before && plain == before), "{body}\n{plain}\n{before}");
        is_same
    });
    assert!(same, "there is something new all the time");
    // Who says that it is not wanted does not get it.
    for fields in ["Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br, identity\r\n"] {
        let path = session.main.clone();
        let reply = session.connection.get_with(&path, fields);
        assert_eq!((reply.status, reply.header("content-encoding")), (200, None), "{fields}");
    }
    live.stop();
}

#[test]
fn caches_are_told_what_they_may_keep() {
    let _machine = beside_others();
    let live = Live::start("");
    let mut session = live.open();
    let playlist = session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    let map = playlist.segments[0].map.clone().expect("one");
    let newest = playlist.segments.last().expect("two");
    let part = newest.parts.first().expect("a part").uri.clone();
    for name in [&newest.uri, &part, &map] {
        let path = format!("{}{name}", session.dir);
        let reply = session.connection.get(&path);
        let cached = reply.header("cache-control").expect("it says").to_owned();
        let age = cached
            .split("max-age=")
            .nth(1)
            .and_then(|age| age.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok());
        assert!(age.is_some_and(|age| age >= 12), "{name}: {cached}");
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
        session.connection.say(&request(&path, "").replacen("GET", "HEAD", 1));
        let head = session.connection.answer_to("HEAD");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), reply.header("content-length"));
    }
    // A playlist is another soon.
    let known = (0..50).any(|_| {
        let path = session.main.clone();
        let reply = session.connection.get(&path);
        let cached = reply.header("cache-control").expect("it says");
        assert!(
            ["no-cache", "no-store", "max-age=0", "max-age=1"]
                .iter()
                .any(|may| cached.contains(may))
        );
        let tag = reply.header("etag").expect("it has one");
        let fields = format!("If-None-Match: {tag}\r\n");
        let again = session.connection.get_with(&path, &fields);
        assert!(again.status == 304 || again.text() != reply.text(), "{}", again.status);
        again.status == 304
    });
    assert!(known, "there is something new all the time");
    // Each multivariant playlist makes a session.
    let reply = session.connection.get("live/a.m3u8");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/vnd.apple.mpegurl"));
    live.stop();
}

#[test]
fn pages_of_any_origin_may_play() {
    let _machine = beside_others();
    let live = Live::start("");
    let mut session = live.open();
    let playlist = session.wait_for("a segment", |playlist| !playlist.segments.is_empty());
    let segment = format!("{}{}", session.dir, playlist.segments[0].uri);
    let of_none = format!("{}main.m3u8?session=none", session.dir);
    let paths = ["live/a.m3u8", &session.main, &segment, &of_none];
    for path in paths.map(str::to_owned) {
        let origin = "Origin: https://player.example\r\n";
        let reply = session.connection.get_with(&path, origin);
        let allowed = reply.header("access-control-allow-origin");
        assert!(matches!(allowed, Some("*" | "https://player.example")), "{path}: {reply:?}");
        let fields = format!(
            "{origin}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n"
        );
        session.connection.say(&request(&path, &fields).replacen("GET", "OPTIONS", 1));
        let reply = session.connection.answer();
        assert!(matches!(reply.status, 200 | 204), "{path}: {}", reply.status);
        assert!(reply.header("access-control-allow-origin").is_some(), "{reply:?}");
    }
    live.stop();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let _machine = beside_others();
    // What lies far ahead stays there.
    let server = ByHand::server("");
    let (mut by_hand, mut session) = ByHand::watched(&server, 4100);
    let playlist = session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    let (msn, part) = playlist.next_part();
    let bad = [
        "_HLS_msn=x".to_owned(),
        "_HLS_msn=".to_owned(),
        "_HLS_msn=-1".to_owned(),
        "_HLS_msn=99999999999999999999999".to_owned(),
        "_HLS_part=1".to_owned(),
        format!("_HLS_msn={msn}&_HLS_part=1.5"),
        // Far ahead.
        format!("_HLS_msn={}", msn + 3),
        format!("_HLS_msn={}", u64::MAX),
        format!("_HLS_msn={msn}&_HLS_part={}", part + 100),
    ];
    for query in bad {
        let reply = session.connection.get(&session.path(&query));
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
    let dir = session.dir.clone();
    let media = playlist.segments[0].uri.rsplit_once('/').map_or("", |(media, _)| media);
    let segment = playlist.segments[0].uri.rsplit('/').next().expect("a name");
    for name in [
        "main.m3u8?session=none".to_owned(),
        "main.m3u8?session=".to_owned(),
        "audio.m3u8?session=none".to_owned(),
        format!("{media}/main-{}.m4s", msn + 9),
        format!("{media}/main-{msn}.9999.m4s"),
        format!("{media}/main-1.m4s"),
        format!("{media}/main-01.m4s"),
        format!("{media}/main-+1.m4s"),
        format!("{media}/main-99999999999999999999999999.m4s"),
        format!("{media}/main-init999.mp4"),
        format!("{media}/audio-{msn}.m4s"),
        format!("{media}/{segment}x"),
        format!("{media}/{segment}%00"),
        format!("{media}/..%2f..%2f..%2fetc%2fpasswd"),
        format!("{media}/%2e%2e/{segment}"),
        "../../../../../../etc/passwd".to_owned(),
        format!("{media}/../../../../etc/passwd"),
        format!("00000000000000000000000000000000/{segment}"),
        format!("{media}/{}", "x".repeat(3000)),
    ] {
        // Some end the connection.
        let reply = Connection::new(server.http).get(&format!("{dir}{name}"));
        let is_refused = matches!(reply.status, 400 | 404 | 414);
        assert!(is_refused && !reply.text().contains("root:"), "{name}: {}", reply.status);
    }
    // There is no such rendition.
    let path = session.main.replace("main.m3u8", "audio.m3u8");
    assert_eq!(session.connection.get(&path).status, 404);
    // Who comes without a session is sent to where sessions are made.
    let reply = session.connection.get(&format!("{dir}main.m3u8"));
    assert_eq!(reply.status, 302, "{}", reply.text());
    assert!(reply.header("location").is_some_and(|to| to.ends_with("a.m3u8")), "{reply:?}");
    // After all that, it plays.
    by_hand.send(200);
    let next = session.read(&format!("_HLS_msn={msn}&_HLS_part={part}"));
    assert!(next.next_part() > (msn, part), "{next:?}");
    drop(by_hand);
    server.stop();
}

#[test]
fn a_server_that_hears_half_a_request_serves_others() {
    let _machine = beside_others();
    let live = Live::start("");
    let mut session = live.open();
    let playlist = session.wait_for("a segment", |playlist| !playlist.segments.is_empty());
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut connection = Connection::new(live.server.http);
        match number % 3 {
            // One that never ends its request, one that never reads, one that waits for what comes late.
            0 => connection.say("GET /live/a.m3u8 HTTP/1.1\r\nHost: loc"),
            1 => connection.say(&request(&session.main, "").repeat(50)),
            _ => {
                let (msn, _) = playlist.next_part();
                connection.ask(&session.path(&format!("_HLS_msn={}", msn + 1)), "");
            }
        }
        crowd.push(connection);
    }
    let mut last = session.read("");
    for _ in 0..10 {
        let (msn, part) = last.next_part();
        last = session.read(&format!("_HLS_msn={msn}&_HLS_part={part}"));
        for part in &last.open.parts {
            session.fetch(&part.uri);
        }
    }
    drop(crowd);
    live.stop();
}

#[test]
fn every_core_serves_the_same() {
    let _machine = beside_others();
    // None of them goes while it is fetched.
    let live = Live::start("hls_window = '60s'");
    let mut session = live.open();
    let playlist = session.wait_for("four segments", |playlist| playlist.segments.len() > 3);
    let (msn, _) = playlist.next_part();
    let names: Vec<String> = playlist.segments.iter().map(|segment| segment.uri.clone()).collect();
    let expected: Vec<Vec<u8>> = names.iter().map(|name| session.fetch(name)).collect();
    let port = live.server.http;
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                // Another connection for each may reach another core each time.
                let mut own = Session::open(port, "live/a");
                own.connection = Connection::new(port);
                let waited = own.read(&format!("_HLS_msn={}", msn + 1));
                assert!(waited.next_part().0 > msn + 1, "{waited:?}");
                own.connection = Connection::new(port);
                for (name, expected) in names.iter().zip(&expected) {
                    assert!(own.fetch(name) == *expected, "{name} is another");
                }
                own.connection = Connection::new(port);
                let hint = own.read("").hint.expect("it goes on");
                own.connection = Connection::new(port);
                own.fetch(&hint);
            });
        }
    });
    live.stop();
}

#[test]
fn what_has_ended_makes_room_on_a_node_that_is_full() {
    let _machine = beside_others();
    let (app, tables) = ("hls_window = '1h'", "[limits]\nhls_max_bytes = '256KiB'");
    let server = Server::with(&Setup { app, tables, ..Setup::default() });
    let publisher = publish(&server, "live/a");
    let mut session = Session::open(server.http, "live/a");
    let last = session.wait_for("more than that", |playlist| playlist.segments.len() > 1);
    drop(publisher);
    let newest = last.segments.last().expect("there are two").uri.clone();
    let path = format!("{}{newest}", session.dir);
    let begun = Instant::now();
    while session.connection.get(&path).status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(120), "an hour is not over");
        thread::sleep(Duration::from_millis(500));
    }
    assert!(begun.elapsed() > Duration::from_secs(10), "players need to hear of the end");
    server.stop();
}

#[test]
fn what_is_kept_is_the_window_and_no_more() {
    let _machine = beside_others();
    let live = Live::start("hls_segment = '1s'\nhls_window = '6s'");
    let mut session = live.open();
    let first = session.wait_for("a segment", |playlist| !playlist.segments.is_empty());
    let oldest = first.segments[0].uri.clone();
    let begun = first.media_sequence;
    let target = first.target_s as f64;
    let last = session.wait_for("twenty seconds", |playlist| {
        let most = 6.0 + 2.0 * target;
        assert!(playlist.duration() <= most, "{playlist:?}");
        playlist.media_sequence >= begun + 8
    });
    assert!(last.duration() >= 6.0, "{last:?}");
    let path = format!("{}{oldest}", session.dir);
    assert_eq!(session.connection.get(&path).status, 404, "{oldest} is kept");
    live.stop();

    // 2 Mbit/s are a megabyte in four seconds.
    let mut live = Live::start("hls_window = '60s'\nhls_max_bytes = '1MiB'");
    let mut session = live.open();
    let begun = session.read("").media_sequence;
    session.wait_for("old ones to go", |playlist| playlist.media_sequence > begun + 3);
    // None of them goes while they are fetched, once the server has read what was sent before.
    live.publisher.signal(Signal::STOP);
    let fetched = (0..50).find_map(|_| {
        let last = session.read("");
        let paths = last.segments.iter().map(|segment| format!("{}{}", session.dir, segment.uri));
        let paths: Vec<String> = paths.collect();
        let replies: Vec<Reply> = paths.iter().map(|path| session.connection.get(path)).collect();
        (last == session.read("")).then_some(replies)
    });
    let fetched = fetched.expect("nothing comes any more");
    assert!(fetched.iter().all(|reply| reply.status == 200), "{fetched:?}");
    let bytes: usize = fetched.iter().map(|reply| reply.body.len()).sum();
    assert!(bytes <= 1 << 20, "{bytes}");
    live.stop();
}
