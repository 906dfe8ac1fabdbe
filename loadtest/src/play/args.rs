//! `corecast-load play`: its options, and what it prints.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Manner, Options, Slow, SmallBuffer, Spread, Trust};
use crate::progress::Progress;
use crate::report::outputs::Outputs;
use crate::report::{Cost, Distribution, Hls, Inspected, Judged, Published, Report, SHARING_MIN};
use crate::{crowd, judge, meter, publish, units};

/// The options of `play`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    mut_arg("bitrate", |arg| arg.requires("publish")),
    mut_arg("clip", |arg| arg.requires("publish")),
    after_help = EXAMPLES
)]
pub struct Args {
    /// What to watch: http://HOST/APP/NAME.flv, .ts or .mp4, the same by ws://, rtmp://HOST/APP/NAME, or
    /// over TLS https://, wss:// or rtmps://; or HLS, http://HOST/APP/NAME.m3u8. {n} becomes the number
    /// of the stream, from 0.
    #[arg(long)]
    pub url: String,
    /// Over TLS, believe servers whose certificates one in this PEM file has signed, or that are in
    /// it; otherwise those that this host trusts.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Over TLS, believe every server, whatever its certificate says.
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// HLS by parts: blocking reloads, delta updates and the part of the PRELOAD-HINT, where the server
    /// offers them.
    #[arg(long, conflicts_with = "closed_loop")]
    pub low_latency: bool,
    /// HLS as no player would: each viewer asks for the newest part and the playlist in turn, without a
    /// pause. Tells how many requests a second a server answers.
    #[arg(long)]
    pub closed_loop: bool,
    /// How many streams there are; several need {n} in the URL.
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub streams: usize,
    /// How viewers are spread over the streams.
    #[arg(long, value_enum, default_value_t = Spread::Even)]
    pub spread: Spread,
    /// How many viewers.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    pub viewers: usize,
    /// How many of them join per second.
    #[arg(long, default_value = "500/s", value_parser = units::rate)]
    pub ramp: f64,
    /// Wait after the last has joined, before the measurement: newcomers get more at once.
    #[arg(long, default_value = "3s", value_parser = units::duration)]
    pub settle: Duration,
    /// How long to measure.
    #[arg(long, default_value = "30s", value_parser = units::some_time)]
    pub duration: Duration,
    /// The share of the viewers that leave and rejoin each second (5%/s).
    #[arg(long, default_value = "0", value_parser = crowd::churn)]
    pub churn: f64,
    /// A share of slow readers, and what each of them reads (10%@200kbit).
    ///
    /// The kernel holds up to 4 MiB for each, and the server its allowed lag, before it skips frames:
    /// a reader of 200k falls behind a stream of 2M by 1.8 Mbit/s, so nothing shows within 20 s and
    /// the allowed lag. Measure for at least twice that (--duration 1m), longer for slower streams.
    #[arg(long, value_name = "SHARE@RATE")]
    pub slow: Option<Slow>,
    /// A share of readers as fast as the others whose sockets hold little, and how much: SO_RCVBUF
    /// (20%@16KiB).
    #[arg(long, value_name = "SHARE@SIZE")]
    pub small_buffer: Option<SmallBuffer>,
    /// The share of the viewers that look at every byte (2%), and so can tell missing frames and
    /// latency.
    #[arg(long, default_value = "0", value_parser = crowd::share_of)]
    pub inspect: f64,
    /// Share the viewers among so many processes, each with descriptors of its own.
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub procs: usize,
    /// The server's process on this host: tells CPU and memory of it and all it has started
    /// ($(pidof corecast), $(pgrep -o nginx)).
    #[arg(long, num_args = 1.., value_name = "PID")]
    pub pid: Vec<u32>,
    /// The Prometheus metrics of a server on another host: tell the same, by process_* figures.
    #[arg(long, value_name = "http://HOST/PATH", conflicts_with = "pid")]
    pub metrics: Option<String>,
    /// Have a foreign program watch too, and compare what it reads with what our parser reads.
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub judge: Option<judge::Program>,
    /// Publish the streams too, by RTMP; {n} as in --url. Otherwise somebody else must.
    #[arg(long, value_name = "rtmp://HOST/APP/NAME")]
    pub publish: Option<String>,
    /// What to publish.
    #[command(flatten, next_help_heading = "What to publish")]
    pub source: publish::Source,
    /// Where the results go.
    #[command(flatten, next_help_heading = "Results")]
    pub outputs: Outputs,
}

const EXAMPLES: &str = "\
Examples:
  What 1000 viewers cost the server on this host (a stream is published elsewhere):
    corecast-load play --url http://127.0.0.1:8080/live/x.flv --pid $(pidof corecast)
  The same with a stream of its own, one viewer in 50 looking at every byte:
    corecast-load play --publish rtmp://127.0.0.1/live/x --bitrate 2M --inspect 2% \\
      --url rtmp://127.0.0.1/live/x --pid $(pidof corecast)
  An audience: 20 streams, most watch the first, 5 % change over each second, some are slow:
    corecast-load play --publish rtmp://127.0.0.1/live/x{n} --bitrate 500k --streams 20 \\
      --url http://127.0.0.1:8080/live/x{n}.flv --spread zipf --churn 5%/s --slow 10%@200kbit \\
      --inspect 2%
  A check that fails (exit status 2) if a frame is missing or a viewer is lost, with a page to keep:
    corecast-load play --publish rtmp://127.0.0.1/live/x --url rtmp://127.0.0.1/live/x \\
      --viewers 100 --inspect 10% --fail-if missing=0,lost=0,refused=0 --html run.html
  By HTTPS from a server that has made its own certificate:
    corecast-load play --url https://127.0.0.1:8443/live/x.flv --ca /etc/corecast/cert.pem
  HLS, 2000 players that take segments; and LL-HLS, 1000 that take parts, 1 in 100 looking inside:
    corecast-load play --url http://127.0.0.1:8080/live/x.m3u8 --viewers 2000 --pid $(pidof corecast)
    corecast-load play --url http://127.0.0.1:8080/live/x.m3u8 --low-latency --inspect 1% \\
      --publish rtmp://127.0.0.1/live/x --bitrate 2M --audio none --pid $(pidof corecast)
  How many requests a second for the newest part and the playlist a server answers:
    corecast-load play --url http://127.0.0.1:8080/live/x.m3u8 --closed-loop --viewers 64 \\
      --duration 10s --pid $(pidof corecast)
  More than one process can hold (see `ulimit -Hn`), on a remote server:
    corecast-load play --url http://edge.example/live/x.flv --viewers 50000 --procs 3

Most viewers parse nothing: the kernel throws their bytes away, so that thousands fit on one core
beside the server. Those that --inspect names parse everything and tell join time, missing,
repeated and damaged frames, stalls and latency; for all but stalls and gaps the stream must come
from `corecast-load publish` or --publish, which mark each H.264 picture. Slow readers that inspect
are reported apart. Memory per viewer is what the server grew by, shared among the viewers: the
stream's own buffers are in it, so it is told only for 100 viewers or more of a server that is freshly
started, and is above what bench/RESULTS.md has for each further viewer. RTMP and WebSocket viewers that do not inspect do not hear a ping: instead each
says every 50 s that it lives, by an Acknowledgement or a Pong. A server that waits less long than
that for a word drops them, and they are counted as lost (cure: a longer timeout there, or
--inspect 100%).

A viewer that the server drops or does not let in tries again, as players do: after 1 s, then after
twice as long each time, up to 30 s. It stays counted as lost or refused. A run ends with an error if
nobody is let in at first, if nobody watches for a minute, or if nobody watches at its end.

A viewer of HLS goes the way of a player, on one connection that it keeps: the multivariant playlist,
its first variant, the init, then segments from where the playlist wants it to begin (HOLD-BACK), the
playlist again after a target duration, or half of one if nothing was new. It throws bodies away and
counts requests, segments that were gone or not given, gaps, other statuses than 200, and the times that
playback would have had to wait. Any server of files will do. With --low-latency it asks for all that
comes next at once, pipelined: listed parts, the blocking reload of the next, the part of the
PRELOAD-HINT. Those who inspect ask for a part when it is listed: a blocking reload of theirs is timed by
the kernel's clock of its last byte, in two ways: from the first one's answer for the same part (what it
takes to tell all), and from when the picture was sent that ends the part (of a stream of ours; --audio
none, for a sound may end a part before). Renditions beside the variant are not fetched.

Over TLS those who inspect decrypt everything; the others throw records away as they are, so that
thousands still fit on one core. No two viewers share a session: each costs the server a whole handshake.
Bytes are counted as they come, with what TLS adds, about 1 %.

Ctrl-C ends the run early, with a report of what there was; again, at once. A run that fails on its
way, as when the server dies, reports what was measured before, and its exit status is 1.";

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("expected a number above 0, found {text:?}"))
}

impl Args {
    /// What they say.
    ///
    /// # Errors
    /// What is to be published cannot be; the judge cannot judge.
    pub fn options(&self) -> io::Result<Options> {
        if let Some(program) = self.judge {
            program.can_judge(&self.url)?;
        }
        if let Some(thresholds) = &self.outputs.fail_if {
            let lines = thresholds.exceeded(&self.best());
            if !lines.is_empty() {
                return Err(io::Error::other(format!("--fail-if {}", lines.join("; "))));
            }
        }
        let publish = match &self.publish {
            None => None,
            Some(url) => Some(publish::Options {
                url: url.clone(),
                publishers: if url.contains("{n}") { self.streams } else { 1 },
                material: self.source.material()?,
                reconnect: true,
            }),
        };
        Ok(Options {
            url: self.url.clone(),
            trust: Trust { ca: self.ca.clone(), insecure: self.insecure },
            manner: match (self.low_latency, self.closed_loop) {
                (_, true) => Manner::ClosedLoop,
                (true, false) => Manner::LowLatency,
                (false, false) => Manner::Segments,
            },
            streams: self.streams,
            spread: self.spread,
            viewers: self.viewers,
            ramp: self.ramp,
            settle: self.settle,
            duration: self.duration,
            churn: self.churn,
            slow: self.slow,
            small_buffer: self.small_buffer,
            inspect: self.inspect,
            procs: self.procs,
            pid: meter::root_of(&self.pid)?,
            metrics: self.metrics.clone(),
            judge: self.judge,
            publish,
            ..Options::default()
        })
    }
}

impl Args {
    fn is_hls(&self) -> bool {
        self.url.split('?').next().is_some_and(|path| path.ends_with(".m3u8"))
    }

    /// The best that such a run can find: everything it measures is zero. A threshold that this
    /// exceeds cannot be kept.
    fn best(&self) -> Report {
        let mut zero = Distribution::default();
        zero.record(Duration::ZERO);
        let is_known = !self.pid.is_empty() || self.metrics.is_some();
        let cost = Cost {
            cpu_percent: is_known.then_some(0.0),
            cpu_percent_per_1000: is_known.then_some(0.0),
            rss_bytes: is_known.then_some(0),
            rss_per_viewer_bytes: (is_known && self.viewers as f64 >= SHARING_MIN).then_some(0.0),
            ..Cost::default()
        };
        let inspected = Inspected {
            frames: 1,
            marked: 1,
            join_ms: zero.clone(),
            first_key_ms: zero.clone(),
            frame_gap_ms: zero.clone(),
            latency_ms: Some(zero.clone()),
            ..Inspected::default()
        };
        let hls = Hls {
            playlist_ms: zero.clone(),
            media_ms: zero.clone(),
            reload_spread_ms: zero.clone(),
            reload_ms: zero.clone(),
            ..Hls::default()
        };
        let published = Published { late_ms: zero, ..Published::default() };
        let judged = self.judge.map(|_| Judged { agrees: true, ..Judged::default() });
        Report {
            cost,
            inspected: (self.inspect > 0.0).then_some(inspected),
            published: self.publish.as_ref().map(|_| published),
            judged: judged.into_iter().collect(),
            hls: self.is_hls().then_some(hls),
            ..Report::default()
        }
    }
}

/// Runs, and hands out what was found.
///
/// # Errors
/// As [`super::run`] and [`Outputs::deliver`].
pub fn run_command(args: &Args) -> io::Result<ExitCode> {
    let options = args.options()?;
    args.outputs.check()?;
    for signal in [SIGINT, SIGTERM] {
        // The second time there is no waiting: first this, then the flag.
        let stop: &Arc<AtomicBool> = &options.stop;
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    let mut progress = Progress::of(&options);
    let report = super::run_to_report(&options, &mut |sample| progress.show(sample));
    progress.end();
    Ok(args.outputs.deliver(&report?))
}
