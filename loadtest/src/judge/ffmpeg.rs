//! ffmpeg as a reader of streams: its `framehash` muxer lists what its own demuxer has read.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::media::TrackKind;
use rustix::process::{Pid, Signal, kill_process};

use super::{FRAMES_MAX, Seen};
use crate::viewer::words;

const PROGRAM: &str = "ffmpeg";
/// What it reads that we can watch too.
const SCHEMES: [&str; 2] = ["http://", "rtmp://"];
/// ffmpeg gives up when nothing comes for so long, in microseconds.
const RW_TIMEOUT_US: &str = "10000000";
/// Once told to end it does so at once, or is killed.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Of what it says, that much is kept.
const SAID_MAX: usize = 4;

/// Whether ffmpeg is there and can read `url`.
pub(super) fn can_read(url: &str) -> io::Result<()> {
    let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        let why = format!(
            "ffmpeg reads http:// and rtmp://, found {url:?} (cure: judge the same stream by one \
             of these, or leave --judge out)"
        );
        return invalid(why);
    }
    if url.split('?').next().is_some_and(|path| path.ends_with(".m3u8")) {
        let why = format!(
            "frames of HLS are compared by nobody here, found {url:?} (cure: judge the same stream \
             by another format, or leave --judge out)"
        );
        return invalid(why);
    }
    let version = Command::new(PROGRAM).arg("-version").stdin(Stdio::null()).output();
    match version {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(io::Error::other(format!("ffmpeg -version fails: {}", output.status))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot run {PROGRAM}: {error} (cure: apt install ffmpeg)"),
        )),
    }
}

/// One at work. Killed when dropped.
pub(super) struct Ffmpeg {
    child: Child,
    frames: Option<JoinHandle<Vec<Seen>>>,
    said: Option<JoinHandle<Vec<String>>>,
}

impl Ffmpeg {
    /// Begins to read `url`.
    pub(super) fn start(url: &str) -> io::Result<Self> {
        // Times as they are (-copyts), from the first frame on even if it is no key frame
        // (-copyinkf), and the hash that our own list has.
        let mut child = Command::new(PROGRAM)
            .args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-copyts"])
            .args(["-rw_timeout", RW_TIMEOUT_US, "-i", url])
            .args(["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-copyinkf"])
            .args(["-flush_packets", "1", "-f", "framehash", "-hash", "CRC32", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("it was asked to be piped");
        let stderr = child.stderr.take().expect("it was asked to be piped");
        let reader = |name: &str| thread::Builder::new().name(name.to_owned());
        let frames = reader("judge-out").spawn(move || List::read(stdout))?;
        let said = reader("judge-err").spawn(move || lines(stderr))?;
        Ok(Self { child, frames: Some(frames), said: Some(said) })
    }

    /// Ends it; what it has read, and what it had to say.
    pub(super) fn finish(mut self) -> (Vec<Seen>, Vec<String>) {
        self.end();
        let frames = self.frames.take().and_then(|thread| thread.join().ok());
        let said = self.said.take().and_then(|thread| thread.join().ok());
        (frames.unwrap_or_default(), said.unwrap_or_default())
    }

    fn end(&mut self) {
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if !running(&mut self.child) {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It writes what it holds, then ends.
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + END_PATIENCE;
        while running(&mut self.child) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        self.end();
    }
}

fn lines(stderr: impl Read) -> Vec<String> {
    let mut said = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if said.len() < SAID_MAX && !line.trim().is_empty() {
            said.push(words(line.trim()));
        }
    }
    said
}

/// What stands in a `framehash` list: first of all streams their time base and kind, then a line
/// for each frame: stream, dts, pts, duration, size, hash.
#[derive(Debug, Default)]
struct List {
    streams: Vec<Stream>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    kind: Option<TrackKind>,
    /// Milliseconds in a tick are this by that.
    tick_ms: (i64, i64),
}

impl List {
    fn read(stdout: impl Read) -> Vec<Seen> {
        let mut list = Self::default();
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // It ends when nobody reads it any more.
        lines.filter_map(|line| list.line(&line)).take(FRAMES_MAX).collect()
    }

    fn line(&mut self, line: &str) -> Option<Seen> {
        if let Some(head) = line.strip_prefix('#') {
            self.head(head);
            return None;
        }
        let mut columns = line.split(',').map(str::trim);
        let stream = self.streams.get(columns.next()?.parse::<usize>().ok()?)?;
        let dts: i64 = columns.next()?.parse().ok()?;
        let size = columns.nth(2)?.parse().ok()?;
        let hash = u32::from_str_radix(columns.next()?, 16).ok()?;
        let (by, of) = stream.tick_ms;
        let dts_ms = (dts * by + of / 2).div_euclid(of.max(1));
        Some(Seen { kind: stream.kind?, dts_ms, size, hash })
    }

    /// `tb 0: 1/1000` or `media_type 0: video`.
    fn head(&mut self, head: &str) -> Option<()> {
        let (name, value) = head.split_once(": ")?;
        let (name, number) = name.split_once(' ')?;
        let number: usize = number.parse().ok().filter(|number| *number < 16)?;
        if self.streams.len() <= number {
            self.streams.resize(number + 1, Stream::default());
        }
        let stream = &mut self.streams[number];
        match (name, value) {
            ("tb", base) => {
                let (by, of) = base.split_once('/')?;
                stream.tick_ms = (by.parse::<i64>().ok()? * 1000, of.parse().ok()?);
            }
            ("media_type", "video") => stream.kind = Some(TrackKind::Video),
            ("media_type", "audio") => stream.kind = Some(TrackKind::Audio),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_its_time_bases_and_kinds() {
        let text = "#format: frame checksums\n#version: 2\n#hash: CRC32\n#software: Lavf59\n\
                    #tb 0: 1/1000\n#media_type 0: video\n#codec_id 0: h264\n#dimensions 0: 320x180\n\
                    #tb 1: 1/44100\n#media_type 1: audio\n#stream#, dts, pts, duration, size, hash\n\
                    0,      90040,      90080,       40,     1234, 0badcafe\n\
                    1,      44100,      44100,     1024,      341, 00000001, 1, 8, 00000002\n\
                    0, cut";
        let read = List::read(text.as_bytes());
        assert_eq!(
            read,
            [
                Seen { kind: TrackKind::Video, dts_ms: 90_040, size: 1234, hash: 0x0bad_cafe },
                Seen { kind: TrackKind::Audio, dts_ms: 1000, size: 341, hash: 1 },
            ]
        );
    }

    #[test]
    fn a_protocol_that_ffmpeg_does_not_know_is_told_with_a_cure() {
        let error = can_read("ws://127.0.0.1/live/x.flv").expect_err("it knows none");
        assert!(error.to_string().contains("judge the same stream by"), "{error}");
    }
}
