use std::time::Duration;

use super::{SECOND, Section};
use crate::config::App;
use crate::config::units::duration;

/// What HTTP Live Streaming goes by.
pub(super) fn check(app: &App, at: &mut Section<'_>) {
    at.time("hls_segment", app.hls_segment, Duration::from_millis(500), Duration::from_secs(60));
    at.time("hls_part", app.hls_part, Duration::from_millis(50), Duration::from_secs(10));
    at.agree(app.hls_part <= app.hls_segment, &["hls_part", "hls_segment"], || {
        let (most, found) = (duration::show(app.hls_segment), duration::show(app.hls_part));
        format!("expected at most hls_segment ({most}), found {found}")
    });
    at.time("hls_window", app.hls_window, SECOND, HOUR);
    let least = app.hls_segment.saturating_mul(3);
    at.agree(app.hls_window >= least, &["hls_window", "hls_segment"], || {
        let (least, found) = (duration::show(least), duration::show(app.hls_window));
        format!("expected at least three segments ({least}), found {found}")
    });
    at.bytes("hls_max_bytes", app.hls_max_bytes, 1 << 20, usize::MAX);
    at.time("hls_session_idle", app.hls_session_idle, SECOND, HOUR);
}

const HOUR: Duration = Duration::from_secs(3600);
