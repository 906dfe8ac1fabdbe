//! One file of a recording, and its sidecar.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;

use super::open::{FileId, Open, OpenFiles};
use super::sidecar::{Sidecar, codecs};
use super::{Rules, unix};
use crate::config::{Called, RecordFormat};
use crate::net::{File, rt};
use crate::plane::{Init, Piece, Start};
use crate::serve::event::{Recorded, Segment as Told};
use crate::time::Timestamp;

/// Places in a sidecar's index; a file that has so many ends at its next key frame.
const INDEX_MAX: usize = 100_000;
/// Without video, places in the index are so far apart.
const SOUND_INDEX_MS: i64 = 1000;
/// How often a file is tried to be made whose name somebody else takes, or whose folder somebody else
/// removes, in the same moment.
const TRIES: usize = 10;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// Until it has its name.
    open: Open,
    path: PathBuf,
    sidecar: Sidecar,
    /// What it holds last.
    init: Rc<Init>,
    start: Timestamp,
    end: Timestamp,
    /// Something was written since it was last synced.
    unsynced: bool,
}

impl Segment {
    /// A file that begins with `piece`, of which nothing is written yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn create(
        rules: &Rules,
        about: &Recorded,
        sequence: u32,
        piece: &Piece,
        files: &Arc<OpenFiles>,
    ) -> io::Result<Self> {
        let now = SystemTime::now();
        let sidecar = Sidecar {
            version: 1,
            stream: about.key.to_string(),
            app: about.key.app().to_owned(),
            name: about.key.name().to_owned(),
            recording: about.id.clone(),
            sequence,
            format: about.format,
            file: String::new(),
            start: unix(now),
            end: None,
            start_ms: piece.start.as_millis(),
            duration_ms: None,
            bytes: None,
            init_bytes: 0,
            codecs: codecs(&piece.tracks),
            key_frames: Vec::new(),
        };
        let relative = rules.path.of(called(about, now, sequence));
        let (directory, format) = (rules.directory.clone(), rules.format);
        let reserved = rt::blocking(move || reserve(&directory, &relative, format, sidecar));
        let Reserved { path, mut sidecar, file, id } = reserved.await?;
        let open = files.enter(id);
        match begin(file, piece).await {
            Ok(file) => {
                sidecar.init_bytes = file.len();
                let (init, start) = (Rc::clone(&piece.init), piece.start);
                Ok(Self { file, open, path, sidecar, init, start, end: start, unsynced: true })
            }
            Err(error) => {
                // Nothing that anybody could play.
                rt::blocking(move || {
                    for made in [part_of(&path), beside(&path, "json")] {
                        // Err: somebody else has removed it.
                        let _ = fs::remove_file(made);
                    }
                })
                .await;
                Err(error)
            }
        }
    }

    /// Where it will be when it is whole.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.file.len()
    }

    /// True if `piece` should begin another, for it is of other tracks.
    pub(super) fn changes_before(&self, piece: &Piece, rules: &Rules) -> bool {
        // In the midst of a file FLV has room for another init. A file of MP4 has one.
        let needs_another =
            rules.format == RecordFormat::Fmp4 && piece.init.bytes != self.init.bytes;
        needs_another || (piece.key != Start::No && piece.init.version != self.init.version)
    }

    /// True if `piece` should begin another, for this one is long enough.
    pub(super) fn is_full_before(&self, piece: &Piece, rules: &Rules) -> bool {
        let long = |most: Duration| {
            u64::try_from(piece.start.since(self.start)).is_ok_and(|ns| ns >= nanos(most))
        };
        piece.key != Start::No
            && (rules.rotate.is_some_and(long)
                || rules.rotate_bytes.is_some_and(|most| self.bytes() >= most)
                || self.sidecar.key_frames.len() >= INDEX_MAX)
    }

    /// Appends `piece`, with its init if that is another.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn append(&mut self, piece: &Piece) -> io::Result<()> {
        self.unsynced = true;
        if piece.init.version != self.init.version {
            if piece.init.bytes != self.init.bytes {
                self.file.append(&piece.init.bytes).await?;
            }
            self.init = Rc::clone(&piece.init);
        }
        let at = (piece.start.as_millis(), self.file.len());
        self.file.append(&piece.bytes).await?;
        self.end = self.end.max(piece.end);
        let last = self.sidecar.key_frames.last();
        let counts = match piece.key {
            Start::Picture => true,
            Start::Sound => last.is_none_or(|last| at.0 - last.0 >= SOUND_INDEX_MS),
            Start::No => false,
        };
        if counts {
            self.sidecar.key_frames.push(at);
        }
        Ok(())
    }

    /// Has the disk hold all of it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.file.sync().await?;
        }
        Ok(())
    }

    /// It is whole, or as whole as it will be: given its name, with its sidecar.
    ///
    /// # Errors
    /// What the kernel says. What could be written stays where it is.
    pub(super) async fn finish(self) -> io::Result<Told> {
        let Self { file, open, path, mut sidecar, start, end, .. } = self;
        let bytes = file.len();
        // A full disk has taken the beginning of what did not fit.
        let synced = match file.cut().await {
            Ok(()) => file.sync().await,
            Err(error) => Err(error),
        };
        let lasted = Duration::from_nanos(end.since(start).max(0).unsigned_abs());
        sidecar.end = Some(unix(SystemTime::now()));
        sidecar.duration_ms = Some(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
        sidecar.bytes = Some(bytes);
        let told = Told {
            file: path.display().to_string(),
            sidecar: beside(&path, "json").display().to_string(),
            sequence: sidecar.sequence,
            bytes,
            lasted,
        };
        let completed = rt::blocking(move || complete(&path, &sidecar.to_json())).await;
        // Locked until it has its name: a node that begins would take it for left over.
        let closed = file.close().await;
        drop(open);
        completed?;
        synced.and(closed).map(|()| told)
    }
}

/// The file itself, with what precedes `piece` in it.
async fn begin(file: fs::File, piece: &Piece) -> io::Result<File> {
    let mut file = File::new(file);
    file.append(&piece.preamble).await?;
    file.append(&piece.init.bytes).await?;
    Ok(file)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a file that begins `now` is called after.
fn called(about: &Recorded, now: SystemTime, sequence: u32) -> Called<'_> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = i64::try_from(since).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Called {
        app: about.key.app(),
        name: about.key.name(),
        date: (at.year(), at.month().into(), at.day()),
        time: at.to_hms(),
        sequence,
    }
}

/// A file with a name that nobody else has.
struct Reserved {
    /// Where it will be when it is whole.
    path: PathBuf,
    sidecar: Sidecar,
    file: fs::File,
    id: FileId,
}

/// Takes a name that nobody has, by writing the sidecar of a file that is not whole, and makes the file.
fn reserve(
    directory: &Path,
    relative: &str,
    format: RecordFormat,
    mut sidecar: Sidecar,
) -> io::Result<Reserved> {
    let numbered = |number| {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        directory.join(format!("{relative}{number}.{}", format.extension()))
    };
    let is_taken = |number| -> io::Result<bool> {
        let path = numbered(number);
        Ok(path.try_exists()?
            || part_of(&path).try_exists()?
            || beside(&path, "json").try_exists()?)
    };
    for _ in 0..TRIES {
        let path = numbered(free_number(is_taken)?);
        match create_below(&beside(&path, "json"), |path| fs::File::create_new(path)) {
            Ok(mut about) => {
                sidecar.file = file_name(&path);
                let written = about.write_all(&sidecar.to_json());
                // What is left when the host dies needs it.
                let made = written.and_then(|()| about.sync_data()).and_then(|()| {
                    let file = fs::File::create_new(part_of(&path))?;
                    // Err: this file system has no locks.
                    let _ = file.try_lock();
                    Ok((FileId::of(&file.metadata()?), file))
                });
                return match made {
                    Ok((id, file)) => Ok(Reserved { path, sidecar, file, id }),
                    Err(error) => {
                        // Nobody would ever remove it. Err: it has gone.
                        let _ = fs::remove_file(beside(&path, "json"));
                        Err(error)
                    }
                };
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "others take each name that is tried"))
}

/// A number from 1 on that is not taken, while the one before it is. However many are, few are asked
/// for: a template may give the files of a thousand recordings the same name.
fn free_number(is_taken: impl Fn(u32) -> io::Result<bool>) -> io::Result<u32> {
    let (mut taken, mut free) = (0, 1_u32);
    while is_taken(free)? {
        let next = free.checked_mul(2);
        (taken, free) = (free, next.ok_or(ErrorKind::AlreadyExists)?);
    }
    while free - taken > 1 {
        let between = taken + (free - taken) / 2;
        match is_taken(between)? {
            true => taken = between,
            false => free = between,
        }
    }
    Ok(free)
}

/// Has `create` make the file `path`, in a folder that is made if it is not there. Retention removes
/// folders that are empty, such as one that was just made.
fn create_below(
    path: &Path,
    create: impl Fn(&Path) -> io::Result<fs::File>,
) -> io::Result<fs::File> {
    let create = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        create(path)
    };
    let mut created = create();
    for _ in 1..TRIES {
        match &created {
            Err(error) if error.kind() == ErrorKind::NotFound => created = create(),
            _ => break,
        }
    }
    created
}

/// Gives the sidecar what is known now, then the file its name: whoever sees that finds the sidecar
/// whole. The old one stays until the new one is there.
pub(super) fn complete(path: &Path, sidecar: &[u8]) -> io::Result<()> {
    let (old, new) = (beside(path, "json"), beside(path, "json.part"));
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(sidecar)?;
        file.sync_data()
    });
    let replaced = written.and_then(|()| fs::rename(&new, old));
    if replaced.is_err() {
        // Err: it was not made.
        let _ = fs::remove_file(&new);
    }
    // Without it the file would never be listed: the next start tries again.
    replaced?;
    fs::rename(part_of(path), path)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn part_of(path: &Path) -> PathBuf {
    beside(path, "part")
}

/// The path with another extension behind its own.
pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    path.with_file_name(format!("{}.{extension}", file_name(path)))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A folder of the test's own.
    fn folder(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("corecast-segment-{test}-{}", std::process::id()))
    }

    #[test]
    fn a_folder_that_is_removed_before_its_file_is_there_is_made_again() {
        let root = folder("removed");
        let (path, removals) = (root.join("live/a/1.flv.json"), Cell::new(0));
        let made = create_below(&path, |path| {
            // As retention does, which finds it empty.
            if removals.replace(removals.get() + 1) < 3 {
                fs::remove_dir(path.parent().expect("a folder")).expect("it is empty");
            }
            fs::File::create_new(path)
        });
        assert!(made.is_ok() && path.exists(), "{made:?}");
        let gone = create_below(&path, |_| Err(ErrorKind::NotFound.into()));
        assert!(gone.is_err(), "it does not try for ever");
        fs::remove_dir_all(&root).expect("ours");
    }

    #[test]
    fn a_name_that_a_thousand_files_have_is_given_to_one_more() {
        let root = folder("names");
        let relative = "live/a-0000";
        let reserve = || reserve(&root, relative, RecordFormat::Ts, Sidecar::of("a"));
        fs::create_dir_all(root.join("live")).expect("room for it");
        for number in 2..=1234 {
            fs::write(root.join(format!("{relative}-{number}.ts")), "").expect("room for it");
        }
        // Of a file that is being written there is more than its sidecar.
        for name in ["a-0000.ts", "a-0000-1235.ts", "a-0000-1236.ts"] {
            let reserved = reserve().expect("there is a name");
            assert_eq!(reserved.path, root.join("live").join(name));
            assert_eq!(reserved.sidecar.file, name);
            assert!(part_of(&reserved.path).exists() && beside(&reserved.path, "json").exists());
        }
        fs::remove_dir_all(&root).expect("ours");
    }

    #[test]
    fn of_numbers_the_first_that_is_free_is_found_in_few_steps() {
        for taken in (0..100).chain([999, 1000, 1_000_000]) {
            let asked = Cell::new(0);
            let is_taken = |number| {
                asked.set(asked.get() + 1);
                Ok(number <= taken)
            };
            assert_eq!(free_number(is_taken).expect("there is one"), taken + 1);
            assert!(asked.get() <= 42, "{} of {taken}", asked.get());
        }
        assert!(free_number(|_| Ok(true)).is_err());
    }
}
