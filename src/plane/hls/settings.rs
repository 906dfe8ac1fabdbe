use std::time::Duration;

use super::Container;

/// The numbers that parts and segments of one stream are cut by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What parts are muxed as.
    pub container: Container,
    /// A segment ends at the first key frame after about this long.
    pub segment: Duration,
    /// A segment ends after this long at the latest, key frame or not.
    pub segment_max: Duration,
    /// The target duration, announced from the first part on. `None`: that of the first segment,
    /// whose end is waited for.
    pub target: Option<Duration>,
    /// How long a part is; longer where pictures are further apart.
    pub part: Duration,
    /// A playlist lists as much, but for an eighth of a segment, and never less than three target
    /// durations.
    pub window: Duration,
    /// How long a segment is kept after a playlist has listed it last, for who has read that one.
    pub linger: Duration,
    /// Most bytes kept; beyond, the oldest segments go before their time.
    pub max_bytes: usize,
    /// Sound gets a playlist of its own, where there are pictures.
    pub separate_audio: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            container: Container::Fmp4,
            segment: Duration::from_secs(2),
            segment_max: Duration::from_secs(10),
            target: None,
            part: Duration::from_millis(200),
            window: Duration::from_secs(12),
            linger: Duration::ZERO,
            max_bytes: 64 << 20,
            separate_audio: false,
        }
    }
}
