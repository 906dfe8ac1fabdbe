//! What a core says of itself: counters that only ever count up, what it holds now, and, against
//! an earlier snapshot, the rates between the two.
//!
//! Nothing is reset by being read, so any number of askers (log, API, metrics) each get the rates
//! of their own interval.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::source::Phase;
use super::timings::{Quantiles, Timings};
use super::{AppSnapshot, Hub, OutputTotals, SourceId};
use crate::media::StreamKey;

/// Counters of one core since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    /// Sources in any phase.
    pub sources: u64,
    /// Viewers that have not ended, waiting ones included.
    pub sinks: u64,
    /// Those of them that are at a stream, rather than waiting for one.
    pub viewers: u64,
    /// Trans streams.
    pub transes: u64,
    /// Bytes in all block logs.
    pub log_bytes: u64,
    /// Bytes in all GOP caches.
    pub gop_bytes: u64,
    /// How long viewers watched, all of them together, in microseconds: ten for a second are ten
    /// million.
    pub viewer_us: u64,
    /// Bytes publishers sent.
    pub ingest_bytes: u64,
    /// Bytes sockets took.
    pub egress_bytes: u64,
    /// Time of all publishers' turns, see [`StreamSnapshot::ingest_ns`].
    pub ingest_ns: u64,
    /// Time of all viewers' turns in the flush loop, see [`StreamSnapshot::flush_ns`].
    pub flush_ns: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Writes of which the socket took only a part.
    pub short_writes: u64,
    /// Writes of which the socket took nothing (EAGAIN).
    pub blocked_writes: u64,
    /// Sweeps that ended: each visited every viewer of one output format of a stream.
    pub sweeps: u64,
    /// Viewers those sweeps visited; one that is behind is visited beside them.
    pub swept_viewers: u64,
    /// Sweeps that were still running when their next was due.
    pub overruns: u64,
    /// Viewers moved forward because they lagged.
    pub skips: u64,
    /// Viewers closed because they took nothing.
    pub stalls: u64,
    /// Viewers closed because they pinned too many bytes.
    pub pinned_out: u64,
    /// Viewers that waited in vain for a publisher.
    pub not_found: u64,
    /// Viewers refused because too many wait.
    pub refused_waiting: u64,
    /// Viewers refused because the core was overloaded, and whoever came over TLS then.
    pub refused_overloaded: u64,
    /// Viewers not let in because their stream had as many as it may.
    pub refused_full: u64,
    /// Viewers by HTTP Live Streaming not let in because the node had as many of them, or of segments,
    /// as it may.
    pub refused_hls: u64,
    /// GOPs that outgrew their cache.
    pub gop_overgrown: u64,
    /// Jumps of publishers' clocks that were taken out.
    pub jumps: u64,
    /// Bytes of segments for HTTP Live Streaming.
    pub hls_bytes: u64,
    /// Such segments that ended without a key frame, as none came in time.
    pub hls_forced: u64,
    /// Such segments that went before their time, for `hls_max_bytes`.
    pub hls_cut_short: u64,
    /// Times that a part was so large that the stream was broken off until its next key frame.
    pub hls_overgrown: u64,
    /// Such segments in whose time nothing came.
    pub hls_gaps: u64,
}

/// One core at one moment. The same names in every release; what is new is added.
///
/// Counters count from the start of the core. The rates, means and quantiles are of the time
/// since the earlier snapshot that [`Self::since`] was given, and zero before.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CoreSnapshot {
    /// Which core, from 0.
    pub core: u16,
    /// Since its start.
    pub uptime_s: f64,
    /// CPU time of its thread, as the kernel counts it.
    pub cpu_s: f64,
    /// Time in which its thread could have run and others had its CPU.
    pub cpu_waited_s: f64,
    /// What pressure does to it.
    pub pressure: PressureSnapshot,
    /// Counters.
    #[serde(flatten)]
    pub totals: Totals,
    /// Rates since the earlier snapshot.
    pub rates: Rates,
    /// Of that time, how much its thread waited for its CPU. What pressure looks at is this and
    /// [`Rates::cpu_percent`] together.
    pub cpu_waited_percent: f64,
    /// Bytes that a socket took by one write, on average.
    pub bytes_per_write: f64,
    /// Viewers that one sweep visited, on average.
    pub viewers_per_sweep: f64,
    /// How late something that was due was begun: a flush, or the second's count of an active
    /// core. A sweep that follows right on one that took too long is an overrun instead.
    pub loop_lag: Quantiles,
    /// How long a sweep took, from its first viewer to its last, with what came between.
    pub sweep: Quantiles,
    /// All of [`Self::loop_lag`] since the start.
    #[serde(skip)]
    pub loop_lags: Timings,
    /// All of [`Self::sweep`] since the start.
    #[serde(skip)]
    pub sweep_times: Timings,
    /// What its viewers are sent, by protocol and format.
    pub outputs: Vec<OutputTotals>,
    /// Its apps, those that have no stream any more included.
    pub apps: Vec<AppSnapshot>,
    /// Its streams, those that are only waited for included.
    pub streams: Vec<StreamSnapshot>,
}

/// One stream at one moment.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StreamSnapshot {
    /// `APP/NAME`.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub stream: StreamKey,
    /// Distinguishes it from earlier streams of that name on its core.
    pub serial: u64,
    /// Where in its life it is.
    pub state: StreamState,
    /// Since somebody first published it or waited for it.
    pub age_s: f64,
    /// Viewers, those not counted who wait for a publisher.
    pub viewers: u64,
    /// Viewers who wait for a publisher.
    pub waiting: u64,
    /// As [`Totals::viewer_us`].
    pub viewer_us: u64,
    /// The merge window in force: what is configured, widened by pressure.
    pub window_ms: f64,
    /// Frames its publishers sent.
    pub frames: u64,
    /// Frames that were dropped: of an unknown track, or before the first key frame.
    pub frames_dropped: u64,
    /// Bytes its publishers sent.
    pub ingest_bytes: u64,
    /// Bytes its viewers' sockets took.
    pub egress_bytes: u64,
    /// Times a viewer was moved forward because it lagged.
    pub skips: u64,
    /// Time of its publishers' turns: from the moment such a connection's task runs, through
    /// reading and muxing, until it rests. By the clock on the wall: on a CPU that others use too
    /// it holds their time, so [`Rates::cpu_percent`] takes only its proportion from it.
    pub ingest_ns: u64,
    /// Time of its viewers' turns in the flush loop, likewise: from the look at the clock before
    /// one is visited to that before the next.
    pub flush_ns: u64,
    /// Rates since the earlier snapshot.
    pub rates: Rates,
}

/// Where a stream's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Viewers wait; nobody publishes.
    Waiting,
    /// Its tracks are not all known yet.
    Probing,
    /// On.
    Live,
    /// Its publisher has left and may return.
    Grace,
}

/// What pressure does to a core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PressureSnapshot {
    /// Steps by which merge windows are wider than configured.
    pub step: u32,
    /// At this step they are as wide as may be (`merge_window_max`).
    pub widest_step: u32,
    /// That was not enough: newcomers are told to go elsewhere.
    pub refuses_newcomers: bool,
}

/// What happened between two snapshots, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Rates {
    /// The time between the two.
    pub over_s: f64,
    /// CPU time, in per cent of one core: 200 is two cores full.
    ///
    /// Of a core it is what the kernel counted for its thread. Of a stream it is the part of its
    /// core's that its turns are of the turns of all: so what the runtime spends beside is spread
    /// over the streams as they cause it, all streams of a core make up the core, and time that
    /// others take from the CPU within a turn is nobody's.
    pub cpu_percent: f64,
    /// The same for a thousand viewers, by the time that viewers watched; none if nobody did. It
    /// holds all that the stream costs, its ingest too, so it settles from some hundred viewers on.
    pub cpu_per_1000_viewers_percent: Option<f64>,
    /// Viewers on average.
    pub viewers_mean: f64,
    /// Bits per second from publishers.
    pub ingest_bit_s: f64,
    /// Bits per second taken by sockets.
    pub egress_bit_s: f64,
}

/// What only the core itself knows, beside its hub.
#[derive(Debug, Clone, Copy)]
pub struct CoreTimes {
    /// Which core.
    pub core: u16,
    /// Since its start.
    pub uptime: Duration,
    /// CPU time of its thread.
    pub cpu: Duration,
    /// Time its thread waited for its CPU.
    pub waited: Duration,
}

impl Hub {
    /// Everything about this core. Whoever has asked works the rates out, not the core.
    pub fn snapshot(&self, now: Instant, times: CoreTimes) -> CoreSnapshot {
        let mut totals = self.totals();
        totals.viewer_us = self.watched.total_us(now);
        CoreSnapshot {
            core: times.core,
            uptime_s: times.uptime.as_secs_f64(),
            cpu_s: times.cpu.as_secs_f64(),
            cpu_waited_s: times.waited.as_secs_f64(),
            pressure: self.pressure.snapshot(),
            totals,
            rates: Rates::default(),
            cpu_waited_percent: 0.0,
            bytes_per_write: 0.0,
            viewers_per_sweep: 0.0,
            loop_lag: Quantiles::default(),
            sweep: Quantiles::default(),
            loop_lags: self.loop_lags.clone(),
            sweep_times: self.sweep_times.clone(),
            outputs: self.output_totals(),
            apps: self.app_snapshots(now),
            streams: self.sources.iter().map(|(id, _)| self.stream_snapshot(id, now)).collect(),
        }
    }

    pub(super) fn stream_snapshot(&self, id: SourceId, now: Instant) -> StreamSnapshot {
        let source = &self.sources[id];
        let stats = &source.stats;
        let window = self.window_of(source);
        StreamSnapshot {
            stream: source.key.clone(),
            serial: source.serial,
            state: match source.phase {
                Phase::Vacant => StreamState::Waiting,
                Phase::Probing { .. } => StreamState::Probing,
                Phase::Live => StreamState::Live,
                Phase::Grace { .. } => StreamState::Grace,
            },
            age_s: now.saturating_duration_since(source.since).as_secs_f64(),
            viewers: source.watched.viewers(),
            waiting: source.waiting.len() as u64,
            viewer_us: source.watched.total_us(now),
            window_ms: window.as_secs_f64() * 1000.0,
            frames: stats.frames,
            frames_dropped: stats.dropped,
            ingest_bytes: stats.bytes,
            egress_bytes: source.egress_bytes(),
            skips: stats.skips,
            ingest_ns: stats.ingest_ns,
            flush_ns: stats.flush_ns,
            rates: Rates::default(),
        }
    }
}

impl CoreSnapshot {
    /// The same with the rates since `earlier`, an older snapshot of this core; since its start
    /// if there is none.
    #[must_use]
    pub fn since(mut self, earlier: Option<&Self>) -> Self {
        let (totals, before) = (self.totals, earlier.map_or_else(Totals::default, |e| e.totals));
        let over_s = self.uptime_s - earlier.map_or(0.0, |earlier| earlier.uptime_s);
        let cpu_s = self.cpu_s - earlier.map_or(0.0, |earlier| earlier.cpu_s);
        let waited_s = self.cpu_waited_s - earlier.map_or(0.0, |earlier| earlier.cpu_waited_s);
        let new = |of: fn(&Totals) -> u64| of(&totals).saturating_sub(of(&before));
        self.rates = Rates::of(&Spent {
            over_s,
            cpu_s,
            viewer_us: new(|totals| totals.viewer_us),
            ingest_bytes: new(|totals| totals.ingest_bytes),
            egress_bytes: new(|totals| totals.egress_bytes),
        });
        self.cpu_waited_percent = ratio(waited_s * 100.0, over_s);
        let writes = new(|totals| totals.writes);
        self.bytes_per_write = mean(new(|totals| totals.egress_bytes), writes);
        let sweeps = new(|totals| totals.sweeps);
        self.viewers_per_sweep = mean(new(|totals| totals.swept_viewers), sweeps);
        let nothing = Timings::default();
        let [lags, sweeps] = match earlier {
            Some(earlier) => [&earlier.loop_lags, &earlier.sweep_times],
            None => [&nothing; 2],
        };
        self.loop_lag = self.loop_lags.since(lags).quantiles();
        self.sweep = self.sweep_times.since(sweeps).quantiles();
        let turns_ns = new(|totals| totals.ingest_ns + totals.flush_ns);
        let cpu_s_per_ns = ratio(cpu_s, float(turns_ns));
        let before = earlier.map_or(&[][..], |earlier| &earlier.streams);
        let before: HashMap<u64, _> = before.iter().map(|stream| (stream.serial, stream)).collect();
        for stream in &mut self.streams {
            stream.set_rates(before.get(&stream.serial).copied(), cpu_s_per_ns);
        }
        self
    }
}

impl StreamSnapshot {
    fn set_rates(&mut self, before: Option<&Self>, cpu_s_per_ns: f64) {
        let new = |of: fn(&Self) -> u64| of(self).saturating_sub(before.map_or(0, of));
        let turns_ns = new(|stream| stream.ingest_ns + stream.flush_ns);
        self.rates = Rates::of(&Spent {
            over_s: self.age_s - before.map_or(0.0, |before| before.age_s),
            cpu_s: float(turns_ns) * cpu_s_per_ns,
            viewer_us: new(|stream| stream.viewer_us),
            ingest_bytes: new(|stream| stream.ingest_bytes),
            egress_bytes: new(|stream| stream.egress_bytes),
        });
    }
}

struct Spent {
    over_s: f64,
    cpu_s: f64,
    viewer_us: u64,
    ingest_bytes: u64,
    egress_bytes: u64,
}

impl Rates {
    fn of(spent: &Spent) -> Self {
        let Spent { over_s, cpu_s, viewer_us, ingest_bytes, egress_bytes } = *spent;
        let mut rates = Self {
            over_s,
            viewers_mean: ratio(float(viewer_us) / 1e6, over_s),
            ingest_bit_s: ratio(float(ingest_bytes) * 8.0, over_s),
            egress_bit_s: ratio(float(egress_bytes) * 8.0, over_s),
            ..Self::default()
        };
        rates.set_cpu(cpu_s);
        rates
    }

    /// Adds what another core did. The time and CPU per viewer are then to be set.
    pub fn add(&mut self, other: &Self) {
        self.cpu_percent += other.cpu_percent;
        self.viewers_mean += other.viewers_mean;
        self.ingest_bit_s += other.ingest_bit_s;
        self.egress_bit_s += other.egress_bit_s;
    }

    /// CPU time spent between the two snapshots, in seconds.
    pub fn set_cpu(&mut self, cpu_s: f64) {
        self.cpu_percent = ratio(cpu_s * 100.0, self.over_s);
        let per_1000 = ratio(self.cpu_percent * 1000.0, self.viewers_mean);
        self.cpu_per_1000_viewers_percent = (self.viewers_mean > 0.0).then_some(per_1000);
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        *self = Self {
            sources: self.sources + more.sources,
            sinks: self.sinks + more.sinks,
            viewers: self.viewers + more.viewers,
            transes: self.transes + more.transes,
            log_bytes: self.log_bytes + more.log_bytes,
            gop_bytes: self.gop_bytes + more.gop_bytes,
            viewer_us: self.viewer_us + more.viewer_us,
            ingest_bytes: self.ingest_bytes + more.ingest_bytes,
            egress_bytes: self.egress_bytes + more.egress_bytes,
            ingest_ns: self.ingest_ns + more.ingest_ns,
            flush_ns: self.flush_ns + more.flush_ns,
            writes: self.writes + more.writes,
            short_writes: self.short_writes + more.short_writes,
            blocked_writes: self.blocked_writes + more.blocked_writes,
            sweeps: self.sweeps + more.sweeps,
            swept_viewers: self.swept_viewers + more.swept_viewers,
            overruns: self.overruns + more.overruns,
            skips: self.skips + more.skips,
            stalls: self.stalls + more.stalls,
            pinned_out: self.pinned_out + more.pinned_out,
            not_found: self.not_found + more.not_found,
            refused_waiting: self.refused_waiting + more.refused_waiting,
            refused_overloaded: self.refused_overloaded + more.refused_overloaded,
            refused_full: self.refused_full + more.refused_full,
            refused_hls: self.refused_hls + more.refused_hls,
            gop_overgrown: self.gop_overgrown + more.gop_overgrown,
            jumps: self.jumps + more.jumps,
            hls_bytes: self.hls_bytes + more.hls_bytes,
            hls_forced: self.hls_forced + more.hls_forced,
            hls_cut_short: self.hls_cut_short + more.hls_cut_short,
            hls_overgrown: self.hls_overgrown + more.hls_overgrown,
            hls_gaps: self.hls_gaps + more.hls_gaps,
        };
    }
}

/// How many watch, and how long all of them have.
#[derive(Debug)]
pub(super) struct Watched {
    viewers: u64,
    since: Instant,
    total_us: u64,
}

impl Watched {
    pub(super) fn new(now: Instant) -> Self {
        Self { viewers: 0, since: now, total_us: 0 }
    }

    pub(super) fn viewers(&self) -> u64 {
        self.viewers
    }

    pub(super) fn joined(&mut self, now: Instant) {
        self.count(now);
        self.viewers += 1;
    }

    pub(super) fn left(&mut self, now: Instant) {
        self.count(now);
        self.viewers -= 1;
    }

    pub(super) fn total_us(&self, now: Instant) -> u64 {
        self.total_us + self.viewers * micros(now.saturating_duration_since(self.since))
    }

    fn count(&mut self, now: Instant) {
        let passed = micros(now.saturating_duration_since(self.since));
        self.total_us += self.viewers * passed;
        // What is less than a microsecond is not lost.
        self.since += Duration::from_micros(passed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

fn mean(sum: u64, count: u64) -> f64 {
    ratio(float(sum), float(count))
}

/// Zero of nothing.
fn ratio(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 0.0 }
}

fn as_text<S: Serializer>(key: &StreamKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.as_str())
}
