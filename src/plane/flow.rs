use std::time::Duration;

use crate::time::Timestamp;

/// How much of a track flows, by the media's own clock: pictures per second do not change because
/// the network has a hitch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flow {
    /// dts of the frame that this count began with.
    began: Option<Timestamp>,
    frames: u32,
    bytes: u64,
    latest: Rate,
}

/// What flowed over some seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    /// Frames per second.
    pub(super) frames_s: f64,
    /// Bits per second.
    pub(super) bit_s: f64,
}

/// Counted over at least this long.
const OVER: Duration = Duration::from_secs(2);

impl Flow {
    /// A frame of `bytes` at `dts`.
    pub(super) fn count(&mut self, dts: Timestamp, bytes: usize) {
        let began = *self.began.get_or_insert(dts);
        let passed = Duration::from_nanos(dts.since(began).max(0).unsigned_abs());
        if passed >= OVER {
            let seconds = passed.as_secs_f64();
            #[allow(clippy::cast_precision_loss)]
            let bits = (self.bytes * 8) as f64;
            self.latest =
                Rate { frames_s: f64::from(self.frames) / seconds, bit_s: bits / seconds };
            (self.began, self.frames, self.bytes) = (Some(dts), 0, 0);
        }
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// The latest; nothing before the first two seconds are over.
    pub(super) fn rate(&self) -> Option<Rate> {
        (self.latest != Rate::default()).then_some(self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_bits_per_second_go_by_the_media_clock() {
        let mut flow = Flow::default();
        for frame in 0..=50 {
            assert_eq!(flow.rate(), None, "frame {frame}");
            flow.count(Timestamp::from_millis(frame * 40), 1000);
        }
        assert_eq!(flow.rate(), Some(Rate { frames_s: 25.0, bit_s: 200_000.0 }));
    }

    #[test]
    fn frames_of_one_moment_make_no_rate() {
        let mut flow = Flow::default();
        (0..100).for_each(|_| flow.count(Timestamp::ZERO, 1000));
        assert_eq!(flow.rate(), None);
    }
}
