use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use super::Hub;
use super::source::Source;

/// One app at one moment: its streams of now, and the sums of all it has had on this core.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AppSnapshot {
    /// Its name; [`AppSnapshot::OTHERS`] for those that came when there were [`APPS_MAX`] already.
    pub app: Box<str>,
    /// Streams that have been published and have not ended.
    pub streams: u64,
    /// Viewers, those not counted who wait for a publisher.
    pub viewers: u64,
    /// As [`Totals::viewer_us`](super::Totals::viewer_us).
    pub viewer_us: u64,
    /// Frames its publishers sent.
    pub frames: u64,
    /// Frames that were dropped.
    pub frames_dropped: u64,
    /// Bytes its publishers sent.
    pub ingest_bytes: u64,
    /// Bytes its viewers' sockets took.
    pub egress_bytes: u64,
    /// Times a viewer was moved forward because it lagged.
    pub skips: u64,
}

/// Apps that are counted by name on one core. Whoever may publish may make up names, so the apps
/// that come after these are counted together.
pub const APPS_MAX: usize = 256;

/// What the streams that have ended leave behind, by app: counters only count up.
#[derive(Debug)]
pub(super) struct Apps {
    places: HashMap<Box<str>, usize>,
    /// The first holds the apps that have no place of their own.
    ended: Vec<AppSnapshot>,
}

impl AppSnapshot {
    /// No app has this name to itself: apps that are called so are counted with the others.
    pub const OTHERS: &'static str = "*";

    fn add(&mut self, source: &Source, now: Instant) {
        self.viewer_us += source.watched.total_us(now);
        self.frames += source.stats.frames;
        self.frames_dropped += source.stats.dropped;
        self.ingest_bytes += source.stats.bytes;
        self.egress_bytes += source.egress_bytes();
        self.skips += source.stats.skips;
    }
}

impl std::ops::AddAssign<&Self> for AppSnapshot {
    /// Adds the same app of another core.
    fn add_assign(&mut self, more: &Self) {
        self.streams += more.streams;
        self.viewers += more.viewers;
        self.viewer_us += more.viewer_us;
        self.frames += more.frames;
        self.frames_dropped += more.frames_dropped;
        self.ingest_bytes += more.ingest_bytes;
        self.egress_bytes += more.egress_bytes;
        self.skips += more.skips;
    }
}

impl Default for Apps {
    fn default() -> Self {
        let others = AppSnapshot { app: AppSnapshot::OTHERS.into(), ..AppSnapshot::default() };
        Self { places: HashMap::new(), ended: vec![others] }
    }
}

impl Apps {
    /// Where `app`, of which a stream is about to be published, is counted from now on.
    pub(super) fn place(&mut self, app: &str) -> usize {
        if let Some(place) = self.places.get(app) {
            return *place;
        }
        if self.places.len() >= APPS_MAX || app == AppSnapshot::OTHERS {
            return 0;
        }
        let place = self.ended.len();
        self.places.insert(app.into(), place);
        self.ended.push(AppSnapshot { app: app.into(), ..AppSnapshot::default() });
        place
    }

    /// Viewers of `app` were sent so many bytes of a stream that has ended.
    pub(super) fn sent(&mut self, app: &str, bytes: u64) {
        let place = self.place(app);
        self.ended[place].egress_bytes += bytes;
    }

    /// `source` is gone.
    pub(super) fn left(&mut self, source: &Source, now: Instant) {
        self.ended[source.app].add(source, now);
    }
}

impl Hub {
    pub(super) fn app_snapshots(&self, now: Instant) -> Vec<AppSnapshot> {
        let mut apps = self.apps.ended.clone();
        for (_, source) in &self.sources {
            let app = &mut apps[source.app];
            app.streams += u64::from(!source.is_vacant());
            app.viewers += source.watched.viewers();
            app.add(source, now);
        }
        apps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_take_a_bounded_number_of_places() {
        let mut apps = Apps::default();
        let first = apps.place("live");
        assert!(first > 0 && apps.place("*") == 0);
        (1..APPS_MAX).for_each(|app| assert!(apps.place(&app.to_string()) > 0));
        assert_eq!((apps.place("late"), apps.place("later")), (0, 0));
        assert_eq!((apps.place("live"), apps.ended.len()), (first, APPS_MAX + 1));
    }
}
