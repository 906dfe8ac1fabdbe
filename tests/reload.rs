//! The configuration, read again while streams are on: who watches notices nothing, a file that is
//! wrong changes nothing.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::net::TcpListener;

use binary::Binary;
use corecast::proto::rtmp::Goal;
use hook_server::{HookServer, say, yes};
use node::{Node, connect, eventually, free_port, listens};
use rustix::process::Signal;
use secure::Certificate;
use serde_json::Value;
use talk::Peer;
use web::{Answer, Watcher, Web};

/// Time for a hook server that others keep off its CPU.
const PATIENT: &str = "hooks.timeout = '20s'\nlimits.verdict_timeout = '30s'\n";

#[track_caller]
fn ask(port: u16, request: &str, headers: &str) -> (u16, Value) {
    let mut web = Web::new(port);
    web.send(&format!("{request} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    let Answer { status, body, .. } = web.answer();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|key| key.as_str().expect("a key")).collect()
}

/// Two hundred viewers, by the two protocols.
struct Crowd {
    players: Vec<Peer>,
    watchers: Vec<Watcher>,
}

impl Crowd {
    fn start(rtmp: u16, http: u16, path: &str) -> Self {
        let mut players: Vec<_> = (0..100).map(|_| Peer::play(rtmp, path)).collect();
        let watchers = (0..100).map(|_| Watcher::new(http, &format!("{path}.flv"))).collect();
        players.iter_mut().for_each(Peer::start);
        Self { players, watchers }
    }

    #[track_caller]
    fn expect_frames(&mut self, first: Option<i64>, last: i64) {
        self.players.iter_mut().for_each(|player| player.expect_frames(first, last));
        self.watchers.iter_mut().for_each(|watcher| watcher.expect_frames(first, last));
    }
}

/// What a viewer of `path` is answered who does not wait for a publisher.
#[track_caller]
fn status_of(port: u16, path: &str) -> u16 {
    web::get(port, path).status
}

#[test]
fn over_fifty_reloads_two_hundred_viewers_get_every_frame_once_and_in_order() {
    let hooks = [(); 2].map(|()| HookServer::start(|_| yes()));
    // Who connects before the others goes on with its handshake after them; and the publisher says
    // nothing meanwhile.
    let unhurried = "limits.handshake_timeout = '60s'\nlimits.publisher_silence = '1h'";
    let mut binary = Binary::start(4000, &format!("cores = 2\ndrain.delay = 0\n{unhurried}"));
    let mut publisher = Peer::publish(binary.rtmp, "live/reloaded");
    publisher.push(5);
    let mut crowd = Crowd::start(binary.rtmp, binary.http, "live/reloaded");
    crowd.expect_frames(None, 4);
    let (mut seen, mut guests) = (4, Vec::new());
    let (rtmp, http) = (binary.rtmp, binary.http);
    for round in 0..50 {
        // A door that opens in one round and closes in the next, for each protocol.
        let extra = [(); 2].map(|()| free_port());
        let [of_rtmp, of_http] = extra.map(|port| match round % 2 {
            0 => format!(", '127.0.0.1:{port}'"),
            _ => String::new(),
        });
        let window = [0, 20, 100, 350][round % 4];
        // One round, this address may not watch one app; the next it may, and not the other.
        let [closed, open] = if round % 2 == 0 { ["even", "odd"] } else { ["odd", "even"] };
        // The one server is asked, then the other, then none.
        let asked = hooks.get(round % 3);
        let hook =
            asked.map_or_else(String::new, |server| server.lines(&["on_play", "on_play_done"]));
        binary.reload(&format!(
            "cores = 2\ndrain.delay = 0\n{unhurried}\n\
             rtmp.listen = ['127.0.0.1:{rtmp}'{of_rtmp}]\nhttp.listen = ['127.0.0.1:{http}'{of_http}]\n\
             app_defaults.merge_window = '{window}ms'\napp_defaults.max_lag = '{}s'\n\
             app_defaults.wait_for_publisher = 0\n{PATIENT}{hook}\
             app.{closed}.rules = ['deny play 127.0.0.0/8']\n\
             app.{open}.rules = ['allow play 127.0.0.0/8', 'deny all any']\n\
             limits.request_timeout = '{}s'\napp.round-{round}.gop_cache = {}\n\
             app.live.block_bytes = '{}KiB'\nstrict_apps = {}",
            8 + round % 3,
            20 + round,
            round % 2 == 0,
            16 << (round % 4),
            round % 5 == 0,
        ));
        publisher.push(3);
        // Rules and hooks hold at once: for the app of the round before, and for this one's.
        let before: Vec<_> = hooks.iter().map(|server| server.heard().len()).collect();
        let may = |app: &str| status_of(http, &format!("/{app}/nobody.flv"));
        assert_eq!(
            (may("even"), may("odd")),
            if closed == "even" { (403, 404) } else { (404, 403) }
        );
        for (server, before) in hooks.iter().zip(before) {
            let heard = || server.heard().split_off(before);
            if asked.is_some_and(|asked| asked.port == server.port) {
                eventually("the play is asked about and told of", || {
                    let heard = heard();
                    ["on_play", "on_stop"].iter().all(|action| {
                        heard.iter().filter(|it| it.said["action"] == *action).count() == 1
                    })
                });
            } else {
                assert!(heard().is_empty(), "it is not in the file: {:?}", heard());
            }
        }
        if round % 2 == 0 {
            eventually("the new doors are open", || extra.into_iter().all(listens));
            // It comes in by a door that is closed in the next round.
            let mut guest = Watcher::new(extra[1], "live/reloaded.flv");
            guest.expect_frames(None, publisher.next() - 1);
            guests.push((guest, publisher.next()));
        } else {
            publisher.push(2);
        }
        if round % 10 == 9 {
            let last = publisher.next() - 1;
            crowd.expect_frames(Some(seen + 1), last);
            seen = last;
        }
    }
    publisher.push(10);
    crowd.expect_frames(Some(seen + 1), publisher.next() - 1);
    for (guest, next) in &mut guests {
        guest.expect_frames(Some(*next), publisher.next() - 1);
    }
    let log = binary.log();
    assert_eq!(log.matches("reload: applied").count(), 50, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(binary.terminate().code(), Some(0));
}

#[test]
fn a_door_that_is_closed_takes_nobody_and_one_that_is_opened_does() {
    let binary = Binary::start(1000, "cores = 2");
    let (first, second) = (binary.http, free_port());
    for (open, closed) in [(second, first), (first, second)] {
        binary.reload(&format!("cores = 2\nhttp.listen = ['127.0.0.1:{open}']"));
        assert!(listens(open) && !listens(closed), "on both cores");
        for _ in 0..10 {
            assert_eq!(web::get(open, "/live/nobody.txt").status, 404);
        }
    }
    // From one address of a port to all of them, and back.
    let all = format!("cores = 2\nhttp.listen = ['0.0.0.0:{first}']");
    for lines in [&all, "cores = 2", &all] {
        binary.reload(lines);
        assert_eq!(web::get(first, "/live/nobody.txt").status, 404);
    }
    binary.reload("cores = 2\nhttp.enabled = false");
    eventually("nobody listens there", || !listens(first));
    assert!(listens(binary.rtmp));
    // One port, another protocol.
    let port = binary.rtmp;
    binary.reload(&format!("cores = 2\nrtmp.enabled = false\nhttp.listen = ['127.0.0.1:{port}']"));
    assert_eq!(web::get(port, "/live/nobody.txt").status, 404);
    assert!(!binary.log().contains("ERROR"), "{}", binary.log());
    binary.expect_no_spin();
}

#[test]
fn a_bad_file_changes_nothing_and_each_problem_is_named() {
    let [admin, new] = [(); 2].map(|()| free_port());
    let silence = "limits.publisher_silence = '1h'";
    let api = format!("cores = 1\nadmin.listen = ['127.0.0.1:{admin}']\n{silence}\n");
    let binary = Binary::start(1000, &api);
    let mut publisher = Peer::publish(binary.rtmp, "live/bad");
    publisher.push(5);
    let mut watcher = Watcher::new(binary.http, "live/bad.flv");
    watcher.expect_frames(None, 4);
    eventually("the API is there", || listens(admin));
    let in_force = || ask(admin, "GET /api/v1/config", "");
    let before = in_force();
    let good = format!("{api}http.listen = ['127.0.0.1:{}', '127.0.0.1:{new}']\n", binary.http);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound");
    let bad = [
        (
            "app.live.merge_window = 'soon'\nrtmp.chunk_sise = 1",
            &["merge_window", "chunk_sise"][..],
        ),
        ("app_defaults.max_lag = '1ms'\ntcp.backlog = 0", &["max_lag", "backlog"]),
        ("this is no TOML", &["corecast.toml:"]),
        ("admin.token_file = '/nowhere/token'", &["/nowhere/token"]),
        (&format!("rtmp.listen = ['{taken}', '192.0.2.1:1']"), &["in use", "no address"]),
    ];
    for (lines, named) in bad {
        binary.write(&format!("{good}{lines}"));
        let (status, problem) = ask(admin, "POST /api/v1/reload", "");
        assert_eq!(status, 409, "{lines}: {problem}");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(named.iter().all(|named| detail.contains(named)), "{lines}: {detail}");
        assert_eq!(in_force(), before, "{lines}");
        assert!(!listens(new), "{lines}");
    }
    // By the signal it is the same, and said in the log.
    binary.write(&format!("{good}http.body = 'endless'"));
    binary.signal(Signal::HUP);
    eventually("it says so", || {
        let log = binary.log();
        log.split("http.body").nth(1).is_some_and(|rest| rest.contains("nothing was changed"))
    });
    assert_eq!(in_force(), before);
    publisher.push(5);
    watcher.expect_frames(Some(5), 9);
    // And the good lines are good.
    binary.write(&good);
    let (status, reloaded) = ask(admin, "POST /api/v1/reload", "");
    assert_eq!((status, texts(&reloaded["applied"])), (200, vec!["http.listen"]), "{reloaded}");
    assert!(listens(new));
}

#[test]
fn hooks_go_where_the_new_file_says_with_its_secret() {
    let [old, new] = ["old", "new"].map(|name| {
        HookServer::start(move |heard| match &heard.said["action"] {
            action if action == "on_publish" => say(&format!("{{\"code\":1,\"msg\":\"{name}\"}}")),
            _ => yes(),
        })
    });
    let lines = format!("cores = 2\n{PATIENT}{}", old.lines(&["on_publish"]));
    let binary = Binary::start(1000, &lines);
    let refusal = || Peer::new(binary.rtmp, Goal::Publish, "live/asked").try_start();
    let by = |name: &str| Err(("NetStream.Publish.Denied".to_owned(), name.to_owned()));
    assert_eq!(refusal(), by("old"));
    let lines = new.lines(&["on_publish", "on_publish_done"]);
    binary.reload(&format!("cores = 2\n{PATIENT}hooks.secret = 'a secret'\n{lines}"));
    assert_eq!(refusal(), by("new"));
    assert!(new.heard()[0].fields.iter().any(|(name, _)| name == "x-corecast-signature"));
    binary.reload(&format!("cores = 2\n{PATIENT}{}", new.lines(&["on_publish_done"])));
    // Nobody is asked any more, and who is told hears of those who came since.
    assert_eq!(refusal(), Ok(()));
    new.wait_for("on_unpublish", 1);
    assert_eq!((old.heard().len(), new.of("on_publish").len()), (1, 1));
    binary.reload("cores = 2");
    assert_eq!(refusal(), Ok(()));
    log_has_publishes(&binary, 2);
    assert_eq!((old.heard().len(), new.heard().len()), (1, 2));
}

/// So many have begun to publish, and have gone.
#[track_caller]
fn log_has_publishes(binary: &Binary, count: usize) {
    eventually("all have gone", || {
        let log = binary.log();
        let closed = |line: &&str| line.contains(" close ") && line.contains("stream=live/asked");
        log.matches(" publish client=").count() == count
            && log.lines().filter(closed).count() >= count
    });
}

#[test]
fn metrics_are_served_where_the_new_file_says() {
    let [first, second] = [(); 2].map(|()| free_port());
    let lines = |port: u16| {
        format!("cores = 1\nadmin.enabled = false\nadmin.metrics_listen = ['127.0.0.1:{port}']")
    };
    let binary = Binary::start(1000, "cores = 1");
    for (open, closed) in [(first, second), (second, first)] {
        binary.reload(&lines(open));
        assert_eq!(status_of(open, "/metrics"), 200);
        assert!(!listens(closed));
    }
    // One that is taken changes nothing.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    binary.reload(&lines(taken.local_addr().expect("bound").port()));
    assert!(binary.log().contains("admin.metrics_listen: "), "{}", binary.log());
    assert_eq!(status_of(second, "/metrics"), 200);
    binary.reload("cores = 1");
    eventually("nobody listens there", || !listens(second));
}

#[test]
fn what_needs_a_restart_is_named_and_what_does_not_holds() {
    let admin = free_port();
    let api = format!("admin.listen = ['127.0.0.1:{admin}']\n");
    let binary = Binary::start(1000, &format!("{api}cores = 1"));
    eventually("the API is there", || listens(admin));
    binary.write(&format!(
        "{api}cores = 2\nlimits.connections = 7\nlimits.mesh_queue = 64\nlog.stats_interval = '1s'\napp.closed.publish = false"
    ));
    for applied in [&["app.closed", "log.stats_interval"][..], &[]] {
        let (status, reloaded) = ask(admin, "POST /api/v1/reload", "");
        assert_eq!((status, texts(&reloaded["applied"])), (200, applied.to_vec()), "{reloaded}");
        // Said each time: it is in the file, and not in force.
        assert_eq!(
            texts(&reloaded["needs_restart"]),
            ["cores", "limits.connections", "limits.mesh_queue"]
        );
        assert_eq!(texts(&reloaded["problems"]), [""; 0]);
    }
    let (_, config) = ask(admin, "GET /api/v1/config", "");
    assert_eq!((&config["cores"], &config["limits"]["connections"]), (&1.into(), &0.into()));
    let (_, reason) = Peer::new(binary.rtmp, Goal::Publish, "closed/x").refusal();
    assert!(reason.contains("publishing to closed is not allowed"), "{reason}");
    eventually("figures are told in the new interval", || binary.log().contains("node stats"));
}

#[test]
fn the_token_and_the_doors_of_the_api_change_too() {
    let [first, second] = [(); 2].map(|()| free_port());
    let lines = |port: u16| {
        format!("cores = 1\nadmin.listen = ['127.0.0.1:{port}']\nadmin.token_file = 'token'")
    };
    let binary = Binary::start_with(1000, "cores = 1", &[]);
    let token = |token: &str| {
        std::fs::write(binary.dir.join("token"), token).expect("room for it");
        format!("Authorization: Bearer {token}\r\n")
    };
    let old = token("0123456789abcdef");
    binary.reload(&lines(first));
    let info = |port, token: &str| ask(port, "GET /api/v1/info", token).0;
    assert_eq!((info(first, &old), info(first, "")), (200, 401));
    // Only the file with the token is another now.
    let new = token("fedcba9876543210");
    let (status, reloaded) = ask(first, "POST /api/v1/reload", &old);
    assert_eq!((status, texts(&reloaded["applied"])), (200, vec!["admin.token_file"]));
    assert_eq!((info(first, &old), info(first, &new)), (401, 200));
    // Or that line would be taken for the next.
    eventually("it has said so", || binary.log().matches("reload: applied").count() == 2);
    binary.reload(&lines(second));
    eventually("nobody listens there", || !listens(first));
    assert_eq!(info(second, &new), 200);
    binary.reload("cores = 1");
    eventually("nobody listens there", || !listens(second));
}

#[test]
fn https_begins_and_certificates_change_with_a_reload() {
    // The publisher says nothing while certificates are made and read.
    const QUIET: &str = "cores = 2\nlimits.publisher_silence = '1h'";
    let binary = Binary::start(1000, QUIET);
    let mut publisher = Peer::publish(binary.rtmp, "live/secure");
    publisher.push(5);
    let port = free_port();
    let lines = |certificate: &Certificate| {
        format!(
            "{QUIET}\nhttp.tls_listen = ['127.0.0.1:{port}']\ntls.certificates = [{}]",
            certificate.toml()
        )
    };
    let watch = |certificate: &Certificate| {
        let socket = certificate.connect(&connect(port), "one.example");
        let mut watcher = Watcher::on(socket, "live/secure.flv");
        watcher.expect_frames(None, 4);
        watcher
    };
    let [one, other] = [0, 1].map(|number| Certificate::new(number, &["one.example"]));
    binary.reload(&lines(&one));
    let mut first = watch(&one);
    binary.reload(&lines(&other));
    let mut second = watch(&other);
    // A key that is not that of the certificate changes nothing.
    std::fs::copy(one.key(), other.key()).expect("ours");
    binary.reload(&lines(&other).replace("cores = 2", "cores = 2\nrtmp.chunk_size = 4096"));
    assert!(binary.log().contains("reload: nothing was changed"), "{}", binary.log());
    binary.reload(QUIET);
    assert!(!listens(port));
    publisher.push(5);
    first.expect_frames(Some(5), 9);
    second.expect_frames(Some(5), 9);
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let node = Node::start("cores = 1", None);
    let (status, problem) = ask(node.admin, "POST /api/v1/reload", "");
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().expect("a text").contains("no file to reload"), "{problem}");
    // A signal that would end others does not end it.
    rustix::process::kill_process(rustix::process::getpid(), Signal::HUP).expect("ourselves");
    assert_eq!(ask(node.admin, "GET /api/v1/info", "").0, 200);
}
