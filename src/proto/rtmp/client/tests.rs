//! The client against our own server.

use proptest::prelude::*;

use super::super::{AskId, ChunkWriter, Refusal, Server, ServerConfig, server};
use super::*;
use crate::media::AudioCodec;
use crate::testkit::Link;
use crate::time::Timestamp;

/// Bodies of audio messages: AAC's configuration, and a frame.
const ASC: [u8; 4] = [0xaf, 0, 0x12, 0x10];
const SOUND: [u8; 4] = [0xaf, 1, 0xaa, 0xbb];

fn client(goal: Goal, link: &Link) -> Client {
    let url: Url = "rtmp://localhost/live/x?token=1".parse().expect("valid");
    Client::new(ClientConfig::default(), url, goal, 3, link.now())
}

fn client_events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Runs both, answering yes to connect and publish; the play question is given back.
fn introduce(link: &mut Link, client: &mut Client, server: &mut Server) -> Option<AskId> {
    loop {
        link.run(client, server);
        match server.poll_event() {
            Some(server::Event::Connect { ask, .. }) => server.accept_connect(link.now(), ask),
            Some(server::Event::Publish { ask, key, query, .. }) => {
                assert_eq!((key.as_str(), &*query), ("live/x", "token=1"));
                server.accept_publish(link.now(), ask);
            }
            Some(server::Event::Play { ask, .. }) => return Some(ask),
            Some(other) => panic!("{other:?}"),
            None => return None,
        }
    }
}

#[test]
fn our_client_publishes_to_our_server() {
    for seed in 1..20 {
        let mut link = Link::new(seed);
        let mut server = Server::new(ServerConfig::default(), seed, link.now());
        let mut client = client(Goal::Publish, &link);
        introduce(&mut link, &mut client, &mut server);
        let events = client_events(&mut client);
        assert!(matches!(events[..], [Event::Connected, Event::Started]), "{events:?}");

        let track = Track {
            codec: Codec::Audio(AudioCodec::Aac),
            config: Bytes::from_static(&ASC[2..]),
            hdr: None,
            video: None,
            audio: None,
        };
        let frame = |index: i64| Frame {
            kind: TrackKind::Audio,
            dts: Timestamp::from_millis(index * 23),
            pts: Timestamp::from_millis(index * 23),
            key: false,
            data: vec![index as u8; 1 + index as usize * 7000].into(),
        };
        assert!(!client.push_frame(&frame(0)), "no track yet");
        assert!(client.push_track(&track));
        assert!((0..30).all(|index| client.push_frame(&frame(index))));
        link.run(&mut client, &mut server);
        let mut events = std::iter::from_fn(|| server.poll_event());
        let Some(server::Event::Track(got)) = events.next() else { panic!("no track") };
        assert_eq!((got.codec, got.config), (track.codec, track.config));
        for index in 0..30 {
            let Some(server::Event::Frame(got)) = events.next() else { panic!("no frame") };
            assert_eq!(got, frame(index));
        }
        assert!(events.next().is_none());

        client.stop();
        link.run(&mut client, &mut server);
        assert!(matches!(server.poll_event(), Some(server::Event::PublishEnded { .. })));
        assert!(client.is_finished());
    }
}

#[test]
fn our_client_plays_from_our_server() {
    let mut link = Link::new(9);
    let mut server = Server::new(ServerConfig::default(), 9, link.now());
    let mut client = client(Goal::Play, &link);
    let ask = introduce(&mut link, &mut client, &mut server).expect("a play");
    let mut out = BytesMut::from(&server.accept_play(ask)[..]);
    let writer = ChunkWriter::new(60_000);
    for (time_ms, body) in [(0, ASC), (20, SOUND), (43, SOUND)] {
        writer.write(&mut out, csid::AUDIO, kind::AUDIO, time_ms, 1, &[], &body);
    }
    assert_eq!(client.handle_input(link.now(), &out).expect("ours"), out.len());
    link.run(&mut client, &mut server);
    server.play_ended(link.now());
    link.run(&mut client, &mut server);
    let events = client_events(&mut client);
    let [
        Event::Connected,
        Event::Started,
        Event::Track(_),
        Event::Frame(first),
        Event::Frame(second),
        Event::Ended { code, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((first.dts.as_millis(), second.dts.as_millis()), (20, 43));
    assert_eq!(code, "NetStream.Play.UnpublishNotify");
    assert!(client.is_finished());
}

#[test]
fn our_client_tells_why_it_was_refused() {
    let mut link = Link::new(9);
    let mut server = Server::new(ServerConfig::default(), 9, link.now());
    let mut client = client(Goal::Play, &link);
    let ask = introduce(&mut link, &mut client, &mut server).expect("a play");
    server.refuse(link.now(), ask, &Refusal::NotFound("nobody publishes it".into()));
    link.run(&mut client, &mut server);
    let Some(Event::Refused { code, description }) = client_events(&mut client).pop() else {
        panic!()
    };
    assert_eq!((&*code, &*description), ("NetStream.Play.StreamNotFound", "nobody publishes it"));
    assert!(client.is_finished() && client.poll_timeout().is_none());
}

#[test]
fn our_client_does_not_wait_for_ever() {
    let mut link = Link::new(9);
    let mut server = Server::new(ServerConfig::default(), 9, link.now());
    let mut client = client(Goal::Publish, &link);
    assert_eq!(client.poll_timeout().expect("one").1, Timer::Handshake);
    link.run(&mut client, &mut server);
    assert_eq!(client.poll_timeout(), Some((link.now() + Duration::from_secs(20), Timer::Reply)));
    link.pass(Duration::from_secs(20));
    let error = client.handle_timeout(link.now()).expect_err("too late").to_string();
    assert_eq!(error, "rtmp/reply: expected a reply within 20s, found none");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, pieces in 1_usize..50) {
        let link = Link::new(1);
        let mut client = client(Goal::Play, &link);
        for piece in bytes.chunks(pieces) {
            let _ = client.handle_input(link.now(), piece);
        }
    }
}
