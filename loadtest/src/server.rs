//! Servers under measurement: started by any command, on cores of their own, each with a process
//! group that is ended by its own number.

mod directory;
mod process;
mod recipe;

use std::io;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub use directory::Directory;
pub use process::Process;
pub use recipe::{Recipe, Server};

/// The program `name` that was built with this one.
///
/// # Errors
/// It was not.
pub fn beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    // Tests lie one directory below.
    let above = path.parent().and_then(|dir| dir.parent()).map(|dir| dir.join(name));
    match [Some(path.clone()), above].into_iter().flatten().find(|path| path.is_file()) {
        Some(found) => Ok(found),
        None => Err(io::Error::other(format!(
            "expected {}, found no such file\n  cure: cargo build --release --workspace",
            path.display()
        ))),
    }
}

/// The last `count` lines of what a program said to `log`.
pub fn last_lines(log: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Keeps this thread, and all threads and processes it starts from now on, on `cores`. None of
/// them: leaves it where it is.
///
/// # Errors
/// There are no such cores for it.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut cpus = CpuSet::new();
    for &core in cores {
        if core >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("expected a core, found {core}")));
        }
        cpus.set(core);
    }
    sched_setaffinity(None, &cpus).map_err(|error| {
        io::Error::other(format!("expected cores {cores:?} for this process: {error}"))
    })
}

/// The cores this thread may run on.
fn own_cores() -> Vec<usize> {
    let Ok(cpus) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|&core| cpus.is_set(core)).collect()
}
