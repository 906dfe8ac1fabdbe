//! A proxy that makes the network unkind: every byte in a segment of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Forwards connections to a loopback port, one byte per segment both ways. Its threads end with
/// their connections; the listener's ends with the test program.
pub(crate) struct OneByteProxy {
    pub(crate) port: u16,
}

impl OneByteProxy {
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let (a, b) = (clone(&client), clone(&server));
                thread::spawn(move || crumble(client, server));
                thread::spawn(move || crumble(b, a));
            }
        });
        Self { port }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("fewer descriptors than the limit")
}

fn crumble(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).expect("a TCP socket");
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        for byte in &buffer[..n] {
            if to.write_all(std::slice::from_ref(byte)).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
