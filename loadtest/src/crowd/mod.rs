//! Many viewers on one thread: they come at a pace, stay, and some of them go and come back. So do
//! those that the server drops or does not let in, after a pause.
//!
//! Nobody waits for anybody: each turn looks once at every socket that is ready and wants to be
//! looked at at once, at a bounded number of the others, makes a bounded number of new connections,
//! and goes on. Slow readers are left alone by the kernel while they rest.

mod bucket;
mod fetching;
mod lateness;
mod life;
mod patient;
mod plan;
mod retry;
mod round;
mod seat;
mod sockets;
mod source;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(crate) use lateness::Busy;
pub use plan::{Slow, SmallBuffer, Spread};
pub(crate) use plan::{churn, share_of};

use crate::fds;
use crate::inspect::Findings;
use crate::viewer::Target;
use crate::viewer::hls::Tally;
use life::Crowd;

/// How often a viewer that answers nothing shows that it lives. Servers that mind wait about a
/// minute for a word, so before that. Rare, so that reading it does not show in the server's cost:
/// at windows of 350 ms it is one read for 140 writes. Players say more: RTMP's acknowledge each
/// window, often 2.5 MB.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(50);

/// Who comes, and how.
pub(crate) struct Plan {
    /// At least one.
    pub(crate) targets: Vec<Target>,
    pub(crate) spread: Spread,
    pub(crate) viewers: usize,
    /// How many join per second.
    pub(crate) ramp: f64,
    /// The share of those that are in that leave per second, once all are in.
    pub(crate) churn: f64,
    pub(crate) slow: Option<Slow>,
    pub(crate) small_buffer: Option<SmallBuffer>,
    /// The share that inspects.
    pub(crate) inspect: f64,
    /// How often each of the others says a word; not zero.
    pub(crate) sign_of_life: Duration,
    /// The number of the first viewer, and of this process, among all of the run.
    pub(crate) first: usize,
    pub(crate) part: usize,
}

/// A crowd on a thread of its own.
pub(crate) struct Running {
    news: Receiver<News>,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<io::Result<Outcome>>>,
}

#[derive(Debug, Default)]
struct Orders {
    begin: AtomicBool,
    stop: AtomicBool,
}

/// What is heard of a crowd.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum News {
    /// A second has passed.
    Second(Second),
    /// Everybody has come; so many were let in.
    AllIn(usize),
    /// Counters begin anew.
    Begun,
}

/// How it stands at the end of a second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Since the start.
    pub(crate) at: Duration,
    /// This process's CPU time so far.
    pub(crate) cpu: Duration,
    /// How many are in.
    pub(crate) watching: usize,
    /// How many are on their way in, without those that were refused or lost before.
    pub(crate) coming: usize,
    /// p50, p99 and the largest latency in it, in milliseconds.
    pub(crate) latency_ms: Option<[f64; 3]>,
    /// Of how many pictures.
    pub(crate) latencies: u64,
    /// Frames that inspected viewers missed, since counters began.
    pub(crate) missing: u64,
    /// So far.
    pub(crate) count: Count,
}

/// Of the whole life of the crowd.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Seats that were let in.
    pub(crate) joined: usize,
    /// Connections that were not, without the further tries of those.
    pub(crate) refused: usize,
    /// Connections that the server dropped after that.
    pub(crate) lost: usize,
    /// Viewers that left and were let in again.
    pub(crate) rejoined: usize,
    /// Viewers that had been in, were lost or refused, and were let in again by a further try.
    pub(crate) rejoined_after_loss: usize,
    /// Received.
    pub(crate) bytes: u64,
}

impl Count {
    /// How often the server let somebody in.
    pub(crate) fn let_in(&self) -> usize {
        self.joined + self.rejoined + self.rejoined_after_loss
    }
}

/// What a crowd has found when it is sent home.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) count: Count,
    /// The different reasons of those that were refused or lost.
    pub(crate) reasons: Vec<String>,
    /// What the server calls itself.
    pub(crate) server: Option<String>,
    /// From the start to the begin of the measured time; none if it did not begin.
    pub(crate) begin: Option<Duration>,
    /// From then, or from the start, to the end.
    pub(crate) window: Duration,
    /// In it: bytes, this process's CPU time, and how many were in, mean.
    pub(crate) bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) watching: f64,
    /// Were in all the time and received nothing.
    pub(crate) starved: usize,
    pub(crate) busy: Busy,
    /// Of ordinary viewers and of slow ones, with how many they are.
    pub(crate) found: [(usize, Findings); 2],
    /// What viewers of HLS found.
    pub(crate) hls: Tally,
}

impl Running {
    /// The next that happens. None if nothing does within `patience`.
    ///
    /// # Errors
    /// What ended the crowd: the kernel has no epoll or timer for it.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<Option<News>> {
        match self.news.recv_timeout(patience) {
            Ok(news) => Ok(Some(news)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.join()?;
                Err(io::Error::other("the crowd has gone home unasked"))
            }
        }
    }

    /// Begins the measured time; [`News::Begun`] tells when.
    pub(crate) fn begin(&self) {
        self.orders.begin.store(true, Ordering::Relaxed);
    }

    /// Sends everybody home.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(crate) fn stop(mut self) -> io::Result<Outcome> {
        self.orders.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> io::Result<Outcome> {
        let thread = self.thread.take();
        let result = thread.map(|thread| thread.join().expect("a crowd returns its errors"));
        result.unwrap_or_else(|| Err(io::Error::other("the crowd has ended before")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        // Its outcome is of no interest any more.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Opens the doors.
///
/// # Errors
/// The limit of file descriptors is too low, or there can be no thread.
pub(crate) fn start(plan: Plan) -> io::Result<Running> {
    fds::allow(plan.viewers)?;
    let (tell, news) = channel();
    let orders = Arc::new(Orders::default());
    let told = Arc::clone(&orders);
    let thread = std::thread::Builder::new()
        .name("crowd".to_owned())
        .spawn(move || Crowd::new(plan, tell, told)?.run())?;
    Ok(Running { news, orders, thread: Some(thread) })
}

/// CPU time of all threads of this process, those that have ended included.
pub(crate) fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("this clock begins at zero")
}
