//! CPU time as the kernel counts it, in nanoseconds.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// CPU time of all living threads of process `pid` since they began.
///
/// `/proc/PID/task/*/schedstat` (its first number) is exact, where `/proc/PID/stat` counts ticks.
/// Threads that have ended are not in it; a server that works by short threads looks cheaper.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| {
        io::Error::new(error.kind(), format!("expected a process {pid}, found none: {error}"))
    })?;
    let mut nanos = 0;
    for task in tasks {
        // A thread may end between the listing and the look.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// A process's CPU time from one moment on.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    since: Instant,
    before: Duration,
}

impl Meter {
    /// Begins now.
    ///
    /// # Errors
    /// As [`of_process`].
    pub fn start(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, before: of_process(pid)?, since: Instant::now() })
    }

    /// Per cent of one core that the process has used since.
    ///
    /// # Errors
    /// As [`of_process`]: it has ended.
    pub fn percent(&self) -> io::Result<f64> {
        let used = of_process(self.pid)?.saturating_sub(self.before);
        Ok(100.0 * used.as_secs_f64() / self.since.elapsed().as_secs_f64())
    }
}
