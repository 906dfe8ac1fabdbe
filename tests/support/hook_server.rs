//! A hook server inside the test: plain threads that hear requests and answer as the test says,
//! in time or late, well or badly.

// Each test program uses a part.
#![allow(dead_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::node::eventually;

/// A server that hears hooks until it is dropped.
pub(crate) struct HookServer {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) said: Value,
    /// Its place among all that was heard and answered.
    pub(crate) heard: u64,
    /// The place of its answer, if that was written.
    pub(crate) answered: Option<u64>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Say(u16, String),
    After(Duration, Box<Answer>),
    /// Once the flag is up.
    Once(Arc<AtomicBool>, Box<Answer>),
    /// Closes without a word.
    HangUp,
    /// A body without an end.
    Endless,
}

/// Yes.
pub(crate) fn yes() -> Answer {
    Answer::Say(200, "0".to_owned())
}

/// Status 200 and `body`.
pub(crate) fn say(body: &str) -> Answer {
    Answer::Say(200, body.to_owned())
}

/// `answer`, but late.
pub(crate) fn after(ms: u64, answer: Answer) -> Answer {
    Answer::After(Duration::from_millis(ms), Box::new(answer))
}

/// `answer`, but not before the flag is up.
pub(crate) fn once(is_time: &Arc<AtomicBool>, answer: Answer) -> Answer {
    Answer::Once(Arc::clone(is_time), Box::new(answer))
}

struct Shared {
    answer: Box<dyn Fn(&Heard) -> Answer + Send + Sync>,
    heard: Mutex<Vec<Heard>>,
    places: AtomicU64,
    connections: AtomicUsize,
    stop: AtomicBool,
}

impl HookServer {
    pub(crate) fn start(answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(0, answer)
    }

    /// The same on a port of the test's choice; zero: any that is free.
    pub(crate) fn on(port: u16, answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            heard: Mutex::default(),
            places: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let port = listener.local_addr().expect("bound").port();
        listener.set_nonblocking(true).expect("a socket can be");
        let of_thread = Arc::clone(&shared);
        let accepts = Some(thread::spawn(move || accept(&listener, &of_thread)));
        Self { port, shared, accepts }
    }

    /// `http://…/PATH`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Lines of a configuration in which each of `hooks` is this server, at a path of its name.
    pub(crate) fn lines(&self, hooks: &[&str]) -> String {
        hooks.iter().map(|hook| format!("hooks.{hook} = '{}'\n", self.url(hook))).collect()
    }

    /// All that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().expect("nobody panics with it").clone()
    }

    /// What was heard of `action` so far.
    pub(crate) fn of(&self, action: &str) -> Vec<Heard> {
        let heard = self.heard().into_iter();
        heard.filter(|heard| heard.said["action"] == action).collect()
    }

    /// Waits until `action` was heard `count` times, and tells what.
    #[track_caller]
    pub(crate) fn wait_for(&self, action: &str, count: usize) -> Vec<Heard> {
        eventually(&format!("{count} times {action}"), || self.of(action).len() >= count);
        self.of(action)
    }

    /// Connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(self.accepts.take().map(JoinHandle::join));
    }
}

/// Says yes to one request on each connection, by TLS.
pub(crate) fn say_yes_securely(config: Arc<ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a good configuration");
            let mut stream = BufReader::new(StreamOwned::new(tls, socket));
            let mut head = String::new();
            // Err: the client does not trust us.
            while let Ok(1..) = stream.read_line(&mut head) {
                if head.ends_with("\r\n\r\n") {
                    let yes = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n0";
                    stream.get_mut().write_all(yes).expect("it listens");
                    // To the end of the body, and of the connection.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
            }
        }
    });
    port
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut served = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((socket, _)) => {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(shared);
                // Its end is the client's, or the test's.
                served.push(thread::spawn(move || drop(serve(&socket, &shared))));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
    served.into_iter().for_each(|thread| thread.join().expect("it only answers"));
}

fn serve(socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        // So that it ends with the server, and yet reads a request whole.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(_) => break,
                Err(_) if shared.stop.load(Ordering::Relaxed) => return Ok(()),
                Err(_) => {}
            }
        }
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let heard = read(&mut reader, shared)?;
        let index = {
            let mut all = shared.heard.lock().expect("nobody panics with it");
            all.push(heard.clone());
            all.len() - 1
        };
        if !answer(socket, (shared.answer)(&heard), shared, index)? {
            return Ok(());
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>, shared: &Shared) -> io::Result<Heard> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).expect("a request line").to_owned();
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length = length.expect("a body has a length").1.parse().expect("a number");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let said = serde_json::from_slice(&body).expect("a body is JSON");
    let heard = shared.places.fetch_add(1, Ordering::SeqCst);
    Ok(Heard { path, fields, body, said, heard, answered: None })
}

/// False if the connection is to be closed.
fn answer(
    mut socket: &TcpStream,
    answer: Answer,
    shared: &Shared,
    index: usize,
) -> io::Result<bool> {
    match answer {
        Answer::Say(status, body) => {
            let answered = shared.places.fetch_add(1, Ordering::SeqCst);
            let mut heard = shared.heard.lock().expect("nobody panics with it");
            heard[index].answered = Some(answered);
            drop(heard);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
            socket.write_all([head, body].concat().as_bytes())?;
            Ok(true)
        }
        Answer::After(time, then) => {
            // A server that is being stopped does not wait.
            for _ in 0..time.as_millis().div_ceil(5) {
                if shared.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                thread::sleep(Duration::from_millis(5));
            }
            self::answer(socket, *then, shared, index)
        }
        Answer::Once(is_time, then) => {
            while !is_time.load(Ordering::Relaxed) {
                if shared.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                thread::sleep(Duration::from_millis(5));
            }
            self::answer(socket, *then, shared, index)
        }
        Answer::HangUp => Ok(false),
        Answer::Endless => {
            socket.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 1000000000\r\n\r\n")?;
            while !shared.stop.load(Ordering::Relaxed) {
                socket.write_all(&[b' '; 1 << 16])?;
            }
            Ok(false)
        }
    }
}
