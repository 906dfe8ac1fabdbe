//! `corecast-load` as a process beside this one: publishers, and viewers that report.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use corecast_load::play::Manner;
use corecast_load::report::{Report, json};
use corecast_load::server::{Directory, Server};

use crate::child::Child;
use crate::whole::must_be_whole;

/// The load generator and the cores it may use.
#[derive(Debug, Clone)]
pub struct Load {
    /// `corecast-load`.
    pub program: PathBuf,
    /// Its cores.
    pub cores: Vec<usize>,
    /// Set it, and whatever is waited for is not any longer.
    pub stop: Arc<AtomicBool>,
}

/// Streams to be published.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to; `{n}` stands for the number of the stream.
    pub url: String,
    /// How many.
    pub streams: usize,
    /// Of each, in bits per second.
    pub bitrate: u64,
    /// They have sound.
    pub sound: bool,
}

/// Viewers.
#[derive(Debug, Clone)]
pub struct Play {
    /// What they watch; `{n}` stands for the number of the stream.
    pub url: String,
    /// Over how many streams they are spread.
    pub streams: usize,
    /// How many.
    pub viewers: usize,
    /// How many of them come per second.
    pub ramp: f64,
    /// From the last one's joining to the begin of the measurement.
    pub settle: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// Of 100 viewers so many look at all they get.
    pub inspect_percent: f64,
    /// What each should receive in the measured time, in bits per second. None if it is not steady.
    pub bitrate: Option<u64>,
    /// The server.
    pub pid: Option<u32>,
    /// How HLS is watched.
    pub manner: Manner,
}

/// Viewers under way.
#[derive(Debug)]
pub struct Playing {
    child: Child,
    /// Of its report.
    dir: Directory,
    play: Play,
    at_most: Duration,
}

const REPORT: &str = "report.json";
/// Beside what it was told to take: connecting, and writing the report.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any measurement. Publishers end by then, even if who started them was killed.
const PUBLISH_AT_MOST: Duration = Duration::from_secs(600);

impl Load {
    /// Starts publishers, which go on until the process is dropped, ten minutes at most. Returns when
    /// all of them are let in.
    ///
    /// # Errors
    /// The process could not be started, or the server did not let them in.
    pub fn publish(&self, publish: &Publish) -> io::Result<Child> {
        let Publish { url, streams, bitrate, sound } = publish;
        let mut arguments = vec![
            "publish".to_owned(),
            format!("--url={url}"),
            format!("--publishers={streams}"),
            format!("--bitrate={}k", bitrate / 1000),
            format!("--duration={}s", PUBLISH_AT_MOST.as_secs()),
        ];
        arguments.extend((!sound).then(|| "--audio=none".to_owned()));
        let child = Child::start(&self.program, arguments, &self.cores, &self.stop)?;
        let publishing = |line: &str| line.contains("publishing").then_some(());
        child.hear("that it is publishing", publishing, PATIENCE)?;
        Ok(child)
    }

    /// Publishes to `server` what `play` watches, and runs its viewers to their end.
    ///
    /// # Errors
    /// As [`Self::publish`] and [`Playing::wait`].
    ///
    /// # Panics
    /// `play` has no bitrate.
    pub fn watch(&self, server: &Server, play: &Play) -> io::Result<Report> {
        let bitrate = play.bitrate.expect("it is asked of those who publish");
        let url = server.publish.clone();
        let publisher =
            self.publish(&Publish { url, streams: play.streams, bitrate, sound: true })?;
        let report = self.play(play)?;
        publisher.must_run()?;
        Ok(report)
    }

    /// Starts viewers.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn start(&self, play: &Play) -> io::Result<Playing> {
        let dir = Directory::new()?;
        let seconds = |time: Duration| format!("{}s", time.as_secs_f64());
        let mut arguments = vec![
            "play".to_owned(),
            format!("--url={}", play.url),
            format!("--streams={}", play.streams),
            format!("--viewers={}", play.viewers),
            format!("--ramp={}/s", play.ramp),
            format!("--settle={}", seconds(play.settle)),
            format!("--duration={}", seconds(play.duration)),
            format!("--inspect={}%", play.inspect_percent),
            format!("--json={}", dir.path().join(REPORT).display()),
        ];
        arguments.extend(match play.manner {
            Manner::Segments => None,
            Manner::LowLatency => Some("--low-latency".to_owned()),
            Manner::ClosedLoop => Some("--closed-loop".to_owned()),
        });
        // Certificates of the suite's own.
        let is_secure = ["https", "wss", "rtmps"].contains(&scheme(&play.url));
        arguments.extend(is_secure.then(|| "--insecure".to_owned()));
        arguments.extend(play.pid.map(|pid| format!("--pid={pid}")));
        let child = Child::start(&self.program, arguments, &self.cores, &self.stop)?;
        let ramp = Duration::from_secs_f64(play.viewers as f64 / play.ramp);
        let at_most = ramp + play.settle + play.duration + PATIENCE;
        Ok(Playing { child, dir, play: play.clone(), at_most })
    }

    /// Runs viewers to their end.
    ///
    /// # Errors
    /// As [`Playing::wait`].
    pub fn play(&self, play: &Play) -> io::Result<Report> {
        self.start(play)?.wait()
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

impl Playing {
    /// What they found.
    ///
    /// # Errors
    /// The process failed or hangs, or not everybody was served everything
    /// ([`must_be_whole`]).
    pub fn wait(self) -> io::Result<Report> {
        self.child.wait(self.at_most)?;
        let text = std::fs::read_to_string(self.dir.path().join(REPORT))?;
        let report = json::read(&text).map_err(io::Error::other)?;
        must_be_whole(&report, &self.play).map_err(io::Error::other)?;
        Ok(report)
    }
}
