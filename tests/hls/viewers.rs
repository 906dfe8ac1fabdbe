//! A viewer is a session: counted, listed, kicked, and gone when it asks for nothing more.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::session::{Connection, Session};
use crate::support::child::Child;
use crate::support::clips;
use crate::support::machine::{beside_others, eventually, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::wait_for_viewers;

fn start(app: &'static str) -> (Server, Child) {
    let server = Server::with(&Setup { cores: 2, app, admin: true, ..Setup::default() });
    let (clip, url) = (clips::h264_aac(), server.rtmp("live/a"));
    let forever = ["-stream_loop", "-1"];
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    (server, publisher)
}

/// What the API answers.
#[track_caller]
fn call(server: &Server, method: &str, path: &str) -> (u16, Value) {
    let mut connection = Connection::new(server.admin);
    connection.say(&format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    ));
    let reply = connection.answer_to(method);
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
}

/// Whoever asks for a core that is late on a busy machine is told to ask again; what it was told to do it
/// does when it can.
fn is_late((status, said): &(u16, Value)) -> bool {
    *status == 503 && said.to_string().contains("ask again later")
}

/// The answer to a GET that is done.
#[track_caller]
fn see(server: &Server, path: &str) -> Value {
    let mut seen = (0, Value::Null);
    eventually(secs(20), || {
        seen = call(server, "GET", path);
        !is_late(&seen)
    });
    let (status, said) = seen;
    assert_eq!(status, 200, "{path}: {said}");
    said
}

/// Ends the viewer of that name.
#[track_caller]
fn kick(server: &Server, id: &str) {
    let said = call(server, "DELETE", &format!("sinks/{id}?reason=seen"));
    assert!(said.0 == 204 || is_late(&said), "{said:?}");
}

/// Viewers by HLS, as the API lists them.
#[track_caller]
fn viewers(server: &Server) -> Vec<Value> {
    let page = see(server, "streams/live/a/sinks");
    let items = page["items"].as_array().expect("a list").iter();
    items.filter(|sink| sink["plays_by"] == "hls").cloned().collect()
}

/// How many the stream says it has.
#[track_caller]
fn counted(server: &Server) -> Value {
    see(server, "streams/live/a")["viewers_by_protocol"]["hls"].clone()
}

#[test]
fn sessions_are_counted_listed_and_kicked() {
    let _machine = beside_others();
    // Long enough for who waits for a segment to be kicked before it is there.
    let (server, publisher) = start("hls_segment = '6s'\nhls_window = '60s'");
    let mut first = Session::open(server.http, "live/a");
    let playlist = first.wait_for("a segment", |playlist| !playlist.segments.is_empty());
    let body = first.fetch(&playlist.segments[0].uri);
    let mut second = Session::open(server.http, "live/a");
    second.read("");
    assert!(eventually(secs(20), || viewers(&server).len() == 2), "{:?}", viewers(&server));
    assert!(eventually(secs(20), || counted(&server) == 2), "{}", counted(&server));
    let most = || viewers(&server).into_iter().max_by_key(|viewer| viewer["bytes"].as_u64());
    let has_bytes = || most().is_some_and(|most| most["bytes"].as_u64() > Some(body.len() as u64));
    assert!(eventually(secs(20), has_bytes), "{:?}", viewers(&server));

    // The one that loaded a segment goes, from the midst of a request that waits.
    let id = most().expect("one")["id"].as_str().expect("a name").to_owned();
    let (msn, _) = first.read("").next_part();
    let path = first.path(&format!("_HLS_msn={}", msn + 1));
    first.connection.ask(&path, "");
    kick(&server, &id);
    let reply = first.connection.answer();
    assert_eq!(reply.status, 404, "{}", reply.text());
    let mut again = Connection::new(server.http);
    assert_eq!(again.get(&first.path("")).status, 404);
    assert!(eventually(secs(20), || viewers(&server).len() == 1), "{:?}", viewers(&server));
    assert!(eventually(secs(20), || counted(&server) == 1), "{}", counted(&server));
    let (msn, part) = second.read("").next_part();
    second.read(&format!("_HLS_msn={msn}&_HLS_part={part}"));
    // Who was kicked may come again.
    Session::open(server.http, "live/a").read("");
    drop(publisher);
    server.stop();
}

#[test]
fn who_waits_for_a_publisher_and_hangs_up_gives_its_place_back() {
    let _machine = beside_others();
    let server = Server::with(&Setup {
        cores: 2,
        admin: true,
        // Longer than this test.
        wait_for_publisher: "1h",
        ..Setup::default()
    });
    // Some of them at the owner of the stream, and some at the other core.
    let mut connections: Vec<_> = (0..16).map(|_| Connection::new(server.http)).collect();
    for connection in &mut connections {
        connection.ask("live/a.m3u8", "");
    }
    wait_for_viewers(&server, "live/a", 16);
    let mut stays = connections.pop().expect("sixteen");
    drop(connections);
    let waiting =
        || call(&server, "GET", "streams/live/a/sinks").1["items"].as_array().map(Vec::len);
    assert!(eventually(secs(30), || waiting() == Some(1)), "{:?}", waiting());
    // Whoever waits still gets the stream.
    let forever = ["-stream_loop", "-1"];
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(&clips::h264_aac(), &url, &server.dir, &forever, &[]);
    assert_eq!(stays.answer().status, 200);
    assert!(eventually(secs(20), || viewers(&server).len() == 1), "{:?}", viewers(&server));
    drop(publisher);
    server.stop();
}

#[test]
fn a_node_that_drains_sends_viewers_elsewhere() {
    let _machine = beside_others();
    let drain = ["0s", "30s"];
    let setup =
        Setup { cores: 2, wait_for_publisher: "1h", drain, admin: true, ..Setup::default() };
    let mut server = Server::with(&setup);
    let forever = ["-stream_loop", "-1"];
    let (clip, url) = (clips::h264_aac(), server.rtmp("live/a"));
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    let mut watches = Session::open(server.http, "live/a");
    let mut late: Vec<_> = (0..8).map(|_| Connection::new(server.http)).collect();
    let mut waits = Connection::new(server.http);
    waits.ask("live/nobody.m3u8", "");
    let waiting = || call(&server, "GET", "streams/live/nobody/sinks").1["items"][0].is_object();
    assert!(eventually(secs(20), waiting));
    for connection in &mut late {
        assert_eq!(connection.get("readyz").status, 200);
    }
    server.drain();
    // Who waits for a publisher does not wait here.
    assert_eq!(waits.answer().status, 503);
    let path = watches.path("");
    assert!(eventually(secs(20), || watches.connection.get(&path).status != 200));
    for connection in &mut late {
        let reply = connection.get("live/a.m3u8");
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    drop((late, waits, watches, publisher));
    server.drained();
}

/// Names of segments follow each other, but not where they lie.
#[test]
fn who_was_kicked_cannot_go_on_fetching_what_is_made_later() {
    let _machine = beside_others();
    // What is listed is there for longer than it takes to look for it in all places.
    let (server, publisher) = start("hls_segment = '1s'\nhls_window = '60s'");
    let mut kicked = Session::open(server.http, "live/a");
    let playlist = kicked.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    let mut stays = Session::open(server.http, "live/a");
    let id = viewers(&server).remove(0)["id"].as_str().expect("a name").to_owned();
    kick(&server, &id);
    let gone = [kicked.path(""), stays.path("")];
    let is_gone = |path: &String| Connection::new(server.http).get(path).status == 404;
    assert!(eventually(secs(20), || gone.iter().any(is_gone)), "{id} was kicked");
    if is_gone(&gone[1]) {
        std::mem::swap(&mut kicked, &mut stays);
    }
    // What was being made when it was last told it still has.
    let (msn, _) = playlist.next_part();
    let later = stays.wait_for("two later ones", |later| later.next_part().0 > msn + 3);
    let all = later.segments.iter().zip(later.media_sequence..);
    let made: Vec<_> = all.filter(|(_, at)| *at > msn).map(|(segment, _)| segment).collect();
    assert!(made.len() > 1, "{later:#?}");
    let told = playlist.segments.iter().map(|segment| &segment.uri);
    let told = told.chain(playlist.open.parts.iter().map(|part| &part.uri)).chain(&playlist.hint);
    let dirs: Vec<&str> = told.filter_map(|uri| Some(uri.rsplit_once('/')?.0)).collect();
    let mut other = Connection::new(server.http);
    for segment in made {
        let name = segment.uri.rsplit('/').next().expect("a name");
        for dir in &dirs {
            let reply = other.get(&format!("{}{dir}/{name}", kicked.dir));
            assert_eq!(reply.status, 404, "{name} in {dir}");
        }
        let path = format!("{}{}", kicked.dir, segment.uri);
        assert_eq!(other.get(&path).status, 200, "who is told where finds {path}");
    }
    drop(publisher);
    server.stop();
}

#[test]
fn a_session_outlives_its_connections_and_ends_when_it_is_idle() {
    let _machine = beside_others();
    let (server, publisher) = start("hls_session_idle = '12s'");
    let (mut stays, mut leaves) =
        (Session::open(server.http, "live/a"), Session::open(server.http, "live/a"));
    stays.read("");
    leaves.read("");
    assert!(eventually(secs(20), || viewers(&server).len() == 2), "{:?}", viewers(&server));
    let path = leaves.main.clone();
    leaves.connection = Connection::new(server.http);
    assert_eq!(leaves.connection.get(&path).status, 200, "by another connection");
    drop(leaves);
    let one_is_left = eventually(secs(30), || {
        stays.connection = Connection::new(server.http);
        stays.read("");
        viewers(&server).len() == 1
    });
    assert!(one_is_left, "{:?}", viewers(&server));
    let one_counts = eventually(secs(20), || {
        stays.read("");
        counted(&server) == 1
    });
    assert!(one_counts, "{}", counted(&server));
    let reply = Connection::new(server.http).get(&path);
    assert_eq!(reply.status, 404, "{}", reply.text());
    drop(stays);
    assert!(eventually(secs(30), || viewers(&server).is_empty()), "{:?}", viewers(&server));
    drop(publisher);
    server.stop();
}

/// A core that has not heard of a viewer, or of its stream, can ask nobody when that has ended.
#[test]
fn the_end_of_a_stream_is_told_by_each_core_whichever_was_asked_before() {
    let _machine = beside_others();
    // One that goes on: its core is not the one where others would begin anew.
    let (server, goes_on) = start("hls_window = '60s'\nhls_session_idle = '30s'");
    let ends = ["live/b", "live/c", "live/d"].map(|key| {
        let (clip, url, forever) = (clips::h264_aac(), server.rtmp(key), ["-stream_loop", "-1"]);
        let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
        (Session::open(server.http, key), publisher)
    });
    let [mut b, mut c, mut d] = ends.map(|(session, publisher)| {
        drop(publisher);
        session
    });
    for session in [&mut b, &mut c, &mut d] {
        let last = crate::session::read(&session.until_end());
        let segment = last.segments.last().expect("one").uri.clone();
        // Each may reach another core.
        for _ in 0..16 {
            session.connection = Connection::new(server.http);
            let text = session.playlist("");
            assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
            session.connection = Connection::new(server.http);
            session.fetch(&segment);
        }
    }
    drop(goes_on);
    server.stop();
}

/// Players ask for what is there until they have it, also of a stream that has ended.
#[test]
fn a_stream_that_has_ended_can_be_played_to_its_end_and_leaves_no_viewer() {
    let _machine = beside_others();
    let (server, publisher) = start("hls_session_idle = '6s'");
    let mut session = Session::open(server.http, "live/a");
    session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    drop(publisher);
    let text = session.until_end();
    sleep(Duration::from_millis(500));
    let last = crate::session::read(&text);
    assert!(last.ended);
    session.fetch(&last.segments.last().expect("one").uri);
    let gone = eventually(secs(30), || call(&server, "GET", "streams/live/a").0 == 404);
    assert!(gone, "{:?}", call(&server, "GET", "streams/live/a"));
    server.stop();
}
