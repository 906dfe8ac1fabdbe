//! What a viewer finds out that looks at every byte: whether all frames come, whole, in order and
//! in time.
//!
//! Nothing counts before the first key frame. From then on each picture's [`Mark`] tells which
//! one it is, what it and the sounds before it looked like when they were sent, and when that was.
//! Without marks (a foreign publisher, a codec other than H.264) only order, gaps and stalls can
//! be told. A viewer that comes back begins anew. Latency is that of pictures that were sent after
//! the viewer came: what a server keeps for newcomers is old, and is meant to be.

mod sounds;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corecast::media::{Frame, TrackKind};
use corecast::time::Timestamp;

use crate::mark::Mark;
use crate::report::{Distribution, Inspected};
use crate::viewer::Fragment;
use sounds::Sounds;

/// A player that keeps this much in hand runs dry when frames come later than that, compared to
/// the earliest before.
const PLAYER_BUFFER: Duration = Duration::from_secs(2);
/// A stream that has had only sound for so long has no pictures to wait for.
const ONLY_SOUND: i64 = 2_000_000_000;

/// A moment: of a read, or of the first step towards one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// For intervals.
    pub(crate) at: Instant,
    /// `CLOCK_REALTIME`, for what others have noted.
    pub(crate) clock_ns: u64,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        // Before 1970 every mark is of the future, which is told.
        Self { at: Instant::now(), clock_ns: clock.unwrap_or_default().as_nanos() as u64 }
    }
}

/// What several inspected viewers found, together.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Since the last [`Self::begin`], but for joining.
    pub(crate) counts: Inspected,
    latency: Distribution,
    /// Since the last [`Self::take_second`].
    second: Distribution,
    /// Marks from the future.
    ahead: u64,
}

impl Findings {
    /// Forgets everything but how joining went.
    pub(crate) fn begin(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        let (join_ms, first_key_ms) = (counts.join_ms, counts.first_key_ms);
        self.counts = Inspected { join_ms, first_key_ms, ..Inspected::default() };
        self.latency.clear();
        self.ahead = 0;
    }

    /// p50, p99 and the largest of the latencies since the last call, and how many they were.
    pub(crate) fn take_second(&mut self) -> Option<([f64; 3], u64)> {
        let count = self.second.count();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.second.value_at(quantile));
        self.second.clear();
        Some(([p50?, p99?, max?], count))
    }

    /// What was found by `viewers` viewers, and what to think of it.
    pub(crate) fn finish(mut self, viewers: usize, warnings: &mut Vec<String>) -> Inspected {
        if self.ahead > 0 {
            warnings.push(format!(
                "{} of {} marks were newer than this host's clock: latencies are too short (cure: \
                 synchronise the publisher's clock with this one, or publish from here)",
                self.ahead, self.counts.marked
            ));
        }
        self.counts.viewers = viewers;
        self.counts.latency_ms = (!self.latency.is_empty()).then_some(self.latency);
        self.counts
    }

    /// Pictures that are older than the viewer are no later than it is.
    fn late_by(&mut self, sent_ns: u64, connected_ns: u64, received_ns: u64) {
        if sent_ns < connected_ns {
            return;
        }
        self.ahead += u64::from(sent_ns > received_ns);
        let latency = Duration::from_nanos(received_ns.saturating_sub(sent_ns));
        self.latency.record(latency);
        self.second.record(latency);
    }
}

/// One viewer that looks.
#[derive(Debug)]
pub(crate) struct Inspector {
    connected: Moment,
    /// When it was to come. A generator that is late with that must not make joining look fast.
    due: Instant,
    stage: Stage,
}

/// ```text
/// Nothing ─> Sound ─> Pictures ─> Begun
///    └─────────┴── (key frame) ─────^
/// ```
#[derive(Debug)]
enum Stage {
    /// No frame has come.
    Nothing,
    /// No picture has come, and sound since this dts.
    Sound(Timestamp),
    /// Pictures have come, but no key frame.
    Pictures,
    /// Frames count.
    Begun(Box<Begun>),
}

#[derive(Debug)]
struct Begun {
    /// Of the latest frame, by kind.
    dts: [Option<Timestamp>; 2],
    read: Instant,
    /// The least that a frame came after its dts, in nanoseconds on a clock that begins anywhere.
    least_lag_ns: i64,
    picture: Option<Picture>,
    sounds: Sounds,
}

/// The latest picture, by its mark.
#[derive(Debug, Clone, Copy)]
struct Picture {
    number: u32,
    clock_ns: u64,
}

impl Inspector {
    /// Of a viewer that was to come at `due`, and began to connect at `connected`.
    pub(crate) fn new(connected: Moment, due: Instant) -> Self {
        Self { connected, due, stage: Stage::Nothing }
    }

    /// The server has let it in.
    pub(crate) fn joined(&self, now: Instant, findings: &mut Findings) {
        findings.counts.join_ms.record(now.saturating_duration_since(self.due));
    }

    /// A frame is whole; its last byte came with `read`.
    pub(crate) fn take(&mut self, frame: &Frame, read: Moment, findings: &mut Findings) {
        self.stage = match (&mut self.stage, frame.kind) {
            (Stage::Begun(begun), _) => {
                return begun.take(self.connected, frame, read, findings);
            }
            (_, TrackKind::Video) if frame.key => {
                let time = read.at.saturating_duration_since(self.due);
                findings.counts.first_key_ms.record(time);
                self.begin(frame, read, findings)
            }
            (_, TrackKind::Video) | (Stage::Pictures, _) => Stage::Pictures,
            (Stage::Nothing, _) => Stage::Sound(frame.dts),
            (Stage::Sound(first), _) if frame.dts.since(*first) < ONLY_SOUND => return,
            (Stage::Sound(_), _) => self.begin(frame, read, findings),
        };
    }

    /// A fragment is whole: its frames were taken before.
    pub(crate) fn take_fragment(fragment: &Fragment, findings: &mut Findings) {
        let counts = &mut findings.counts;
        counts.fragments += 1;
        counts.fragments_missing += u64::from(fragment.missing);
        counts.fragments_s += fragment.lasts.as_secs_f64();
    }

    fn begin(&self, frame: &Frame, read: Moment, findings: &mut Findings) -> Stage {
        let mut begun = Box::new(Begun {
            dts: [None; 2],
            read: read.at,
            least_lag_ns: lag_ns(self.connected.at, read.at, frame),
            picture: None,
            sounds: Sounds::default(),
        });
        begun.take(self.connected, frame, read, findings);
        Stage::Begun(begun)
    }

    /// The viewer leaves or is dropped, or the measurement ends: what has not come is late.
    pub(crate) fn leave(&self, now: Instant, findings: &mut Findings) {
        let (since, has_key) = match &self.stage {
            Stage::Begun(begun) => (begun.read, true),
            // A player has shown nothing at all.
            Stage::Nothing | Stage::Sound(_) | Stage::Pictures => (self.connected.at, false),
        };
        if now.saturating_duration_since(since) > PLAYER_BUFFER {
            findings.counts.stalls += 1;
            findings.counts.without_key += u64::from(!has_key);
        }
    }
}

impl Begun {
    fn take(&mut self, connected: Moment, frame: &Frame, read: Moment, findings: &mut Findings) {
        let counts = &mut findings.counts;
        counts.frames += 1;
        if read.at != self.read {
            counts.frame_gap_ms.record(read.at.saturating_duration_since(self.read));
            self.read = read.at;
        }
        let last = &mut self.dts[usize::from(frame.kind == TrackKind::Audio)];
        counts.out_of_order += u64::from(last.is_some_and(|last| frame.dts < last));
        *last = Some(frame.dts);

        let lag_ns = lag_ns(connected.at, read.at, frame);
        if lag_ns.saturating_sub(self.least_lag_ns) > PLAYER_BUFFER.as_nanos() as i64 {
            counts.stalls += 1;
            // The player waits, and is as much later from now on.
            self.least_lag_ns = lag_ns;
        }
        self.least_lag_ns = self.least_lag_ns.min(lag_ns);

        match frame.kind {
            TrackKind::Audio => self.sounds.hear(Mark::hash(&frame.data), counts),
            _ => self.look(connected, frame, read, findings),
        }
    }

    fn look(&mut self, connected: Moment, frame: &Frame, read: Moment, findings: &mut Findings) {
        let counts = &mut findings.counts;
        let Some(mark) = Mark::find(&frame.data) else {
            // All pictures are marked, or none.
            if let Some(last) = &mut self.picture {
                counts.damaged += 1;
                last.number = last.number.saturating_add(1);
            }
            return;
        };
        counts.marked += 1;
        let Mark { clock_ns, picture: number, .. } = mark;
        match self.picture {
            // The publisher counts from 0 again when it was started again.
            Some(last) if number <= last.number && clock_ns > last.clock_ns => {
                self.sounds = Sounds::default();
            }
            Some(last) if number <= last.number => {
                counts.repeated += 1;
                return;
            }
            Some(last) => counts.missing += u64::from(number - last.number - 1),
            None => {}
        }
        counts.damaged += u64::from(Mark::hash_without(&frame.data) != mark.hash);
        // The sounds before the first picture came before this viewer.
        let first = self.picture.is_none();
        self.picture = Some(Picture { number, clock_ns });
        self.sounds.list(mark.first_sound, &mark.sounds, first, counts);
        findings.late_by(clock_ns, connected.clock_ns, read.clock_ns);
    }
}

/// How much later than its dts a frame came, on a clock that begins anywhere.
fn lag_ns(connected: Instant, now: Instant, frame: &Frame) -> i64 {
    let time = now.saturating_duration_since(connected);
    // A stream may claim any dts.
    (time.as_nanos() as i64).saturating_sub(frame.dts.as_nanos())
}

#[cfg(test)]
mod tests;
