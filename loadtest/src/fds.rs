//! The bound that viewers meet first.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are not viewers: standard streams, epoll, files under /proc, a publisher.
const OTHERS: u64 = 32;

/// Raises the soft limit of file descriptors to the hard one, and says whether `sockets` fit.
///
/// # Errors
/// They do not; the text tells how to lift the limit.
pub fn allow(sockets: usize) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let need = sockets as u64 + OTHERS;
    match limit.current {
        Some(found) if found < need => Err(io::Error::other(format!(
            "file descriptors: expected a hard limit of at least {need} for {sockets} viewers, \
             found {found}\n  cure: `ulimit -Hn {need}` as root before this, or fewer viewers"
        ))),
        _ => Ok(()),
    }
}
