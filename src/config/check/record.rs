use std::time::Duration;

use super::{DAY, SECOND, Section};
use crate::config::App;
use crate::config::units::size;

/// What recordings go by.
pub(super) fn check(app: &App, at: &mut Section<'_>) {
    let place = !app.record_directory.is_empty();
    at.agree(place || !app.record, &["record", "record_directory"], || {
        "expected a record_directory, found none".to_owned()
    });
    at.require(!app.record_directory.contains('\0'), "record_directory", || {
        "expected a path, found a zero byte".to_owned()
    });
    if !app.record_rotate.is_zero() {
        at.time("record_rotate", app.record_rotate, SECOND, DAY);
    }
    if app.record_rotate_bytes > 0 {
        at.bytes("record_rotate_bytes", app.record_rotate_bytes, 64 << 10, usize::MAX);
    }
    if !app.record_keep.is_zero() {
        at.time("record_keep", app.record_keep, SECOND, Duration::MAX);
    }
    if app.record_keep_bytes > 0 {
        at.bytes("record_keep_bytes", app.record_keep_bytes, 64 << 10, usize::MAX);
    }
    at.time("record_sync", app.record_sync, Duration::from_millis(100), Duration::from_secs(60));
    at.bytes("record_buffer", app.record_buffer, 1 << 20, 1 << 30);
    let holds = !app.record || app.record_buffer >= app.block_bytes;
    at.agree(holds, &["record_buffer", "block_bytes"], || {
        let (least, found) = (size::show(app.block_bytes), size::show(app.record_buffer));
        format!("expected at least block_bytes ({least}), found {found}")
    });
}
