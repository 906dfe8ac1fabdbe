use std::fmt;
use std::fs;
use std::path::Path;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use rustix::process::{Resource, getrlimit};

use super::page::Page;

/// What every process tells, under the names that every process uses: of this very moment, so that
/// CPU time goes with the clock of who asks.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(encoder);
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = std::time::Duration::try_from(cpu).unwrap_or_default().as_secs_f64();
        page.counter("process_cpu_seconds", "CPU time of all threads.", one(Some(cpu)))?;
        let (virtual_bytes, resident_bytes) = memory().unzip();
        let help = "Memory that is in RAM, but for HLS segments (corecast_hls_bytes).";
        page.gauge("process_resident_memory_bytes", help, one(resident_bytes))?;
        let help = "Memory that is mapped.";
        page.gauge("process_virtual_memory_bytes", help, one(virtual_bytes))?;
        let help = "Open file descriptors: a connection is one.";
        page.gauge("process_open_fds", help, one(open_fds()))?;
        let most = getrlimit(Resource::Nofile).current;
        page.gauge("process_max_fds", "As many may be open.", one(most))?;
        page.gauge("process_threads", "Threads: the cores, and a few.", one(threads()))
    }
}

/// What could not be found out is left out.
fn one<V>(value: Option<V>) -> impl Iterator<Item = (&'static super::page::Labels, V)> {
    value.into_iter().map(|value| (&[] as &super::page::Labels, value))
}

/// Bytes mapped, and bytes resident (proc_pid_statm(5)).
fn memory() -> Option<(u64, u64)> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split(' ').map_while(|pages| pages.parse::<u64>().ok());
    let page_bytes = rustix::param::page_size() as u64;
    Some((pages.next()? * page_bytes, pages.next()? * page_bytes))
}

/// The kernel tells their number as the size of the directory (Linux 6.2), in which many thousands
/// take long to be listed.
fn open_fds() -> Option<u64> {
    let dir = Path::new("/proc/self/fd");
    match fs::metadata(dir).ok()?.len() {
        0 => Some(fs::read_dir(dir).ok()?.count() as u64),
        fds => Some(fds),
    }
}

fn threads() -> Option<u64> {
    Some(fs::read_dir("/proc/self/task").ok()?.count() as u64)
}
