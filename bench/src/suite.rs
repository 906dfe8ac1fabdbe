//! What all rows of the table share: the programs, the cores, and how a round is done.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use corecast_load::server::{Recipe, Server};

use crate::load::Load;
use crate::quiet::{OTHERS_MAX_PERCENT, Watch};

/// How to measure.
#[derive(Debug)]
pub struct Suite {
    /// The server.
    pub server: PathBuf,
    /// The core of whatever is measured.
    pub core: usize,
    /// The load generator, on the other core.
    pub load: Load,
    /// Only to see that it works: one short round.
    pub quick: bool,
    /// After this a noisy round is not done again.
    pub repeat_until: Instant,
    /// What others used in the rounds that count, per cent of one core.
    pub others: RefCell<Vec<f64>>,
}

/// The merge window that is the default.
pub const WINDOW: Duration = Duration::from_millis(350);
const LOOK: Duration = Duration::from_millis(100);
/// A noisy round is done again so many times.
const REPEATS: usize = 2;

impl Suite {
    /// How many rounds, if there is time for `rounds`.
    pub fn rounds(&self, rounds: usize) -> usize {
        if self.quick { 1 } else { rounds }
    }

    /// How long to measure, if there is time for `seconds`.
    pub fn seconds(&self, seconds: u64) -> Duration {
        Duration::from_secs(if self.quick { seconds.min(3) } else { seconds })
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// Somebody wants to stop.
    pub fn sleep(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.is_stopped() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(left.min(LOOK));
        }
        Ok(())
    }

    /// Somebody wants to stop.
    pub fn is_stopped(&self) -> bool {
        self.load.stop.load(Ordering::Relaxed)
    }

    /// Measures, and measures again while the machine is not quiet; of all that the quietest
    /// counts. `measure` must leave no process behind.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn quietly<T>(
        &self,
        what: &str,
        mut measure: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let repeats = if self.quick { 0 } else { REPEATS };
        let mut best: Option<(f64, T)> = None;
        for attempt in 0..=repeats {
            let watch = Watch::start()?;
            let value = measure()?;
            let others = watch.others_percent()?;
            if best.as_ref().is_none_or(|(least, _)| others < *least) {
                best = Some((others, value));
            }
            if others <= OTHERS_MAX_PERCENT {
                break;
            }
            let again = attempt < repeats && Instant::now() < self.repeat_until;
            let then = if again { "again" } else { "the quietest attempt counts" };
            eprintln!("  {what}: other processes used {others:.0} % of a core: {then}");
            if !again {
                break;
            }
        }
        let (others, value) = best.expect("there was an attempt");
        self.others.borrow_mut().push(others);
        Ok(value)
    }

    /// A server with that merge window on the measured core.
    ///
    /// # Errors
    /// It could not be started.
    pub fn corecast(&self, window: Duration) -> io::Result<Server> {
        self.corecast_with(&[self.core], window, "")
    }

    /// A server with a core of its own on each of `cores`, and `lines` in its configuration.
    ///
    /// # Errors
    /// It could not be started.
    pub fn corecast_with(
        &self,
        cores: &[usize],
        window: Duration,
        lines: &str,
    ) -> io::Result<Server> {
        let ms = window.as_millis();
        let lines = format!("app_defaults.merge_window = \"{ms}ms\"\n{lines}");
        Recipe::corecast(&self.server, &lines).start(cores)
    }

    /// What others used in the rounds since the last call, in words, if it was too much.
    pub fn noise(&self) -> Option<String> {
        let others = self.others.take();
        let noisy = others.iter().filter(|percent| **percent > OTHERS_MAX_PERCENT).count();
        let worst = others.iter().copied().fold(0.0, f64::max);
        (noisy > 0).then(|| {
            format!(
                "not quiet: in {noisy} of {} measurements others used more than \
                 {OTHERS_MAX_PERCENT} % of a core, at worst {worst:.0} %",
                others.len()
            )
        })
    }
}
