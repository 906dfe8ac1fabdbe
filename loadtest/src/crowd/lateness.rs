//! How busy the crowd's thread is, and how late it looks at its sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::report::Distribution;

/// A timer that stands in line with the sockets, and so is looked at as late as they are.
#[derive(Debug)]
pub(super) struct Lateness {
    timer: OwnedFd,
    /// When it fires next, on the monotonic clock.
    due: Duration,
    late: Distribution,
    patient_late: Distribution,
    cpu: Duration,
    since: Duration,
}

/// How it was since [`Lateness::begin`].
#[derive(Debug, Default)]
pub(crate) struct Busy {
    /// The thread's CPU time by the time that passed.
    pub(crate) share: f64,
    /// How late the timer was looked at.
    pub(crate) late: Distribution,
    /// How late those were that have no need to be looked at at once.
    pub(crate) patient_late: Distribution,
}

impl Lateness {
    /// How often the timer fires.
    pub(super) const TICK: Duration = Duration::from_millis(20);

    /// Begins to fire. To be used by this thread alone.
    pub(super) fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let now = time(ClockId::Monotonic);
        let due = now + Self::TICK;
        let times = Itimerspec { it_interval: timespec(Self::TICK), it_value: timespec(due) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &times)?;
        let cpu = time(ClockId::ThreadCPUTime);
        Ok(Self {
            timer,
            due,
            late: Distribution::default(),
            patient_late: Distribution::default(),
            cpu,
            since: now,
        })
    }

    /// The timer is ready. False if it is not.
    pub(super) fn fired(&mut self) -> bool {
        let mut count = [0; 8];
        if rustix::io::read(&self.timer, &mut count) != Ok(count.len()) {
            return false;
        }
        let now = time(ClockId::Monotonic);
        // A process that was stopped for an hour need not count each tick of it.
        for _ in 0..u64::from_ne_bytes(count).min(1000) {
            self.late.record(now.saturating_sub(self.due));
            self.due += Self::TICK;
        }
        self.due = self.due.max(now.saturating_sub(Self::TICK));
        true
    }

    /// Those that may wait are looked at so `late`.
    pub(super) fn patient_looked_at(&mut self, late: Duration) {
        self.patient_late.record(late);
    }

    /// Forgets what was.
    pub(super) fn begin(&mut self) {
        self.late.clear();
        self.patient_late.clear();
        self.cpu = time(ClockId::ThreadCPUTime);
        self.since = time(ClockId::Monotonic);
    }

    /// Since the last [`Self::begin`].
    pub(super) fn busy(&self) -> Busy {
        let passed = time(ClockId::Monotonic).saturating_sub(self.since);
        let cpu = time(ClockId::ThreadCPUTime).saturating_sub(self.cpu);
        let share = cpu.as_secs_f64() / passed.as_secs_f64().max(1e-3);
        Busy { share, late: self.late.clone(), patient_late: self.patient_late.clone() }
    }
}

impl AsFd for Lateness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("these clocks begin at zero")
}

fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time).expect("this is in no distant future")
}
