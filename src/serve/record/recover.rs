//! A file that a crash has left without its name.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::open::{FileId, OpenFiles};
use super::segment::{beside, complete};
use super::sidecar;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// It has its name, and its sidecar an end.
    Named {
        /// Where it is.
        file: PathBuf,
        /// Bytes it holds.
        bytes: u64,
    },
    /// It held nothing, and was removed.
    Empty,
    /// It is being written.
    Busy,
    /// There is no such file any more.
    Gone,
}

/// Gives `part` its name. Whoever writes it has it locked; where a file system has no locks, it is
/// taken for being written until nobody has for the time `rest`.
///
/// # Errors
/// What the kernel says, or that its sidecar is none. It stays what it was.
pub(crate) fn recover(part: &Path, open: &OpenFiles, rest: Duration) -> io::Result<Recovered> {
    match try_recover(part, open, rest) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Recovered::Gone),
        recovered => recovered,
    }
}

fn try_recover(part: &Path, open: &OpenFiles, rest: Duration) -> io::Result<Recovered> {
    // Writable: NFS locks no other.
    let file = File::options().read(true).write(true).open(part)?;
    let about = file.metadata()?;
    let (id, written) = (FileId::of(&about), about.modified()?);
    let is_free = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => written.elapsed().is_ok_and(|age| age > rest),
    };
    if !is_free || open.holds(id) {
        return Ok(Recovered::Busy);
    }
    // Another node may have been faster.
    if FileId::of(&fs::symlink_metadata(part)?) != id {
        return Ok(Recovered::Gone);
    }
    let (path, bytes) = (part.with_extension(""), file.metadata()?.len());
    let about = beside(&path, "json");
    // It may have been made in this moment, and is to be locked.
    if bytes == 0 && !written.elapsed().is_ok_and(|age| age >= rest) {
        return Ok(Recovered::Busy);
    }
    if bytes == 0 {
        fs::remove_file(part)?;
        fs::remove_file(about)?;
        return Ok(Recovered::Empty);
    }
    let text = sidecar::with_end(File::open(about)?, written, bytes)?;
    complete(&path, &text)?;
    Ok(Recovered::Named { file: path, bytes })
}

#[cfg(test)]
mod tests {
    use super::super::sidecar::Sidecar;
    use super::*;

    fn left(root: &Path, name: &str, bytes: &str) -> PathBuf {
        fs::create_dir_all(root).expect("room for it");
        let sidecar = Sidecar { end: None, duration_ms: None, bytes: None, ..Sidecar::of("a") };
        fs::write(root.join(format!("{name}.json")), sidecar.to_json()).expect("room for it");
        let part = root.join(format!("{name}.part"));
        fs::write(&part, bytes).expect("room for it");
        part
    }

    #[test]
    fn what_nobody_writes_is_named_and_the_rest_is_left_alone() {
        let root = std::env::temp_dir().join(format!("corecast-recover-{}", std::process::id()));
        let (open, no_time) = (OpenFiles::default(), Duration::ZERO);
        let part = left(&root, "1.ts", "12345");
        let writer = File::options().append(true).open(&part).expect("ours");
        writer.lock().expect("there are locks");
        assert_eq!(recover(&part, &open, no_time).expect("readable"), Recovered::Busy);
        drop(writer);
        let file = root.join("1.ts");
        let named = Recovered::Named { file: file.clone(), bytes: 5 };
        assert_eq!(recover(&part, &open, no_time).expect("readable"), named);
        assert_eq!(fs::read(&file).expect("it is there"), b"12345");
        let text = fs::read(root.join("1.ts.json")).expect("it is there");
        let kept = sidecar::Kept::read(&text[..]).expect("a sidecar");
        assert!(kept.recovered && kept.end.is_some() && kept.duration_ms.is_some(), "{kept:?}");
        assert_eq!(recover(&part, &open, no_time).expect("readable"), Recovered::Gone);

        let empty = left(&root, "2.ts", "");
        assert_eq!(recover(&empty, &open, no_time).expect("readable"), Recovered::Empty);
        assert!(!empty.exists() && !root.join("2.ts.json").exists());

        let unreadable = left(&root, "3.ts", "12345");
        fs::write(root.join("3.ts.json"), "{}").expect("ours");
        assert!(recover(&unreadable, &open, no_time).is_err() && unreadable.exists());
        fs::remove_dir_all(&root).expect("ours");
    }
}
