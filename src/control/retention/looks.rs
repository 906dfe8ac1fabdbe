use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often it is looked what is too old, in all apps.
const EVERY: Duration = Duration::from_secs(60);
/// After a look there is a rest so many times as long, however many files are done meanwhile: a look
/// reads all folders of an app, and there may be many.
const REST_PER_LOOK: u32 = 10;
/// The shortest rest, and so the longest time after which too many bytes are noticed if folders are
/// read fast. The longest is [`EVERY`].
const REST_MIN: Duration = Duration::from_secs(1);

/// When it is looked at the recordings of which apps: of those with a file that is done, at once or
/// after a rest; of all now and then.
#[derive(Debug)]
pub(super) struct Looks {
    all_at: Instant,
    rests_until: Instant,
    /// Names. Of apps that had a recording within the longest rest.
    due: BTreeSet<String>,
}

/// The apps that are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    All,
    At(BTreeSet<String>),
}

impl Looks {
    /// The first is due at once, at all.
    pub(super) fn new(now: Instant) -> Self {
        Self { all_at: now, rests_until: now, due: BTreeSet::new() }
    }

    /// A file of `app` is done.
    pub(super) fn is_due(&mut self, app: &str) {
        if !self.due.contains(app) {
            self.due.insert(app.to_owned());
        }
    }

    /// What is to be looked at now.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Look> {
        if now < self.next_at() {
            return None;
        }
        let due = std::mem::take(&mut self.due);
        Some(if now < self.all_at { Look::At(due) } else { Look::All })
    }

    /// It began `then` and has ended.
    pub(super) fn end(&mut self, then: Instant, now: Instant) {
        let took = now.saturating_duration_since(then);
        self.rests_until = now + took.saturating_mul(REST_PER_LOOK).clamp(REST_MIN, EVERY);
        if self.all_at <= then {
            self.all_at = now + EVERY;
        }
    }

    /// When there is something to look at.
    pub(super) fn next_at(&self) -> Instant {
        match self.due.is_empty() {
            true => self.all_at,
            false => self.all_at.min(self.rests_until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(apps: &[&str]) -> Option<Look> {
        Some(Look::At(apps.iter().map(|app| (*app).to_owned()).collect()))
    }

    #[test]
    fn files_that_are_done_in_quick_succession_are_looked_at_together() {
        let (begun, ms) = (Instant::now(), Duration::from_millis);
        let mut looks = Looks::new(begun);
        assert_eq!(looks.begin(begun), Some(Look::All));
        looks.end(begun, begun + ms(1));
        let now = begun + ms(5000);
        assert_eq!(looks.begin(now), None);
        looks.is_due("a");
        assert_eq!(looks.begin(now), at(&["a"]), "at once");
        looks.is_due("a");
        looks.end(now, now + ms(1));
        looks.is_due("b");
        looks.is_due("a");
        assert_eq!(looks.next_at(), now + ms(1) + REST_MIN);
        assert_eq!(looks.begin(now + ms(1000)), None);
        assert_eq!(looks.begin(now + ms(1001)), at(&["a", "b"]));
        looks.end(now + ms(1001), now + ms(1002));
        assert_eq!(looks.next_at(), begun + ms(1) + EVERY);
        assert_eq!(looks.begin(begun + ms(1) + EVERY), Some(Look::All));
    }

    #[test]
    fn after_a_long_look_there_is_a_long_rest_but_all_are_looked_at_now_and_then() {
        let (begun, s) = (Instant::now(), Duration::from_secs);
        let mut looks = Looks::new(begun);
        assert_eq!(looks.begin(begun), Some(Look::All));
        looks.end(begun, begun + s(3));
        looks.is_due("a");
        assert_eq!(looks.next_at(), begun + s(33));
        assert_eq!(looks.begin(begun + s(33)), at(&["a"]));
        looks.end(begun + s(33), begun + s(133));
        looks.is_due("a");
        assert_eq!(looks.begin(begun + s(133)), Some(Look::All), "it is overdue");
        looks.end(begun + s(133), begun + s(233));
        looks.is_due("a");
        assert_eq!(looks.next_at(), begun + s(233) + EVERY);
    }
}
