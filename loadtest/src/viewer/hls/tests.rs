//! A viewer, and a server that answers as the test says.

use std::time::{Duration, Instant};

use super::*;
use crate::inspect::Moment;
use crate::report::Hls;
use crate::viewer::Event;

/// A viewer and what it has asked for, under a clock of the test's.
struct Talk {
    player: Player,
    tally: Tally,
    start: Moment,
    ms: u64,
    asked: Vec<String>,
}

const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.hls/main.m3u8?session=7\n";
const BASE: &str = "/live/x.hls/";

impl Talk {
    fn new(manner: Manner) -> Self {
        Self::of(manner, false)
    }

    fn of(manner: Manner, looks: bool) -> Self {
        let source = Source::parse("http://h:81/live/x.m3u8?token=t", manner, 0).expect("a URL");
        let start = Moment::now();
        let player = Player::new(source, looks, start);
        let mut this = Self { player, tally: Tally::default(), start, ms: 0, asked: Vec::new() };
        this.hear();
        this
    }

    fn now(&self) -> Moment {
        let clock_ns = self.start.clock_ns + self.ms * 1_000_000;
        Moment { at: self.start.at + Duration::from_millis(self.ms), clock_ns }
    }

    /// Paths of all requests that it has made and that were not heard yet.
    fn hear(&mut self) {
        let words = self.player.poll_transmit();
        for request in words.split_terminator("\r\n\r\n") {
            assert!(request.contains("\r\nHost: h:81\r\n"), "{request}");
            let path = request.split(' ').nth(1).expect("a request line");
            self.asked.push(path.to_owned());
        }
    }

    /// What it wants, in order; whatever it is was not answered yet.
    fn asks(&mut self) -> Vec<String> {
        self.hear();
        self.asked.iter().map(|path| path.replace(BASE, "")).collect()
    }

    fn answer(&mut self, status: u16, body: &str) -> std::io::Result<()> {
        self.hear();
        assert!(!self.asked.is_empty(), "nothing was asked for");
        self.asked.remove(0);
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
        let now = self.now();
        let result = self.player.handle_input(answer.as_bytes(), now, &mut self.tally);
        self.hear();
        result
    }

    fn give(&mut self, body: &str) {
        self.answer(200, body).expect("it goes on");
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        let now = self.now();
        self.player.handle_timeout(now);
    }

    fn due_ms(&self) -> Option<u128> {
        let due: Instant = self.player.poll_timeout()?;
        Some(due.saturating_duration_since(self.now().at).as_millis())
    }

    fn found(self) -> Hls {
        self.tally.finish(1.0).expect("it asked")
    }
}

/// Segments `first` to `last` of 2 s.
fn segments(first: u64, last: u64) -> String {
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"i.mp4\"\n";
    let mut text = format!("{head}#EXT-X-MEDIA-SEQUENCE:{first}\n");
    (first..=last).for_each(|msn| text += &format!("#EXTINF:2.0,\n{msn}.m4s\n"));
    text
}

/// One segment, and parts of 200 ms of the next.
fn parts(count: u32) -> String {
    let mut text = segments(4, 4).replace(
        "#EXT-X-MAP",
        "#EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,\
         CAN-SKIP-UNTIL=12,PART-HOLD-BACK=0.6\n#EXT-X-MAP",
    );
    for part in 0..count {
        let key = if part == 0 { ",INDEPENDENT=YES" } else { "" };
        text += &format!("#EXT-X-PART:URI=\"5.{part}.m4s\",DURATION=0.2{key}\n");
    }
    text + &format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"5.{count}.m4s\"\n")
}

#[test]
fn a_player_asks_as_rfc_8216bis_has_it() {
    let mut talk = Talk::new(Manner::Segments);
    assert_eq!(talk.asks(), ["/live/x.m3u8?token=t"]);
    talk.give(MULTIVARIANT);
    assert_eq!(talk.asks(), ["main.m3u8?session=7"]);
    assert!(talk.player.poll_event().is_none(), "it has no media playlist yet");
    talk.give(&segments(1, 6));
    assert!(matches!(talk.player.poll_event(), Some(Event::Joined { .. })));
    for path in ["i.mp4", "4.m4s", "5.m4s", "6.m4s"] {
        assert_eq!(talk.asks(), [path]);
        assert_eq!(talk.due_ms(), None, "there is something to fetch");
        talk.give("media");
    }
    // A target duration after it was loaded last, and half of one if nothing was new.
    assert_eq!(talk.due_ms(), Some(2000));
    talk.pass(1999);
    assert!(talk.asks().is_empty());
    talk.pass(1);
    assert_eq!(talk.asks(), ["main.m3u8?session=7"]);
    talk.ms += 300;
    talk.give(&segments(1, 6));
    assert_eq!(talk.due_ms(), Some(700));
    talk.pass(700);
    talk.give(&segments(2, 7));
    assert_eq!(talk.asks(), ["7.m4s"]);
    talk.give("media");
    let found = talk.found();
    assert_eq!((found.requests, found.playlists, found.unchanged), (9, 3, 1));
    assert_eq!((found.segments, found.segments_missing, found.stalls), (4, 0, 0));
    assert_eq!(found.media_ms.count(), 5);
}

#[test]
fn what_is_late_gone_or_not_given_is_counted() {
    let mut talk = Talk::new(Manner::Segments);
    talk.give(MULTIVARIANT);
    talk.give(&segments(0, 0));
    talk.give("init");
    talk.give("media");
    // Two seconds were fetched, and half a second too late came the next.
    talk.pass(2500);
    talk.give(&segments(0, 1));
    talk.give("media");
    // The next two have gone meanwhile.
    talk.pass(2000);
    talk.give(&segments(4, 5));
    assert_eq!(talk.asks(), ["4.m4s"]);
    talk.answer(404, "no such segment").expect("it goes on with the next");
    assert_eq!(talk.asks(), ["5.m4s"]);
    talk.give("media");
    let found = talk.found();
    assert_eq!((found.stalls, found.stalled_s), (1, 0.5));
    assert_eq!((found.segments_missing, found.errors, found.statuses[0].status), (3, 1, 404));
}

#[test]
fn a_player_of_parts_asks_for_all_that_comes_next_at_once() {
    let mut talk = Talk::new(Manner::LowLatency);
    talk.give(MULTIVARIANT);
    talk.give(&parts(3));
    let blocking = |part| format!("main.m3u8?session=7&_HLS_msn=5&_HLS_part={part}&_HLS_skip=YES");
    let expected = ["i.mp4", "5.0.m4s", "5.1.m4s", "5.2.m4s", &blocking(3), "5.3.m4s"];
    assert_eq!(talk.asks(), expected);
    (0..4).for_each(|_| talk.give("media"));
    talk.ms += 200;
    talk.give(&parts(4));
    // The part that was hinted at is not asked for again.
    assert_eq!(talk.asks(), ["5.3.m4s", &blocking(4), "5.4.m4s"]);
    talk.give("media");
    talk.ms += 200;
    talk.give(&parts(5));
    talk.answer(404, "").expect("a server may give up what it only hinted at");
    assert_eq!(talk.due_ms(), None, "the next reload waits at the server");
    let found = talk.found();
    assert_eq!((found.parts, found.playlists, found.reload_spread_ms.count()), (4, 3, 0));
    // It was listed by then.
    assert_eq!((found.parts_missing, found.hints_withdrawn), (1, 0));
}

#[test]
fn who_looks_is_timed_and_has_nothing_come_right_behind_a_playlist() {
    let mut talk = Talk::of(Manner::LowLatency, true);
    talk.give(MULTIVARIANT);
    talk.give(&parts(3));
    let blocking = |part| format!("main.m3u8?session=7&_HLS_msn=5&_HLS_part={part}&_HLS_skip=YES");
    assert_eq!(talk.asks(), ["i.mp4", "5.0.m4s", "5.1.m4s", "5.2.m4s", &blocking(3)]);
    (0..4).for_each(|_| talk.answer(404, "").expect("it goes on"));
    talk.ms += 200;
    talk.give(&parts(4));
    assert_eq!(talk.asks(), ["5.3.m4s", &blocking(4)]);
    assert_eq!(talk.found().reload_spread_ms.count(), 1);
}

#[test]
fn a_part_that_was_only_hinted_at_may_never_come() {
    let mut talk = Talk::new(Manner::LowLatency);
    talk.give(MULTIVARIANT);
    talk.give(&parts(3));
    (0..4).for_each(|_| talk.give("media"));
    // The segment has ended instead; the hint is now another.
    let ended = parts(3).replace(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"5.3.m4s\"",
        "#EXTINF:0.6,\n5.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"6.0.m4s\"",
    );
    talk.give(&ended);
    assert_eq!(talk.asks()[..1], ["5.3.m4s"]);
    assert!(talk.asks()[1].contains("_HLS_msn=6&_HLS_part=0"), "{:?}", talk.asks());
    assert_eq!(talk.asks()[2..], ["6.0.m4s"]);
    talk.answer(404, "").expect("it was withdrawn");
    let found = talk.found();
    assert_eq!((found.parts, found.parts_missing, found.hints_withdrawn), (3, 0, 1));
    assert_eq!(found.errors, 0);
}

#[test]
fn a_server_that_does_not_block_is_asked_by_the_clock() {
    let mut talk = Talk::new(Manner::LowLatency);
    talk.give(MULTIVARIANT);
    talk.give(&parts(3).replace("CAN-BLOCK-RELOAD=YES,", ""));
    assert_eq!(talk.asks(), ["i.mp4"]);
    let mut talk = Talk::new(Manner::LowLatency);
    talk.give(MULTIVARIANT);
    talk.give(&parts(3));
    (0..4).for_each(|_| talk.give("media"));
    // It says that it blocks, and answers at once with nothing new.
    talk.give(&parts(3));
    assert_eq!(talk.asks(), ["5.3.m4s"]);
    assert_eq!(talk.due_ms(), Some(1000));
}

#[test]
fn a_closed_loop_asks_for_the_newest_part_and_the_playlist_in_turn() {
    let mut talk = Talk::new(Manner::ClosedLoop);
    talk.give(MULTIVARIANT);
    for count in [2, 2, 3] {
        assert_eq!(talk.asks(), ["main.m3u8?session=7"]);
        talk.give(&parts(count));
        assert_eq!(talk.asks(), [format!("5.{}.m4s", count - 1)]);
        assert_eq!(talk.due_ms(), None);
        talk.give("media");
    }
    let found = talk.found();
    assert_eq!((found.requests, found.playlists, found.parts), (7, 3, 3));
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let mut talk = Talk::new(Manner::Segments);
    let error = talk.answer(404, "{}").expect_err("no stream").to_string();
    assert_eq!(error, "expected the status 200 for /live/x.m3u8?token=t, found 404");
    let mut talk = Talk::new(Manner::Segments);
    let error = talk.answer(200, "<html>").expect_err("no playlist").to_string();
    assert!(error.contains("expected a playlist"), "{error}");
    let mut talk = Talk::new(Manner::Segments);
    let elsewhere = MULTIVARIANT.replace("x.hls/", "http://other/");
    let error = talk.answer(200, &elsewhere).expect_err("another server").to_string();
    assert!(error.contains("on one server"), "{error}");
    let mut talk = Talk::new(Manner::Segments);
    talk.give(MULTIVARIANT);
    let error = talk.answer(200, &(segments(0, 0) + "#EXT-X-ENDLIST\n"));
    error.expect("there is still something to fetch");
}

#[test]
fn a_busy_server_is_asked_again_and_the_end_is_the_end() {
    let mut talk = Talk::new(Manner::Segments);
    talk.give(MULTIVARIANT);
    talk.give(&segments(0, 0));
    talk.give("init");
    talk.give("media");
    talk.pass(2000);
    talk.answer(503, "").expect("it may be better soon");
    assert_eq!(talk.due_ms(), Some(1000));
    talk.pass(1000);
    let end = talk.answer(200, &(segments(0, 0) + "#EXT-X-ENDLIST\n")).expect_err("nothing left");
    assert!(end.to_string().contains("ended the stream"), "{end}");
}

#[test]
fn addresses_are_resolved_on_the_same_server_alone() {
    for (uri, path) in [
        ("a.m4s", "/live/x.hls/a.m4s"),
        ("/b/c.m4s?d", "/b/c.m4s?d"),
        ("http://h:81/e", "/e"),
        ("http://h:81?q", "/?q"),
    ] {
        let mut talk = Talk::new(Manner::Segments);
        talk.give(MULTIVARIANT);
        talk.give(&segments(0, 0).replace("i.mp4", uri));
        assert_eq!(talk.asked, [path]);
    }
}
