use std::io::{self, IsTerminal, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{self, LogFormat};

/// The running log: lines go through a bounded queue to a thread of their own, so that a blocked
/// output drops lines, with a count, and never blocks a core. Dropped, it writes what waits.
pub struct Log {
    drops: Drops,
    _writer: WorkerGuard,
}

/// How many lines were dropped because the output was slow.
pub struct Drops {
    counter: ErrorCounter,
    told: usize,
}

/// Starts the log of the process, on standard error.
///
/// If the process has a log already (tests that start several servers), that one stays.
pub fn start(config: &config::Log) -> Log {
    let colours = io::stderr().is_terminal();
    let (writer, drops, guard) = queue(config.queue_lines, io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level))
        .with_writer(writer)
        .with_ansi(colours);
    // Err: there is one already.
    let _ = match config.format {
        LogFormat::Pretty => subscriber.finish().try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init(),
    };
    Log { drops, _writer: guard }
}

impl Log {
    /// The count of dropped lines.
    pub fn drops(&mut self) -> &mut Drops {
        &mut self.drops
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

    /// An output that takes a line only when the test lets it.
    struct Gate {
        open: mpsc::Receiver<()>,
        lines: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
        let (writer, mut drops, _guard) = queue(4, Gate { open: gate, lines });
        let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            let start = Instant::now();
            (0..100).for_each(|line| tracing::info!(line));
            assert!(start.elapsed() < Duration::from_secs(1));
            // Four wait, and one may be in the writer's hands.
            assert!((95..=96).contains(&drops.total()), "{}", drops.total());

            drops.tell();
            assert_eq!(drops.told, 0, "nothing told while nothing gets through");

            drop(open);
            while seen.recv_timeout(Duration::from_millis(500)).is_ok() {}
            drops.tell();
            let line = seen.recv_timeout(Duration::from_secs(5)).expect("told now");
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
