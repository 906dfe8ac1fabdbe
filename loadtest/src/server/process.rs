use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A program with everything it starts: one process group. Stopped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    /// Nothing of its group is left.
    is_over: bool,
}

/// How long it may take to end after it was asked to.
const FAREWELL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

impl Process {
    /// Runs `command` (a program and its arguments) on `cores` alone, or anywhere if there are
    /// none. What it says goes to `log`; without one, standard output can be taken by
    /// [`Self::stdout`] and standard error is ours.
    ///
    /// # Errors
    /// There is no such program, or there are no such cores.
    pub fn start(
        command: &[impl AsRef<OsStr>],
        cores: &[usize],
        log: Option<&Path>,
    ) -> io::Result<Self> {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let mut child = Command::new(program);
        child.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        if let Some(log) = log {
            let file = File::create(log)?;
            child.stdout(file.try_clone()?).stderr(file);
        }
        // It inherits its cores from the thread that starts it.
        let starting = |child: &mut Command| {
            super::pin(cores)?;
            child.spawn()
        };
        let child = thread::scope(|scope| {
            scope.spawn(|| starting(&mut child)).join().expect("it returns its errors")
        });
        let child = child
            .map_err(|error| io::Error::new(error.kind(), format!("cannot run {name}: {error}")))?;
        Ok(Self { name: name.into_owned(), child, is_over: false })
    }

    /// Its number, and that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has. Others of its group may still run.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn ended(&self) -> io::Result<Option<String>> {
        // Not waited for, so that its number stays its own until the group is gone.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?;
        Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => format!("{status:?}"),
        }))
    }

    /// Asks the whole group to end, insists after five seconds, and waits until nothing is left of
    /// it.
    ///
    /// # Errors
    /// Something of it survives.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let group = Pid::from_child(&self.child);
        for signal in [Signal::TERM, Signal::KILL] {
            if self.is_over {
                return Ok(());
            }
            // Nobody left: seen below.
            let _ = kill_process_group(group, signal);
            let begin = Instant::now();
            while begin.elapsed() < FAREWELL {
                // While it is not waited for, its number cannot become another's.
                if members(group) == 0 {
                    self.child.wait()?;
                    self.is_over = true;
                    break;
                }
                thread::sleep(LOOK);
            }
        }
        match self.is_over {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{}: expected process group {} to end, found it alive",
                self.name,
                group.as_raw_nonzero()
            ))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever wants to know calls stop.
        let _ = self.end();
    }
}

/// How many processes of `group` are alive. Those that nobody has waited for are not.
fn members(group: Pid) -> usize {
    let Ok(processes) = procfs::process::all_processes() else { return 0 };
    let stats = processes.flatten().filter_map(|process| process.stat().ok());
    let group = group.as_raw_nonzero().get();
    stats.filter(|stat| stat.pgrp == group && !matches!(stat.state, 'Z' | 'X')).count()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(&["sh", "-c", script], &[], None).expect("there is a shell")
    }

    fn line(process: &mut Process) -> String {
        let mut line = String::new();
        let stdout = process.stdout().expect("no log was given");
        BufReader::new(stdout).read_line(&mut line).expect("it speaks");
        line
    }

    #[test]
    fn everything_a_program_started_ends_with_it() {
        // A child that ignores the first request, and a grandchild.
        let script = "sh -c 'trap \"\" TERM; sleep 1000 & echo $$; sleep 1000' & wait";
        let mut process = shell(script);
        assert!(line(&mut process).trim().parse::<i32>().is_ok());
        let group = Pid::from_child(&process.child);
        assert!(members(group) >= 3, "{}", members(group));
        process.stop().expect("all of it ends");
        assert_eq!(members(group), 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Process::start(&["/nonexistent/server"], &[], None).expect_err("no such file");
        assert!(error.to_string().starts_with("cannot run server: "), "{error}");
        let error = Process::start(&["sh"], &[usize::MAX], None).expect_err("no such core");
        assert!(error.to_string().contains("expected a core"), "{error}");
    }

    #[test]
    fn a_program_runs_on_its_cores_and_this_one_where_it_was() {
        let here = super::super::own_cores();
        let core = here[0];
        let mut process =
            Process::start(&["grep", "Cpus_allowed_list", "/proc/self/status"], &[core], None)
                .expect("there is grep");
        let text = line(&mut process);
        assert_eq!(text.split_whitespace().last(), Some(core.to_string().as_str()));
        assert_eq!(super::super::own_cores(), here);
    }
}
