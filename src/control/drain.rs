//! Out of service without a gap for anyone: on SIGTERM, and when the API is asked to.
//!
//! ```text
//! Serving -> Announced -> Viewers -> Publishers -> Drained
//!    ^  readyz: 503   listeners     |  no viewer    |
//!    |                closed        |  is left      |
//!    +------------- undo -----------+---------------+
//!                    (Halted while it is at work, and if it fails)
//! ```
//! Whoever balances the load sees that the node is not ready, and sends nobody any more; then the
//! listeners close. Viewers are ended at a pace that the other nodes can take, each where a key block
//! begins, in its protocol's way; it finds its stream elsewhere. Publishers are last, as long as there
//! is somebody to watch.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout};
use utoipa::ToSchema;

use super::cores::ask_all;
use super::events::{Bulletin, News};
use super::listeners::Listeners;
use crate::config::{self, Config};
use crate::plane::Left;
use crate::serve::core::Node;
use crate::serve::order::{Leave, Order};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// What it does now.
    pub(crate) state: State,
    /// When it began, in seconds since 1970; none while it serves.
    pub(crate) since: Option<u64>,
    /// Viewers, those who wait for a publisher included.
    pub(crate) viewers_left: usize,
    /// Publishers.
    pub(crate) publishers_left: usize,
    /// The process ends when it is drained.
    pub(crate) then_stops: bool,
}

impl Progress {
    /// Of a node in service.
    pub(crate) fn serving() -> Self {
        let (viewers_left, publishers_left) = (0, 0);
        let (state, since, then_stops) = (State::Serving, None, false);
        Self { state, since, viewers_left, publishers_left, then_stops }
    }
}

/// What a node does, as to its drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It is in service.
    Serving,
    /// It says that it is not ready, and serves still.
    Announced,
    /// Its listeners are closed, and its viewers are being ended.
    Viewers,
    /// They are gone, and its publishers are being ended.
    Publishers,
    /// Nobody is left.
    Drained,
    /// Its drain was broken off. It is on its way back into service; if it cannot listen any more, it
    /// stays so, ends nobody and is not ready, until it is drained or taken back once more.
    Halted,
}

/// Why a drain was not undone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotUndone {
    /// The process ends with it.
    Stops,
    /// What could not be listened on.
    CannotListen(Vec<String>),
}

/// What is told of it as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// It began.
    Started,
    /// It does something else now, or fewer are left.
    Progress,
    /// It is in service again.
    Undone,
    /// Nobody is left.
    Drained,
}

/// The node's way out of service, and back.
#[derive(Debug)]
pub(crate) struct Drain {
    node: Arc<Node>,
    listeners: Arc<tokio::sync::Mutex<Listeners>>,
    in_force: watch::Receiver<Arc<Config>>,
    progress: watch::Sender<Progress>,
    bulletin: Bulletin,
    /// None while it serves and while it is undone. Never waited for.
    running: Mutex<Option<JoinHandle<()>>>,
    /// Who was here when it began has been counted, or it has been given up. True while it serves.
    counted: watch::Sender<bool>,
    /// Held by what undoes it: a drain that is asked for meanwhile begins after that.
    undoing: tokio::sync::Mutex<()>,
}

/// How often some viewers are ended.
const TICK: Duration = Duration::from_millis(100);
/// A core that has not answered by then is taken to be as it was.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// This part of the time that is left may go to the pace; the rest is for key frames to come.
const PACED_PART: f64 = 0.6;
/// Who was ended has this long to take its last words, and to close.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What is kept of the time for publishers.
const FOR_PUBLISHERS: Duration = Duration::from_millis(500);

impl Drain {
    /// Of a node that serves.
    pub(crate) fn new(
        node: Arc<Node>,
        listeners: Arc<tokio::sync::Mutex<Listeners>>,
        in_force: watch::Receiver<Arc<Config>>,
        bulletin: Bulletin,
    ) -> Self {
        let (progress, _) = watch::channel(Progress::serving());
        let (running, undoing) = (Mutex::default(), tokio::sync::Mutex::default());
        let counted = watch::Sender::new(true);
        Self { node, listeners, in_force, progress, bulletin, running, counted, undoing }
    }

    /// How far it is, now and whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Begins as [`Self::start`] does, to stay, and answers with how far it is when those have been
    /// counted who are here. Whoever asks waits for nobody to be left, and must not be told so before.
    pub(crate) async fn begin(self: &Arc<Self>) -> Progress {
        let mut counted = self.counted.subscribe();
        self.start(false);
        // Err: a core is stuck. Then it is as before, and what follows is told as it comes.
        let _ = timeout(2 * ANSWER_WITHIN, counted.wait_for(|counted| *counted)).await;
        self.progress()
    }

    /// Begins, unless it has begun. `then_stop`: the process ends with it, and it cannot be undone any
    /// more. False if all of that was so already. Inside a runtime.
    pub(crate) fn start(self: &Arc<Self>, then_stop: bool) -> bool {
        let mut running = self.running();
        let before = self.progress();
        let goes_on = running.as_ref().is_some_and(|task| !task.is_finished())
            || before.state == State::Drained;
        if goes_on && (before.then_stops || !then_stop) {
            return false;
        }
        self.progress.send_modify(|progress| progress.then_stops |= then_stop);
        if !goes_on {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.progress.send_modify(|progress| {
                (progress.state, progress.since) = (State::Announced, Some(now.as_secs()));
            });
            self.node.draining.store(true, Ordering::Relaxed);
            self.counted.send_replace(false);
            self.tell(Step::Started);
            let this = Arc::clone(self);
            *running = Some(tokio::spawn(async move {
                drop(this.undoing.lock().await);
                this.run().await;
            }));
        }
        true
    }

    /// Back into service, whatever it does: listeners open again, and who is still here stays. If it
    /// is told to drain before that is done, it drains. To be polled to its end.
    ///
    /// # Errors
    /// The process is to end; or it cannot listen, then it is halted.
    pub(crate) async fn undo(&self) -> Result<(), NotUndone> {
        let _undoing = self.undoing.lock().await;
        let task = {
            let mut running = self.running();
            if self.progress().then_stops {
                return Err(NotUndone::Stops);
            }
            if self.progress().state == State::Serving {
                return Ok(());
            }
            self.progress.send_modify(|progress| progress.state = State::Halted);
            // Nobody counts any more.
            self.counted.send_replace(true);
            self.tell(Step::Progress);
            running.take()
        };
        if let Some(task) = task {
            task.abort();
            // Err: it was aborted, as it should.
            let _ = task.await;
        }
        let mut left = vec![None; self.node.mesh.cores()];
        self.leave(|_| Leave::Nobody, &mut left).await;
        let config = Arc::clone(&self.in_force.borrow());
        let reopened = self.listeners.lock().await.reopen(&config).await;
        let running = self.running();
        match reopened {
            Ok(None) => {}
            Ok(Some(late)) => tracing::warn!("drain: {late}, and may listen later than the others"),
            Err(problems) => {
                tracing::error!("drain: not undone: {}", problems.join("; "));
                return Err(NotUndone::CannotListen(problems));
            }
        }
        if running.is_some() {
            // Told to drain again: that begins now.
            let stops = self.progress().then_stops;
            return if stops { Err(NotUndone::Stops) } else { Ok(()) };
        }
        self.node.draining.store(false, Ordering::Relaxed);
        self.progress.send_modify(|progress| {
            (progress.state, progress.since) = (State::Serving, None);
        });
        self.tell(Step::Undone);
        tracing::info!("drain: undone, in service again");
        Ok(())
    }

    /// The process ends now, however far it is.
    pub(crate) fn give_up(&self) {
        if let Some(task) = &*self.running() {
            task.abort();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) {
        let config::Drain { delay, rate, timeout } = self.in_force.borrow().drain;
        let until = Instant::now() + timeout;
        // None: a core that has not said who is there. It is not taken to be empty.
        let mut left = vec![None; self.node.mesh.cores()];
        self.leave(|_| Leave::Nobody, &mut left).await;
        self.counted.send_replace(true);
        let connections = self.connections();
        let delay = if connections == 0 { Duration::ZERO } else { delay };
        tracing::info!(
            connections,
            viewers = all(&left).viewers,
            publishers = all(&left).publishers,
            ?delay,
            "drain: not ready any more"
        );
        sleep(delay).await;
        let late = self.listeners.lock().await.shut().await;
        if let Some(late) = late {
            tracing::warn!("drain: {late}, and may listen for a while");
        }
        self.set(State::Viewers);
        self.end_viewers(&mut left, f64::from(rate), until - FOR_PUBLISHERS).await;
        self.set(State::Publishers);
        let is_over = has_no_viewers(&left);
        if !is_over {
            let late = all(&left).viewers;
            tracing::warn!(viewers = late, "drain: drain.timeout is over, the rest is ended now");
        }
        let who = if is_over { Leave::Publishers } else { Leave::Everyone };
        self.leave(|_| who, &mut left).await;
        self.wait_for_connections().await;
        self.set(State::Drained);
    }

    /// Some at a time, until none is left or the time is over.
    async fn end_viewers(&self, left: &mut [Option<Left>], rate: f64, until: Instant) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut begun, mut may_leave) = (Instant::now(), 0.0);
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                now = ticks.tick() => {
                    let passed = now.saturating_duration_since(begun).as_secs_f64();
                    let time = until.saturating_duration_since(now).as_secs_f64() * PACED_PART;
                    let staying = all(left).staying;
                    let rate = rate.max(staying as f64 / time.max(TICK.as_secs_f64()));
                    may_leave = (may_leave + rate * passed.max(TICK.as_secs_f64())).min(staying as f64);
                    begun = now;
                }
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let count = may_leave as usize;
            may_leave -= count as f64;
            let mut shares = shares(left, count);
            self.leave(|core| Leave::Viewers(std::mem::take(&mut shares[core])), left).await;
            if has_no_viewers(left) {
                return;
            }
        }
    }

    /// What has been said is to be heard, and those who hear it are to close first.
    async fn wait_for_connections(&self) {
        let until = Instant::now() + LAST_WORDS;
        while self.connections() > 0 && Instant::now() < until {
            sleep(TICK / 5).await;
        }
    }

    fn connections(&self) -> usize {
        self.node.counters.connections.load(Ordering::Relaxed)
    }

    /// Tells each core who is to leave, and learns who is left.
    async fn leave(&self, mut who: impl FnMut(usize) -> Leave, left: &mut [Option<Left>]) {
        let order = |core: crate::shard::CoreId, asker| Order::Leave(who(core.index()), asker);
        let answers = ask_all(&self.node, ANSWER_WITHIN, order).await;
        for (left, answer) in left.iter_mut().zip(answers) {
            *left = answer.or(*left);
        }
        let Left { viewers, publishers, .. } = all(left);
        let changed = self.progress.send_if_modified(|progress| {
            let before = (progress.viewers_left, progress.publishers_left);
            (progress.viewers_left, progress.publishers_left) = (viewers, publishers);
            before != (viewers, publishers)
        });
        if changed {
            self.tell(Step::Progress);
        }
    }

    fn tell(&self, step: Step) {
        self.bulletin.tell(News::Drain(step, self.progress()));
    }

    fn set(&self, state: State) {
        self.progress.send_modify(|progress| progress.state = state);
        self.tell(if state == State::Drained { Step::Drained } else { Step::Progress });
        let Progress { viewers_left, publishers_left, .. } = self.progress();
        tracing::info!(
            viewers_left,
            publishers_left,
            "drain: {}",
            match state {
                State::Serving => "in service",
                State::Announced => "not ready any more",
                State::Viewers => "viewers are ended",
                State::Publishers => "publishers are ended",
                State::Drained => "nobody is left",
                State::Halted => "halted",
            }
        );
    }
}

/// Of all cores that have said so.
fn all(left: &[Option<Left>]) -> Left {
    let sum = |of: fn(&Left) -> usize| left.iter().flatten().map(of).sum();
    Left {
        viewers: sum(|left| left.viewers),
        staying: sum(|left| left.staying),
        publishers: sum(|left| left.publishers),
    }
}

fn has_no_viewers(left: &[Option<Left>]) -> bool {
    left.iter().all(|left| left.is_some_and(|left| left.viewers == 0))
}

/// `count` viewers, of each core as many as is its part of them.
fn shares(left: &[Option<Left>], count: usize) -> Vec<usize> {
    let (mut count, mut staying) = (count, all(left).staying);
    let share = |left: &Option<Left>| {
        let of_core = left.map_or(0, |left| left.staying);
        // Of those that are left of both, so that the sum comes out.
        let share = (count * of_core).div_ceil(staying.max(1)).min(of_core).min(count);
        (count, staying) = (count - share, staying - of_core);
        share
    };
    left.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::start_checks::Listening;
    use crate::serve::Mesh;

    #[tokio::test(flavor = "current_thread")]
    async fn who_is_told_to_end_while_it_is_taken_back_ends() {
        // Its core answers nobody, so that all of it takes its time.
        let node = Arc::new(Node::new(Mesh::new(1, 16)));
        let listeners = Listeners::new(Arc::clone(&node), &Listening::default());
        let listeners = Arc::new(tokio::sync::Mutex::new(listeners));
        let (_configuration, in_force) = watch::channel(Arc::default());
        let drain = Arc::new(Drain::new(node, listeners, in_force, Bulletin::new()));
        assert!(drain.start(false));
        let undone = Arc::clone(&drain);
        let undone = tokio::spawn(async move { undone.undo().await });
        drain.watch().wait_for(|at| at.state == State::Halted).await.expect("it is there");
        assert!(drain.start(true));
        assert_eq!(undone.await.expect("no panic"), Err(NotUndone::Stops));
        assert!(drain.node.draining.load(Ordering::Relaxed));
        assert!(!drain.start(true), "that is so already");
        drain.watch().wait_for(|at| at.state == State::Viewers).await.expect("it is there");
        assert!(drain.progress().then_stops);
        assert_eq!(drain.undo().await, Err(NotUndone::Stops));
    }

    #[test]
    fn each_core_ends_its_part() {
        let left = |staying: &[usize]| -> Vec<Option<Left>> {
            staying.iter().map(|&staying| Some(Left { staying, ..Left::default() })).collect()
        };
        assert_eq!(shares(&left(&[100, 100]), 10), [5, 5]);
        assert_eq!(shares(&left(&[300, 100]), 4), [3, 1]);
        assert_eq!(shares(&left(&[0, 3]), 3), [0, 3]);
        assert_eq!(shares(&left(&[0, 0]), 3), [0, 0]);
        assert_eq!(shares(&left(&[1, 1, 1]), 1).iter().sum::<usize>(), 1);
        assert_eq!(shares(&left(&[5, 7]), 100), [5, 7]);
    }

    #[test]
    fn a_core_that_has_not_said_who_is_there_is_not_empty() {
        let empty = Some(Left::default());
        assert!(has_no_viewers(&[empty, empty]));
        assert!(!has_no_viewers(&[empty, None]));
        assert!(!has_no_viewers(&[empty, Some(Left { viewers: 1, ..Left::default() })]));
    }
}
