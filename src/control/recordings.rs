//! Files of recordings that are whole: which there are, and their removal. Both read the disk, and
//! belong on a thread that may wait.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;

use super::retention::{self, Found};
use crate::config::{App, Config, RecordPath};
use crate::serve::record::Kept;
use crate::serve::replay::Place;

/// A file of a recording.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FileSnapshot {
    /// `APP/NAME`.
    stream: String,
    /// Its path below the `record_directory` of its app.
    file: String,
    /// The path of its replay on the port of HTTP, `.m3u8` behind it for HLS; none unless its app has
    /// `record_replay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// How it is muxed: `flv`, `ts` or `fmp4`.
    format: &'static str,
    /// When it was begun, in seconds since 1970.
    start: f64,
    /// When it was done, likewise.
    end: f64,
    /// Stream time it holds.
    duration_ms: u64,
    /// Bytes it holds.
    bytes: u64,
    /// What it carries.
    codecs: Vec<String>,
    /// A crash has left it: its end is when it was last written to, and there is no HLS of it.
    recovered: bool,
}

/// Which files are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Of this app alone.
    pub(crate) app: Option<String>,
    /// Of streams of this name alone.
    pub(crate) name: Option<String>,
    /// So many are left out, and so many told.
    pub(crate) page: (usize, usize),
}

/// Why a file was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRemoved {
    /// There is none, or it is being written.
    #[error("there is no file of a recording of this name that is whole")]
    NotThere,
    /// The kernel did not.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// How many files there are, and those of a page, the newest first. What cannot be read is left out.
pub(crate) fn list(config: &Config, wanted: &Wanted) -> (usize, Vec<FileSnapshot>) {
    let (skipped, limit) = wanted.page;
    let mut newest = Newest { most: skipped.saturating_add(limit), total: 0, files: Vec::new() };
    for (app, directory, root) in roots(config) {
        if wanted.app.as_ref().is_some_and(|app| !root.ends_with(RecordPath::dir_of(app))) {
            continue;
        }
        retention::find(&root, &mut |found| {
            if !found.is_part()
                && let Some(place) = place_of(&found, directory)
                && wanted.name.as_ref().is_none_or(|name| may_be_of(&place, name))
                && let Ok(kept) = read(&found.sidecar)
                && wanted.name.as_ref().is_none_or(|name| kept.name == *name)
                && let Some(snapshot) = snapshot(kept, &place, &found, app.record_replay)
            {
                newest.add(Listed { written: found.written, snapshot });
            }
        });
    }
    let total = newest.total;
    let page = newest.into_sorted().into_iter().skip(skipped).take(limit);
    (total, page.map(|listed| listed.snapshot).collect())
}

/// Removes a file of a recording that is whole, with its sidecar and the folders that are empty then.
pub(crate) fn remove(config: &Config, file: &str) -> Result<(), NotRemoved> {
    let place = Place::parse(file).map_err(|_| NotRemoved::NotThere)?;
    let app = place.app(config).ok_or(NotRemoved::NotThere)?;
    let directory = Path::new(&app.record_directory);
    let media = directory.join(place.path());
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.is_file());
    let sidecar = Some(sidecar_of(&media)).filter(|sidecar| is_file(sidecar));
    let found = sidecar.and_then(Found::of).filter(|found| !found.is_part());
    let found = found.ok_or(NotRemoved::NotThere)?;
    // Its folders may be links to elsewhere.
    let parent = media.parent().unwrap_or(directory).canonicalize()?;
    if !parent.starts_with(directory.canonicalize()?) {
        return Err(NotRemoved::NotThere);
    }
    let root = place.path().split('/').next().unwrap_or_default();
    found.remove(&directory.join(root))?;
    Ok(())
}

/// The apps that have files, each with the directory they lie in and that of its own below it.
pub(super) fn roots(config: &Config) -> Vec<(&App, &Path, PathBuf)> {
    let mut roots = Vec::new();
    for (name, app) in &config.app {
        let directory = Path::new(&app.record_directory);
        if !app.record_directory.is_empty() {
            roots.push((&**app, directory, directory.join(RecordPath::dir_of(name))));
        }
    }
    // Apps that have no settings of their own.
    let app = &*config.app_defaults;
    let directory = Path::new(&app.record_directory);
    if config.strict_apps || app.record_directory.is_empty() {
        return roots;
    }
    let is_named = |dir: &str| config.app.keys().any(|name| RecordPath::dir_of(name) == dir);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_other = entry.file_name().to_str().is_some_and(|dir| !is_named(dir));
        if is_dir && is_other {
            roots.push((app, directory, entry.path()));
        }
    }
    roots
}

/// None: no URL leads there, so nobody has recorded it.
fn place_of(found: &Found, directory: &Path) -> Option<Place> {
    Place::parse(found.media.strip_prefix(directory).ok()?.to_str()?).ok()
}

/// The name of a stream is in the path as that of an app would be.
fn may_be_of(place: &Place, name: &str) -> bool {
    place.path().contains(&RecordPath::dir_of(name))
}

/// None: it is not whole, whatever it is called.
fn snapshot(kept: Kept, place: &Place, found: &Found, replay: bool) -> Option<FileSnapshot> {
    Some(FileSnapshot {
        stream: format!("{}/{}", kept.app, kept.name),
        file: place.path().to_owned(),
        url: replay.then(|| place.url()),
        format: kept.format.name(),
        start: kept.start,
        end: kept.end?,
        duration_ms: kept.duration_ms?,
        bytes: found.bytes,
        codecs: kept.codecs.into_iter().map(|line| line.codec).collect(),
        recovered: kept.recovered,
    })
}

fn read(sidecar: &Path) -> io::Result<Kept> {
    Kept::read(fs::File::open(sidecar)?)
}

fn sidecar_of(media: &Path) -> PathBuf {
    media.with_added_extension("json")
}

/// The newest files of all that are added, in no order, and at times twice as many.
struct Newest {
    most: usize,
    total: usize,
    files: Vec<Listed>,
}

struct Listed {
    written: SystemTime,
    snapshot: FileSnapshot,
}

impl Newest {
    fn add(&mut self, listed: Listed) {
        self.total += 1;
        self.files.push(listed);
        if self.files.len() >= self.most.saturating_mul(2).max(64) {
            self.files.sort_unstable_by(Listed::newest_first);
            self.files.truncate(self.most);
        }
    }

    fn into_sorted(mut self) -> Vec<Listed> {
        self.files.sort_unstable_by(Listed::newest_first);
        self.files
    }
}

impl Listed {
    fn newest_first(&self, other: &Self) -> std::cmp::Ordering {
        let key = |it: &Self| (it.written, it.snapshot.file.clone());
        key(other).cmp(&key(self))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const SIDECAR: &str = r#"{"version":1,"app":"live","name":"NAME","format":"ts","start":1.0,
        "end":2.0,"start_ms":0,"duration_ms":1000,"codecs":[{"codec":"h264"}],"key_frames":[[0,0]]}"#;

    fn root(test: &str) -> PathBuf {
        let name = format!("corecast-recordings-{test}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("live")).expect("room for it");
        root
    }

    fn config(root: &Path) -> Config {
        let record_directory = root.display().to_string();
        let app = App { record_directory, ..App::default() };
        Config { app_defaults: Arc::new(app), ..Config::default() }
    }

    fn write(path: &Path, name: &str, age_s: u64) {
        fs::create_dir_all(path.parent().expect("below the root")).expect("room for it");
        fs::write(path, "x").expect("room for it");
        fs::write(sidecar_of(path), SIDECAR.replace("NAME", name)).expect("room for it");
        let written = SystemTime::now() - Duration::from_secs(age_s);
        let file = fs::File::options().write(true).open(path).expect("ours");
        file.set_modified(written).expect("ours");
    }

    fn paths(
        config: &Config,
        app: Option<&str>,
        name: Option<&str>,
        page: (usize, usize),
    ) -> String {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let (total, files) = list(config, &Wanted { app: own(app), name: own(name), page });
        let files: Vec<_> = files.into_iter().map(|file| file.file).collect();
        format!("{total}: {}", files.join(" "))
    }

    #[test]
    fn the_newest_are_listed_first_page_by_page_and_by_stream() {
        let root = root("list");
        for number in 0..200 {
            let path = root.join(format!("live/a/{number:03}.ts"));
            write(&path, "a", 1000 - number);
        }
        write(&root.join("other/b/1.ts"), "b", 2000);
        fs::write(root.join("live/a/alone.ts"), "x").expect("room for it");
        let config = config(&root);
        assert_eq!(paths(&config, None, None, (0, 2)), "201: live/a/199.ts live/a/198.ts");
        assert_eq!(paths(&config, None, None, (199, 5)), "201: live/a/000.ts other/b/1.ts");
        assert_eq!(paths(&config, Some("live"), None, (199, 5)), "200: live/a/000.ts");
        assert_eq!(paths(&config, None, Some("b"), (0, 5)), "1: other/b/1.ts");
        assert_eq!(paths(&config, None, Some("c"), (0, 5)), "0: ");
        fs::remove_dir_all(&root).expect("ours");
    }

    #[test]
    fn a_file_whose_sidecar_has_no_end_is_neither_listed_nor_counted() {
        let root = root("unfinished");
        for number in 0..3 {
            write(&root.join(format!("live/a/{number}.ts")), "a", 10 - number);
        }
        let unfinished = SIDECAR.replace("NAME", "a").replace("2.0", "null");
        fs::write(root.join("live/a/2.ts.json"), unfinished).expect("ours");
        fs::write(root.join("live/a/1.ts.json"), "{}").expect("ours");
        assert_eq!(paths(&config(&root), None, None, (0, 1)), "1: live/a/0.ts");
        fs::remove_dir_all(&root).expect("ours");
    }

    #[test]
    fn only_files_of_recordings_below_the_directory_are_removed() {
        let root = root("remove");
        let config = config(&root);
        write(&root.join("live/a/1.ts"), "a", 0);
        fs::write(root.join("live/notes.ts"), "x").expect("room for it");
        let outside = root.with_extension("outside");
        write(&outside.join("1.ts"), "a", 0);
        std::os::unix::fs::symlink(&outside, root.join("live/link")).expect("room for it");
        for file in ["live/../live/a/1.ts", "live/notes.ts", "live/link/1.ts", "live/a/2.ts", "x"] {
            assert!(remove(&config, file).is_err(), "{file}");
        }
        assert!(outside.join("1.ts").exists() && root.join("live/notes.ts").exists());
        remove(&config, "live/a/1.ts").expect("it is there");
        assert!(!root.join("live/a").exists());
        fs::remove_dir_all(&root).expect("ours");
        fs::remove_dir_all(&outside).expect("ours");
    }
}
