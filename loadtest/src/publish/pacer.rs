use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use corecast::proto::rtmp::{ClientConfig, Url};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::Shared;
use super::connection::Connection;
use crate::report::{Distribution, Published};
use crate::stream::Stream;

/// One thread's publishers: each frame is sent when it is due, and none before the one before it
/// has left.
pub(super) struct Pacer {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    config: Arc<ClientConfig>,
    publishers: Vec<Publisher>,
    /// Each publisher's next moment, and old ones that have lost their meaning.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// How often connections were broken on purpose, as far as this thread has seen.
    interrupts: usize,
    late: Distribution,
    /// The same of frames that did not wait for their socket.
    own_late: Distribution,
    outcomes: Sender<Result<(), String>>,
}

/// One publisher over all its connections.
pub(super) struct Publisher {
    pub(super) url: Arc<Url>,
    pub(super) address: SocketAddr,
    pub(super) stream: Stream,
    state: State,
    wake: Option<Instant>,
    /// Its first attempt has been told of.
    is_known: bool,
    pause: Duration,
}

/// ```text
/// Away ─> Greeting ─> Publishing ─> Ended
///  ^──────────┴──────────┘ with --reconnect
/// ```
enum State {
    /// Until its moment.
    Away,
    Greeting(Connection),
    Publishing {
        connection: Connection,
        begin: Instant,
        /// Since when the socket has taken nothing.
        blocked: Option<Instant>,
    },
    Ended,
}

/// Publishers that are due within this time are served by one wake-up; so late a frame may be. The
/// kernel's wait counts in milliseconds too.
const TICK: Duration = Duration::from_millis(1);
/// How soon a request to stop is seen.
const LOOK: Duration = Duration::from_millis(50);
/// A server that takes nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a connection that broke is made again; doubled each time it fails.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Publisher {
    /// One that will connect at `begin`.
    pub(super) fn new(url: Url, address: SocketAddr, stream: Stream, begin: Instant) -> Self {
        Self {
            url: url.into(),
            address,
            stream,
            state: State::Away,
            wake: Some(begin),
            is_known: false,
            pause: PAUSE,
        }
    }
}

impl Pacer {
    pub(super) fn new(
        shared: Arc<Shared>,
        publishers: Vec<Publisher>,
        outcomes: Sender<Result<(), String>>,
    ) -> io::Result<Self> {
        let wakes = publishers.iter().enumerate();
        let due = wakes.filter_map(|(id, publisher)| Some(Reverse((publisher.wake?, id))));
        Ok(Self {
            due: due.collect(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            config: ClientConfig::default().into(),
            late: Distribution::default(),
            own_late: Distribution::default(),
            interrupts: 0,
            shared,
            publishers,
            outcomes,
        })
    }

    /// Publishes until it is told to stop or nobody is left.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(super) fn run(mut self) -> io::Result<Published> {
        let mut events = Vec::with_capacity(256);
        let mut woke = Instant::now();
        while !self.shared.stop.load(Relaxed) && !self.due.is_empty() {
            self.interrupt();
            let next = self.due.peek().map(|Reverse((at, _))| (*at).max(woke + TICK));
            let wait = next.map_or(LOOK, |at| at.saturating_duration_since(Instant::now()));
            let wait = Timespec::try_from(wait.min(LOOK)).map_err(io::Error::other)?;
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            woke = Instant::now();
            for event in &events {
                self.attend(event.data.u64() as usize, woke, Self::ready);
            }
            while let Some(Reverse((at, id))) = self.due.peek().copied() {
                if at > woke {
                    break;
                }
                self.due.pop();
                if self.publishers[id].wake == Some(at) {
                    self.publishers[id].wake = None;
                    self.attend(id, woke, Self::wake);
                }
            }
        }
        let count = self.publishers.len();
        for publisher in self.publishers {
            if let State::Publishing { connection, .. } = publisher.state {
                connection.leave();
            }
        }
        Ok(Published {
            publishers: count,
            late_ms: self.late,
            own_late_ms: self.own_late,
            ..Published::default()
        })
    }

    /// Does `work` for a publisher, and what follows if it fails.
    fn attend(
        &mut self,
        id: usize,
        now: Instant,
        work: fn(&mut Self, usize, Instant) -> io::Result<()>,
    ) {
        if let Err(error) = work(self, id, now) {
            self.lose(id, now, &error.to_string());
        }
    }

    /// Its moment has come.
    fn wake(&mut self, id: usize, now: Instant) -> io::Result<()> {
        let publisher = &mut self.publishers[id];
        match &mut publisher.state {
            State::Away => {
                let (address, url) = (publisher.address, Arc::clone(&publisher.url));
                let connection = Connection::begin(address, Arc::clone(&self.config), url, now)?;
                // Edges: a socket that is always writable must not wake anyone.
                let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                epoll::add(&self.epoll, &connection, epoll::EventData::new_u64(id as u64), flags)?;
                let deadline = connection.deadline();
                publisher.state = State::Greeting(connection);
                self.set_wake(id, deadline);
                Ok(())
            }
            State::Greeting(connection) => {
                connection.check_deadline(now)?;
                let deadline = connection.deadline();
                self.set_wake(id, deadline);
                Ok(())
            }
            State::Publishing { .. } => self.send_due(id, now),
            State::Ended => Ok(()),
        }
    }

    /// Its socket can be read or written.
    fn ready(&mut self, id: usize, now: Instant) -> io::Result<()> {
        let publisher = &mut self.publishers[id];
        match &mut publisher.state {
            State::Greeting(connection) => {
                if !connection.ready(now)? {
                    let deadline = connection.deadline();
                    self.set_wake(id, deadline);
                    return Ok(());
                }
                connection.announce(&publisher.stream)?;
                let State::Greeting(connection) =
                    std::mem::replace(&mut publisher.state, State::Ended)
                else {
                    unreachable!("it was a line ago");
                };
                publisher.state = State::Publishing { connection, begin: now, blocked: None };
                publisher.pause = PAUSE;
                self.shared.publishing.fetch_add(1, Relaxed);
                self.tell(id, Ok(()));
                self.send_due(id, now)
            }
            State::Publishing { connection, blocked, .. } => {
                connection.ready(now)?;
                match blocked {
                    Some(_) => self.send_due(id, now),
                    None => Ok(()),
                }
            }
            State::Away | State::Ended => Ok(()),
        }
    }

    fn send_due(&mut self, id: usize, now: Instant) -> io::Result<()> {
        let publisher = &mut self.publishers[id];
        let stream = &mut publisher.stream;
        let State::Publishing { connection, begin, blocked } = &mut publisher.state else {
            return Ok(());
        };
        // Frames that were due before waited for the socket.
        let mut freed = None;
        let wake = loop {
            if connection.is_blocked() {
                let until = *blocked.get_or_insert(now) + PATIENCE;
                if until <= now {
                    let seconds = PATIENCE.as_secs();
                    let why = format!("the server has taken nothing for {seconds} s");
                    return Err(io::Error::other(why));
                }
                break until;
            }
            if blocked.take().is_some() {
                freed = Some(now);
            }
            let due = *begin + stream.next_at();
            // Asked again for each frame: what those before it have cost makes this one late.
            let now = Instant::now();
            if due > now {
                break due;
            }
            let waited = freed.is_some_and(|freed| due < freed);
            let frame = stream.next_frame(stamp(clock_ns(), now - due, waited));
            connection.send(&frame)?;
            self.late.record(now - due);
            if !waited {
                self.own_late.record(now - due);
            }
            self.shared.frames.fetch_add(1, Relaxed);
            self.shared.bytes.fetch_add(frame.data.len() as u64, Relaxed);
        };
        self.set_wake(id, Some(wake));
        Ok(())
    }

    fn lose(&mut self, id: usize, now: Instant, why: &str) {
        let publisher = &mut self.publishers[id];
        if matches!(publisher.state, State::Publishing { .. }) {
            self.shared.publishing.fetch_sub(1, Relaxed);
        }
        // Dropping the connection takes it out of the epoll.
        let first_time = !publisher.is_known;
        match self.shared.reconnect {
            true => {
                publisher.state = State::Away;
                publisher.stream.begin_again();
                let pause = publisher.pause;
                publisher.pause = (pause * 2).min(PAUSE_MAX);
                self.set_wake(id, Some(now + pause));
                self.shared.broken.fetch_add(1, Relaxed);
            }
            false => {
                publisher.state = State::Ended;
                publisher.wake = None;
                self.shared.failed.fetch_add(1, Relaxed);
            }
        }
        let name = self.publishers[id].url.play_path();
        let why = format!("{name}: {why}");
        if !first_time {
            self.shared.add_reason(&why);
        }
        self.tell(id, Err(why));
    }

    /// Breaks all connections without a farewell, if asked to.
    fn interrupt(&mut self) {
        let asked = self.shared.interrupts.load(Relaxed);
        if asked == self.interrupts {
            return;
        }
        self.interrupts = asked;
        let now = Instant::now();
        for id in 0..self.publishers.len() {
            if matches!(self.publishers[id].state, State::Publishing { .. }) {
                self.lose(id, now, "interrupted on purpose");
            }
        }
    }

    /// Reports how the first attempt went, once.
    fn tell(&mut self, id: usize, outcome: Result<(), String>) {
        if !std::mem::replace(&mut self.publishers[id].is_known, true) {
            // The fleet may have given up waiting.
            let _ = self.outcomes.send(outcome);
        }
    }

    fn set_wake(&mut self, id: usize, at: Option<Instant>) {
        if self.publishers[id].wake != at {
            self.publishers[id].wake = at;
            self.due.extend(at.map(|at| Reverse((at, id))));
        }
    }
}

/// What the mark of a frame says that is sent `late` at `clock_ns`. The server that did not read it
/// earlier has that `waited` for: the latency it causes begins when the frame was due.
fn stamp(clock_ns: u64, late: Duration, waited: bool) -> u64 {
    let late = if waited { late } else { Duration::ZERO };
    clock_ns.saturating_sub(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX))
}

fn clock_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_waited_for_the_server_bears_the_time_when_it_was_due() {
        let late = Duration::from_millis(700);
        assert_eq!(stamp(1_000_000_000, late, true), 300_000_000);
        assert_eq!(stamp(1_000_000_000, late, false), 1_000_000_000);
        assert_eq!(stamp(5, late, true), 0);
    }
}
