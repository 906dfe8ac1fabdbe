//! What a crash has left of recordings: at the start each file is given its name, so that it is listed,
//! replayed and removed like others. What another process still writes is when that is done with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::recordings::roots;
use super::retention::{self, REST};
use crate::config::Config;
use crate::serve::record::{OpenFiles, Recovered, recover};

/// How often it is tried again with what is being written.
const AGAIN: Duration = Duration::from_secs(5);

/// Ends when there is nothing left.
pub(crate) async fn run(config: Arc<Config>, open: Arc<OpenFiles>) {
    let began = SystemTime::now();
    // Err: it panicked.
    let Ok(mut left) = tokio::task::spawn_blocking(move || find(&config, began)).await else {
        return;
    };
    while !left.is_empty() {
        let open = Arc::clone(&open);
        let tried = tokio::task::spawn_blocking(move || {
            left.retain(|part| is_busy(part, &open));
            left
        });
        let Ok(busy) = tried.await else { return };
        left = busy;
        if !left.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Files that were written to before `now` and have no name yet.
fn find(config: &Config, now: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (_, _, root) in roots(config) {
        retention::find(&root, &mut |one| {
            if one.is_part() && one.written < now {
                found.push(one.media);
            }
        });
    }
    found
}

fn is_busy(part: &Path, open: &OpenFiles) -> bool {
    match recover(part, open, REST) {
        Ok(Recovered::Busy) => return true,
        Ok(Recovered::Gone) => {}
        Ok(Recovered::Empty) => {
            tracing::info!(file = %part.display(), "recording: removed, a crash left it empty");
        }
        Ok(Recovered::Named { file, bytes }) => {
            tracing::info!(file = %file.display(), bytes, "recording: recovered after a crash");
        }
        Err(error) => tracing::warn!(file = %part.display(), %error,
            "recording: left by a crash and not recovered"),
    }
    false
}
