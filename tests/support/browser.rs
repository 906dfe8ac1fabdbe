//! Headless Chromium, by `tests/browser/watch.py`.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine::root;

/// Watches the server's page `page` with more options of the script; tells what it saw. Panics
/// unless frames were decoded, the clock ran and the pictures differ.
#[track_caller]
pub(crate) fn watch(page: &str, options: &[&str]) -> Value {
    let output = Command::new(root().join(".venv/bin/python"))
        .arg(root().join("tests/browser/watch.py"))
        .arg(page)
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("tests/install.sh makes .venv");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page} {options:?} was not seen: {said}\n{complaint}");
    serde_json::from_str(&said).expect("the script prints JSON")
}
