//! A program that ends with the test that started it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::machine::eventually;

/// A running program. Killed by its own process id when dropped.
pub(crate) struct Child {
    inner: std::process::Child,
    name: String,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` without standard input; what it says goes to `log`. Standard output too,
    /// unless `command` has a place for it (see [`Child::start_to`]).
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).expect("the run directory is ours");
        command.stdout(out.try_clone().expect("a file can be cloned"));
        Self::spawn(command, out, log)
    }

    /// The same with standard output in a file of its own.
    pub(crate) fn start_to(command: &mut Command, output: &Path, log: &Path) -> Self {
        command.stdout(File::create(output).expect("the run directory is ours"));
        Self::spawn(command, File::create(log).expect("the run directory is ours"), log)
    }

    fn spawn(command: &mut Command, err: File, log: &Path) -> Self {
        let name = Path::new(command.get_program()).file_name();
        let name = name.expect("a program has a name").to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stderr(err);
        let inner = command.spawn().unwrap_or_else(|e| {
            panic!("{name} does not start ({e}); tests/install.sh installs what the tests need")
        });
        Self { inner, name, log: log.to_owned(), status: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// What it wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.inner.try_wait().expect("it is our child");
        }
        self.status
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = Pid::from_child(&self.inner);
            // It may end between the question and the signal; it is not reaped, so the id is its.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end, at most `within`.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        eventually(within, || self.ended().is_some());
        self.status
    }

    /// Waits for its end and a zero exit code; panics with its log otherwise.
    #[track_caller]
    pub(crate) fn succeed(&mut self, within: Duration) {
        match self.wait(within) {
            Some(status) if status.success() => {}
            Some(status) => panic!("{} ended with {status}:\n{}", self.name, self.log_tail()),
            None => panic!("{} still runs after {within:?}:\n{}", self.name, self.log_tail()),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.inner.wait();
        if std::thread::panicking() {
            eprintln!("-- log of {} ({}):\n{}", self.name, self.inner.id(), self.log_tail());
        }
    }
}
