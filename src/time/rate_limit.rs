use std::time::{Duration, Instant};

/// Lets so many things happen per second and counts the others; for log lines.
#[derive(Debug, Clone)]
pub struct RateLimit {
    per_second: u32,
    second: Option<Instant>,
    used: u32,
    suppressed: u64,
    suppressed_total: u64,
}

impl RateLimit {
    /// At most `per_second` in each second; zero lets nothing pass.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, second: None, used: 0, suppressed: 0, suppressed_total: 0 }
    }

    /// Asks for one. `Some(n)` grants it; `n` were suppressed since the last that was granted.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        let over = |start: Instant| now.saturating_duration_since(start) >= Duration::from_secs(1);
        if self.second.is_none_or(over) {
            self.second = Some(now);
            self.used = 0;
        }
        if self.used == self.per_second {
            self.suppressed += 1;
            self.suppressed_total += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// How many were suppressed since the start.
    pub fn suppressed_total(&self) -> u64 {
        self.suppressed_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_second_is_counted_and_told_with_the_next() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2);
        let answers = [0, 100, 200, 999].map(|ms| limit.allow(start + Duration::from_millis(ms)));
        assert_eq!(answers, [Some(0), Some(0), None, None]);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(2));
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(0));
        assert_eq!(limit.suppressed_total(), 2);
    }

    #[test]
    fn zero_lets_nothing_pass() {
        let mut limit = RateLimit::new(0);
        assert_eq!(limit.allow(Instant::now()), None);
    }

    #[test]
    fn a_clock_that_steps_back_is_harmless() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut limit = RateLimit::new(1);
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start - Duration::from_secs(5)), None);
    }
}
