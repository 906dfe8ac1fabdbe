//! `--judge ffmpeg`: a foreign program watches the same stream, so that our own parser is not its
//! own judge.
//!
//! Beside the run two more viewers join: a child process that lists each frame it reads with its
//! dts, size and CRC-32, and one that lists the same as our parser sees it. Over the time that
//! both watched, both lists must be the same.

mod compare;
mod ffmpeg;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::bytes::Chain;
use corecast::media::{Frame, TrackKind};

use crate::report::Judged;
use crate::viewer::{Event, Manner, Session, Target, Trust, Watched};
pub use compare::compare;
use ffmpeg::Ffmpeg;

/// A program that may judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// `ffmpeg`, from the PATH.
    Ffmpeg,
}

/// A frame as one of the two read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Picture or sound.
    pub kind: TrackKind,
    /// As the container says it.
    pub dts_ms: i64,
    /// Of its payload, without what the container puts before it.
    pub size: u32,
    /// CRC-32 of that.
    pub hash: u32,
}

/// A judge at work. Its process is ended when it is dropped.
pub struct Judge {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Judged>>,
}

/// Watching ends after this, however long the run is: the lists are kept in memory.
const WATCH_MAX: Duration = Duration::from_secs(300);
/// So many frames of each reader are kept, whoever sends them how fast: 32 MB in all.
const FRAMES_MAX: usize = 500_000;
/// A stop is looked for as often.
const PATIENCE: Duration = Duration::from_millis(200);
/// Nothing comes for so long: there is no stream.
const SILENCE: Duration = Duration::from_secs(10);

impl Program {
    /// Whether it can judge what `url` names: it is there, and knows the protocol.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub fn can_judge(self, url: &str) -> io::Result<()> {
        let Self::Ffmpeg = self;
        ffmpeg::can_read(url)
    }
}

impl Judge {
    /// `program` and our parser begin to watch `url`; `{n}` in it is 0.
    ///
    /// # Errors
    /// As [`Program::can_judge`]; the URL is none, its host has no address.
    pub fn start(program: Program, url: &str) -> io::Result<Self> {
        let url = url.replace("{n}", "0");
        program.can_judge(&url)?;
        let target = Target::all(&url, 1, &Trust::default(), Manner::Segments)?
            .pop()
            .expect("one was asked for");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let theirs = Ffmpeg::start(&url)?;
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let kind = format!("ffmpeg {}", if scheme == "http" { "http-flv" } else { scheme });
        let thread = thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || judge(kind, &target, theirs, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends the watching, and says whether both have seen the same.
    pub fn finish(mut self) -> Judged {
        self.end().unwrap_or_else(|| Judged {
            finding: "the judge's thread has failed".to_owned(),
            ..Judged::default()
        })
    }

    fn end(&mut self) -> Option<Judged> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.end();
    }
}

fn judge(kind: String, target: &Target, theirs: Ffmpeg, stop: &AtomicBool) -> Judged {
    let mut ours = Vec::new();
    let watched = watch(target, stop, &mut ours);
    // Whatever has ended our viewer, the other goes on for as long.
    let until = Instant::now() + WATCH_MAX;
    while watched.is_err() && !stop.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(PATIENCE);
    }
    let (theirs, said) = theirs.finish();
    let mut judged = match compare(&ours, &theirs) {
        Ok((frames, finding)) => Judged { kind, frames, agrees: true, finding },
        Err(finding) => Judged { kind, frames: theirs.len() as u64, agrees: false, finding },
    };
    if let Err(error) = watched {
        judged.finding.push_str(&format!("; our viewer ended: {error}"));
    }
    // Its decoders complain of made-up pictures, which says nothing of their way here.
    if !judged.agrees && !said.is_empty() {
        judged.finding.push_str(&format!("; ffmpeg said: {}", said.join(" / ")));
    }
    judged
}

/// Reads with our own parser until it is told to stop.
fn watch(target: &Target, stop: &AtomicBool, seen: &mut Vec<Seen>) -> io::Result<()> {
    let begin = Instant::now();
    let mut socket = TcpStream::connect_timeout(&target.address, SILENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let Watched::Endless(stream) = &target.watched else {
        return Err(io::Error::other("expected a stream without end, found a playlist"));
    };
    let mut session = stream.open(0, begin);
    transmit(&mut socket, &mut *session)?;
    let mut buffer = vec![0; 64 << 10];
    let mut last = begin;
    while !stop.load(Ordering::Relaxed) && begin.elapsed() < WATCH_MAX && seen.len() < FRAMES_MAX {
        let count = match socket.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the server hung up")),
            Ok(count) => count,
            Err(error) if is_early(&error) && last.elapsed() < SILENCE => continue,
            Err(error) => return Err(error),
        };
        last = Instant::now();
        let mut input = &buffer[..count];
        while let Some(event) = session.handle_input(last, &mut input)? {
            if let Event::Frame(frame) = event {
                seen.push(Seen::of(&frame));
            }
        }
        transmit(&mut socket, &mut *session)?;
    }
    Ok(())
}

/// Nothing has come yet.
fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn transmit(socket: &mut TcpStream, session: &mut dyn Session) -> io::Result<()> {
    let mut out = Chain::default();
    while session.poll_transmit(&mut out) {}
    socket.write_all(&out.into_bytes())
}

impl Seen {
    fn of(frame: &Frame) -> Self {
        Self {
            kind: frame.kind,
            dts_ms: frame.dts.as_millis(),
            size: frame.data.len() as u32,
            hash: crc32fast::hash(&frame.data),
        }
    }
}
