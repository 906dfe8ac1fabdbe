mod file;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use self::file::LogFile;
use crate::config::{self, LogFormat};

/// The running log: lines go through a bounded queue to a thread of their own, so that a blocked
/// output drops lines, with a count, and never blocks a core. Dropped, it writes what waits.
pub struct Log {
    drops: Drops,
    handle: Handle,
    _writer: WorkerGuard,
}

/// What may be done to the running log, from anywhere on the control thread.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    level: Mutex<String>,
    filter: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
    reopen: Arc<AtomicBool>,
    dropped: ErrorCounter,
}

/// How many lines were dropped because the output was slow.
pub struct Drops {
    counter: ErrorCounter,
    told: usize,
}

/// Starts the log of the process, on standard error, on standard output, or in its file.
///
/// If the process has a log already (tests that start several servers), that one stays.
///
/// # Errors
/// The file cannot be written.
pub fn start(config: &config::Log) -> io::Result<Log> {
    let reopen = Arc::default();
    let (colours, output): (bool, Box<dyn Write + Send>) = match config.file.as_str() {
        "" => (io::stderr().is_terminal(), Box::new(io::stderr())),
        "-" => (io::stdout().is_terminal(), Box::new(io::stdout())),
        _ => (false, Box::new(LogFile::open(config, Arc::clone(&reopen))?)),
    };
    let (writer, drops, guard) = queue(config.queue_lines, output);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level))
        .with_writer(writer)
        .with_ansi(colours);
    let filter: Box<dyn Fn(EnvFilter) -> _ + Send + Sync>;
    // Err: there is one already.
    let _ = match config.format {
        LogFormat::Pretty => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            filter = Box::new(move |new| handle.reload(new));
            subscriber.finish().try_init()
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_filter_reloading();
            let handle = subscriber.reload_handle();
            filter = Box::new(move |new| handle.reload(new));
            subscriber.finish().try_init()
        }
    };
    let level = Mutex::new(config.level.clone());
    let shared = Shared { level, filter, reopen, dropped: drops.counter.clone() };
    Ok(Log { drops, handle: Handle(Arc::new(shared)), _writer: guard })
}

impl Log {
    /// The count of dropped lines.
    pub fn drops(&mut self) -> &mut Drops {
        &mut self.drops
    }

    /// For whoever changes its level or moves its file.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::set_level`].
    ///
    /// # Errors
    /// Likewise.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        self.handle.set_level(level)
    }

    /// As [`Handle::reopen`].
    pub fn reopen(&self) {
        self.handle.reopen();
    }
}

impl Handle {
    /// What is logged: a level or directives, as `log.level`.
    pub fn level(&self) -> String {
        self.0.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on `level` says what is logged.
    ///
    /// # Errors
    /// It is neither a level nor directives, or the process had a log before this one. What was
    /// logged is logged on.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        config::check_log_level(level)?;
        let mut current = self.0.level.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.filter)(filter(level)).map_err(|error| error.to_string())?;
        level.clone_into(&mut current);
        Ok(())
    }

    /// Opens the file again before the next line, if there is one: somebody has moved it away.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Relaxed);
    }

    /// Lines that were dropped since the start because the output was slow.
    pub fn dropped(&self) -> usize {
        self.0.dropped.dropped_lines()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("level", &self.level()).finish_non_exhaustive()
    }
}

impl Drops {
    /// Lines dropped since the start.
    pub fn total(&self) -> usize {
        self.counter.dropped_lines()
    }

    /// Logs how many lines were dropped since it last did; to be called about once per second.
    /// While the output stays blocked that line is dropped as well, and said again later.
    pub fn tell(&mut self) {
        let total = self.total();
        if total > self.told {
            let dropped = total - self.told;
            tracing::warn!(
                dropped,
                total,
                "log: lines were dropped as the output is slow; log less, or raise log.queue_lines"
            );
            if self.total() == total {
                self.told = total;
            }
        }
    }
}

/// The directives of `level`. The configuration has checked them.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}

fn queue(lines: usize, output: impl Write + Send + 'static) -> (NonBlocking, Drops, WorkerGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines)
        .thread_name("log")
        .finish(output);
    let drops = Drops { counter: writer.error_counter(), told: 0 };
    (writer, drops, guard)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// An output that takes a line only when the test lets it, and tells that it holds one.
    struct Gate {
        holds: mpsc::Sender<()>,
        open: mpsc::Receiver<()>,
        lines: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.holds.send(());
            let _ = self.open.recv();
            let _ = self.lines.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_drops_lines_with_a_count_and_blocks_nobody() {
        let (open, gate) = mpsc::channel();
        let (lines, seen) = mpsc::channel();
        let (holds, held) = mpsc::channel();
        let (writer, mut drops, _guard) = queue(4, Gate { holds, open: gate, lines });
        let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(line = 0);
            held.recv_timeout(PATIENCE).expect("the writer takes it");
            let start = Instant::now();
            (1..100).for_each(|line| tracing::info!(line));
            assert!(start.elapsed() < PATIENCE);
            // One is in the writer's hands, and four wait.
            assert_eq!(drops.total(), 95);

            drops.tell();
            assert_eq!(drops.told, 0, "nothing told while nothing gets through");

            drop(open);
            for _ in 0..5 {
                seen.recv_timeout(PATIENCE).expect("it was not dropped");
            }
            drops.tell();
            let line = seen.recv_timeout(PATIENCE).expect("told now");
            assert!(line.contains("lines were dropped"), "{line}");
            drops.tell();
            assert!(seen.recv_timeout(Duration::from_millis(100)).is_err(), "told once");
        });
    }

    #[test]
    fn directives_choose_what_is_logged() {
        assert_eq!(filter("info").to_string(), "info");
        assert_eq!(filter("warn,corecast=debug").to_string(), "corecast=debug,warn");
    }
}
