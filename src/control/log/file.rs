use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{self, Rotate};

/// The log as a file that begins anew when it is large enough or a day is over: what there was
/// becomes `NAME.1`, that `NAME.2`, and so on up to a count. It is written by the log's own thread,
/// a line at a time.
///
/// While it cannot be written (a full disk, a directory that is gone), lines go to standard error.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rules: Rules,
    open: Option<Open>,
    reopen: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Zero for any size.
    bytes: u64,
    daily: bool,
    keep: usize,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// Of its oldest line that we know of, in days since 1970.
    day: u64,
}

impl LogFile {
    /// Appends to the file of the configuration. Once `reopen` is set it is opened again before the
    /// next line, so that whoever has moved it away may keep what he has.
    pub(super) fn open(config: &config::Log, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        let path = PathBuf::from(&config.file);
        let rules = Rules {
            bytes: config.rotate_bytes as u64,
            daily: config.rotate == Rotate::Daily,
            keep: config.keep,
        };
        let open = Some(Open::append(&path, SystemTime::now())?);
        Ok(Self { path, rules, open, reopen })
    }

    fn write_at(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.open = None;
        }
        if self.open.as_ref().is_some_and(|open| self.rules.end(open, line.len(), now)) {
            self.open = None;
            // Err: it goes on in the same file, until that is due again.
            let rotated = self.rotate();
            let mut open = Open::append(&self.path, now)?;
            if rotated.is_err() {
                (open.bytes, open.day) = (0, day(now));
            }
            self.open = Some(open);
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::append(&self.path, now)?),
        };
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }

    /// Moves each file one place on. The last falls out, and so do all with `keep = 0`.
    fn rotate(&self) -> io::Result<()> {
        if self.rules.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.rules.keep).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.write_at(line, SystemTime::now()).is_err() {
            // Opened again with the next line.
            self.open = None;
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Open {
    fn append(path: &Path, now: SystemTime) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let about = file.metadata()?;
        let written = if about.len() > 0 { about.modified()? } else { now };
        Ok(Self { file, bytes: about.len(), day: day(written) })
    }
}

impl Rules {
    /// Whether `open` ends before a line of `bytes`. An empty file takes any line.
    fn end(&self, open: &Open, bytes: usize, now: SystemTime) -> bool {
        let full = self.bytes > 0 && open.bytes + bytes as u64 > self.bytes;
        open.bytes > 0 && (full || (self.daily && day(now) != open.day))
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Days since 1970, by UTC as the lines' own times.
fn day(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs()
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, gone with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("corecast-log-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).expect("a scratch directory");
            Self(dir)
        }

        fn log(&self, rotate_bytes: usize, rotate: Rotate, keep: usize) -> LogFile {
            let file = self.0.join("log").to_str().expect("text").to_owned();
            let config = config::Log { file, rotate_bytes, rotate, keep, ..config::Log::default() };
            LogFile::open(&config, Arc::default()).expect("the directory is ours")
        }

        /// What lies in it: the current file, then the earlier ones.
        fn files(&self) -> Vec<String> {
            let names = ["log", "log.1", "log.2", "log.3"].map(|name| self.0.join(name));
            let there = names.iter().map_while(|name| fs::read_to_string(name).ok());
            there.map(|text| text.lines().collect::<Vec<_>>().join(" ")).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(log: &mut LogFile, line: &str) {
        log.write_all(format!("{line}\n").as_bytes()).expect("a line");
    }

    #[test]
    fn a_file_that_is_full_becomes_the_first_of_those_kept() {
        let dir = Dir::new("size");
        let mut log = dir.log(6, Rotate::Never, 2);
        for line in ["a", "b", "c", "longer than all", "d", "e", "f", "g"] {
            write(&mut log, line);
        }
        assert_eq!(dir.files(), ["g", "d e f", "longer than all"]);
        let mut log = dir.log(6, Rotate::Never, 0);
        ["h", "i", "j"].iter().for_each(|line| write(&mut log, line));
        assert_eq!(dir.files(), ["j", "d e f", "longer than all"], "what is kept is not touched");
    }

    #[test]
    fn a_new_day_begins_a_new_file_also_after_a_restart() {
        let dir = Dir::new("day");
        let now = SystemTime::now();
        let mut log = dir.log(0, Rotate::Daily, 3);
        log.write_at(b"a\n", now).expect("it writes");
        log.write_at(b"b\n", now + DAY).expect("it writes");
        assert_eq!(dir.files(), ["b", "a"]);
        // The file itself was written just now.
        drop(log);
        let mut log = dir.log(0, Rotate::Daily, 3);
        log.write_at(b"c\n", now + 2 * DAY).expect("it writes");
        log.write_at(b"d\n", now + 2 * DAY).expect("it writes");
        assert_eq!(dir.files(), ["c d", "b", "a"]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew_when_told() {
        let dir = Dir::new("reopen");
        let mut log = dir.log(0, Rotate::Never, 1);
        write(&mut log, "a");
        fs::rename(dir.0.join("log"), dir.0.join("log.1")).expect("it is there");
        write(&mut log, "b");
        log.reopen.store(true, Ordering::Relaxed);
        write(&mut log, "c");
        assert_eq!(dir.files(), ["c", "a b"]);
    }

    #[test]
    fn a_directory_that_is_gone_costs_no_more_than_its_lines() {
        let dir = Dir::new("gone");
        let mut log = dir.log(6, Rotate::Never, 1);
        write(&mut log, "a");
        fs::remove_dir_all(&dir.0).expect("it is ours");
        write(&mut log, "rotated into nowhere, so it goes to standard error");
        fs::create_dir_all(&dir.0).expect("ours again");
        write(&mut log, "b");
        assert_eq!(dir.files(), ["b"]);
    }
}
