use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::process::{Process, Stat};

use super::Reading;

/// A process with its descendants: what is alive, and what those that have ended used.
///
/// Each process has a clock of its CPU time (`clock_getcpuclockid`). It counts nanoseconds of all
/// its threads, those that have ended too, and those that run at this moment up to this moment,
/// which `/proc/PID/task/*/schedstat` does not. What it does not know is its children. Of a child
/// that has ended the last look counts; if its parent has waited for it, the parent knows the whole
/// (`cutime`, `cstime`), rounded to ticks.
#[derive(Debug)]
pub(super) struct Tree {
    root: Id,
    alive: HashMap<Id, Seen>,
    ended: Ended,
}

/// Numbers are used again; with its time of birth a process has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    pid: i32,
    born_ticks: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// When this began to look.
    before: Times,
    now: Times,
    rss_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    own: Duration,
    /// Of children it has waited for, and theirs.
    reaped: Duration,
}

/// Of processes that have been seen alive.
#[derive(Debug, Default)]
struct Ended {
    /// Used from the beginning to the last look.
    seen: Duration,
    /// Used before the beginning.
    before: Duration,
    /// Said by those that have ended of children they had waited for.
    reaped: Duration,
}

impl Tree {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let (root, _) = look_at(pid.try_into().unwrap_or(-1)).map_err(|error| {
            io::Error::new(error.kind(), format!("expected a process {pid}, found none: {error}"))
        })?;
        let mut tree = Self { root, alive: HashMap::new(), ended: Ended::default() };
        tree.look()?;
        for seen in tree.alive.values_mut() {
            seen.before = seen.now;
        }
        Ok(tree)
    }

    /// Takes the times of everyone alive.
    pub(super) fn look(&mut self) -> io::Result<()> {
        // One whose parent has ended belongs to another one now, but it is known.
        let mut next = self.alive.keys().map(|id| id.pid).collect::<Vec<_>>();
        next.push(self.root.pid);
        let mut found = HashSet::new();
        let mut visited = HashSet::new();
        while let Some(pid) = next.pop() {
            if !visited.insert(pid) {
                continue;
            }
            let Ok((id, seen)) = look_at(pid) else { continue };
            // A stranger that got the number of one who has ended.
            let is_stranger = self.alive.keys().any(|known| known.pid == pid && *known != id)
                || (pid == self.root.pid && id != self.root);
            if is_stranger {
                continue;
            }
            found.insert(id);
            let known = self.alive.entry(id).or_default();
            *known = Seen { before: known.before, ..seen };
            next.extend(children(pid));
        }
        let ended = &mut self.ended;
        self.alive.retain(|id, seen| {
            if !found.contains(id) {
                ended.seen += seen.now.own.saturating_sub(seen.before.own);
                ended.before += seen.before.own;
                ended.reaped += seen.now.reaped.saturating_sub(seen.before.reaped);
            }
            found.contains(id)
        });
        match self.alive.contains_key(&self.root) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the server's process {} has ended", self.root.pid),
            )),
        }
    }

    pub(super) fn read(&mut self) -> io::Result<Reading> {
        self.look()?;
        let at = Instant::now();
        let (mut own, mut reaped, mut rss_bytes) = (Duration::ZERO, Duration::ZERO, 0);
        for seen in self.alive.values() {
            own += seen.now.own.saturating_sub(seen.before.own);
            reaped += seen.now.reaped.saturating_sub(seen.before.reaped);
            rss_bytes += seen.rss_bytes;
        }
        // What parents say includes what their children used before the beginning, and what
        // children that were never seen used.
        let told = reaped.max(self.ended.reaped).saturating_sub(self.ended.before);
        Ok(Reading { at, cpu: own + self.ended.seen.max(told), rss_bytes })
    }

    /// The processes that are alive.
    pub(super) fn processes(&mut self) -> io::Result<impl Iterator<Item = i32> + use<>> {
        self.look()?;
        Ok(self.alive.keys().map(|id| id.pid).collect::<Vec<_>>().into_iter())
    }
}

fn look_at(pid: i32) -> io::Result<(Id, Seen)> {
    let stat = Process::new(pid).and_then(|process| process.stat()).map_err(io::Error::other)?;
    // A dead process that nobody has waited for is none.
    if stat.state == 'Z' || stat.state == 'X' {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
    }
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(ClockId::now);
    let now = Times { own: clock?.into(), reaped: reaped(&stat) };
    let rss_bytes = stat.rss * procfs::page_size();
    let id = Id { pid, born_ticks: stat.starttime };
    Ok((id, Seen { before: Times::default(), now, rss_bytes }))
}

fn reaped(stat: &Stat) -> Duration {
    let ticks = (stat.cutime + stat.cstime).max(0).unsigned_abs();
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// Processes that `pid` has started and that are alive.
fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = Process::new(pid).and_then(|process| process.tasks()) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for task in tasks.flatten() {
        match task.children() {
            Ok(children) => all.extend(children.into_iter().map(|child| child as i32)),
            // A kernel without CONFIG_PROC_CHILDREN, or the thread has just ended.
            Err(_) if cfg_without_children() => return children_by_search(pid),
            Err(_) => {}
        }
    }
    all
}

fn cfg_without_children() -> bool {
    !std::path::Path::new("/proc/thread-self/children").exists()
}

fn children_by_search(pid: i32) -> Vec<i32> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let stats = processes.flatten().filter_map(|process| process.stat().ok());
    stats.filter(|stat| stat.ppid == pid).map(|stat| stat.pid).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that runs `script`, and is stopped at the end.
    struct Shell(Child);

    impl Shell {
        fn run(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
            Self(command.spawn().expect("there is a shell"))
        }

        /// Waits until it says something, however long it is kept off its core.
        fn hear(&mut self) {
            let output = self.0.stdout.as_mut().expect("it was asked to be piped");
            std::io::Read::read_exact(output, &mut [0]).expect("it speaks");
        }

        fn tree(&self) -> Tree {
            Tree::of(self.0.id()).expect("it runs")
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Some tenths of a second of CPU in a process of its own, then a long wait. A pipe is a
    /// process for each side.
    const BURN: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

    #[test]
    fn children_count_while_they_live_and_after_they_have_ended() {
        // `read` waits until the test lets it go on.
        let mut shell = Shell::run(&format!("read a; ({BURN}; echo; read b); read c"));
        let mut tree = shell.tree();
        let mut input = shell.0.stdin.take().expect("it was asked to be piped");
        let go = |input: &mut std::process::ChildStdin| {
            std::io::Write::write_all(input, b"\n").expect("it reads");
        };
        go(&mut input);
        eventually("a child", || (tree.look().is_ok() && tree.alive.len() == 2).then_some(()));
        shell.hear();
        let used = tree.read().expect("it runs").cpu;
        assert!(used > Duration::from_millis(50), "{used:?}");
        go(&mut input);
        eventually("its end", || (tree.look().is_ok() && tree.alive.len() == 1).then_some(()));
        let after = tree.read().expect("it runs").cpu;
        // Exiting costs some itself.
        assert!(after >= used && after < used + Duration::from_millis(100), "{used:?} {after:?}");
    }

    #[test]
    fn a_child_that_nobody_saw_is_known_by_its_parent() {
        let mut shell = Shell::run(&format!("read a; ({BURN}); read b"));
        let mut tree = shell.tree();
        let mut input = shell.0.stdin.take().expect("it was asked to be piped");
        std::io::Write::write_all(&mut input, b"\n").expect("it reads");
        let pid = shell.0.id() as i32;
        let told = eventually("the child's end", || {
            let stat = Process::new(pid).and_then(|process| process.stat()).expect("it runs");
            Some(reaped(&stat)).filter(|told| !told.is_zero())
        });
        let read = tree.read().expect("it runs").cpu;
        assert!(read >= told, "{read:?} {told:?}");
    }

    #[test]
    fn what_was_used_before_the_beginning_does_not_count() {
        let mut shell = Shell::run(&format!("({BURN}); {BURN}; echo; read a; read b"));
        let pid = shell.0.id() as i32;
        shell.hear();
        let input = shell.0.stdin.take();
        let mut tree = shell.tree();
        let before = look_at(pid).expect("it runs").1.now;
        let read = tree.read().expect("it runs").cpu;
        assert!(read < before.own + before.reaped, "{read:?} {before:?}");
        drop(input);
    }

    #[test]
    fn an_ended_process_is_told() {
        let mut shell = Shell::run("exec sleep 100");
        let mut tree = shell.tree();
        shell.0.kill().expect("it runs");
        let error = eventually("the end", || tree.read().err());
        assert!(error.to_string().contains("has ended"), "{error}");
        shell.0.wait().expect("it is our child");
        let error = Tree::of(shell.0.id()).expect_err("it has ended");
        assert!(error.to_string().contains("expected a process"), "{error}");
    }
}
