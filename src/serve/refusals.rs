//! Who was refused, counted by what refused them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What refuses. Limits have the names of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `limits.connections`, or the file descriptors that there are.
    Connections,
    /// `limits.connections_per_address`.
    ConnectionsPerAddress,
    /// `limits.connects_per_second_per_address`.
    ConnectsPerSecond,
    /// The address is blocked for a time.
    Blocked,
    /// The app is not configured, or has no such thing.
    App,
    /// One of `rules`.
    Rules,
    /// `referers`.
    Referers,
    /// No key, signature or token that counts.
    Proof,
    /// Whoever was asked says no, or nothing in time.
    Verdict,
    /// What is asked for makes no sense.
    Request,
    /// Somebody else publishes.
    Conflict,
    /// `limits.viewers`.
    Viewers,
    /// `limits.publishers`.
    Publishers,
    /// `viewers_max` of an app.
    ViewersOfApp,
    /// `publishers_max` of an app.
    PublishersOfApp,
    /// `viewers_max_per_address` of an app.
    ViewersPerAddress,
    /// The node goes out of service.
    Draining,
    /// There is no file descriptor to move it to the core of its stream.
    NoDescriptor,
    /// `limits.replays`.
    Replays,
}

impl Reason {
    /// All of them, in their order.
    pub const ALL: [Self; 19] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::ConnectsPerSecond,
        Self::Blocked,
        Self::App,
        Self::Rules,
        Self::Referers,
        Self::Proof,
        Self::Verdict,
        Self::Request,
        Self::Conflict,
        Self::Viewers,
        Self::Publishers,
        Self::ViewersOfApp,
        Self::PublishersOfApp,
        Self::ViewersPerAddress,
        Self::Draining,
        Self::NoDescriptor,
        Self::Replays,
    ];

    /// Its name, of small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::ConnectsPerSecond => "connects_per_second_per_address",
            Self::Blocked => "blocked",
            Self::App => "app",
            Self::Rules => "rules",
            Self::Referers => "referers",
            Self::Proof => "proof",
            Self::Verdict => "verdict",
            Self::Request => "request",
            Self::Conflict => "conflict",
            Self::Viewers => "viewers",
            Self::Publishers => "publishers",
            Self::ViewersOfApp => "viewers_max",
            Self::PublishersOfApp => "publishers_max",
            Self::ViewersPerAddress => "viewers_max_per_address",
            Self::Draining => "draining",
            Self::NoDescriptor => "no_descriptor",
            Self::Replays => "replays",
        }
    }
}

/// How many each of them has refused, on all cores together. They only grow.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Reason::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All there are, also those that have refused nobody.
    pub fn all(&self) -> [(Reason, u64); Reason::ALL.len()] {
        Reason::ALL.map(|reason| (reason, self.0[reason as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_place_and_name() {
        let refusals = Refusals::default();
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            (0..=at).for_each(|_| refusals.count(reason));
        }
        let all = refusals.all();
        assert!(all.iter().enumerate().all(|(at, (_, count))| *count == at as u64 + 1), "{all:?}");
        let mut names = Reason::ALL.map(Reason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
