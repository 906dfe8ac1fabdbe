//! Plain sockets that speak HTTP: one request and its answer, a steady reader, a crowd of viewers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::machine::secs;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `request` as it is and reads the answer: its head, then as many bytes as it announces,
/// or until the end.
pub(crate) fn exchange(port: u16, request: &str) -> Reply {
    let mut stream = connect(port, None);
    stream.write_all(request.as_bytes()).expect("the server reads");
    let no_body = request.starts_with("HEAD ");
    read_reply(&mut stream, no_body)
}

/// Reads one answer from `stream`.
pub(crate) fn read_reply(stream: &mut TcpStream, no_body: bool) -> Reply {
    let (status, headers, mut body) = read_head(stream);
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map(|(_, n)| n.parse::<usize>().expect("a length is a number"));
    match length {
        _ if no_body || status == 204 || status == 304 => {}
        Some(length) => {
            let have = body.len();
            body.resize(length.max(have), 0);
            stream.read_exact(&mut body[have..]).expect("the body is as long as announced");
        }
        None => {
            stream.read_to_end(&mut body).expect("the server closes");
        }
    }
    Reply { status, headers, body }
}

type Head = (u16, Vec<(String, String)>, Vec<u8>);

fn read_head(stream: &mut TcpStream) -> Head {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let n = stream.read(&mut buffer).expect("an answer within the time");
        assert!(n > 0, "expected an answer, found {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..n]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("a header has a colon");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    (status.expect("a status line"), headers.collect(), bytes.split_off(end + 4))
}

/// A connection; `receive_buffer` is the kernel's, in bytes (it doubles what is asked).
pub(crate) fn connect(port: u16, receive_buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a size the kernel takes");
    }
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the server listens");
    socket.set_read_timeout(Some(secs(30))).expect("not zero");
    socket.into()
}

/// Records `path` until the server closes, by a thread that reads all the time.
pub(crate) fn record(
    port: u16,
    path: &str,
    receive_buffer: Option<usize>,
    to: &Path,
) -> JoinHandle<u64> {
    let mut file = File::create(to).expect("the run directory is ours");
    let request = get(path);
    thread::spawn(move || {
        let mut stream = connect(port, receive_buffer);
        stream.write_all(request.as_bytes()).expect("the server reads");
        let (status, _, begun) = read_head(&mut stream);
        assert_eq!(status, 200);
        file.write_all(&begun).expect("there is room");
        begun.len() as u64 + io::copy(&mut stream, &mut file).expect("the server closes")
    })
}

/// What comes of `path` to a viewer with a small socket that stops reading for longer than its socket
/// and two seconds of lag hold together, and then reads on: without the head, and cut anywhere.
pub(crate) fn skipped(port: u16, path: &str) -> Vec<u8> {
    let mut stream = connect(port, Some(8 << 10));
    stream.write_all(get(path).as_bytes()).expect("the server reads");
    let (status, _, mut bytes) = read_head(&mut stream);
    assert_eq!(status, 200);
    read_for(&mut stream, &mut bytes, secs(3));
    thread::sleep(secs(8));
    read_for(&mut stream, &mut bytes, secs(5));
    bytes
}

fn read_for(stream: &mut TcpStream, into: &mut Vec<u8>, time: Duration) {
    let end = Instant::now() + time;
    let mut buffer = vec![0; 64 << 10];
    while Instant::now() < end {
        let count = stream.read(&mut buffer).expect("the server writes");
        assert!(count > 0, "the server closed");
        into.extend_from_slice(&buffer[..count]);
    }
}

/// A request as a viewer makes it.
pub(crate) fn get(path: &str) -> String {
    format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Many viewers on plain sockets, drained by one thread.
pub(crate) struct Crowd {
    end: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    present: Arc<AtomicUsize>,
    drain: Option<JoinHandle<()>>,
}

impl Crowd {
    /// `count` viewers connect to `port` and say `hello` each (an HTTP request). Those that are
    /// refused or cut off are let go.
    pub(crate) fn join(port: u16, hello: &str, count: usize) -> Self {
        raise_open_files();
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let Ok(mut stream) = TcpStream::connect_timeout(&address, secs(2)) else { continue };
            if stream.write_all(hello.as_bytes()).is_ok() {
                stream.set_nonblocking(true).expect("a socket can be");
                streams.push(stream);
            }
        }
        let end = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(0));
        let present = Arc::new(AtomicUsize::new(streams.len()));
        let shared = (Arc::clone(&end), Arc::clone(&bytes), Arc::clone(&present));
        let drain = thread::spawn(move || {
            let (end, bytes, present) = shared;
            let mut buffer = vec![0; 256 * 1024];
            while !end.load(Ordering::Relaxed) {
                streams.retain_mut(|stream| match stream.read(&mut buffer) {
                    Ok(0) => false,
                    Ok(n) => {
                        bytes.fetch_add(n as u64, Ordering::Relaxed);
                        true
                    }
                    Err(e) => e.kind() == io::ErrorKind::WouldBlock,
                });
                present.store(streams.len(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { end, bytes, present, drain: Some(drain) }
    }

    /// Bytes all of them got so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Those still connected.
    pub(crate) fn present(&self) -> usize {
        self.present.load(Ordering::Relaxed)
    }

    /// All hang up.
    pub(crate) fn leave(self) {
        drop(self);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(drain) = self.drain.take() {
            drain.join().expect("it only reads");
        }
    }
}

/// Lets this test program open as many files as the hard limit allows.
pub(crate) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may rise to the hard one");
}
