//! Publishers that come, go, come back, and want the same name.

use std::fs;
use std::thread::{self, sleep};

use crate::support::clips;
use crate::support::frames::{Expect, Packet, Recording};
use crate::support::machine::{beside_others, eventually, secs};
use crate::support::players::{self, Player};
use crate::support::rtmp::{self, Talk};
use crate::support::server::{Server, Setup};
use crate::waiting::{self, wait_for_viewers};

const START: &str = "NetStream.Publish.Start";
const BAD_NAME: &str = "NetStream.Publish.BadName";

fn dts_goes_on(kind: &str, packets: &[Packet]) {
    for pair in packets.windows(2) {
        assert!(pair[1].dts >= pair[0].dts, "{kind}: dts goes back: {pair:?}");
    }
}

/// Publishes the clip for 4 s, leaves in the given way, and publishes it again from its start.
fn a_player_goes_on_when_the_publisher_comes_back(politely: bool) {
    let _machine = beside_others();
    // Long enough for the programs to start again.
    let server = Server::with(&Setup { publisher_grace: "12s", ..waiting::SETUP });
    let clip = clips::h264_aac();
    let url = server.rtmp("live/a");
    let players = [
        players::play(clip.tool, &url, &server.dir),
        players::play(clip.tool, &server.http("live/a.flv"), &server.dir),
    ];
    wait_for_viewers(&server, "live/a", 2);
    if politely {
        let part = ["-t", "4"];
        players::publish_with(&clip, &url, &server.dir, &part, &[]).succeed(secs(20));
    } else {
        let publisher = players::publish(&clip, &url, &server.dir);
        let has_some = |player: &Player| {
            let text = fs::read_to_string(player.output()).unwrap_or_default();
            let got = Recording::parse(&text);
            got.video.len() > 75 && got.audio.len() > 75
        };
        assert!(eventually(secs(30), || players.iter().all(has_some)), "{}", publisher.log());
        drop(publisher);
    }
    sleep(secs(2));
    players::publish(&clip, &url, &server.dir).succeed(secs(40));

    let sent = clip.sent();
    for player in players {
        let got = player.finish(secs(40));
        dts_goes_on("video", &got.video);
        dts_goes_on("audio", &got.audio);
        // The first part is a beginning of the clip, the second all of it.
        let hashes =
            |packets: &[Packet]| packets.iter().map(|p| p.hash.clone()).collect::<Vec<_>>();
        for (kind, sent, got) in
            [("video", &sent.video, &got.video), ("audio", &sent.audio, &got.audio)]
        {
            let (sent, got) = (hashes(sent), hashes(got));
            let first = got.len().checked_sub(sent.len()).expect("more than one clip came out");
            assert!(first > 50, "{kind}: {first} packets of the first part");
            assert_eq!(got[..first], sent[..first], "{kind} of the first part");
            assert_eq!(got[first..], sent[..], "{kind} of the second part");
        }
        // Within the second part the offset of the tracks is the publisher's again.
        let (video, audio) =
            (got.video.len() - sent.video.len(), got.audio.len() - sent.audio.len());
        let moved = |got: &Packet, sent: &Packet| got.dts - sent.dts;
        let shift = moved(&got.video[video], &sent.video[0]);
        assert_eq!(shift, moved(&got.audio[audio], &sent.audio[0]), "A/V offset");
    }
    server.stop();
}

#[test]
fn a_player_goes_on_when_the_publisher_said_goodbye() {
    a_player_goes_on_when_the_publisher_comes_back(true);
}

#[test]
fn a_player_goes_on_when_the_publisher_was_cut_off() {
    a_player_goes_on_when_the_publisher_comes_back(false);
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on_untouched() {
    let _machine = beside_others();
    let server = Server::with(&Setup { cores: 2, ..waiting::SETUP });
    let clip = clips::h264_aac();
    let url = server.rtmp("live/a");
    let player = players::play(clip.tool, &url, &server.dir);
    wait_for_viewers(&server, "live/a", 1);
    let mut first = players::publish(&clip, &url, &server.dir);
    player.plays(secs(20));

    let mut second = players::publish(&clip, &url, &server.dir);
    let status = second.wait(secs(20)).expect("the second publisher gives up at once");
    assert!(!status.success(), "{}", second.log());

    let mut talk = Talk::open(server.rtmp, "live");
    talk.send(&[rtmp::create_stream(), rtmp::publish("a")].concat());
    assert_eq!(talk.hear(&[START, BAD_NAME], secs(20)), Some(BAD_NAME));

    first.succeed(secs(40));
    clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE);
    server.stop();
}

#[test]
fn of_publishers_racing_for_a_name_exactly_one_is_told_start() {
    let _machine = beside_others();
    let server = Server::with(&Setup { cores: 2, ..Setup::default() });
    let racers = 4;
    for round in 0..30 {
        let name = format!("race{round}");
        let barrier = std::sync::Barrier::new(racers);
        let told: Vec<_> = thread::scope(|scope| {
            let race = || {
                let mut talk = Talk::open(server.rtmp, "live");
                assert!(talk.hear(&["NetConnection.Connect.Success"], secs(20)).is_some());
                barrier.wait();
                talk.send(&[rtmp::create_stream(), rtmp::publish(&name)].concat());
                let told = talk.hear(&[START, BAD_NAME], secs(20));
                // Nobody leaves before all were told.
                barrier.wait();
                told
            };
            let threads: Vec<_> = (0..racers).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a racer is well")).collect()
        });
        let started = told.iter().filter(|told| **told == Some(START)).count();
        let refused = told.iter().filter(|told| **told == Some(BAD_NAME)).count();
        assert_eq!((started, refused), (1, racers - 1), "round {round}: {told:?}");
    }
    server.stop();
}
