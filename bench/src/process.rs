//! The processes under measurement: started on a core of their own, ended by their own number.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::floor::Load;

/// How long a process may take to be ready.
const START: Duration = Duration::from_secs(10);

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Runs `program` on the core `cpu` alone.
    fn start(cpu: usize, program: &Path, arguments: &[impl AsRef<OsStr>]) -> io::Result<Self> {
        let child = Command::new("taskset")
            .args(["-c", &cpu.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        child.map(Self).map_err(|error| {
            let program = program.display();
            io::Error::new(
                error.kind(),
                format!("cannot run `taskset -c {cpu} {program}`: {error}"),
            )
        })
    }

    /// Its number; `taskset` has become the program itself.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    fn check(&mut self, what: &str) -> io::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("{what} has ended: {status}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The sender of the floor, and where it listens.
///
/// # Errors
/// It could not be started.
pub fn floor(cpu: usize, load: Load, at_most: Duration) -> io::Result<(Process, SocketAddr)> {
    let arguments = [
        "--listen=127.0.0.1:0".to_owned(),
        format!("--viewers={}", load.viewers),
        format!("--bitrate={}k", load.bitrate / 1000),
        format!("--window={}ms", load.window.as_millis()),
        format!("--duration={}s", at_most.as_secs()),
    ];
    let mut process = Process::start(cpu, &beside("floor")?, &arguments)?;
    let stdout = process.0.stdout.take().expect("it was asked to be piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim().parse();
    address.map(|address| (process, address)).map_err(|_| {
        io::Error::other(format!("floor: expected the address it listens on, found {line:?}"))
    })
}

/// A server with its two doors.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it takes RTMP.
    pub rtmp: SocketAddr,
    /// Where it takes HTTP.
    pub http: SocketAddr,
    config: PathBuf,
}

impl Server {
    /// Runs `program`, a Corecast, with all its threads on `cpu`.
    ///
    /// # Errors
    /// It could not be started, or is not ready in time.
    pub fn start(cpu: usize, program: &Path, window: Duration) -> io::Result<Self> {
        let (rtmp, http) = (free_port()?, free_port()?);
        let name = format!("corecast-bench-{}.toml", std::process::id());
        let config = std::env::temp_dir().join(name);
        let ms = window.as_millis();
        let mut file = std::fs::File::create(&config)?;
        writeln!(file, "cores = [{cpu}]\nlog.level = \"warn\"\nrtmp.listen = [\"{rtmp}\"]")?;
        writeln!(file, "http.listen = [\"{http}\"]\napp_defaults.merge_window = \"{ms}ms\"")?;
        let arguments = [OsStr::new("--config"), config.as_os_str()];
        let process = Process::start(cpu, program, &arguments)?;
        let mut server = Self { process, rtmp, http, config };
        let start = Instant::now();
        while TcpStream::connect(http).is_err() {
            server.process.check("the server")?;
            if start.elapsed() > START {
                return Err(io::Error::other(format!("the server does not listen on {http}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// The program `name` that was built with this one.
///
/// # Errors
/// It was not.
pub fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(io::Error::other(format!(
            "expected {}, found no such file\n  cure: cargo build --release -p corecast -p corecast-bench",
            path.display()
        ))),
    }
}

/// Keeps this process, and threads it starts from now on, on `cpu`.
///
/// # Errors
/// There is no such core for it.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
