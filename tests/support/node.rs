//! A server inside the test: the whole program by `corecast::app::run`, on free loopback ports,
//! with an answerer of the test's choice, and what it logs.

// Each test program uses a part.
#![allow(dead_code)]

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::app::{self, Options};
use corecast::config::Config;
use corecast::control::ask::Answerer;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

// A program that has `machine.rs` too has it twice; the ports are told apart all the same.
#[allow(clippy::duplicate_mod)]
#[path = "ports.rs"]
mod ports;

pub(crate) use ports::free_port;

/// Nothing a test waits for takes longer, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Dropped, it is told to stop, and must end well.
pub(crate) struct Node {
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    pub(crate) admin: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), app::Error>>>,
}

impl Node {
    /// Starts it with `lines` at the top of its configuration, after those every test wants: the
    /// listeners, flushes at once, and a probe that does not wait for pictures.
    pub(crate) fn start(lines: &str, answerer: Option<Arc<dyn Answerer>>) -> Self {
        Self::start_on("127.0.0.1", lines, answerer)
    }

    /// The same where media is served on `host`, which must take connections to 127.0.0.1.
    pub(crate) fn start_on(host: &str, lines: &str, answerer: Option<Arc<dyn Answerer>>) -> Self {
        log();
        let [rtmp, http, admin] = [(); 3].map(|()| free_port());
        let text = format!(
            "rtmp.listen = ['{host}:{rtmp}']\nhttp.listen = ['{host}:{http}']\nadmin.listen = ['127.0.0.1:{admin}']\n\
             app_defaults.merge_window = 0\napp_defaults.probe_timeout = '20ms'\n{lines}\n"
        );
        let config = Config::load(&text, "test", []).unwrap_or_else(|error| panic!("{error}"));
        let (stop, stopped) = oneshot::channel();
        let with_admin = config.admin.enabled;
        let options = Options { answerer, stop: Some(stopped), ..Options::default() };
        let thread = thread::spawn(move || app::run(&config, options));
        let node = Self { rtmp, http, admin, stop: Some(stop), thread: Some(thread) };
        let mut tried = Vec::new();
        let mut serves = |port| {
            let socket = try_connect(next_address(), port).ok();
            tried.extend(socket.iter().map(|socket| socket.local_addr().expect("connected")));
            socket.is_some()
        };
        eventually("the server listens", || {
            assert!(!node.thread.as_ref().is_some_and(JoinHandle::is_finished), "it did not start");
            // First what listens last: else those that try might be more than limits.connections.
            serves(http) && serves(rtmp) && (!with_admin || listens(admin))
        });
        // Of those that tried, none may count among the connections of the test: on another core one
        // may be longer about it than those after it.
        for peer in tried {
            log().wait_for(&[" close ", &format!("peer={peer} ")]);
        }
        node
    }

    /// `rtmp://…/PATH`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{path}", self.rtmp)
    }
}

/// Whether somebody takes connections there.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        let end = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            end.expect("joined once").expect("it did not panic").expect("it ended well");
        }
    }
}

/// A connection from an address that no other connection of this program has, so that the log
/// tells them apart: ports alone may come back.
pub(crate) fn connect(port: u16) -> TcpStream {
    connect_from(next_address(), port)
}

/// A connection from `address`.
pub(crate) fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    try_connect(address, port).expect("it listens")
}

fn try_connect(address: [u8; 4], port: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("a loopback address");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    Ok(socket.into())
}

fn next_address() -> [u8; 4] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    [127, 1, high, low]
}

/// Asks `done` again and again until it says yes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The log of all servers of this test program, at level trace.
pub(crate) fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter("corecast=trace")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

/// Lines that were logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// With a space behind each, so that every value ends with one.
    whole: Vec<String>,
    /// The beginning of the next.
    rest: String,
}

impl Lines {
    fn with(&self, from: usize, texts: &[&str]) -> impl Iterator<Item = &String> {
        let has_all = move |line: &&String| texts.iter().all(|text| line.contains(text));
        self.whole[from..].iter().filter(has_all)
    }
}

impl Log {
    /// Those that hold all of `texts`, so far.
    pub(crate) fn lines(&self, texts: &[&str]) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").with(0, texts).cloned().collect()
    }

    /// The first that holds all of `texts`, now or soon.
    #[track_caller]
    pub(crate) fn wait_for(&self, texts: &[&str]) -> String {
        let (end, mut looked_at) = (Instant::now() + PATIENCE, 0);
        loop {
            // The server waits for the lock when it has something to say: each line is looked at once.
            let all = self.0.lock().expect("nobody panics with it");
            if let Some(found) = all.with(looked_at, texts).next() {
                return found.clone();
            }
            if Instant::now() > end {
                let newest = all.whole[all.whole.len().saturating_sub(100)..].join("\n");
                drop(all);
                panic!("in vain: a line of the log with {texts:?}. Its newest:\n{newest}");
            }
            looked_at = all.whole.len();
            drop(all);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The core that accepted the connection from `peer`.
    #[track_caller]
    pub(crate) fn core_of(&self, peer: SocketAddr) -> u16 {
        let line = self.wait_for(&["open", &format!("peer={peer} ")]);
        field(&line, "core").parse().expect("a number")
    }
}

/// The value of `name` in a line of the log.
#[track_caller]
pub(crate) fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let values = line.split_whitespace().filter_map(|word| word.split_once('='));
    let found = values.rev().find(|(key, _)| *key == name);
    found.unwrap_or_else(|| panic!("expected {name}= in {line}")).1
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).expect("a line of text");
        let mut lines = self.0.lock().expect("nobody panics with it");
        let Lines { whole, rest } = &mut *lines;
        rest.push_str(text);
        while let Some((line, next)) = rest.split_once('\n') {
            whole.push(format!("{line} "));
            *rest = next.to_owned();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
