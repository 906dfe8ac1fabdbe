//! Where and when a run is done.

use std::time::SystemTime;

use procfs::{CpuInfo, FromBufRead};

use super::Options;
use crate::report::About;

/// Of a run that begins now, on this host, by this program.
pub(super) fn of(options: &Options) -> About {
    About { command: command(std::env::args()), url: options.url.clone(), ..here() }
}

/// Of whatever begins now, on this host.
pub fn here() -> About {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    About {
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine: machine(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        kernel: format!("{} {}", text(system.sysname()), text(system.release())),
        generator_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..About::default()
    }
}

/// CPU model × how many.
fn machine(cpuinfo: &str) -> String {
    let cpus = CpuInfo::from_buf_read(cpuinfo.as_bytes()).ok();
    let model = cpus.as_ref().and_then(|cpus| cpus.model_name(0)).unwrap_or("unknown CPU");
    format!("{model} × {}", cpus.as_ref().map_or(1, CpuInfo::num_cores))
}

/// As a shell would take it.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%@,+".contains(c);
    let quoted = arguments.enumerate().map(|(place, argument)| match place {
        0 => argument.rsplit('/').next().unwrap_or_default().to_owned(),
        _ if !argument.is_empty() && argument.chars().all(plain) => argument,
        _ => format!("'{}'", argument.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_given_to_a_shell_again() {
        let arguments = ["/a/b/corecast-load", "play", "--url", "http://h/x{n}.flv", "it's"];
        let found = command(arguments.map(str::to_owned).into_iter());
        assert_eq!(found, r"corecast-load play --url 'http://h/x{n}.flv' 'it'\''s'");
    }

    #[test]
    fn a_machine_is_its_cpus() {
        let [one, other] = [0, 1].map(|n| format!("processor\t: {n}\nmodel name\t: Some CPU\n\n"));
        assert_eq!(machine(&(one + &other)), "Some CPU × 2");
        assert_eq!(machine(""), "unknown CPU × 1");
    }
}
