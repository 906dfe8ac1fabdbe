use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Snapshot;
use super::snapshot::State;
use crate::media::StreamKey;
use crate::plane::NodeCounters;

/// Where the snapshots of one packager are for all cores of a node: its owner publishes them, anyone
/// reads the latest. Nobody waits for anybody.
#[derive(Debug)]
pub struct Channel {
    key: StreamKey,
    linger: Duration,
    latest: ArcSwapOption<State>,
    /// A bit for each core that wants to be told of the next snapshot.
    listening: Box<[AtomicU64]>,
    /// Nobody will say again that it is of no use any more.
    closed: AtomicBool,
    /// Who counts the bytes of its media, and how many: as long as players may ask for what there was
    /// it is in memory, whether the stream goes on or not.
    node: Arc<NodeCounters>,
    bytes: AtomicUsize,
    /// What players were sent and no stream or app has counted yet. They fetch from any core, and by
    /// connections that do not say who they are.
    served: AtomicU64,
}

impl Channel {
    /// For the cores of `node`.
    pub(crate) fn new(key: StreamKey, linger: Duration, node: Arc<NodeCounters>) -> Arc<Self> {
        let listening = (0..=node.cores / WORD).map(|_| AtomicU64::new(0)).collect();
        let latest = ArcSwapOption::empty();
        let closed = AtomicBool::new(false);
        let (bytes, served) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { key, linger, latest, listening, closed, node, bytes, served })
    }

    /// Whose snapshots they are.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// How long players may still ask for what there is when the stream has ended.
    pub fn linger(&self) -> Duration {
        self.linger
    }

    /// What there is now; nothing before the first part.
    pub fn latest(&self) -> Option<Snapshot> {
        self.latest.load_full().map(Snapshot)
    }

    /// It is of no use any more: who hears of it from now on need not remember it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Has core `core` told of the next snapshot, once. What was published meanwhile is seen by a
    /// [`Self::latest`] after this.
    pub fn listen(&self, core: u16) {
        let (word, bit) = (usize::from(core) / WORD, usize::from(core) % WORD);
        self.listening[word].fetch_or(1 << bit, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Players were sent so many bytes of it, playlists and media, by whichever core.
    pub fn count_served(&self, bytes: u64) {
        self.served.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What they were sent since that was last taken.
    pub(in crate::plane) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// The same for who counts it from now on: each byte goes to one.
    pub(in crate::plane) fn take_served(&self) -> u64 {
        self.served.swap(0, Ordering::Relaxed)
    }

    /// There are so many bytes of media now. Answers how many the node has.
    pub(in crate::plane) fn count(&self, bytes: usize) -> usize {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.node.hls_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.node.hls_bytes.fetch_sub(before, Ordering::Relaxed) - before
    }

    /// From now on `snapshot` is the latest. Answers which cores are to be told.
    pub(in crate::plane) fn publish(&self, snapshot: &Snapshot) -> Vec<u16> {
        self.latest.store(Some(Arc::clone(&snapshot.0)));
        fence(Ordering::SeqCst);
        let words = self.listening.iter().map(|word| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::Relaxed),
        });
        let bits = words.zip(0..).flat_map(|(bits, word)| {
            (0..WORD).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * WORD + bit)
        });
        bits.filter_map(|core| u16::try_from(core).ok()).collect()
    }
}

const WORD: usize = u64::BITS as usize;

/// Two are equal if they are of the same packager.
impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Channel {}

impl Drop for Channel {
    fn drop(&mut self) {
        self.count(0);
    }
}
