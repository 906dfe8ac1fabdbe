//! What all rows of the table share: the programs, the cores, and how a round is done.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use corecast_load::server::{Recipe, Server};

use crate::figure::in_a_line;
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
    /// Rounds of each row, instead of its own.
    pub rounds: Option<usize>,
    /// How long each round of most rows is measured, in seconds, instead of their own.
    pub seconds: Option<u64>,
    /// So much time is left for doing noisy measurements again.
    pub repeats_left: Cell<Duration>,
    /// What others used in the measurements that count, per cent of one core.
    pub others: RefCell<Vec<f64>>,
    /// Rounds that failed: what was to be done, as figures begin, and why it was not.
    pub failed: RefCell<Vec<[String; 2]>>,
    /// What somebody stopped before all its rounds were done, as figures begin.
    pub unfinished: RefCell<Vec<String>>,
}

/// The merge window that is the default.
pub const WINDOW: Duration = Duration::from_millis(350);
const LOOK: Duration = Duration::from_millis(100);
/// A noisy measurement is done again so many times. Medians need no more.
const REPEATS: usize = 1;
/// So many rounds of a row may fail before it is given up.
const FAILURES: usize = 1;

impl Suite {
    /// Does `round`, which is told its number, until `rounds` of them are done, if there is time for
    /// so many. The first that fails is done anew; at the next that fails the row ends. What is done
    /// counts, even if another has failed or somebody wants to stop.
    ///
    /// # Errors
    /// That of the last round, if none could be done.
    pub fn each_round<T>(
        &self,
        what: &str,
        rounds: usize,
        mut round: impl FnMut(usize) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let rounds = self.rounds.unwrap_or(if self.quick { 1 } else { rounds });
        let (mut done, mut failures) = (Vec::new(), 0);
        while done.len() < rounds {
            let number = done.len() + 1;
            let error = match round(number) {
                Ok(value) => {
                    done.push(value);
                    continue;
                }
                Err(error) => error,
            };
            if self.is_stopped() {
                self.unfinished.borrow_mut().push(what.to_owned());
            } else {
                eprintln!("  {what}, round {number}: {error}");
                self.failed.borrow_mut().push([what.to_owned(), in_a_line(&error)]);
                failures += 1;
                if failures <= FAILURES {
                    continue;
                }
            }
            return if done.is_empty() { Err(error) } else { Ok(done) };
        }
        Ok(done)
    }

    /// How long one round is measured, if there is time for `seconds`.
    pub fn measured(&self, seconds: u64) -> Duration {
        self.seconds.map_or_else(|| self.seconds(seconds), Duration::from_secs)
    }

    /// How long to wait, if there is time for `seconds`.
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

    /// Measures, and measures again if the machine was not quiet; the quieter one counts.
    /// `measure` must leave no process behind.
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
            let begin = Instant::now();
            let watch = Watch::start()?;
            let value = match measure() {
                Ok(value) => value,
                // A measurement that was only not quiet is better than none.
                Err(error) if best.is_some() && !self.is_stopped() => {
                    eprintln!("  {what}: {error}; the attempt before it counts");
                    self.failed.borrow_mut().push([what.to_owned(), in_a_line(&error)]);
                    break;
                }
                Err(error) => match best {
                    Some(_) => break,
                    None => return Err(error),
                },
            };
            let others = watch.others_percent()?;
            let took = begin.elapsed();
            if attempt > 0 {
                self.repeats_left.set(self.repeats_left.get().saturating_sub(took));
            }
            if best.as_ref().is_none_or(|(least, _)| others < *least) {
                best = Some((others, value));
            }
            if others <= OTHERS_MAX_PERCENT {
                break;
            }
            let again = attempt < repeats && self.repeats_left.get() >= took;
            let then = if again { "again" } else { "the quieter attempt counts" };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn suite() -> Suite {
        Suite {
            server: PathBuf::new(),
            core: 0,
            load: Load { program: PathBuf::new(), cores: vec![], stop: Arc::default() },
            quick: false,
            rounds: None,
            seconds: None,
            repeats_left: Cell::default(),
            others: RefCell::default(),
            failed: RefCell::default(),
            unfinished: RefCell::default(),
        }
    }

    /// Three rounds of which the calls named in `bad` fail.
    fn rounds(suite: &Suite, bad: &[usize]) -> (io::Result<Vec<usize>>, usize) {
        let mut calls = 0;
        let done = suite.each_round("work", 3, |_| {
            calls += 1;
            if bad.contains(&calls) { Err(io::Error::other("no\n  port\n")) } else { Ok(calls) }
        });
        (done, calls)
    }

    #[test]
    fn a_failed_round_is_done_anew_and_told() {
        let suite = suite();
        let (done, calls) = rounds(&suite, &[2]);
        assert_eq!((done.expect("three went well"), calls), (vec![1, 3, 4], 4));
        assert_eq!(suite.failed.take(), [["work", "no port"]]);
    }

    #[test]
    fn what_was_measured_is_kept_when_later_rounds_fail() {
        assert_eq!(rounds(&suite(), &[2, 3]).0.expect("one went well"), [1]);
        let (none, calls) = rounds(&suite(), &[1, 2, 3]);
        assert!(none.is_err() && calls == 2, "{calls}");
    }

    #[test]
    fn what_was_measured_is_kept_when_somebody_stops() {
        let suite = suite();
        let done = suite.each_round("work", 3, |round| match round {
            1 => Ok(round),
            _ => {
                suite.load.stop.store(true, Ordering::Relaxed);
                Err(io::ErrorKind::Interrupted.into())
            }
        });
        assert_eq!(done.expect("one went well"), [1]);
        assert!(suite.failed.take().is_empty());
        assert_eq!(suite.unfinished.take(), ["work"]);
    }

    #[test]
    fn what_was_done_before_somebody_stops_is_finished() {
        let suite = suite();
        let done = suite.each_round("work", 3, |round| {
            suite.load.stop.store(round == 3, Ordering::Relaxed);
            Ok(round)
        });
        assert_eq!(done.expect("all went well"), [1, 2, 3]);
        assert!(suite.unfinished.take().is_empty());
    }
}
