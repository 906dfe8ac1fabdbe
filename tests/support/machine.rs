//! The machine as the tests share it: its ports, its directories, its cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

// A program that has `node.rs` too has it twice; the ports are told apart all the same.
#[allow(clippy::duplicate_mod)]
#[path = "ports.rs"]
mod ports;

pub(crate) use ports::free_port;

static CORES: RwLock<()> = RwLock::new(());

/// Held by a test that runs beside others; most do, for they wait for media in real time.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    CORES.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Held by a test that loads or measures the machine: no other test of this program runs.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    CORES.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A directory for one run; removed with the value unless the test is failing.
pub(crate) struct RunDir {
    path: PathBuf,
    files: AtomicU32,
}

impl RunDir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("runs/{}-{number}-{name}", std::process::id()));
        // One of a process that had the same id and failed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the target directory is ours");
        Self { path, files: AtomicU32::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it with a number of its own: programs make their files late.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{number:02}-{name}"))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Asks `done` every 20 ms until it says yes, at most for `within`. True if it did.
pub(crate) fn eventually(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
}

/// Seconds, for short lines in tests.
pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
