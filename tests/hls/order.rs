//! The rules of RFC 8216bis, held to each playlist of a stream's life: as it is each 100 ms, as it is
//! when the next part is there, and as its deltas tell of it.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::flv;
use crate::playlist_rules::{Follower, Playlist, expanded};
use crate::session::Session;
use crate::support::clips::{self, Clip};
use crate::support::machine::{beside_others, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::wait_for_viewers;

/// What one way of loading saw.
#[derive(Debug, Default)]
struct Seen {
    loads: usize,
    /// Loads that brought something new.
    news: usize,
    deltas: usize,
    /// Reports of other renditions: one in each playlist but the last.
    reports: usize,
    last: Playlist,
}

/// How a player loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As often as 100 ms pass, all told: a load that was late is followed by one at once.
    Each100Ms,
    Blocking,
    BlockingDeltas,
}

const WAYS: [Way; 3] = [Way::Each100Ms, Way::Blocking, Way::BlockingDeltas];

/// Loads until the end. All that it is told of must be there, too.
#[track_caller]
fn follow(mut session: Session, way: Way) -> Seen {
    let (mut follower, mut seen, mut query) = (Follower::default(), Seen::default(), String::new());
    let mut due = Instant::now();
    let end = due + secs(180);
    loop {
        let text = session.playlist(&query);
        let before = follower.last.take();
        let playlist = match (&before, way) {
            (Some(before), Way::BlockingDeltas) => {
                let delta = crate::session::read(&text);
                seen.deltas += usize::from(delta.skipped > 0);
                let segments = expanded(&delta, before);
                Some(Playlist { segments, skipped: 0, ..delta })
            }
            _ => None,
        };
        follower.last = before;
        let broken = match playlist {
            Some(playlist) => follower.take(playlist),
            None => follower.load(&text),
        };
        assert!(broken.is_empty(), "{way:?}: {broken:#?}\n{text}");
        let now = follower.last.clone().expect("it was loaded");
        seen.loads += 1;
        seen.reports += now.reports.len();
        if now.next_part() != seen.last.next_part() {
            seen.news += 1;
            fetch_news(&mut session, &seen.last, &now);
        }
        seen.last = now;
        if seen.last.ended {
            return seen;
        }
        assert!(Instant::now() < end, "it does not end: {text}");
        let (msn, part) = seen.last.next_part();
        match way {
            Way::Each100Ms => {
                due += Duration::from_millis(100);
                sleep(due.saturating_duration_since(Instant::now()));
            }
            Way::Blocking => query = format!("_HLS_msn={msn}&_HLS_part={part}"),
            Way::BlockingDeltas => {
                query = format!("_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES");
            }
        }
    }
}

/// Loads what `now` lists and `before` did not.
#[track_caller]
fn fetch_news(session: &mut Session, before: &Playlist, now: &Playlist) {
    let whole = before.media_sequence + before.segments.len() as u64;
    for (segment, msn) in now.segments.iter().zip(now.media_sequence..) {
        if msn >= whole && !segment.gap {
            let bytes = session.fetch(&segment.uri);
            let parts: Vec<u8> =
                segment.parts.iter().flat_map(|part| session.fetch(&part.uri)).collect();
            assert!(parts.is_empty() || parts == bytes, "{} is not its parts", segment.uri);
            if let Some(map) = &segment.map {
                session.fetch(map);
            }
        }
    }
    for part in &now.open.parts {
        session.fetch(&part.uri);
    }
}

/// Follows all renditions of `live/a`: the one with the pictures, and the sound that stands apart.
fn follow_all(port: u16, way: Way) -> Vec<Seen> {
    let main = Session::open(port, "live/a");
    let audio = main.audio.clone().map(|main| Session { main, ..Session::open(port, "live/a") });
    thread::scope(|scope| {
        let audio = audio.map(|audio| scope.spawn(move || follow(audio, way)));
        let mut seen = vec![follow(main, way)];
        seen.extend(audio.map(|audio| audio.join().expect("it has seen no rule broken")));
        seen
    })
}

/// No load that blocked was answered before there was something new, but for as many. How many loads
/// there were is a matter of pace: one for each part, less those that came while nothing was asked for;
/// whole segments alone would be half of `least`.
#[track_caller]
fn brought_something(seen: &Seen, least: usize, but: usize) {
    let is_enough = seen.loads > least && seen.loads - seen.news <= but;
    assert!(is_enough, "{} of {}", seen.news, seen.loads);
}

/// Ten seconds of `clip`, in so many renditions.
fn a_short_life_of(clip: &Clip, app: &'static str, renditions: usize) {
    let _machine = beside_others();
    let (wait_for_publisher, admin) = ("40s", true);
    let server =
        Server::with(&Setup { cores: 2, app, wait_for_publisher, admin, ..Setup::default() });
    let port = server.http;
    let seen = thread::scope(|scope| {
        let viewers = WAYS.map(|way| scope.spawn(move || follow_all(port, way)));
        // All of it is there for who waits for it, and not for who comes later.
        wait_for_viewers(&server, "live/a", WAYS.len());
        players::publish(clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
        viewers.map(|viewer| viewer.join().expect("it has seen no rule broken"))
    });
    assert_eq!(seen.each_ref().map(Vec::len), [renditions; 3]);
    let [each, blocking, deltas] = &seen;
    for ((each, blocking), deltas) in each.iter().zip(blocking).zip(deltas) {
        println!("{} loads, {} and {} new", each.loads, blocking.news, deltas.news);
        assert_eq!([&blocking.last, &deltas.last], [&each.last; 2]);
        for seen in [each, blocking, deltas] {
            assert_eq!(seen.reports, (seen.loads - 1) * (renditions - 1), "{:#?}", seen.last);
        }
        assert!(each.loads > 50, "{}", each.loads);
        // The end may come by itself.
        brought_something(blocking, 10, 1);
        brought_something(deltas, 10, 1);
        assert!((9.0..11.0).contains(&each.last.duration()), "{}", each.last.duration());
    }
    server.stop();
}

#[test]
fn a_short_life_of_h265_and_aac() {
    a_short_life_of(&clips::h265_aac(), "", 1);
}

#[test]
fn a_short_life_of_av1_and_opus() {
    a_short_life_of(&clips::av1_opus(), "", 1);
}

#[test]
fn a_short_life_of_sound_alone() {
    a_short_life_of(&clips::aac(), "", 1);
}

#[test]
fn a_short_life_where_sound_stands_apart() {
    a_short_life_of(&clips::h264_aac(), "hls_audio = 'separate'", 2);
}

#[test]
fn a_short_life_of_transport_streams() {
    a_short_life_of(&clips::h264_aac(), "hls_container = 'ts'", 1);
}

#[test]
fn a_minute_of_a_stream_with_other_parameters_another_publisher_and_an_end() {
    let _machine = beside_others();
    let server = Server::with(&Setup {
        cores: 2,
        app: "hls_window = '20s'",
        // Long enough for the next publisher to start.
        publisher_grace: "10s",
        ..Setup::default()
    });
    let (large, small) = (clips::h264_aac(), clips::small());
    let seen = thread::scope(|scope| {
        let port = server.http;
        let viewers =
            WAYS.map(|way| scope.spawn(move || follow(Session::open(port, "live/a"), way)));
        // Other pictures and other sound by the same publisher, then one who is gone for a while.
        let mut tags = flv::read(&large.path);
        for clip in [&large, &small, &small, &large] {
            flv::append(&mut tags, &flv::read(&clip.path));
        }
        flv::publish(&tags, server.http, "live/a");
        sleep(secs(1));
        let looped = ["-stream_loop", "1"];
        let url = server.rtmp("live/a");
        let mut again = players::publish_with(&large, &url, &server.dir, &looped, &[]);
        again.succeed(secs(60));
        viewers.map(|viewer| viewer.join().expect("it has seen no rule broken"))
    });
    for (seen, way) in seen.iter().zip(WAYS) {
        println!("{way:?}: {} loads, {} new, {} deltas", seen.loads, seen.news, seen.deltas);
        let all = seen.last.segments.iter().chain([&seen.last.open]);
        let passed = seen.last.discontinuity_sequence;
        let listed = all.filter(|segment| segment.discontinuity).count() as u64;
        // There is one before the second pictures, one before the first ones again, and one before the
        // next publisher.
        assert_eq!(passed + listed, 3, "{:#?}", seen.last);
    }
    let [each, blocking, deltas] = &seen;
    assert_eq!(each.last, blocking.last);
    // The end, and the while without a publisher, are nothing new.
    brought_something(blocking, 60, 3);
    brought_something(deltas, 60, 3);
    // 62 s.
    assert!(each.loads >= 550, "{}", each.loads);
    // All but those of the first 14 s, when nothing was old enough.
    assert!(deltas.deltas * 2 > deltas.loads, "{} of {}", deltas.deltas, deltas.loads);
    server.stop();
}
