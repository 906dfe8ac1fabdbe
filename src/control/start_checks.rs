//! What must hold on this host before anything starts: io_uring, locked memory, cores, file
//! descriptors, free ports, places for recordings. All failures are told at once, each with its cause and its cure.

mod addresses;
mod directories;
mod open_door;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

pub(crate) use self::addresses::{Listening, listening};
pub(crate) use self::directories::directories;
use super::admin::{CONNECTIONS_MAX, SCRAPES_MAX};
use super::hooks;
use crate::config::{Config, Cores};

/// What the checks found: the configuration in terms of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The cores to pin threads to, by the kernel's numbers; at least one.
    pub cores: Vec<usize>,
    /// Where RTMP listens; empty if it is off. `[::]` has become `0.0.0.0` if there is no IPv6.
    pub rtmp: Vec<SocketAddr>,
    /// Where RTMPS listens, likewise.
    pub rtmps: Vec<SocketAddr>,
    /// Where HTTP listens, likewise.
    pub http: Vec<SocketAddr>,
    /// Where HTTPS listens, likewise.
    pub https: Vec<SocketAddr>,
    /// Where the API listens, likewise.
    pub admin: Vec<SocketAddr>,
    /// Where it listens for TLS, likewise.
    pub admin_tls: Vec<SocketAddr>,
    /// Where the metrics listen beside, likewise.
    pub metrics: Vec<SocketAddr>,
    /// Connections that may be open at once: `limits.connections`, and what file descriptors allow.
    pub connections: usize,
    /// RTMP newcomers beyond those that may be told why at once. They have descriptors of their own.
    pub refusals: usize,
}

impl Host {
    /// Where it listens.
    pub(crate) fn listening(&self) -> Listening {
        Listening {
            rtmp: self.rtmp.clone(),
            rtmps: self.rtmps.clone(),
            http: self.http.clone(),
            https: self.https.clone(),
            admin: self.admin.clone(),
            admin_tls: self.admin_tls.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// Why the program cannot start; all reasons.
#[derive(Debug)]
pub struct StartError {
    /// At least one.
    pub failures: Vec<Failure>,
}

/// One reason why the program cannot start, with its cure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel, or a sandbox, has no io_uring for us.
    #[error("io_uring: expected the kernel to grant it, found: {cause}\n  cure: {cure}")]
    IoUring {
        /// The system's words.
        cause: String,
        /// What to change, by what `cause` and the kernel's settings say.
        cure: &'static str,
    },
    /// Too little memory may be locked.
    #[error(
        "locked memory: expected a limit of at least 512 KiB, found {found} KiB\n  cure: `ulimit -l \
         8192`, or LimitMEMLOCK=8M in the service file, or --ulimit memlock=8388608 for a container"
    )]
    LockedMemory {
        /// The hard limit in KiB.
        found: u64,
    },
    /// Too few file descriptors to serve anyone.
    #[error(
        "file descriptors: expected a limit above {used} (limits.reserved_fds and our own), found \
         {limit}\n  cure: `ulimit -n 1000000`, or LimitNOFILE=1000000 in the service file, or \
         --ulimit nofile=1000000 for a container"
    )]
    FileDescriptors {
        /// The hard limit.
        limit: u64,
        /// Those not for connections.
        used: u64,
    },
    /// `cores` asks for what is not there.
    #[error(
        "cores: expected cores that this process may run on ({allowed:?}), found {found}\n  cure: \
         cores = \"all\", or give the process more (taskset, cpuset)"
    )]
    Cores {
        /// The cores it may run on.
        allowed: Vec<usize>,
        /// What the configuration asks for.
        found: String,
    },
    /// An address cannot be listened on.
    #[error("{key}: {address} {what}\n  cure: {cure}")]
    Address {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        what: String,
        /// What to change.
        cure: &'static str,
    },
    /// Recordings could not be written.
    #[error("{key}: {path}: {error}\n  cure: name a directory that this user may write to")]
    RecordDirectory {
        /// The configuration's key.
        key: String,
        /// The directory.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            failure.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for StartError {}

/// Checks the host, raises the soft limits to the hard ones, and says in the log what a user
/// should know: how many viewers fit, and who may publish. Nothing stays bound.
///
/// # Errors
/// Every reason why the program could not run.
pub fn run(config: &Config) -> Result<Host, StartError> {
    let mut failures = Vec::new();
    let mut note = |failure| failures.push(failure);
    // First, as io_uring counts against it.
    locked_memory(raise(Resource::Memlock)).unwrap_or_else(&mut note);
    io_uring().unwrap_or_else(&mut note);
    let allowed = allowed_cores();
    let cores = cores(&config.cores, &allowed).unwrap_or_else(|failure| {
        note(failure);
        allowed
    });
    let listening = listening(config, &[]).unwrap_or_else(|taken| {
        taken.into_iter().for_each(&mut note);
        Listening::default()
    });
    addresses::inputs(config).into_iter().for_each(&mut note);
    directories(config, None).into_iter().for_each(&mut note);
    let room = |addresses: &[SocketAddr], clients| match addresses.len() {
        0 => 0,
        addresses => addresses + clients,
    };
    let api: Vec<_> = listening.admin().map(|place| place.address).collect();
    let ours = room(&api, CONNECTIONS_MAX) + room(&listening.metrics, SCRAPES_MAX);
    let media = listening.media().count();
    let ours = ours + config.ts_udp.len() * FDS_PER_INPUT;
    let own = own_fds(cores.len(), media) + ours as u64 + config.limits.reserved_fds as u64;
    let fds = raise(Resource::Nofile);
    // Hook servers are to be reached however many clients there are.
    let own = own + hooks::connections_max(&config.hooks).min(fds / HOOKS_PART);
    let own = own + replays(config).min(fds / REPLAYS_PART);
    let (connections, refusals) =
        connections(fds, own, config.limits.connections).unwrap_or_else(|failure| {
            note(failure);
            (0, 0)
        });
    if !failures.is_empty() {
        return Err(StartError { failures });
    }
    let Listening { rtmp, rtmps, http, https, admin, admin_tls, metrics } = listening;
    let host =
        Host { cores, rtmp, rtmps, http, https, admin, admin_tls, metrics, connections, refusals };
    tell(config, &host);
    Ok(host)
}

/// Files that may be open for replays.
fn replays(config: &Config) -> u64 {
    let mut apps = std::iter::once(&config.app_defaults).chain(config.app.values());
    if apps.any(|app| app.record_replay) { config.limits.replays as u64 } else { 0 }
}

fn tell(config: &Config, host: &Host) {
    let limit = match config.limits.connections {
        0 => "the limit of file descriptors (`ulimit -n`)",
        asked if asked == host.connections => "limits.connections",
        _ => "the limit of file descriptors, which is below limits.connections",
    };
    tracing::info!(viewers = host.connections, limit, cores = ?host.cores, "host: checked");
    if let Some(warning) = open_door::warning(config, host) {
        tracing::warn!("{warning}");
    }
}

/// Tries its three system calls. (The executor's own attempt would panic without naming the cause.)
fn io_uring() -> Result<(), Failure> {
    let attempt = || {
        let ring = io_uring::IoUring::new(2)?;
        ring.submitter().register_probe(&mut io_uring::Probe::new())?;
        ring.submit()
    };
    let Err(error) = attempt() else { return Ok(()) };
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let cure = io_uring_cure(setting.as_deref().map(str::trim));
    Err(Failure::IoUring { cause: error.to_string(), cure })
}

fn io_uring_cure(setting: Option<&str>) -> &'static str {
    match setting {
        Some("2") => "the kernel has it switched off: sysctl kernel.io_uring_disabled=0",
        Some("1") => {
            "the kernel keeps it for root and one group: sysctl kernel.io_uring_disabled=0, or join \
             the group in kernel.io_uring_group"
        }
        _ => {
            "a sandbox most likely forbids it, as the default seccomp profiles of Docker 25 and \
             containerd 2 do: run the container with a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register, or with --security-opt seccomp=unconfined; \
             outside of a container, use Linux 5.8 or later"
        }
    }
}

fn locked_memory(limit: u64) -> Result<(), Failure> {
    match limit >= 512 << 10 {
        true => Ok(()),
        false => Err(Failure::LockedMemory { found: limit >> 10 }),
    }
}

/// Raises a soft limit to the hard one, and returns what holds then.
fn raise(resource: Resource) -> u64 {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current != maximum && setrlimit(resource, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// File descriptors that are no connections: those open now, the executors', the listeners'.
fn own_fds(cores: usize, addresses: usize) -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").map_or(8, Iterator::count);
    (open + 16 + cores * (FDS_PER_CORE + addresses)) as u64
}

/// Three rings, their event fds, and what one core holds besides; generous.
const FDS_PER_CORE: usize = 16;

/// One more while it moves to another core.
const FDS_PER_INPUT: usize = 2;

/// At most so many RTMP newcomers are on their way to hear why they are refused. It takes some
/// milliseconds, so thousands a second are told.
const REFUSALS_MAX: usize = 64;
/// At most this part of the descriptors goes to them.
const REFUSALS_PART: usize = 16;

/// Connections that a limit of `fds` leaves, at most `asked` (0: any number), and those beside them
/// that are refused.
fn connections(fds: u64, own: u64, asked: usize) -> Result<(usize, usize), Failure> {
    let free = fds.checked_sub(own).filter(|free| *free > 0);
    let free = free.ok_or(Failure::FileDescriptors { limit: fds, used: own })?;
    let free = usize::try_from(free).unwrap_or(usize::MAX);
    let refusals = REFUSALS_MAX.min(free / REFUSALS_PART);
    let most = free - refusals;
    Ok((if asked == 0 { most } else { most.min(asked) }, refusals))
}

/// At most this part of all descriptors is set aside for hooks.
const HOOKS_PART: u64 = 8;
/// The same for files of recordings.
const REPLAYS_PART: u64 = 8;

fn allowed_cores() -> Vec<usize> {
    // It fails only on machines with more cores than a CpuSet has; there, std counts them.
    sched_getaffinity(None).map_or_else(
        |_| (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        |set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
    )
}

fn cores(wanted: &Cores, allowed: &[usize]) -> Result<Vec<usize>, Failure> {
    let refuse = |found: String| Failure::Cores { allowed: allowed.to_vec(), found };
    match wanted {
        Cores::All => Ok(allowed.to_vec()),
        Cores::Count(count) if *count <= allowed.len() => Ok(allowed[..*count].to_vec()),
        Cores::Count(count) => Err(refuse(format!("{count} of them"))),
        Cores::List(list) => match list.iter().find(|core| !allowed.contains(core)) {
            None => Ok(list.clone()),
            Some(core) => Err(refuse(format!("core {core}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn cores_are_taken_from_those_allowed() {
        let allowed = [2, 3, 7];
        let chosen = |wanted| cores(&wanted, &allowed).map_err(|failure| failure.to_string());
        assert_eq!(chosen(Cores::All), Ok(vec![2, 3, 7]));
        assert_eq!(chosen(Cores::Count(2)), Ok(vec![2, 3]));
        assert_eq!(chosen(Cores::List(vec![7, 2])), Ok(vec![7, 2]));
        let error = chosen(Cores::Count(4)).expect_err("too many");
        assert!(
            error.starts_with(
                "cores: expected cores that this process may run on ([2, 3, 7]), found 4 of them"
            ),
            "{error}"
        );
        assert!(chosen(Cores::List(vec![0])).expect_err("not ours").contains("found core 0"));
    }

    #[test]
    fn file_descriptors_bound_the_connections() {
        assert_eq!(connections(1000, 100, 0).expect("enough"), (844, 56));
        assert_eq!(connections(1000, 100, 50).expect("enough"), (50, 56));
        assert_eq!(connections(1000, 100, 5000).expect("enough"), (844, 56));
        assert_eq!(connections(101, 100, 0).expect("enough"), (1, 0));
        assert_eq!(connections(1 << 20, 1 << 10, 0).expect("enough"), (1_047_488, 64));
        assert!(matches!(connections(100, 100, 0), Err(Failure::FileDescriptors { .. })));
    }

    #[test]
    fn locked_memory_below_512_kib_is_refused() {
        assert!(locked_memory(512 << 10).is_ok());
        let error = locked_memory(64 << 10).expect_err("too little").to_string();
        assert!(error.contains("found 64 KiB") && error.contains("LimitMEMLOCK"), "{error}");
    }

    #[test]
    fn the_cure_for_io_uring_follows_the_kernels_setting() {
        assert!(io_uring_cure(Some("2")).contains("io_uring_disabled=0"));
        assert!(io_uring_cure(Some("0")).contains("seccomp"));
        assert!(io_uring_cure(None).contains("seccomp"));
    }

    #[test]
    fn all_failures_are_told() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut config = Config { cores: Cores::List(vec![100_000]), ..Config::default() };
        config.rtmp.listen = vec![taken.local_addr().expect("bound")];
        (config.http.enabled, config.admin.enabled) = (false, false);
        let error = run(&config).expect_err("two reasons");
        assert_eq!(error.failures.len(), 2, "{error}");
    }
}
