//! The processes that are measured: the server, and the floor.

use std::fmt::Write;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::{Child, Scratch};

/// How long a process may take to be ready.
const START: Duration = Duration::from_secs(10);

impl Setup {
    /// The usual merge window on one core.
    pub fn on(cpu: usize) -> Self {
        Self { cpus: vec![cpu], window: Duration::from_millis(350), config: String::new() }
    }
}

/// A Corecast with its two doors.
#[derive(Debug)]
pub struct Corecast {
    /// The process.
    pub child: Child,
    rtmp: SocketAddr,
    http: SocketAddr,
    _config: Scratch,
}

/// How a Corecast is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A core of the server for each.
    pub cpus: Vec<usize>,
    /// The merge window.
    pub window: Duration,
    /// Further lines of its configuration, keys in full.
    pub config: String,
}

impl Corecast {
    /// Runs `program`, and returns when it listens.
    ///
    /// # Errors
    /// It could not be started, or is not ready in time.
    pub fn start(program: &Path, setup: &Setup) -> io::Result<Self> {
        let (rtmp, http) = (free_port()?, free_port()?);
        let Setup { cpus, window, config } = setup;
        let ms = window.as_millis();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "cores = {cpus:?}\nlog.level = \"warn\"\nrtmp.listen = [\"{rtmp}\"]\n\
             http.listen = [\"{http}\"]\napp_defaults.merge_window = \"{ms}ms\"\n{config}"
        );
        let path = Scratch::new("corecast.toml");
        std::fs::write(path.path(), text)?;
        let mut child = Child::start(cpus, program, [Path::new("--config"), path.path()])?;
        let until = Instant::now() + START;
        while TcpStream::connect(http).is_err() {
            child.must_run()?;
            if Instant::now() >= until {
                return Err(io::Error::other(format!("the server does not listen on {http}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { child, rtmp, http, _config: path })
    }

    /// Where a stream is published, and watched by RTMP.
    pub fn rtmp(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.rtmp)
    }

    /// Where it is watched by HTTP-FLV.
    pub fn http_flv(&self, name: &str) -> String {
        format!("http://{}/live/{name}.flv", self.http)
    }

    /// Where it is watched by FLV over WebSocket.
    pub fn ws_flv(&self, name: &str) -> String {
        format!("ws://{}/live/{name}.flv", self.http)
    }
}

/// One thread that does one `send` per viewer and window.
#[derive(Debug)]
pub struct Floor {
    /// The process.
    pub child: Child,
    /// Where its viewers come.
    pub url: String,
}

impl Floor {
    /// Runs `program`, the binary `floor`, for so many viewers of `bitrate` bits per second.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        program: &Path,
        cpu: usize,
        (viewers, bitrate, window): (usize, u64, Duration),
        at_most: Duration,
    ) -> io::Result<Self> {
        let arguments = [
            "--listen=127.0.0.1:0".to_owned(),
            format!("--viewers={viewers}"),
            format!("--bitrate={}k", bitrate / 1000),
            format!("--window={}ms", window.as_secs_f64() * 1e3),
            format!("--duration={}s", at_most.as_secs()),
        ];
        let mut child = Child::start(&[cpu], program, arguments)?;
        let address = |line: &str| line.trim().parse::<SocketAddr>().ok();
        let address = child.hear("where it listens", address, START)?;
        Ok(Self { child, url: format!("http://{address}/floor") })
    }
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
