//! RTMP publishers in real time: any number of them from a few threads.
//!
//! They begin spread over the time from one key frame to the next, because encoders of different
//! people are not in step, and a server must not look better or worse for it.

mod connection;
mod pacer;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::proto::rtmp::Url;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::report::figures::many;
use crate::report::{Published, REASONS};
use crate::stream::{Material, Shape};
use crate::{fds, units};
use pacer::{Pacer, Publisher};

/// What to publish where.
#[derive(Debug, Clone)]
pub struct Options {
    /// `rtmp://HOST/APP/NAME`; each `{n}` becomes the publisher's number, from 0.
    pub url: String,
    /// How many.
    pub publishers: usize,
    /// What each of them sends.
    pub material: Material,
    /// Those that are dropped come back after a pause, as an encoder would.
    pub reconnect: bool,
}

/// Publishers at work. Dropped, they stop.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    publishers: usize,
    threads: Vec<JoinHandle<io::Result<Published>>>,
}

/// How far a fleet has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Publishers that are let in at the moment.
    pub publishing: usize,
    /// Frames sent.
    pub frames: u64,
    /// Their bytes, marks included, without what RTMP adds.
    pub bytes: u64,
    /// Connections that broke and were, or will be, made again.
    pub broken: usize,
    /// Publishers that have ended because the server refused or dropped them.
    pub failed: usize,
}

#[derive(Debug, Default)]
struct Shared {
    reconnect: bool,
    stop: AtomicBool,
    interrupts: AtomicUsize,
    publishing: AtomicUsize,
    frames: AtomicU64,
    bytes: AtomicU64,
    broken: AtomicUsize,
    failed: AtomicUsize,
    reasons: Mutex<Vec<String>>,
}

/// A thread sends some 100 000 frames a second; this many publishers have half of that.
const PER_THREAD: usize = 700;
/// Publishers begin within this time, however long their groups of pictures are.
const SPREAD_MAX: Duration = Duration::from_secs(2);
/// After the last has begun. The machine's own deadlines for each reply are shorter.
const START_PATIENCE: Duration = Duration::from_secs(30);

impl Fleet {
    /// Connects all publishers and waits until the server has let them in.
    ///
    /// # Errors
    /// The URL is none or has no `{n}` for several publishers, nobody answers, or the server
    /// refuses, with its words.
    pub fn start(options: &Options) -> io::Result<Self> {
        let Options { url, publishers: count, material, reconnect } = options;
        let (count, reconnect) = (*count, *reconnect);
        if count > 1 && !url.contains("{n}") {
            return Err(io::Error::other(format!(
                "publish: expected {{n}} in the URL of {count} publishers, found {url:?}\n  \
                 cure: a name such as x{{n}}"
            )));
        }
        let begin = Instant::now();
        let spread = material.group().min(SPREAD_MAX);
        let mut addresses = HashMap::new();
        let mut publishers = Vec::with_capacity(count);
        for n in 0..count {
            let url = url.replace("{n}", &n.to_string());
            let url: Url = url.parse().map_err(io::Error::other)?;
            let address = match addresses.get(&(url.host.clone(), url.port)) {
                Some(address) => *address,
                None => {
                    let address = resolve(&url)?;
                    addresses.insert((url.host.clone(), url.port), address);
                    address
                }
            };
            // The golden ratio leaves no two close together, whatever their number.
            let share = (n as f64 * 0.618_033_988_749_895).fract();
            let begin = begin + spread.mul_f64(share);
            publishers.push(Publisher::new(url, address, material.stream(), begin));
        }
        let shared = Arc::new(Shared { reconnect, ..Shared::default() });
        let (outcomes, first_outcomes) = mpsc::channel();
        let mut fleet = Self { shared, publishers: count, threads: Vec::new() };
        while !publishers.is_empty() {
            let some = publishers.split_off(publishers.len().saturating_sub(PER_THREAD));
            let pacer = Pacer::new(Arc::clone(&fleet.shared), some, outcomes.clone())?;
            let name = format!("publish-{}", fleet.threads.len());
            fleet.threads.push(thread::Builder::new().name(name).spawn(|| pacer.run())?);
        }
        drop(outcomes);
        let until = begin + spread + START_PATIENCE;
        let mut reasons = Vec::new();
        let mut granted = 0;
        while granted + reasons.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            match first_outcomes.recv_timeout(left) {
                Ok(Ok(())) => granted += 1,
                Ok(Err(why)) => reasons.push(why),
                Err(_) => break,
            }
        }
        match granted == count {
            true => Ok(fleet),
            false => Err(io::Error::other(format!(
                "publish: expected {} to be let in at {url}, found {granted}; the first reason: \
                 {}\n  cure: see that the server runs, that this is its RTMP port, and that it lets \
                 publishers in",
                many(count as u64, "publisher", "publishers"),
                reasons.first().map_or("the server did not answer", |why| why.as_str()),
            ))),
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let Shared { publishing, frames, bytes, broken, failed, .. } = &*self.shared;
        Progress {
            publishing: publishing.load(Relaxed),
            frames: frames.load(Relaxed),
            bytes: bytes.load(Relaxed),
            broken: broken.load(Relaxed),
            failed: failed.load(Relaxed),
        }
    }

    /// Why publishers were dropped after they had been let in: the first few different ones.
    pub fn reasons(&self) -> Vec<String> {
        self.shared.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Breaks all connections without a farewell, as a host that dies. With
    /// [`Options::reconnect`] they are made again; else they have failed.
    pub fn interrupt(&self) {
        self.shared.interrupts.fetch_add(1, Relaxed);
    }

    /// Takes leave of the server and says what was done.
    pub fn stop(mut self) -> Published {
        self.end()
    }

    fn end(&mut self) -> Published {
        self.shared.stop.store(true, Relaxed);
        let mut published = Published::default();
        for thread in self.threads.drain(..) {
            match thread.join().expect("a pacer returns its errors") {
                Ok(part) => published.merge(&part),
                Err(error) => self.shared.add_reason(&error.to_string()),
            }
        }
        let Progress { frames, bytes, failed, .. } = self.progress();
        Published { publishers: self.publishers, frames, bytes, failed, ..published }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn add_reason(&self, why: &str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < REASONS && reasons.iter().all(|known| known != why) {
            reasons.push(why.to_owned());
        }
    }
}

fn resolve(url: &Url) -> io::Result<SocketAddr> {
    let address = (url.host.as_str(), url.port).to_socket_addrs()?.next();
    address.ok_or_else(|| io::Error::other(format!("{}: the host has no address", url.host)))
}

/// What to send: options of every command that publishes.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// An FLV or MP4 file to send in a loop [default: a clip that is built in].
    #[arg(long, value_name = "FILE", conflicts_with = "bitrate")]
    pub clip: Option<PathBuf>,
    /// Send a made-up stream of so many bits per second (800k, 2M), sound and marks included.
    #[arg(long, value_parser = units::bitrate)]
    pub bitrate: Option<u64>,
    /// Pictures per second of the made-up stream.
    #[arg(long, default_value_t = 25, requires = "bitrate",
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fps: u32,
    /// From one key frame of it to the next.
    #[arg(long, default_value = "2s", requires = "bitrate", value_parser = units::duration)]
    pub gop: Duration,
    /// Bits per second of its sound, or "none".
    #[arg(long, default_value = "48k", requires = "bitrate")]
    pub audio: Sound,
    /// Makes its bytes: the same number, the same stream.
    #[arg(long, default_value_t = 1, requires = "bitrate")]
    pub seed: u64,
}

/// Bits per second of sound, if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound(pub Option<u64>);

impl FromStr for Sound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => units::bitrate(text).map(|bits| Self(Some(bits))),
        }
    }
}

impl Source {
    /// What it says.
    ///
    /// # Errors
    /// The file cannot be sent, or so few bits cannot hold so many frames.
    pub fn material(&self) -> io::Result<Material> {
        match (self.bitrate, &self.clip) {
            (Some(bitrate), _) => {
                let &Self { fps, gop, seed, audio: Sound(sound), .. } = self;
                Material::made_up(Shape { bitrate, fps, gop, sound, seed })
            }
            (None, Some(path)) => Material::clip(path),
            (None, None) => Ok(Material::demo()),
        }
    }
}

/// The options of `publish`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to; {n} becomes the publisher's number, from 0, and is needed for several.
    #[arg(long, value_name = "rtmp://HOST/APP/NAME")]
    pub url: String,
    /// How many publishers.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// What they send.
    #[command(flatten)]
    pub source: Source,
    /// Ends after this (30s, 2h); else when it is stopped or the server has dropped all publishers.
    #[arg(long, value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Come back when the server drops a publisher, after a pause.
    #[arg(long)]
    pub reconnect: bool,
}

const EXAMPLES: &str = "\
Examples:
  The built-in clip, until Ctrl-C:
    corecast-load publish --url rtmp://127.0.0.1/live/x
  A file of yours for an hour:
    corecast-load publish --url rtmp://127.0.0.1/live/x --clip match.mp4 --duration 1h
  Streams live/x0 to live/x19, for hours:
    corecast-load publish --url rtmp://127.0.0.1/live/x{n} --publishers 20 --bitrate 500k \\
      --reconnect

Each H.264 picture carries a mark (an SEI, which players ignore) with the time and checksums of what
was sent, by which `corecast-load play --inspect` tells missing frames and latency on any host whose
clock agrees. Other codecs carry none.";

/// Publishes until the time is over, somebody interrupts it or no publisher is left.
///
/// # Errors
/// As [`Fleet::start`], and if the server dropped a publisher that was not to come back.
pub fn run(args: &Args) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    fds::allow(args.publishers)?;
    let material = args.source.material()?;
    let Args { url, publishers, reconnect, .. } = args.clone();
    let fleet = Fleet::start(&Options { url, publishers, material: material.clone(), reconnect })?;
    println!("{publishers} publishing {}", material.describe());
    let (begin, before) = (Instant::now(), fleet.progress());
    let is_over = || args.duration.is_some_and(|time| begin.elapsed() >= time);
    while !stop.load(Relaxed) && !is_over() && fleet.progress().failed < publishers {
        thread::sleep(Duration::from_millis(20));
    }
    let (seconds, after) = (begin.elapsed().as_secs_f64(), fleet.progress());
    // From the moment on when all had begun.
    let rate = (after.bytes - before.bytes) as f64 * 8e-6 / seconds;
    let (broken, reasons) = (after.broken, fleet.reasons());
    let published = fleet.stop();
    let late = [0.5, 0.99, 1.0].map(|q| published.late_ms.value_at(q).unwrap_or_default());
    println!(
        "sent {} frames, {} bytes ({rate:.1} Mbit/s) in {seconds:.1} s, late by {:.1} ms (p50), \
         {:.1} (p99), {:.1} (max)",
        published.frames, published.bytes, late[0], late[1], late[2]
    );
    if broken > 0 {
        println!("connections broke {broken} times: {}", reasons.join("; "));
    }
    match published.failed {
        0 => Ok(()),
        failed => Err(io::Error::other(format!(
            "{failed} of {publishers} publishers were dropped: {}",
            reasons.join("; ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn options(url: &str, publishers: usize) -> Options {
        Options { url: url.to_owned(), publishers, material: Material::demo(), reconnect: false }
    }

    #[test]
    fn several_publishers_need_several_names() {
        let error = Fleet::start(&options("rtmp://127.0.0.1/live/x", 2)).expect_err("one name");
        assert!(error.to_string().contains("expected {n}"), "{error}");
    }

    #[test]
    fn nobody_there_is_told_at_once() {
        // Bound, so that nobody else gets the port meanwhile, and nobody listens.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let address = socket.local_addr().expect("it is bound").as_socket().expect("of IPv4");
        let error = Fleet::start(&options(&format!("rtmp://{address}/live/x{{n}}"), 3));
        let error = error.expect_err("nobody listens").to_string();
        let words =
            format!("expected 3 publishers to be let in at rtmp://{address}/live/x{{n}}, found 0");
        assert!(error.contains(&words) && error.contains("RTMP port"), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn a_server_that_hangs_up_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || drop(listener.accept().expect("one comes")));
        let error = Fleet::start(&options(&format!("rtmp://{address}/live/x"), 1));
        let error = error.expect_err("it hangs up").to_string();
        assert!(error.contains("x: "), "{error}");
        server.join().expect("it accepted");
    }
}
