//! Whether the machine is quiet: what everybody else does beside a measurement.

use std::io;
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{CpuTime, Current, CurrentSI, KernelStats, LoadAverage};
use rustix::time::ClockId;

/// More than this by others, in per cent of one core, and a round is taken for noisy.
pub const OTHERS_MAX_PERCENT: f64 = 5.0;

/// Watches the machine from its start to [`Self::others_percent`].
///
/// What the whole machine was busy with the kernel counts; what this process and its children took
/// is known when the children have ended and been waited for. The rest is others. Time that a
/// hypervisor gave to another machine counts as others' too. All of it is exact to some 10 ms.
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
    /// There is no `/proc` that can be read.
    pub fn start() -> io::Result<Self> {
        Ok(Self { since: Instant::now(), machine: of_machine()?, ours: of_us()? })
    }

    /// What others used since, in per cent of one core. All children must have ended.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn others_percent(&self) -> io::Result<f64> {
        let machine = of_machine()?.saturating_sub(self.machine);
        let others = machine.saturating_sub(of_us()?.saturating_sub(self.ours));
        Ok(100.0 * others.as_secs_f64() / self.since.elapsed().as_secs_f64())
    }
}

/// The mean number of tasks that ran or wanted to in the last minute, ours included.
pub fn load_average() -> f64 {
    LoadAverage::current().map_or(f64::NAN, |load| load.one.into())
}

fn of_machine() -> io::Result<Duration> {
    let stats = KernelStats::current().map_err(io::Error::other)?;
    Ok(busy(&stats.total))
}

/// All but idle and waiting for disks. What guests of this machine got is in `user` already.
fn busy(total: &CpuTime) -> Duration {
    let ms = [total.irq_ms(), total.softirq_ms(), total.steal_ms()];
    let ms = ms.into_iter().flatten().sum::<u64>();
    Duration::from_millis(total.user_ms() + total.nice_ms() + total.system_ms() + ms)
}

/// This process, and its children that were waited for, and theirs.
fn of_us() -> io::Result<Duration> {
    let own = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
    let stat = Process::myself().and_then(|process| process.stat()).map_err(io::Error::other)?;
    let ticks = (stat.cutime + stat.cstime).max(0).unsigned_abs();
    Ok(own + Duration::from_millis(ticks * 1000 / procfs::ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_work_is_ours_when_it_has_ended() {
        let before = of_us().expect("there is /proc");
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("/bin/sh").args(["-c", script]).status();
        assert!(status.expect("there is a shell").success());
        assert!(of_us().expect("there is /proc") - before >= Duration::from_millis(20));
    }

    #[test]
    fn work_is_the_machines_and_sleep_is_not() {
        let before = of_machine().expect("there is /proc");
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        assert!(of_machine().expect("there is /proc") > before);
    }
}
