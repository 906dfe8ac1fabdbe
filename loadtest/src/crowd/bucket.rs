//! What a slow reader may read: a token bucket.

use std::time::{Duration, Instant};

/// Fills at the reader's rate, up to what comes in [`Bucket::PAUSE`].
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    bytes_per_s: f64,
    bytes: f64,
    filled: Instant,
}

/// The least that is worth a read.
const READ_MIN: f64 = 512.0;

impl Bucket {
    /// How long a reader rests when it has had its share. The same for all, so that those that
    /// rest stand in one queue.
    pub(super) const PAUSE: Duration = Duration::from_millis(100);

    /// A full one.
    pub(super) fn new(bitrate: u64, now: Instant) -> Self {
        let bytes_per_s = bitrate as f64 / 8.0;
        let mut bucket = Self { bytes_per_s, bytes: 0.0, filled: now };
        bucket.bytes = bucket.size();
        bucket
    }

    fn size(&self) -> f64 {
        (self.bytes_per_s * Self::PAUSE.as_secs_f64()).max(2.0 * READ_MIN)
    }

    /// How many bytes may be read at `now`; none if the reader has to rest.
    pub(super) fn allowance(&mut self, now: Instant) -> Option<usize> {
        let time = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.bytes = (self.bytes + self.bytes_per_s * time.as_secs_f64()).min(self.size());
        (self.bytes >= READ_MIN).then_some(self.bytes as usize)
    }

    /// So many were read.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_rate_allows() {
        let start = Instant::now();
        let mut bucket = Bucket::new(200_000, start);
        let mut read = 0;
        for ms in 0..10_000 {
            if let Some(bytes) = bucket.allowance(start + Duration::from_millis(ms)) {
                bucket.take(bytes);
                read += bytes;
            }
        }
        assert!((245_000..=253_000).contains(&read), "{read}");
        // Who has not read for long may not read for long after.
        let later = start + Duration::from_secs(60);
        assert_eq!(bucket.allowance(later), Some(2500));
    }
}
