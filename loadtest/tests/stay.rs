//! Viewers of long runs: they stay as long as the server wants them.

#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corecast_load::play::{self, Options};
use corecast_load::publish::{self, Fleet};
use corecast_load::report::Viewers;
use corecast_load::stream::{Material, Shape};
use support::nginx::Nginx;
use support::{Corecast, secs};

fn publish(url: String) -> Fleet {
    let shape = Shape { bitrate: 200_000, fps: 25, gop: secs(1), sound: Some(32_000), seed: 1 };
    let material = Material::made_up(shape).expect("enough bits");
    let options = publish::Options { url, publishers: 1, material, reconnect: false };
    Fleet::start(&options).expect("it is let in")
}

/// Ten that discard, at most until all have been lost.
fn watch(url: String, duration: Duration, sign_of_life: Duration) -> Viewers {
    let (settle, stop) = (secs(1), Arc::new(AtomicBool::new(false)));
    let (told, mut lost) = (Arc::clone(&stop), 0);
    let options =
        Options { url, viewers: 10, settle, duration, sign_of_life, stop, ..Options::default() };
    let report = play::run(&options, &mut |sample| {
        lost += sample.lost;
        if lost >= 10 {
            told.store(true, Ordering::Relaxed);
        }
    });
    report.expect("the run succeeds").viewers
}

/// Whoever says nothing for so long is hung up on. The viewers' thread may have to wait for a core.
const PATIENCE: Duration = secs(4);

/// A server in front of the one on `port` that wants to hear something within [`PATIENCE`].
fn impatient(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for viewer in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            viewer.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
            let sockets = (viewer.try_clone(), server.try_clone());
            let (Ok(to_viewer), Ok(from_server)) = sockets else { return };
            thread::spawn(move || copy(from_server, to_viewer));
            thread::spawn(move || copy(viewer, server));
        }
    });
    address
}

/// Until an end or a timeout, then it hangs up on both.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The other direction may have done it.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn viewers_that_discard_outlive_a_server_that_wants_to_hear_of_them() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"));
    let urls = [
        format!("rtmp://{}/live/x", impatient(server.rtmp)),
        format!("ws://{}/live/x.flv", impatient(server.http)),
    ];
    for url in urls {
        let heard = watch(url.clone(), 2 * PATIENCE, secs(1));
        assert_eq!((heard.joined, heard.lost), (10, 0), "{url}: {heard:?}");
        let silent = watch(url.clone(), secs(60), secs(3600));
        assert_eq!((silent.joined, silent.lost), (10, 10), "{url}: {silent:?}");
    }
}

#[test]
fn a_foreign_server_bears_the_signs_of_life() {
    let nginx = Nginx::start(4096, "");
    let _fleet = publish(nginx.rtmp("x"));
    let viewers = watch(nginx.rtmp("x"), secs(3), Duration::from_millis(100));
    assert_eq!((viewers.joined, viewers.lost), (10, 0), "{viewers:?}\n{}", nginx.log());
    assert!(viewers.bytes > 0, "{viewers:?}");
}
