//! Whether the machine is quiet: what everybody else does beside a measurement.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// More than this by others, in per cent of one core, and a round is taken for noisy.
pub const OTHERS_MAX_PERCENT: f64 = 5.0;

/// Watches the machine from its start to [`Self::others_percent`].
///
/// What the whole machine was busy with is in `/proc/stat`; what this process and its children
/// took is known when the children have ended and been waited for. The rest is others. Time that a
/// hypervisor gave to another machine counts as others' too.
#[derive(Debug)]
pub struct Watch {
    since: Instant,
    machine: Duration,
    ours: Duration,
}

impl Watch {
    /// Begins now. No child must be running.
    ///
    /// # Errors
    /// There is no `/proc/stat` that can be read.
    pub fn start() -> io::Result<Self> {
        Ok(Self { since: Instant::now(), machine: of_machine()?, ours: of_us() })
    }

    /// What others used since, in per cent of one core. All children must have ended.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn others_percent(&self) -> io::Result<f64> {
        let machine = of_machine()?.saturating_sub(self.machine);
        let others = machine.saturating_sub(of_us().saturating_sub(self.ours));
        Ok(100.0 * others.as_secs_f64() / self.since.elapsed().as_secs_f64())
    }
}

/// The mean number of tasks that ran or wanted to in the last minute, ours included.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn of_machine() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    busy(&text).ok_or_else(|| {
        io::Error::other("/proc/stat: expected a line `cpu` with eight numbers, found another")
    })
}

/// All but idle and waiting for disks (proc(5): user, nice, system, idle, iowait, irq, softirq,
/// steal), in ticks of 10 ms.
fn busy(stat: &str) -> Option<Duration> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks = ticks.take(8).map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().ok()?;
    let [user, nice, system, _, _, irq, softirq, steal] = *ticks.first_chunk()?;
    Some(Duration::from_millis(10 * (user + nice + system + irq + softirq + steal)))
}

fn of_us() -> Duration {
    use rustix::time::ClockId;
    let own = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
    own + of_ended_children()
}

/// Children that were waited for, and theirs.
fn of_ended_children() -> Duration {
    // Of /proc/self/stat the fields 16 and 17; the name, field 2, may hold anything but `)`.
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy_time_and_stolen_time_is() {
        let stat = "cpu  100 10 20 5000 300 1 2 3 0 0\ncpu0 1 2 3\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(1360)));
        assert_eq!(busy("cpu  1 2 3\n"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn a_childs_work_is_ours() {
        let before = of_us();
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("/bin/sh").args(["-c", script]).status();
        assert!(status.expect("there is a shell").success());
        assert!(of_us() - before >= Duration::from_millis(20));
    }
}
