//! A live HLS stream of one server as files, which any other can give away: the very same segments.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corecast_load::server::Directory;

/// Files in memory that follow a stream, until it is dropped.
#[derive(Debug)]
pub struct Mirror {
    dir: Arc<Directory>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What viewers ask for first.
pub const MULTIVARIANT: &str = "x.m3u8";
const MEDIA: &str = "main.m3u8";
/// As a player looks, and somewhat more often, so that what is here is as new as there.
const LOOK: Duration = Duration::from_millis(100);
/// Segments that are kept after they have left the playlist.
const KEPT: usize = 4;
const PATIENCE_S: u64 = 10;

impl Mirror {
    /// Begins to follow the stream at `url`, and returns when its first segments are there.
    ///
    /// # Errors
    /// It is no live stream, or there is no memory for files.
    pub fn start(url: &str, segments: usize, at_most: Duration) -> io::Result<Self> {
        let dir = Arc::new(Directory::in_memory()?);
        let source = Source::open(url)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (into, told) = (Arc::clone(&dir), Arc::clone(&stop));
        let follow = move || {
            let mut known = BTreeSet::new();
            while !told.load(Ordering::Relaxed) {
                source.copy_into(into.path(), &mut known)?;
                std::thread::sleep(LOOK);
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(follow)?;
        let mut this = Self { dir, stop, thread: Some(thread) };
        let until = Instant::now() + at_most;
        while this.segments() < segments {
            this.must_follow()?;
            if Instant::now() > until {
                return Err(io::Error::other(format!("expected {segments} segments at {url}")));
            }
            std::thread::sleep(LOOK);
        }
        Ok(this)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// # Errors
    /// It could not follow the stream any more.
    pub fn must_follow(&mut self) -> io::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            Some(thread) => thread.join().expect("it returns its errors"),
            None => Ok(()),
        }
    }

    fn segments(&self) -> usize {
        let text = std::fs::read_to_string(self.path().join(MEDIA)).unwrap_or_default();
        uris(&text).count()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its error was asked for while it mattered.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A media playlist at a server.
#[derive(Debug)]
pub struct Source {
    url: String,
}

impl Source {
    /// The first variant of the playlist at `url`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(url: &str) -> io::Result<Self> {
        let text = get_text(url)?;
        let uri = uris(&text).next().ok_or_else(|| {
            io::Error::other(format!("expected a variant in the playlist at {url}, found none"))
        })?;
        Ok(Self { url: beside(url, uri) })
    }

    /// Asks for it.
    ///
    /// # Errors
    /// The server gives none.
    pub fn playlist(&self) -> io::Result<String> {
        get_text(&self.url)
    }

    /// The size of all segments that it lists now.
    ///
    /// # Errors
    /// The server does not give them.
    pub fn bytes(&self) -> io::Result<u64> {
        let text = self.playlist()?;
        let sizes = uris(&text).map(|uri| Ok(get(&beside(&self.url, uri))?.len() as u64));
        sizes.sum()
    }

    fn copy_into(&self, dir: &Path, known: &mut BTreeSet<(u64, String)>) -> io::Result<()> {
        let text = self.playlist()?;
        let first = number_after(&text, "#EXT-X-MEDIA-SEQUENCE:");
        let inits = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\"")?.split('"').next());
        // Inits stay.
        let files = inits.map(|uri| (u64::MAX, uri)).chain((first..).zip(uris(&text)));
        for (number, uri) in files {
            let name = uri.to_owned();
            if uri.starts_with('/') || uri.contains("..") || uri.contains(['?', ':']) {
                let why = format!("expected files beside their playlist or below, found {uri:?}");
                return Err(io::Error::other(why));
            }
            if known.insert((number, name)) {
                write(dir, uri, &get(&beside(&self.url, uri))?)?;
            }
        }
        write(dir, MEDIA, without_parts(&text).as_bytes())?;
        write(
            dir,
            MULTIVARIANT,
            format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{MEDIA}\n").as_bytes(),
        )?;
        while let Some((number, name)) = known.first()
            && number.saturating_add(KEPT as u64) < first
        {
            std::fs::remove_file(dir.join(name))?;
            known.pop_first();
        }
        Ok(())
    }
}

/// What a server of files can keep of a playlist: it can neither wait nor leave out.
fn without_parts(text: &str) -> String {
    const LIVE: [&str; 5] = [
        "#EXT-X-PART",
        "#EXT-X-PRELOAD-HINT",
        "#EXT-X-SERVER-CONTROL",
        "#EXT-X-RENDITION-REPORT",
        "#EXT-X-SKIP",
    ];
    let kept = text.lines().filter(|line| !LIVE.iter().any(|tag| line.starts_with(tag)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Whole or not at all, whoever reads it.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = dir.join("unfinished");
    std::fs::write(&unfinished, bytes)?;
    let path = dir.join(name);
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::rename(unfinished, path)
}

fn uris(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn number_after(text: &str, tag: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix(tag)?.trim().parse().ok());
    number.unwrap_or(0)
}

/// What `uri` names in the playlist at `url`.
fn beside(url: &str, uri: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    let directory = path.rfind('/').map_or(path, |at| &path[..=at]);
    match uri.strip_prefix('/') {
        Some(_) => {
            let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            format!("{host}{uri}")
        }
        None => format!("{directory}{uri}"),
    }
}

fn get_text(url: &str) -> io::Result<String> {
    String::from_utf8(get(url)?).map_err(io::Error::other)
}

fn get(url: &str) -> io::Result<Vec<u8>> {
    let response = minreq::get(url).with_timeout(PATIENCE_S).send().map_err(io::Error::other)?;
    match response.status_code {
        200 => Ok(response.into_bytes()),
        status => {
            Err(io::Error::other(format!("expected the status 200 for {url}, found {status}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_left_out_and_segments_are_the_same() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
                    #EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-MEDIA-SEQUENCE:7\n\
                    #EXT-X-MAP:URI=\"i.mp4\"\n#EXT-X-PART:URI=\"7.0\",DURATION=0.2\n\
                    #EXTINF:2.0,\n7.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.0\"\n";
        let kept = without_parts(text);
        assert_eq!(
            kept,
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:2.0,\n7.m4s\n"
        );
        assert_eq!(uris(&kept).collect::<Vec<_>>(), ["7.m4s"]);
        assert_eq!(number_after(&kept, "#EXT-X-MEDIA-SEQUENCE:"), 7);
    }

    #[test]
    fn names_in_a_playlist_lie_beside_it() {
        let url = "http://h:1/live/x.hls/main.m3u8?session=7";
        assert_eq!(beside(url, "a.m4s"), "http://h:1/live/x.hls/a.m4s");
        assert_eq!(beside(url, "/b"), "http://h:1/b");
    }
}
