use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::answer::Texts;
use super::playback::Playback;
use crate::plane::hls::Channel;
use crate::shard::CoreId;

/// A stream as one core that serves it knows it.
#[derive(Debug)]
pub(super) struct Stream {
    channel: Arc<Channel>,
    /// Those who have asked here.
    playbacks: RefCell<HashMap<u128, Arc<Playback>>>,
    /// Those who were here when it was last looked who has gone.
    looked_at: Cell<usize>,
    waiting: RefCell<Slab<Waker>>,
    /// Its owner was asked to tell of the next snapshot.
    listens: Cell<bool>,
    /// How often it has told.
    news: Cell<u64>,
    pub(super) texts: RefCell<Texts>,
}

impl Stream {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            playbacks: RefCell::default(),
            looked_at: Cell::new(0),
            waiting: RefCell::default(),
            listens: Cell::new(false),
            news: Cell::new(0),
            texts: RefCell::default(),
        }
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(super) fn is_of(&self, channel: &Arc<Channel>) -> bool {
        Arc::ptr_eq(&self.channel, channel)
    }

    pub(super) fn playback(&self, id: u128) -> Option<Arc<Playback>> {
        self.playbacks.borrow().get(&id).cloned()
    }

    /// Those who may still ask.
    pub(super) fn playbacks(&self) -> Vec<Arc<Playback>> {
        let playbacks = self.playbacks.borrow();
        playbacks.values().filter(|playback| !playback.is_over()).cloned().collect()
    }

    pub(super) fn admit(&self, playback: &Arc<Playback>) {
        let mut playbacks = self.playbacks.borrow_mut();
        // Looked through when they have doubled: each is looked at twice, on average.
        if playbacks.len() >= 2 * self.looked_at.get().max(16) {
            playbacks.retain(|_, playback| !playback.is_over());
            self.looked_at.set(playbacks.len());
        }
        playbacks.insert(playback.id(), Arc::clone(playback));
    }

    /// There is more: whoever waits looks.
    pub(super) fn wake(&self) {
        self.listens.set(false);
        self.news.set(self.news.get() + 1);
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// Hears of what comes after this: look at what there is once more before it is waited for.
    pub(super) fn listen(self: &Rc<Self>, core: CoreId) -> Listener {
        if !self.listens.replace(true) {
            self.channel.listen(core.0);
        }
        Listener { stream: Rc::clone(self), since: self.news.get(), place: None }
    }
}

/// Somebody who waits for the next snapshot of a stream.
#[derive(Debug)]
pub(super) struct Listener {
    stream: Rc<Stream>,
    since: u64,
    /// Among those who wait, as long as there is no news.
    place: Option<usize>,
}

impl Listener {
    /// Ready when there is more, or no such stream any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.news.get() != self.since {
            return Poll::Ready(());
        }
        let mut waiting = self.stream.waiting.borrow_mut();
        match self.place {
            Some(place) => waiting[place].clone_from(cx.waker()),
            None => self.place = Some(waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(place) = self.place.filter(|_| self.stream.news.get() == self.since) {
            self.stream.waiting.borrow_mut().remove(place);
        }
    }
}
