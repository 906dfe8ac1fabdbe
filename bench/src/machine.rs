//! Where and when it was measured.

use std::path::Path;

use corecast_load::play::about;
use corecast_load::report::About;
use corecast_load::server::Recipe;

/// `"2026-11-21T08:00:00Z, corecast 0.1.0, AMD EPYC × 2, Linux 6.18.44, load average 0.31"`.
pub fn describe(server: &Path) -> String {
    let version = Recipe::corecast(server, "").version();
    let About { date, machine, kernel, .. } = about::here();
    format!(
        "{date}, {}, {machine}, {kernel}, load average {:.2}",
        version.as_deref().unwrap_or("unknown server"),
        crate::quiet::load_average(),
    )
}
