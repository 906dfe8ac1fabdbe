//! Headless Chromium, by the scripts in `tests/browser`.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine::root;

/// Watches the server's page `page` with more options of the script; tells what it saw. Panics
/// unless frames were decoded, the clock ran and the pictures differ, or sound alone was to be heard and
/// was.
#[track_caller]
pub(crate) fn watch(page: &str, options: &[&str]) -> Value {
    run("watch.py", page, options)
}

/// Whether the browser could decode `mime`, by what a script has seen. Chromium may lack H.265, for
/// which it asks the machine; panics if it lacks something else, for then nothing was judged.
#[track_caller]
pub(crate) fn supports(seen: &Value, mime: &str) -> bool {
    let supports = seen["supported"] == true;
    assert!(supports || mime.contains("hvc1"), "it cannot decode {mime}: {seen}");
    supports
}

/// What a script has seen on `page`. Panics unless it was what the script expects.
#[track_caller]
pub(crate) fn run<T: AsRef<OsStr> + std::fmt::Debug>(
    script: &str,
    page: &str,
    options: &[T],
) -> Value {
    let output = Command::new(root().join(".venv/bin/python"))
        .arg(root().join("tests/browser").join(script))
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
