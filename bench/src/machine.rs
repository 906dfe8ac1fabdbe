//! Where and when it was measured.

use std::path::Path;

use corecast_load::server::Recipe;
use procfs::{CpuInfo, Current};

/// `"2026-11-21, corecast 0.1.0, 2 × AMD EPYC, Linux 6.18.44, load average 0.31"`.
pub fn describe(server: &Path) -> String {
    let version = Recipe::corecast(server, "").version();
    let cpus = CpuInfo::current().ok();
    let model = cpus.as_ref().and_then(|cpus| cpus.model_name(0)).unwrap_or("unknown CPU");
    let system = rustix::system::uname();
    format!(
        "{}, {}, {} × {model}, {} {}, load average {:.2}",
        humantime::format_rfc3339_seconds(std::time::SystemTime::now()),
        version.as_deref().unwrap_or("unknown server"),
        cpus.as_ref().map_or(1, CpuInfo::num_cores),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        crate::quiet::load_average(),
    )
}
