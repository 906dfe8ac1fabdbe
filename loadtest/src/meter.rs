//! What the server under test spends: its CPU and its memory, of the whole tree of its processes.
//!
//! On this host the kernel is asked ([`Meter::of_process`]), so any server will do. A server
//! elsewhere tells it itself, in its metrics ([`Meter::of_metrics`]).

mod memory;
mod remote;
mod tree;

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use remote::Metrics;
use tree::Tree;

/// Reads what a server spends. A thread looks at it now and then, so that nothing is missed that
/// ends between two readings.
#[derive(Debug)]
pub struct Meter {
    source: Arc<Source>,
    /// Hung up on drop; that ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Source {
    Local(Mutex<Tree>),
    Remote(Mutex<Metrics>),
}

/// What a server had spent at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The moment.
    pub at: Instant,
    /// CPU time of all threads and child processes, also of those that have ended. Only the
    /// difference of two readings means something.
    pub cpu: Duration,
    /// Resident memory, the sum of all processes. Pages they share count for each of them.
    pub rss_bytes: u64,
}

/// What a server holds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handles {
    /// File descriptors. None if a remote server does not tell.
    pub fds: Option<u64>,
    /// Threads, likewise.
    pub threads: Option<u64>,
}

/// How often the tree of processes is looked at: a child that lives shorter than this is seen only
/// in what its parent says of it, which is exact to 10 ms.
const LOOK: Duration = Duration::from_millis(200);
/// How often a remote server is asked.
const ASK: Duration = Duration::from_secs(1);

impl Meter {
    /// Of process `pid` on this host, its threads and its descendants.
    ///
    /// # Errors
    /// There is no such process, or it may not be looked at.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let source = Source::Local(Tree::of(pid)?.into());
        Self::start(source, LOOK, |source| {
            if let Source::Local(tree) = source {
                // Its end is told to whoever reads.
                let _ = lock(tree).look();
            }
        })
    }

    /// Of a server that shows Prometheus metrics at `url` (`http://HOST/PATH`):
    /// `process_cpu_seconds_total`, `process_resident_memory_bytes`, and if it has them
    /// `process_open_fds` and `process_threads`.
    ///
    /// # Errors
    /// Nobody answers there, or without these metrics.
    pub fn of_metrics(url: &str) -> io::Result<Self> {
        let source = Source::Remote(Metrics::ask(url)?.into());
        let url = url.to_owned();
        Self::start(source, ASK, move |source| {
            if let Source::Remote(latest) = source {
                let next = Metrics::ask(&url);
                lock(latest).update(next);
            }
        })
    }

    fn start(
        source: Source,
        period: Duration,
        look: impl Fn(&Source) + Send + 'static,
    ) -> io::Result<Self> {
        let source = Arc::new(source);
        let (stop, stopped) = mpsc::channel();
        let looked_at = Arc::clone(&source);
        let thread = thread::Builder::new().name("meter".to_owned()).spawn(move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                look(&looked_at);
            }
        })?;
        Ok(Self { source, stop: Some(stop), thread: Some(thread) })
    }

    /// Exactly now of a local process; of a remote server what it said last, some second ago, with
    /// the moment when it did. Never waits for the network.
    ///
    /// # Errors
    /// The process has ended, or the server no longer answers.
    pub fn read(&self) -> io::Result<Reading> {
        match &*self.source {
            Source::Local(tree) => lock(tree).read(),
            Source::Remote(metrics) => lock(metrics).reading(),
        }
    }

    /// The share of memory that would be free again without the server (PSS), the sum of all its
    /// processes. None of a remote server.
    ///
    /// The kernel walks all its pages for this and holds up its `mmap` meanwhile: not for a measured
    /// time.
    ///
    /// # Errors
    /// The process has ended.
    pub fn pss_bytes(&self) -> io::Result<Option<u64>> {
        match &*self.source {
            Source::Local(tree) => lock(tree).processes()?.map(memory::pss_bytes).sum(),
            Source::Remote(_) => Ok(None),
        }
    }

    /// Memory that it holds as files, beside what is resident. None of a remote server. Walks all its
    /// descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn files_bytes(&self) -> io::Result<Option<u64>> {
        match &*self.source {
            Source::Local(tree) => Ok(Some(lock(tree).processes()?.map(memory::files_bytes).sum())),
            Source::Remote(_) => Ok(None),
        }
    }

    /// What it holds open, the sum of all its processes.
    ///
    /// # Errors
    /// The process has ended, or the server no longer answers.
    pub fn handles(&self) -> io::Result<Handles> {
        match &*self.source {
            Source::Local(tree) => {
                let mut sum = Handles { fds: Some(0), threads: Some(0) };
                for pid in lock(tree).processes()? {
                    let Handles { fds, threads } = memory::handles(pid);
                    sum.fds = sum.fds.zip(fds).map(|(a, b)| a + b);
                    sum.threads = sum.threads.zip(threads).map(|(a, b)| a + b);
                }
                Ok(sum)
            }
            Source::Remote(metrics) => lock(metrics).handles(),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It may be waiting for a remote server, a few seconds at most.
            let _ = thread.join();
        }
    }
}

impl Reading {
    /// CPU in per cent of one core from `before` to this. None if no time lies between, as between
    /// two readings of what a remote server said last, or if its counter [went
    /// back](Self::went_back_since).
    pub fn cpu_percent_since(&self, before: &Self) -> Option<f64> {
        let time = self.at.saturating_duration_since(before.at).as_secs_f64();
        let cpu = self.cpu.checked_sub(before.cpu)?.as_secs_f64();
        (time > 0.0).then(|| 100.0 * cpu / time)
    }

    /// Whether the counter of CPU time is below that of `before`: the server was started anew
    /// between, and what it used is not known.
    pub fn went_back_since(&self, before: &Self) -> bool {
        self.cpu < before.cpu
    }
}

/// The process among `pids`, as `$(pidof NAME)` gives them, that has started all others. None of
/// none.
///
/// # Errors
/// There is no such one: they are several servers.
pub fn root_of(pids: &[u32]) -> io::Result<Option<u32>> {
    let parent = |pid: u32| {
        let process = procfs::process::Process::new(pid.try_into().ok()?).ok()?;
        u32::try_from(process.stat().ok()?.ppid).ok()
    };
    let is_below = |pid: u32| {
        let mut above = std::iter::successors(parent(pid), |pid| parent(*pid));
        above.any(|above| pids.contains(&above))
    };
    let mut roots = pids.iter().copied().filter(|pid| !is_below(*pid)).collect::<Vec<_>>();
    roots.dedup();
    match roots[..] {
        [] => Ok(None),
        [root] => Ok(Some(root)),
        _ => Err(io::Error::other(format!(
            "--pid: expected one server, with whatever it has started, found {} of their own: {}\n  \
             cure: the one that is measured; `ps -o pid,args -p {}` tells them apart",
            roots.len(),
            roots.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
            roots.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
        ))),
    }
}

/// A reader that panicked left numbers behind, nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_is_of_the_time_between_two_readings() {
        let at = Instant::now();
        let before = Reading { at, cpu: Duration::from_secs(5), rss_bytes: 0 };
        let cpu = Duration::from_millis(5500);
        let after = Reading { at: at + Duration::from_secs(2), cpu, rss_bytes: 0 };
        assert_eq!(after.cpu_percent_since(&before), Some(25.0));
        assert_eq!(after.cpu_percent_since(&after), None);
        // A server that was started anew counts from zero.
        let anew = Reading { cpu: Duration::ZERO, ..after };
        assert_eq!(anew.cpu_percent_since(&before), None);
        assert!(anew.went_back_since(&before) && !after.went_back_since(&before));
    }

    #[test]
    fn of_several_processes_the_one_that_started_the_others_is_the_server() {
        let me = std::process::id();
        let sleep = || std::process::Command::new("sleep").arg("60").spawn().expect("it is there");
        let mut children = [sleep(), sleep()];
        let [one, other] = [children[0].id(), children[1].id()];
        assert_eq!(root_of(&[]).expect("none"), None);
        assert_eq!(root_of(&[one, me, other]).expect("one root"), Some(me));
        let error = root_of(&[one, other]).expect_err("two roots").to_string();
        assert!(error.contains(&format!("found 2 of their own: {one} {other}")), "{error}");
        for child in &mut children {
            child.kill().and_then(|()| child.wait()).expect("it is ours");
        }
    }

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let meter = Meter::of_process(std::process::id()).expect("it runs");
        let rss = meter.read().expect("it runs").rss_bytes;
        let pss = meter.pss_bytes().expect("it runs").expect("it is local");
        assert!(rss > 1 << 20 && pss > 1 << 18 && pss <= rss * 2, "{rss} {pss}");
        let before = meter.handles().expect("it runs");
        let files = (0..50).map(|_| std::fs::File::open("/dev/null").expect("there is one"));
        let files = files.collect::<Vec<_>>();
        let after = meter.handles().expect("it runs");
        assert!(after.threads >= Some(2), "{after:?}");
        // Other tests open and close some too.
        assert!(after.fds > before.fds.map(|fds| fds + 25), "{before:?} {after:?}");
        drop(files);
    }
}
