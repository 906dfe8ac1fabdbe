//! The bounds that viewers meet on this host, and how to lift them: descriptors, ports, memory.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are not viewers: standard streams, epoll, files under /proc, publishers.
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
             found {found}\n  cure: `ulimit -Hn {need}` as root before this, --procs {} to share \
             the viewers among processes, or fewer viewers",
            processes(sockets, found)
        ))),
        _ => Ok(()),
    }
}

/// How many processes have room for all `sockets`, each with a limit of `found`.
fn processes(sockets: usize, found: u64) -> u64 {
    (sockets as u64).div_ceil(found.saturating_sub(OTHERS).max(1))
}

/// Why a viewer's socket failed, in words that name the cure where it lies on this host.
pub(crate) fn explain(error: &io::Error) -> String {
    let cure = match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "cure: a higher `ulimit -n`, or --procs",
        Some(Errno::NFILE) => "cure: a higher sysctl fs.file-max",
        Some(Errno::ADDRNOTAVAIL) => {
            "every port towards the server is in use; cure: `sysctl -w \
             net.ipv4.ip_local_port_range='1024 65535'`, or viewers on more hosts"
        }
        Some(Errno::NOMEM | Errno::NOBUFS) => {
            "the kernel has no memory for sockets; cure: a higher sysctl net.ipv4.tcp_mem"
        }
        Some(Errno::CONNREFUSED) => "nobody listens there; cure: start the server, or another URL",
        _ => return error.to_string(),
    };
    format!("{error}: {cure}")
}

/// What the kernel has counted on this host that makes figures doubtful.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KernelTrouble {
    memory_pressures: u64,
    accept_queue_overflows: u64,
}

impl KernelTrouble {
    /// Until now. Nothing where there is no such file.
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/net/netstat").unwrap_or_default())
    }

    fn parse(netstat: &str) -> Self {
        let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let value = |wanted: &str| {
            let mut pairs = names.split_whitespace().zip(values.split_whitespace());
            let value = pairs.find(|(name, _)| *name == wanted);
            value.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        Self {
            memory_pressures: value("TCPMemoryPressures"),
            accept_queue_overflows: value("ListenOverflows"),
        }
    }

    /// What has come since `before`, for whoever reads the report.
    pub(crate) fn since(self, before: Self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.memory_pressures > before.memory_pressures {
            warnings.push(
                "TCP was short of memory on this host, so that windows shrank (cure: a higher \
                 sysctl net.ipv4.tcp_mem)"
                    .to_owned(),
            );
        }
        let overflows = self.accept_queue_overflows.saturating_sub(before.accept_queue_overflows);
        if overflows > 0 {
            warnings.push(format!(
                "an accept queue on this host was full {overflows} times, so that viewers joined a \
                 second or more later (cure: a larger backlog in the server and sysctl \
                 net.core.somaxconn, or a gentler --ramp)"
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_with_its_cure() {
        let error = allow(usize::MAX >> 1).expect_err("nobody has so many");
        assert!(error.to_string().contains("--procs"), "{error}");
        assert_eq!([1000, 1001, 2000, 2001].map(|sockets| processes(sockets, 1032)), [1, 2, 2, 3]);
        let error = explain(&Errno::ADDRNOTAVAIL.into());
        assert!(error.contains("ip_local_port_range"), "{error}");
        assert_eq!(explain(&io::Error::other("404: no such stream")), "404: no such stream");
    }

    #[test]
    fn what_the_kernel_counts_is_told_when_it_grows() {
        let text = |overflows: u32| {
            format!(
                "TcpExt: A ListenOverflows TCPMemoryPressures\nTcpExt: 1 {overflows} 5\nIpExt: B\nIpExt: 2\n"
            )
        };
        let (before, after) = (KernelTrouble::parse(&text(3)), KernelTrouble::parse(&text(10)));
        assert_eq!(before.since(before), Vec::<String>::new());
        let warnings = after.since(before);
        assert!(warnings.len() == 1 && warnings[0].contains("7 times"), "{warnings:?}");
        assert_eq!(KernelTrouble::parse(""), KernelTrouble::default());
    }
}
