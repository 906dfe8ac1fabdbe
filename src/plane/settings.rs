use std::rc::Rc;
use std::time::Duration;

use super::hls;

/// What happens when a second publisher asks for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The one who is there keeps it.
    Refuse,
    /// The newcomer gets it; the old one is closed.
    TakeOver,
}

/// What becomes of a publisher that sends too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitrateAction {
    /// It is closed.
    Cut,
    /// The log has a line about it, now and then.
    Warn,
}

/// The numbers the plane lives by, for the streams of one app. Their defaults, cost and reasons
/// are documented with the configuration keys of the same names.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest time between a frame's arrival and its flush; zero flushes after each read.
    pub merge_window: Duration,
    /// The widest window that pressure may make of it.
    pub merge_window_max: Duration,
    /// Second publisher.
    pub on_conflict: OnConflict,
    /// Start viewers at the last key frame rather than at the next.
    pub gop_cache: bool,
    /// Longest GOP kept for newcomers.
    pub gop_cache_max: Duration,
    /// Largest GOP kept for newcomers, in bytes.
    pub gop_cache_bytes: usize,
    /// How long a newcomer waits for a key frame when none is kept.
    pub key_wait: Duration,
    /// How far behind the head a viewer may be, in stream time.
    pub max_lag: Duration,
    /// Most bytes one block log holds.
    pub log_max_bytes: usize,
    /// A block is sealed at this size (or at one message, if larger).
    pub block_bytes: usize,
    /// Most bytes of blocks that only viewers hold after the log has let them go.
    pub pinned_max_bytes: usize,
    /// A viewer that takes nothing for this long while bytes wait is closed.
    pub stall_timeout: Duration,
    /// How long a viewer waits for somebody to publish.
    pub wait_for_publisher: Duration,
    /// How long viewers stay after the publisher has gone.
    pub publisher_grace: Duration,
    /// Longest wait for the announced tracks.
    pub probe_timeout: Duration,
    /// Without video, viewers start this far back.
    pub audio_start_back: Duration,
    /// Video silent for this long counts as absent.
    pub video_stall: Duration,
    /// The open block is sealed for newcomers no more often than this.
    pub newcomer_seal: Duration,
    /// A step back larger than this is a jump.
    pub jump_back: Duration,
    /// A step forward larger than this is a jump.
    pub jump_forward: Duration,
    /// Most bits per second a publisher may send; zero for any.
    pub publisher_bitrate_max: u64,
    /// What becomes of one that sends more.
    pub publisher_bitrate_action: BitrateAction,
    /// Most viewers of one stream, waiting ones included; zero for any number.
    pub sinks_max: usize,
    /// How long nobody watches before the publisher's driver is told; zero for never.
    pub idle_timeout: Duration,
    /// How streams are cut for HTTP Live Streaming; what `dir` says there is not used. Holds for those
    /// that are cut from then on.
    pub hls: Rc<hls::Settings>,
    /// Most viewers by HTTP Live Streaming on this node.
    pub hls_sessions: usize,
    /// Most bytes of segments on this node: beyond, each stream may have an equal share.
    pub hls_node_max_bytes: usize,
    /// Most viewers that may wait for one key.
    pub waiting_sinks_per_key: usize,
    /// Most viewers that may wait on this node.
    pub waiting_sinks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            merge_window: Duration::from_millis(350),
            merge_window_max: Duration::from_secs(1),
            on_conflict: OnConflict::Refuse,
            gop_cache: true,
            gop_cache_max: Duration::from_secs(15),
            gop_cache_bytes: 32 << 20,
            key_wait: Duration::from_secs(10),
            max_lag: Duration::from_secs(8),
            log_max_bytes: 48 << 20,
            block_bytes: 1 << 20,
            pinned_max_bytes: 64 << 20,
            stall_timeout: Duration::from_secs(10),
            wait_for_publisher: Duration::from_secs(15),
            publisher_grace: Duration::from_secs(15),
            probe_timeout: Duration::from_secs(2),
            audio_start_back: Duration::from_secs(1),
            video_stall: Duration::from_secs(1),
            newcomer_seal: Duration::from_millis(50),
            jump_back: Duration::from_secs(1),
            jump_forward: Duration::from_secs(10),
            publisher_bitrate_max: 0,
            publisher_bitrate_action: BitrateAction::Cut,
            sinks_max: 0,
            idle_timeout: Duration::from_secs(60),
            hls: Rc::default(),
            hls_node_max_bytes: 1 << 30,
            hls_sessions: 100_000,
            waiting_sinks_per_key: 1000,
            waiting_sinks: 10_000,
        }
    }
}

impl Settings {
    /// How long a publisher may be away. Even if that is not at all, viewers that keep up get what it
    /// said last.
    pub(crate) fn grace(&self) -> Duration {
        self.publisher_grace.max(LAST_BLOCKS)
    }
}

const LAST_BLOCKS: Duration = Duration::from_millis(500);
