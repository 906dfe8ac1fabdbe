//! What becomes of finished recordings: the oldest are removed, by the `record_keep` and
//! `record_keep_bytes` of their app.
//!
//! All files of an app lie below one directory of its name. A recording is a sidecar with the file
//! it is about, whole or left by a crash; nothing else is touched.

mod looks;

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::timeout_at;

use self::looks::{Look, Looks};
use super::events::{Bulletin, News};
use crate::config::{App, Config, RecordFormat, RecordPath};
use crate::serve::event::Event;
use crate::serve::record::{FileId, OpenFiles};

/// What was written to since then may be being written; it is synced more often.
pub(super) const REST: Duration = Duration::from_secs(61);
/// Folders in folders that are looked into; a template of 200 bytes makes no more.
const DEPTH_MAX: usize = 100;

/// Removes what is to be removed, but nothing that is `open`, for as long as there are cores.
pub(crate) async fn run(
    mut config: watch::Receiver<Arc<Config>>,
    bulletin: Bulletin,
    open: Arc<OpenFiles>,
) {
    let mut listener = bulletin.listen();
    let mut looks = Looks::new(Instant::now());
    loop {
        let now = Instant::now();
        if let Some(look) = looks.begin(now) {
            let in_force = Arc::clone(&config.borrow_and_update());
            if is_wanted(&in_force) {
                let open = Arc::clone(&open);
                let sweep = move || sweep(&in_force, &look, &open, SystemTime::now());
                // Err: it panicked, and is tried again.
                let _ = tokio::task::spawn_blocking(sweep).await;
            }
            looks.end(now, Instant::now());
            continue;
        }
        match timeout_at(looks.next_at().into(), listener.hear()).await {
            Ok(Ok((_, news))) => {
                if let News::Event(Event::Segment { recording, .. }) = &*news {
                    looks.is_due(recording.key.app());
                }
            }
            Ok(Err(RecvError::Closed)) => return,
            // The time has come, or of so much that happened not all was heard.
            Err(_) | Ok(Err(RecvError::Lagged(_))) => {}
        }
    }
}

fn is_wanted(config: &Config) -> bool {
    let keeps = |app: &App| !app.record_keep.is_zero() || app.record_keep_bytes > 0;
    std::iter::once(&config.app_defaults).chain(config.app.values()).any(|app| keeps(app))
}

/// Looks at the recordings of these apps once.
fn sweep(config: &Config, look: &Look, open: &OpenFiles, now: SystemTime) {
    let named = config.app.iter().map(|(name, app)| (RecordPath::dir_of(name), app));
    let named: Vec<_> = named.collect();
    let is_named = |dir: &str| named.iter().any(|(name, _)| name == dir);
    let is_due = |dir: &str| match look {
        Look::All => true,
        Look::At(apps) => apps.iter().any(|app| RecordPath::dir_of(app) == dir),
    };
    for (dir, app) in named.iter().filter(|(dir, _)| is_due(dir)) {
        let root = Path::new(&app.record_directory).join(dir);
        sweep_app(app, &root, open, now);
    }
    if config.strict_apps {
        return;
    }
    // Apps that have no settings of their own.
    let app = &config.app_defaults;
    let dirs = fs::read_dir(&app.record_directory).into_iter().flatten().flatten();
    for entry in dirs {
        let name = entry.file_name();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // What is no text is no app's.
        if is_dir && name.to_str().is_some_and(|dir| !is_named(dir) && is_due(dir)) {
            sweep_app(app, &entry.path(), open, now);
        }
    }
}

fn sweep_app(app: &App, root: &Path, open: &OpenFiles, now: SystemTime) {
    if app.record_directory.is_empty() || (app.record_keep.is_zero() && app.record_keep_bytes == 0)
    {
        return;
    }
    let mut found = Vec::new();
    find(root, &mut |one| found.push(one));
    for kept in to_remove(found, app, open, now) {
        match kept.remove(root) {
            Ok(()) => tracing::info!(file = %kept.media.display(), bytes = kept.bytes,
                "recording: removed (record_keep, record_keep_bytes)"),
            Err(error) => tracing::warn!(file = %kept.media.display(), %error,
                "recording: not removed"),
        }
    }
}

/// True if some process writes `part`, or may, as it is another user's; false where a file system has no
/// locks.
fn is_locked(part: &Path) -> bool {
    // Writable: NFS locks no other.
    match fs::File::options().read(true).write(true).open(part) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// A recording's file with its sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) media: PathBuf,
    pub(super) sidecar: PathBuf,
    pub(super) bytes: u64,
    pub(super) id: FileId,
    /// When it was written to last.
    pub(super) written: SystemTime,
}

/// Tells of the recordings below `dir`. What cannot be read is left alone; links are not followed.
pub(super) fn find(dir: &Path, tell: &mut impl FnMut(Found)) {
    find_below(dir, DEPTH_MAX, tell);
}

fn find_below(dir: &Path, depth: usize, tell: &mut impl FnMut(Found)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if depth > 0 {
                find_below(&entry.path(), depth - 1, tell);
            }
        } else if kind.is_file()
            && let Some(found) = Found::of(entry.path())
        {
            tell(found);
        }
    }
}

/// Of `all`, those that an app no longer keeps, the oldest first.
fn to_remove(mut all: Vec<Found>, app: &App, open: &OpenFiles, now: SystemTime) -> Vec<Found> {
    all.sort_by(|one, other| (one.written, &one.media).cmp(&(other.written, &other.media)));
    let mut bytes: u64 = all.iter().map(|kept| kept.bytes).sum();
    let most = match app.record_keep_bytes {
        0 => u64::MAX,
        most => most as u64,
    };
    let age = |kept: &Found| now.duration_since(kept.written).unwrap_or_default();
    all.retain(|kept| {
        let is_old = !app.record_keep.is_zero() && age(kept) > app.record_keep;
        // One that is whole has been left alone already. One that is not may be another process's too.
        let is_free = || age(kept) > REST && !open.holds(kept.id) && !is_locked(&kept.media);
        let rests = !kept.is_part() || is_free();
        let goes = rests && (is_old || bytes > most);
        if goes {
            bytes -= kept.bytes;
        }
        goes
    });
    all
}

impl Found {
    /// What `sidecar`, which is there, is about, if it is one.
    pub(super) fn of(sidecar: PathBuf) -> Option<Self> {
        let name = sidecar.file_name()?.to_str()?.strip_suffix(".json")?;
        RecordFormat::of_file(name)?;
        let (whole, part) =
            (sidecar.with_file_name(name), sidecar.with_file_name(format!("{name}.part")));
        let (media, about) = [whole, part].into_iter().find_map(|path| {
            let about = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((path, about))
        })?;
        let written = about.modified().ok()?;
        Some(Self { media, sidecar, bytes: about.len(), id: FileId::of(&about), written })
    }

    /// It is being written, or was left by a crash.
    pub(super) fn is_part(&self) -> bool {
        self.media.extension().is_some_and(|extension| extension == "part")
    }

    /// Removes both, and the folders below `root` that are empty then.
    pub(super) fn remove(&self, root: &Path) -> io::Result<()> {
        fs::remove_file(&self.media)?;
        fs::remove_file(&self.sidecar)?;
        // Err: no crash has left one half written.
        let _ = fs::remove_file(self.sidecar.with_added_extension("part"));
        for folder in self.media.ancestors().skip(1).take_while(|folder| *folder != root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn kept(name: &str, age_s: u64, bytes: u64) -> Found {
        let (media, sidecar) = (PathBuf::from(name), PathBuf::from(format!("{name}.json")));
        // As good as any.
        let id = FileId::of(&fs::metadata("/").expect("it is there"));
        Found { media, sidecar, bytes, id, written: at(NOW - age_s) }
    }

    fn removed(keep_s: u64, keep_bytes: usize, all: &[Found]) -> Vec<String> {
        removed_unless(&OpenFiles::default(), keep_s, keep_bytes, all)
    }

    fn removed_unless(
        open: &OpenFiles,
        keep_s: u64,
        keep_bytes: usize,
        all: &[Found],
    ) -> Vec<String> {
        let app = App {
            record_keep: Duration::from_secs(keep_s),
            record_keep_bytes: keep_bytes,
            ..App::default()
        };
        let removed = to_remove(all.to_vec(), &app, open, at(NOW)).into_iter();
        removed.map(|kept| kept.media.display().to_string()).collect()
    }

    #[test]
    fn the_old_go_and_then_the_oldest_until_the_rest_fits() {
        let all = [kept("c.flv", 100, 10), kept("a.flv", 300, 10), kept("b.flv", 200, 10)];
        assert_eq!(removed(250, 0, &all), ["a.flv"]);
        assert_eq!(removed(0, 20, &all), ["a.flv"]);
        assert_eq!(removed(0, 19, &all), ["a.flv", "b.flv"]);
        assert_eq!(removed(250, 10, &all), ["a.flv", "b.flv"]);
        assert!(removed(0, 0, &all).is_empty());
    }

    #[test]
    fn what_may_be_being_written_stays_and_what_a_crash_has_left_goes() {
        let all = [kept("a.flv.part", 5000, 10), kept("b.flv.part", 30, 10)];
        assert_eq!(removed(1, 1, &all), ["a.flv.part"]);
    }

    #[test]
    fn what_a_recording_has_open_stays_however_long_its_publisher_is_silent() {
        let all = [kept("a.flv.part", 5000, 10)];
        let files = Arc::new(OpenFiles::default());
        let open = files.enter(all[0].id);
        assert!(removed_unless(&files, 1, 1, &all).is_empty());
        drop(open);
        assert_eq!(removed_unless(&files, 1, 1, &all), ["a.flv.part"]);
    }

    #[test]
    fn only_recordings_are_removed_and_folders_that_are_empty_then() {
        let root = std::env::temp_dir().join(format!("corecast-retention-{}", std::process::id()));
        let dir = root.join("live/cam/2026-01-01");
        fs::create_dir_all(&dir).expect("room for it");
        let names = ["a.flv", "a.flv.json", "b.flv.part", "b.flv.json"];
        let foreign = ["alone.flv", "notes.json", "lost.flv.json"];
        for name in names {
            fs::write(dir.join(name), "x").expect("room for it");
        }
        for name in foreign {
            fs::write(root.join("live/cam").join(name), "x").expect("room for it");
        }
        let app = App {
            record_directory: root.display().to_string(),
            record_keep: Duration::from_secs(3600),
            ..App::default()
        };
        let config = Config { app_defaults: Arc::new(app), ..Config::default() };
        let open = OpenFiles::default();
        let later = SystemTime::now() + Duration::from_secs(7200);
        let strict = Config { strict_apps: true, ..config.clone() };
        sweep(&strict, &Look::All, &open, later);
        assert!(names.iter().all(|name| dir.join(name).exists()), "they are of no app");
        let part = fs::File::options().write(true).open(dir.join("b.flv.part"));
        let part = part.expect("just made");
        part.lock().expect("there are locks");
        sweep(&config, &Look::All, &open, SystemTime::now());
        assert!(names.iter().all(|name| dir.join(name).exists()), "they are young");
        sweep(&config, &Look::At(["other".to_owned()].into()), &open, later);
        assert!(names.iter().all(|name| dir.join(name).exists()), "they are of another app");
        sweep(&config, &Look::At(["live".to_owned()].into()), &open, later);
        assert!(dir.join("b.flv.part").exists(), "it is being written");
        drop(part);
        sweep(&config, &Look::At(["live".to_owned()].into()), &open, later);
        let left = foreign.iter().all(|name| root.join("live/cam").join(name).exists());
        assert!(left && !dir.exists());
        fs::remove_dir_all(&root).expect("ours");
    }
}
