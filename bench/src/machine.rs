//! Where and when it was measured.

use std::process::Command;

/// `"2026-11-21, corecast 0.1.0, 2 × AMD EPYC, Linux 6.18.44, load average 0.3"`.
pub fn describe(server: &std::path::Path) -> String {
    let version = output(&server.to_string_lossy(), &["--version"]);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect::<Vec<_>>();
    let name =
        names.first().map_or("unknown CPU", |name| name.trim_start_matches(['\t', ' ', ':']));
    format!(
        "{}, {version}, {} × {name}, {}, load average {:.2}",
        output("date", &["-u", "+%F %H:%M UTC"]),
        names.len().max(1),
        output("uname", &["-sr"]),
        crate::quiet::load_average(),
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}
