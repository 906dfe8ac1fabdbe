//! HTTP Live Streaming: any core serves any playlist and any segment.
//!
//! The core that owns a stream cuts it, and publishes what there is by a [`Channel`]; others learn of
//! that when they are first asked for it, and forget it when the owner says so. A viewer is a
//! [`Playback`]: it begins with a multivariant playlist, at the owner, where it has a place among all
//! viewers of the stream, and its number stands behind the names of the media playlists. What these
//! list is the same for everyone. Media have no viewer's name: those of a segment lie in a directory
//! that only playlists tell of, so that who is shown none any more finds nothing that was made since.

mod answer;
mod fetch;
mod path;
mod playback;
mod requests;
mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Tell;
use super::admit::Ticket;
use super::core::Core;
use super::grant::Grant;
use super::order::Order;
use super::reply::Replies;
use crate::media::StreamKey;
use crate::net::rt;
use crate::plane::hls::Channel;
use crate::shard::{CoreId, Place};
pub(crate) use fetch::{Fetched, Fetching, Form};
pub(crate) use path::Path;
pub use playback::Playback;
use stream::Stream;

/// What cores tell each other of streams that are fetched.
#[derive(Debug)]
pub enum Word {
    /// To the owner of a stream: somebody wants to watch it. A ticket goes with it.
    Open {
        /// The stream.
        key: StreamKey,
        /// Where it is owned.
        place: Place,
        /// Of the viewer.
        grant: Option<Grant>,
        /// Where the answer goes.
        from: CoreId,
        /// The asker's number.
        ask: u64,
    },
    /// To there: who asked for that waits no more.
    Leave {
        /// Where the answer would have gone.
        from: CoreId,
        /// The asker's number.
        ask: u64,
    },
    /// From there: here it is, or why not.
    Opened {
        /// The asker's number.
        ask: u64,
        /// The answer.
        opened: Result<Found, Closed>,
    },
    /// To the owner of a stream: is it there, and that viewer?
    Find {
        /// The stream.
        key: StreamKey,
        /// The viewer's number, if it said one.
        playback: Option<u128>,
        /// Where the answer goes.
        from: CoreId,
        /// The asker's number.
        ask: u64,
    },
    /// From there; none if the stream is not.
    Found {
        /// The asker's number.
        ask: u64,
        /// The answer.
        found: Option<Found>,
    },
    /// To a core where somebody waits: there is more.
    News(Arc<Channel>),
    /// To all cores: there will be no more.
    Gone {
        /// Where it was.
        channel: Arc<Channel>,
        /// Who may fetch what was there for a while yet, from any core.
        playbacks: Arc<[Arc<Playback>]>,
    },
}

/// A stream that can be fetched.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where what there is of it is.
    pub channel: Arc<Channel>,
    /// Who asks, if it is known.
    pub playback: Option<Arc<Playback>>,
}

/// Why a stream cannot be fetched: the status of HTTP, and what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The status.
    pub status: u16,
    /// What was expected and found.
    pub detail: String,
}

/// What one core knows of streams that are fetched.
#[derive(Debug, Default)]
pub(crate) struct Hls {
    streams: RefCell<HashMap<StreamKey, Rc<Stream>>>,
    /// Of the streams that it owns; others have these handles for as long as they are of use.
    playbacks: RefCell<HashMap<u128, Arc<Playback>>>,
    /// Those who wait for one of them to begin: by where the answer goes, and how they are woken when
    /// they are taken out.
    waiting: RefCell<HashMap<(CoreId, u64), Option<Waker>>>,
    opened: Rc<Replies<Result<Found, Closed>>>,
    found: Rc<Replies<Option<Found>>>,
}

impl Hls {
    fn stream(&self, key: &StreamKey) -> Option<Rc<Stream>> {
        self.streams.borrow().get(key).cloned()
    }

    /// Another core, or this one, has said where it is.
    fn learn(&self, found: &Found) {
        // It may have been said before what made it forgotten here, and looked at only now.
        if found.channel.is_closed() {
            return;
        }
        let stream = self.remember(&found.channel);
        if let Some(playback) = &found.playback {
            stream.admit(playback);
        }
    }

    /// It has ended. Until it is forgotten its players may ask here, too.
    fn learn_of_end(&self, channel: &Arc<Channel>, playbacks: &[Arc<Playback>]) {
        let lives = |known: &Stream| known.channel().latest().is_none_or(|it| !it.is_ended());
        let known = self.stream(channel.key());
        // Or there is another of that name by now.
        if known.is_none_or(|known| known.is_of(channel) || !lives(&known)) {
            let stream = self.remember(channel);
            playbacks.iter().for_each(|playback| stream.admit(playback));
        }
    }

    fn remember(&self, channel: &Arc<Channel>) -> Rc<Stream> {
        let mut streams = self.streams.borrow_mut();
        if let Some(known) = streams.get(channel.key()).filter(|known| known.is_of(channel)) {
            return Rc::clone(known);
        }
        let new = Rc::new(Stream::new(Arc::clone(channel)));
        // What waits for the one before hears that there is another.
        if let Some(before) = streams.insert(channel.key().clone(), Rc::clone(&new)) {
            before.wake();
        }
        new
    }

    /// From now on `asker` waits for a stream that this core owns.
    fn wait(&self, asker: (CoreId, u64)) {
        self.waiting.borrow_mut().insert(asker, None);
    }

    /// Ready when it waits no more.
    fn poll_wait(&self, asker: (CoreId, u64), cx: &mut Context<'_>) -> Poll<()> {
        match self.waiting.borrow_mut().get_mut(&asker) {
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    fn wait_no_more(&self, asker: (CoreId, u64)) {
        let waker = self.waiting.borrow_mut().remove(&asker).flatten();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn forget(&self, channel: &Arc<Channel>) {
        channel.close();
        let mut streams = self.streams.borrow_mut();
        if streams.get(channel.key()).is_some_and(|stream| stream.is_of(channel))
            && let Some(stream) = streams.remove(channel.key())
        {
            stream.wake();
        }
    }
}

/// So long players may ask for what has ended, however full the node is.
const LINGER_MIN: Duration = Duration::from_secs(15);
/// How often is looked whether it is.
const LOOK: Duration = Duration::from_secs(1);

impl Core {
    /// A word of another core, or of this one.
    pub(super) fn hear(self: &Rc<Self>, word: Word) {
        match word {
            Word::Open { key, place, grant, from, ask } => {
                let ticket = Ticket::new(self, key, place);
                playback::open(self, ticket, grant, (from, ask));
            }
            Word::Leave { from, ask } => self.hls.wait_no_more((from, ask)),
            Word::Opened { ask, opened } => {
                if let Err(Ok(Found { playback: Some(playback), .. })) =
                    self.hls.opened.answer(ask, opened)
                {
                    // Nobody waits for it any more.
                    playback.leave();
                }
            }
            Word::Find { key, playback, from, ask } => {
                let found = self.find_fetched(&key, playback);
                self.say(from, Word::Found { ask, found });
            }
            Word::Found { ask, found } => drop(self.hls.found.answer(ask, found)),
            Word::News(channel) => {
                if let Some(stream) = self.hls.stream(channel.key())
                    && stream.is_of(&channel)
                {
                    stream.wake();
                }
            }
            Word::Gone { channel, playbacks } => {
                let ended = channel.latest().is_some_and(|latest| latest.is_ended());
                if !ended {
                    return self.forget_fetched(&channel);
                }
                // Players are still to hear of the end, and to fetch what came before it.
                self.hls.learn_of_end(&channel, &playbacks);
                let core = Rc::clone(self);
                rt::spawn(async move {
                    core.linger(&channel).await;
                    core.forget_fetched(&channel);
                });
            }
        }
    }

    /// Waits until players may not ask for `channel` any more, which has ended: what goes on needs the room
    /// of what is over.
    async fn linger(&self, channel: &Channel) {
        let begun = Instant::now();
        let (until, least) = (begun + channel.linger(), begun + LINGER_MIN);
        loop {
            let now = Instant::now();
            let most = self.setup().config.limits.hls_max_bytes;
            let is_full = self.node.counters.hls_bytes.load(Ordering::Relaxed) > most;
            // What one core has let go is of no use to others.
            if now >= until || (is_full && now >= least) || channel.is_closed() {
                return;
            }
            rt::sleep_until(until.min(least.max(now + LOOK))).await;
        }
    }

    fn forget_fetched(&self, channel: &Arc<Channel>) {
        self.hls.forget(channel);
        self.hub.borrow_mut().count_rest(channel);
    }

    pub(super) fn say(self: &Rc<Self>, to: CoreId, word: Word) {
        self.tell(to, Tell::Order(Order::Hls(word)));
    }

    /// These cores want to know that there is more.
    pub(super) fn tell_of_news(self: &Rc<Self>, channel: &Arc<Channel>, cores: Vec<u16>) {
        for core in cores {
            self.say(CoreId(core), Word::News(Arc::clone(channel)));
        }
    }

    /// There will be no more of it, anywhere.
    pub(super) fn tell_that_gone(self: &Rc<Self>, channel: &Arc<Channel>) {
        // The owner knows all who watch.
        let known = self.hls.stream(channel.key()).filter(|known| known.is_of(channel));
        let playbacks: Arc<[_]> = known.map_or_else(Vec::new, |known| known.playbacks()).into();
        for core in 0..self.node.mesh.cores() {
            let core = CoreId(u16::try_from(core).expect("fewer than 2^16 cores"));
            let (channel, playbacks) = (Arc::clone(channel), Arc::clone(&playbacks));
            self.say(core, Word::Gone { channel, playbacks });
        }
    }

    /// What this core owns of `key`, or what is left of it.
    fn find_fetched(&self, key: &StreamKey, playback: Option<u128>) -> Option<Found> {
        let lives = self.hub.borrow().channel(key);
        let channel = lives.or_else(|| Some(Arc::clone(self.hls.stream(key)?.channel())))?;
        let playbacks = self.hls.playbacks.borrow();
        let playback = playback.and_then(|id| playbacks.get(&id)).cloned();
        Some(Found { channel, playback: playback.filter(|it| it.key() == key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let key = StreamKey::parse("/live/a").expect("a key");
        Found { channel: Channel::new(key, Duration::ZERO, Arc::default()), playback: None }
    }

    #[test]
    fn what_was_forgotten_anywhere_is_not_learnt_again() {
        let (one, other, found) = (Hls::default(), Hls::default(), found());
        let key = found.channel.key();
        one.learn(&found);
        assert!(one.stream(key).is_some());
        one.forget(&found.channel);
        // An answer that lay there, unread, while this core was told to forget it.
        one.learn(&found);
        other.learn(&found);
        assert!(one.stream(key).is_none() && other.stream(key).is_none());
    }

    #[test]
    fn the_end_of_a_stream_is_learnt_but_not_in_the_place_of_one_that_lives() {
        let (hls, before, now) = (Hls::default(), found(), found());
        hls.learn_of_end(&before.channel, &[]);
        assert!(hls.stream(before.channel.key()).is_some_and(|it| it.is_of(&before.channel)));
        hls.learn(&now);
        hls.learn_of_end(&before.channel, &[]);
        assert!(hls.stream(before.channel.key()).is_some_and(|it| it.is_of(&now.channel)));
    }
}
