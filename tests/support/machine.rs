//! The machine as the tests share it: its ports, its directories, its cores.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

static CORES: RwLock<()> = RwLock::new(());

/// Held by a test that runs beside others; most do, for they wait for media in real time.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    CORES.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Held by a test that loads or measures the machine: no other test of this program runs.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    CORES.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A port nobody listens on, below the range of outgoing connections. Not given out twice soon:
/// listeners that share ports (SO_REUSEPORT) would not notice another server on theirs.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    let start = (std::process::id() % 97) as u16 * 100;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let loopback = TcpListener::bind(("127.0.0.1", port));
        if loopback.is_ok() && TcpListener::bind(("::1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
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
