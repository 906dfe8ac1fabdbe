//! Many viewers in one thread, and what the server spends on them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::cpu::Meter;
use crate::fds;
use crate::viewer::{Progress, Target, Viewer};

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// `http://HOST/x.flv` (any endless HTTP answer) or `rtmp://HOST/APP/NAME`.
    pub url: String,
    /// How many.
    pub viewers: usize,
    /// How many of them join per second.
    pub ramp: f64,
    /// Wait after the last has joined: what a newcomer is sent at once is not steady.
    pub settle: Duration,
    /// The steady time that is measured.
    pub duration: Duration,
    /// The server's process, on this host.
    pub pid: Option<u32>,
}

/// What was measured in the steady time.
#[derive(Debug, Clone)]
pub struct Report {
    /// Viewers at its end.
    pub viewers: usize,
    /// Viewers the server dropped during it.
    pub lost: usize,
    /// Why the first of them was.
    pub lost_because: Option<String>,
    /// How long it was.
    pub duration: Duration,
    /// What all viewers received, with all that protocols add above TCP.
    pub bytes: u64,
    /// Reads that took them.
    pub reads: u64,
    /// The server's CPU, per cent of one core.
    pub server: Option<f64>,
    /// This process's own, likewise.
    pub own: f64,
}

/// Everyone must be in this long after the last has knocked.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);
/// Nothing for anybody in this time: the stream is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// The most that one read throws away.
const READ_BYTES: usize = 1 << 20;

/// Joins, waits, measures.
///
/// # Errors
/// Not all could join, with the first reason; the stream stopped; the server's process ended.
pub fn run(options: &Options) -> io::Result<Report> {
    fds::allow(options.viewers)?;
    let mut crowd = Crowd::new(Target::parse(&options.url)?)?;
    crowd.join(options)?;
    crowd.stay(options.settle)?;

    let server = options.pid.map(Meter::start).transpose()?;
    let own = Meter::start(std::process::id())?;
    let (start, before) = (Instant::now(), crowd.count);
    crowd.stay(options.duration)?;
    Ok(Report {
        server: server.map(|meter| meter.percent()).transpose()?,
        own: own.percent()?,
        duration: start.elapsed(),
        viewers: crowd.viewers.len(),
        lost: crowd.count.lost - before.lost,
        lost_because: crowd.lost_because,
        bytes: crowd.count.bytes - before.bytes,
        reads: crowd.count.reads - before.reads,
    })
}

struct Crowd {
    target: Target,
    epoll: rustix::fd::OwnedFd,
    viewers: HashMap<u64, Viewer>,
    count: Count,
    lost_because: Option<String>,
    scratch: Vec<u8>,
    ready: Vec<epoll::Event>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    knocked: u64,
    joined: usize,
    lost: usize,
    bytes: u64,
    reads: u64,
}

impl Crowd {
    fn new(target: Target) -> io::Result<Self> {
        Ok(Self {
            target,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            viewers: HashMap::new(),
            count: Count::default(),
            lost_because: None,
            scratch: vec![0; READ_BYTES],
            ready: Vec::with_capacity(1024),
        })
    }

    fn join(&mut self, options: &Options) -> io::Result<()> {
        let (start, all) = (Instant::now(), options.viewers);
        let ramp = Duration::from_secs_f64(all as f64 / options.ramp);
        while self.count.joined + self.count.lost < all {
            let elapsed = start.elapsed();
            let due = (elapsed.as_secs_f64() * options.ramp).ceil().min(all as f64) as u64;
            while self.count.knocked < due {
                self.knock()?;
            }
            if elapsed > ramp + JOIN_PATIENCE {
                break;
            }
            let next = Duration::from_secs_f64(1.0 / options.ramp);
            self.turn(next.min(Duration::from_millis(20)))?;
        }
        match self.count.joined == all && self.count.lost == 0 {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "expected {all} viewers to join within {} s, found {} that did; the first reason: {}",
                (ramp + JOIN_PATIENCE).as_secs(),
                self.count.joined,
                self.lost_because.as_deref().unwrap_or("the server did not answer"),
            ))),
        }
    }

    fn knock(&mut self) -> io::Result<()> {
        let id = self.count.knocked;
        self.count.knocked += 1;
        let viewer = match Viewer::connect(&self.target) {
            Ok(viewer) => viewer,
            Err(error) => {
                self.lose(id, &error);
                return Ok(());
            }
        };
        epoll::add(&self.epoll, &viewer, epoll::EventData::new_u64(id), epoll::EventFlags::OUT)?;
        self.viewers.insert(id, viewer);
        Ok(())
    }

    fn lose(&mut self, id: u64, error: &io::Error) {
        self.viewers.remove(&id);
        self.count.lost += 1;
        self.lost_because.get_or_insert_with(|| error.to_string());
    }

    /// Throws away what comes for `time`.
    fn stay(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        let (mut bytes, mut since) = (self.count.bytes, Instant::now());
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.turn(left.min(Duration::from_millis(100)))?;
            if self.count.bytes > bytes {
                (bytes, since) = (self.count.bytes, Instant::now());
            } else if since.elapsed() > SILENCE {
                let found = self.lost_because.as_deref().unwrap_or("open connections without data");
                return Err(io::Error::other(format!(
                    "expected bytes for the viewers, found none for {} s: {found}",
                    SILENCE.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Waits for at most `time`, and looks at the sockets that are ready.
    fn turn(&mut self, time: Duration) -> io::Result<()> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        self.ready.clear();
        let ready = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, ready, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for at in 0..self.ready.len() {
            let id = self.ready[at].data.u64();
            let Some(viewer) = self.viewers.get_mut(&id) else { continue };
            match viewer.ready(&mut self.scratch) {
                Ok(Progress::Asked) => {
                    let flags = epoll::EventFlags::IN;
                    epoll::modify(&self.epoll, viewer, epoll::EventData::new_u64(id), flags)?;
                }
                Ok(Progress::Bytes(count)) => self.took(count),
                Ok(Progress::Joined(count)) => {
                    self.count.joined += 1;
                    self.took(count);
                }
                Err(error) => self.lose(id, &error),
            }
        }
        Ok(())
    }

    fn took(&mut self, count: usize) {
        self.count.bytes += count as u64;
        self.count.reads += 1;
    }
}

impl Report {
    /// The server's CPU per 1000 viewers, per cent of one core.
    pub fn server_per_1000(&self) -> Option<f64> {
        Some(self.server? * 1000.0 / self.viewers as f64)
    }

    /// Received by all, in Mbit/s.
    pub fn egress_mbit(&self) -> f64 {
        self.bytes as f64 * 8e-6 / self.duration.as_secs_f64()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let egress = self.egress_mbit();
        if let (Some(cpu), Some(per_1000)) = (self.server, self.server_per_1000()) {
            writeln!(
                f,
                "server CPU  {per_1000:.2} % of a core per 1000 viewers ({cpu:.2} % in all)"
            )?;
        }
        let each = egress / self.viewers as f64;
        writeln!(f, "viewers     {} ({} lost)", self.viewers, self.lost)?;
        writeln!(f, "egress      {egress:.1} Mbit/s ({each:.3} each)")?;
        let bytes_per_read = self.bytes / self.reads.max(1);
        writeln!(f, "reads       {} ({bytes_per_read} bytes each)", self.reads)?;
        write!(
            f,
            "own CPU     {:.1} % of a core over {:.1} s",
            self.own,
            self.duration.as_secs_f64()
        )?;
        if let Some(why) = &self.lost_because {
            write!(f, "\nthe first viewer was lost because: {why}")?;
        }
        if self.own > 90.0 {
            write!(f, "\nthe generator was the limit: take these figures for no more than that")?;
        }
        Ok(())
    }
}
