use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// What the kernel's scheduler says of one thread.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scheduled {
    /// How long it has run.
    pub(super) ran: Duration,
    /// How long it could have run while others had its CPU.
    pub(super) waited: Duration,
}

/// Where the kernel says so. It stays open: a look is one read.
#[derive(Debug)]
pub(super) struct Scheduler(Option<File>);

/// Three numbers of at most 20 digits.
const LINE_MAX: usize = 64;

impl Scheduler {
    /// Of the calling thread. A kernel without it is taken to say zero.
    pub(super) fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    pub(super) fn look(&self) -> Scheduled {
        let mut line = [0; LINE_MAX];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut line, 0).ok());
        let told = read.and_then(|read| std::str::from_utf8(&line[..read]).ok());
        let numbers = told.unwrap_or_default().split_ascii_whitespace();
        let mut times =
            numbers.map(|nanos| nanos.parse().map_or(Duration::ZERO, Duration::from_nanos));
        let mut next = || times.next().unwrap_or_default();
        Scheduled { ran: next(), waited: next() }
    }
}

impl Scheduled {
    /// A core that others keep busy is as full as one that we do.
    pub(super) fn wanted(&self) -> Duration {
        self.ran + self.waited
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn each_look_sees_what_this_thread_has_run_since() {
        let scheduler = Scheduler::of_this_thread();
        if scheduler.0.is_none() {
            // This kernel does not tell.
            return;
        }
        let first = scheduler.look();
        let gives_up = Instant::now() + Duration::from_secs(20);
        while scheduler.look().ran < first.ran + Duration::from_millis(20) {
            assert!(Instant::now() < gives_up, "{first:?}, {:?}", scheduler.look());
        }
        assert!(scheduler.look().wanted() >= first.wanted() + Duration::from_millis(20));
    }

    #[test]
    fn what_cannot_be_read_is_zero() {
        let Scheduled { ran, waited } = Scheduler(None).look();
        assert_eq!((ran, waited), (Duration::ZERO, Duration::ZERO));
    }
}
