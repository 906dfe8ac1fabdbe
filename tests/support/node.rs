//! A server inside the test: the whole program by `corecast::app::run`, on free loopback ports,
//! with an answerer of the test's choice, and what it logs.

// Each test program uses a part.
#![allow(dead_code)]

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::app::{self, Options};
use corecast::config::Config;
use corecast::control::ask::Answerer;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

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
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let with_admin = config.admin.enabled;
        let options = Options { answerer, stop: Some(stopped), ..Options::default() };
        let thread = thread::spawn(move || app::run(&config, options));
        let node = Self { rtmp, http, admin, stop: Some(stop), thread: Some(thread) };
        eventually("the server listens", || {
            assert!(!node.thread.as_ref().is_some_and(JoinHandle::is_finished), "it did not start");
            listens(rtmp) && listens(http) && (!with_admin || listens(admin))
        });
        // Of those that tried, none may count among the connections of the test.
        let last = [rtmp, http].map(|port| connect(port).local_addr().expect("connected"));
        for peer in last {
            log().wait_for(&[" close ", &format!("peer={peer} ")]);
        }
        node
    }

    /// `rtmp://…/PATH`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{path}", self.rtmp)
    }
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

/// A port nobody listens on, below the range of outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 20;
    loop {
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 4000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A connection from an address that no other connection of this program has, so that the log
/// tells them apart: ports alone may come back.
pub(crate) fn connect(port: u16) -> TcpStream {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    connect_from([127, 1, high, low], port)
}

/// A connection from `address`.
pub(crate) fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("a loopback address");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("it listens");
    socket.into()
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
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    /// Those that hold all of `texts`, so far.
    pub(crate) fn lines(&self, texts: &[&str]) -> Vec<String> {
        let all = self.0.lock().expect("nobody panics with it");
        // With a space behind each, so that every value ends with one.
        let lines = all.lines().map(|line| format!("{line} "));
        lines.filter(|line| texts.iter().all(|text| line.contains(text))).collect()
    }

    /// The first that holds all of `texts`, now or soon.
    #[track_caller]
    pub(crate) fn wait_for(&self, texts: &[&str]) -> String {
        let mut found = Vec::new();
        eventually(&format!("a line of the log with {texts:?}"), || {
            found = self.lines(texts);
            !found.is_empty()
        });
        found.swap_remove(0)
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
        self.0.lock().expect("nobody panics with it").push_str(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
