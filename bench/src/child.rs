//! Programs beside this one, with what they say: heard while they run, quoted when they fail.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corecast_load::server::{Directory, Process, last_lines};

/// A program under way, ended when dropped. Nobody waits for it any longer when its flag is set.
#[derive(Debug)]
pub struct Child {
    process: Process,
    name: String,
    /// Of its log.
    dir: Directory,
    stop: Arc<AtomicBool>,
}

impl Child {
    /// Runs `program` on `cores` alone. `stop` ends all waiting for it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        cores: &[usize],
        stop: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dir = Directory::new()?;
        let arguments = arguments.into_iter().map(OsString::from);
        let command = [program.into()].into_iter().chain(arguments).collect::<Vec<OsString>>();
        let process = Process::start(&command, cores, Some(&dir.path().join(LOG)))?;
        Ok(Self { process, name, dir, stop: Arc::clone(stop) })
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It failed, with its last words, or has not ended in time.
    pub fn wait(self, at_most: Duration) -> io::Result<()> {
        let until = Instant::now() + at_most;
        loop {
            match self.process.ended()? {
                Some(how) if how == SUCCESS => return Ok(()),
                Some(how) => return Err(self.failed(&how)),
                None if Instant::now() >= until => {
                    let why = format!("has not ended within {} s", at_most.as_secs());
                    return Err(self.failed(&why));
                }
                None => self.look_again()?,
            }
        }
    }

    /// Waits until it has said a line of which `meaning` makes something.
    ///
    /// # Errors
    /// It has ended, or has not said so in time.
    pub fn hear<T>(
        &self,
        what: &str,
        meaning: impl Fn(&str) -> Option<T>,
        at_most: Duration,
    ) -> io::Result<T> {
        let until = Instant::now() + at_most;
        loop {
            let running = self.must_run();
            let words = std::fs::read_to_string(self.log())?;
            // What has no end yet may not be all of a line.
            let whole = words.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(meant) = whole.lines().find_map(&meaning) {
                return Ok(meant);
            }
            running?;
            if Instant::now() >= until {
                return Err(self.failed(&format!("expected it to say {what}, but it has not")));
            }
            self.look_again()?;
        }
    }

    /// # Errors
    /// It has ended.
    pub fn must_run(&self) -> io::Result<()> {
        match self.process.ended()? {
            None => Ok(()),
            Some(how) => Err(self.failed(&format!("has ended: {how}"))),
        }
    }

    fn look_again(&self) -> io::Result<()> {
        std::thread::sleep(LOOK);
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    fn failed(&self, why: &str) -> io::Error {
        let last = last_lines(&self.log(), LAST_WORDS);
        let last = last.iter().map(|line| format!("\n    {line}")).collect::<String>();
        io::Error::other(format!("{}: {why}{last}", self.name))
    }
}

const LOG: &str = "log";
const SUCCESS: &str = "exit status 0";
/// Lines of a failed program that are shown.
const LAST_WORDS: usize = 8;
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Child {
        let arguments = ["-c", script].map(str::to_owned);
        Child::start(Path::new("/bin/sh"), arguments, &[], &Arc::default())
            .expect("there is a shell")
    }

    #[test]
    fn a_failed_program_is_quoted() {
        let error =
            sh("echo no port left >&2; exit 3").wait(PATIENCE).expect_err("it exits with 3");
        let error = error.to_string();
        assert!(
            error.starts_with("sh: exit status 3") && error.contains("no port left"),
            "{error}"
        );
        sh("true").wait(PATIENCE).expect("it does nothing");
    }

    #[test]
    fn what_a_program_says_is_heard_and_one_that_does_not_end_is_named() {
        let endless = sh("echo port 7; sleep 60");
        let port = |line: &str| line.strip_prefix("port ")?.parse::<u16>().ok();
        assert_eq!(endless.hear("its port", port, PATIENCE).expect("it does"), 7);
        let never = |_: &str| None::<()>;
        let error = endless.hear("more", never, Duration::ZERO).expect_err("no more").to_string();
        assert!(error.contains("expected it to say more"), "{error}");
        let log = endless.log();
        let error = endless.wait(Duration::ZERO).expect_err("it sleeps").to_string();
        assert!(error.contains("has not ended") && !log.exists(), "{error}");
    }

    #[test]
    fn whoever_stops_waits_for_nobody() {
        let endless = sh("sleep 60");
        endless.stop.store(true, Ordering::Relaxed);
        let error = endless.wait(PATIENCE * 10).expect_err("it was stopped");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
