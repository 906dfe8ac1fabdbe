//! How publishers are read: once per merge window, but at once when there is much, or when one has
//! left, on whichever core.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use corecast::container::amf0::Value;
use corecast::proto::rtmp::client::Event;
use corecast::proto::rtmp::{Goal, kind};
use node::{Node, log};
use talk::{Peer, Raw, message};

/// An app with the widest window there may be; the longest rest between two looks at a socket is
/// half a second.
const WIDE: &str = "cores = 1\napp.wide.merge_window = '10s'\napp.wide.merge_window_max = '10s'\n\
                    app.wide.max_lag = '15s'";

#[test]
fn who_closes_its_socket_frees_its_key_at_once_however_wide_the_window() {
    let node = Node::start(WIDE, None);
    // Both ways to close; often enough that no look at the socket falls just between two publishers
    // each time.
    for hard in [false, true].repeat(4) {
        let mut first = Peer::publish(node.rtmp, "wide/next");
        first.push(2);
        // What it sends now waits in the socket, for the server has begun to rest.
        log().wait_for(&["track: ", &format!("peer={} ", first.address())]);
        first.push(2);
        if hard {
            let socket = socket2::SockRef::from(&first.socket);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        } else {
            first.socket.shutdown(Shutdown::Write).expect("it is connected");
        }
        drop(first);
        // By default a second publisher is refused while there is a first.
        let mut second = Peer::new(node.rtmp, Goal::Publish, "wide/next");
        assert_eq!(second.try_start(), Ok(()), "hard: {hard}");
        second.leave();
    }
}

#[test]
fn what_is_more_than_the_socket_keeps_is_read_within_the_window_and_all_of_it() {
    const BURSTS: u32 = 30;
    /// In one burst 180 kB, and in all two seconds of sound.
    const MESSAGES: u32 = 3;
    const BYTES: usize = 60_000;
    let body = |number: u32| {
        let mut body = vec![number as u8; BYTES];
        body[..2].copy_from_slice(&[0xaf, 1]);
        body
    };

    let node = Node::start(WIDE, None);
    let mut publisher = Raw::ready(node.rtmp, "wide");
    publisher.send(&talk::publish("much"));
    assert_eq!(publisher.status().0, "NetStream.Publish.Start");
    publisher.send(&[talk::sound_message(), talk::frame_message(0)].concat());
    let mut viewer = Peer::play(node.rtmp, "wide/much");
    viewer.start();
    viewer.expect_frames(Some(0), 0);

    for burst in 0..BURSTS {
        // Pinged before each, so that a part of it may wait in the socket. Were it not read before
        // half a second has passed, all of them would take longer than the window.
        let mut bytes = talk::ping(burst);
        for number in burst * MESSAGES..(burst + 1) * MESSAGES {
            bytes.extend(message(kind::AUDIO, 4, (number + 1) * 23, 1, &body(number)));
        }
        publisher.send(&bytes);
        publisher.pong(burst);
        // Meanwhile the server takes what there is, and rests.
        thread::sleep(Duration::from_millis(20));
    }
    publisher.send(&talk::ping(BURSTS));
    publisher.pong(BURSTS);
    // All was read, and the window is not over.
    let flushed = viewer.event_within(Duration::from_millis(1)).is_some();
    assert!(!flushed, "the window was over before all was read");
    let mut number = 0;
    while number < BURSTS * MESSAGES {
        if let Event::Frame(frame) = viewer.event() {
            assert!(frame.data == body(number)[2..], "a frame is missing, or is another");
            number += 1;
        }
    }
}

#[test]
fn who_goes_on_at_another_core_while_its_input_is_let_wait_is_heard_there() {
    /// Every second one moves at least. If the core it leaves places the name, it does so at once,
    /// while the kernel still lets its input wait; which core that is, is left to chance.
    const NAMES: u32 = 24;
    let node = Node::start("cores = 2\napp.brief.merge_window = '40ms'", None);
    let mut publisher = Raw::ready(node.rtmp, "brief");
    for number in 0..NAMES {
        let close = talk::call("closeStream", 0.0, 1, &[Value::Null]);
        publisher.send(&[close, talk::publish(&format!("again-{number}"))].concat());
        while publisher.status().0 != "NetStream.Publish.Start" {}
        // Few bytes, so the kernel must tell of each. Once they are read the server rests.
        publisher.send(&talk::ping(number));
        publisher.pong(number);
    }
    let moves = log().lines(&["moved here", &format!("peer={} ", publisher.address())]);
    assert!(moves.len() > 1, "it publishes now here, now there: {moves:?}");
}
