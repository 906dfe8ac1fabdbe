//! Processes beside this one: each on the cores it is given, ended by its own number, its words
//! kept for when it fails.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corecast_load::cpu::Meter;

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    name: String,
    log: Scratch,
}

impl Child {
    /// Runs `program` on `cpus` alone.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        cpus: &[usize],
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = Scratch::new(&format!("{name}.log"));
        let cpus = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let words = File::create(log.path())?;
        let child = Command::new("taskset")
            .args(["-c", &cpus])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            .spawn()
            .map_err(|error| {
                let program = program.display();
                io::Error::new(
                    error.kind(),
                    format!("cannot run `taskset -c {cpus} {program}`: {error}"),
                )
            })?;
        Ok(Self { child, name, log })
    }

    /// Its number; `taskset` has become the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It failed, with its last words, or has not ended in time.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        let until = Instant::now() + at_most;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(&status.to_string())),
                None if Instant::now() >= until => {
                    let why = format!("has not ended within {} s", at_most.as_secs());
                    return Err(self.failed(&why));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until it has said a line of which `meaning` makes something.
    ///
    /// # Errors
    /// It has ended, or has not said so in time.
    pub fn hear<T>(
        &mut self,
        what: &str,
        meaning: impl Fn(&str) -> Option<T>,
        at_most: Duration,
    ) -> io::Result<T> {
        let until = Instant::now() + at_most;
        loop {
            let ended = self.must_run();
            let words = std::fs::read_to_string(self.log.path())?;
            // What has no end yet may not be all of a line.
            let whole = words.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(meant) = whole.lines().find_map(&meaning) {
                return Ok(meant);
            }
            ended?;
            if Instant::now() >= until {
                return Err(self.failed(&format!("expected it to say {what}, but it has not")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// # Errors
    /// It has ended.
    pub fn must_run(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failed(&status.to_string())),
        }
    }

    /// Waits, and says how much CPU it used meanwhile, per cent of one core.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_percent(&mut self, during: Duration) -> io::Result<f64> {
        self.must_run()?;
        let meter = Meter::start(self.pid())?;
        std::thread::sleep(during);
        self.must_run()?;
        meter.percent()
    }

    fn failed(&self, why: &str) -> io::Error {
        let words = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let words = words.lines().rev().take(LAST_WORDS).collect::<Vec<_>>();
        let words = words.into_iter().rev().map(|line| format!("\n    {line}")).collect::<String>();
        io::Error::other(format!("{}: {why}{words}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a failed process that are shown.
const LAST_WORDS: usize = 8;

/// The path of a file of this process in the system's temporary directory, removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A path whose last part ends with `name`, not used before.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corecast-bench-{}-{count}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody may have written to it.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_process_is_quoted_and_one_that_does_not_end_is_named() {
        let sh = |script: &str| Child::start(&[0], Path::new("/bin/sh"), ["-c", script]);
        let mut failing = sh("echo no port left >&2; exit 3").expect("there is a shell");
        let error = failing.wait(Duration::from_secs(20)).expect_err("it exits with 3").to_string();
        assert!(error.contains("sh: exit status: 3") && error.contains("no port left"), "{error}");
        let mut endless = sh("echo port 7; sleep 60").expect("there is a shell");
        let port = |line: &str| line.strip_prefix("port ")?.parse::<u16>().ok();
        assert_eq!(endless.hear("its port", port, Duration::from_secs(20)).expect("it does"), 7);
        let never = |_: &str| None::<()>;
        let error = endless.hear("more", never, Duration::ZERO).expect_err("no more").to_string();
        assert!(error.contains("expected it to say more"), "{error}");
        let error = endless.wait(Duration::ZERO).expect_err("it sleeps").to_string();
        assert!(error.contains("has not ended"), "{error}");
        let log = endless.log.path().to_owned();
        drop(endless);
        assert!(!log.exists());
    }
}
