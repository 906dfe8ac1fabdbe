//! The disk, asked once for each request, on a thread that may wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::place::{Place, in_url};
use super::playlist;
use super::seat::Seat;
use crate::config::RecordFormat;
use crate::media::StreamKey;
use crate::serve::record::Kept;

/// What is looked for.
#[derive(Debug)]
pub(super) struct Sought {
    pub(super) directory: PathBuf,
    pub(super) place: Place,
    /// Its playlist; of the query that goes with each part.
    pub(super) playlist: Option<String>,
    pub(super) seat: Seat,
}

/// What is there, and whose it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) key: StreamKey,
    /// Quotes included.
    pub(super) etag: String,
    pub(super) what: What,
    /// Until all of it is sent.
    pub(super) seat: Seat,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Written now, from the sidecar.
    Playlist(String),
    /// There is no index to write one from: a crash has left it.
    NoIndex,
    File {
        file: File,
        bytes: u64,
        format: RecordFormat,
    },
}

impl Sought {
    /// Looks for it. `None`: there is no recording, or it is not whole, or it is none of that app's.
    /// Otherwise what the kernel says.
    pub(super) fn look(self) -> io::Result<Option<Found>> {
        let Self { directory, place, playlist, seat } = self;
        let Some(file) = open(&directory, place.path())? else { return Ok(None) };
        let Some(sidecar) = open(&directory, &format!("{}.json", place.path()))? else {
            return Ok(None);
        };
        let about = file.metadata()?;
        let (kept, index) = match playlist {
            Some(query) => {
                let (kept, key_frames) = Kept::read_with_index(sidecar)?;
                (kept, Some((key_frames, query)))
            }
            // The rest may be megabytes, for each part that is asked for.
            None => (Kept::read(sidecar)?, None),
        };
        let key = StreamKey::new(&kept.app, &kept.name).ok();
        let Some(key) = key.filter(|_| kept.end.is_some() && place.is_of(&kept.app)) else {
            return Ok(None);
        };
        let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (bytes, format) = (about.len(), place.format());
        let named = format!("{bytes:x}-{:x}", written.as_nanos());
        let Some((key_frames, query)) = index else {
            let etag = format!("\"{named}\"");
            return Ok(Some(Found { key, etag, what: What::File { file, bytes, format }, seat }));
        };
        if kept.recovered {
            return Ok(Some(Found { key, etag: String::new(), what: What::NoIndex, seat }));
        }
        let name = in_url(place.file_name());
        let uri = if query.is_empty() { name } else { format!("{name}?{query}") };
        Ok(playlist::of(&kept, &key_frames, bytes, &uri).map(|text| {
            let etag = format!("\"{named}-m3u8\"");
            Found { key, etag, what: What::Playlist(text), seat }
        }))
    }
}

/// A file below `directory`, wherever links lead that stay below it. `None` if there is none, or it is
/// none that can be read from its beginning to its end.
fn open(directory: &Path, path: &str) -> io::Result<Option<File>> {
    let of_directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A pipe would let its opener wait for a writer.
    let of_file = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::open(directory, of_directory, Mode::empty())
        .and_then(|root| rustix::fs::openat2(root, path, of_file, Mode::empty(), below));
    match opened {
        Ok(file) => {
            let file = File::from(file);
            Ok(Some(file).filter(|file| file.metadata().is_ok_and(|about| about.is_file())))
        }
        // XDEV: it leads outside. LOOP: links without end.
        Err(
            rustix::io::Errno::NOENT
            | rustix::io::Errno::NOTDIR
            | rustix::io::Errno::XDEV
            | rustix::io::Errno::LOOP
            | rustix::io::Errno::NAMETOOLONG,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
