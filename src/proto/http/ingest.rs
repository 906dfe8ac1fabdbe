//! The content of a publisher's body to tracks and frames.

use std::fmt;

use super::error::Error;
use super::server::Config;
use crate::container::flv::{self, FileReader, TagKind, Tags};
use crate::container::{Item, fmp4, ts};

/// What a published body may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// FLV.
    Flv,
    /// A transport stream.
    Ts,
    /// MP4, in fragments or with its index in front.
    Mp4,
}

impl Container {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flv, Self::Ts, Self::Mp4];

    /// What begins like this; none if that is too little to tell.
    fn of(content: &[u8]) -> Option<Self> {
        // ISO/IEC 13818-1 2.4.3.2: each packet of 188 bytes begins with 0x47.
        let is_packets = content.first() == Some(&0x47) && content.get(188) == Some(&0x47);
        match content.get(4..8) {
            _ if content.starts_with(b"FLV") => Some(Self::Flv),
            _ if is_packets => Some(Self::Ts),
            Some(b"ftyp" | b"styp" | b"moov" | b"moof") => Some(Self::Mp4),
            _ => None,
        }
    }

    /// The end of a path that asks for it, and of the names of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Flv => ".flv",
            Self::Ts => ".ts",
            Self::Mp4 => ".mp4",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flv => "FLV",
            Self::Ts => "MPEG-TS",
            Self::Mp4 => "MP4",
        })
    }
}

/// Something in a publisher's body that is not routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Of FLV.
    Flv(flv::Notice),
    /// Of a transport stream.
    Ts(ts::Notice),
    /// Of MP4.
    Mp4(fmp4::Notice),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flv(notice) => notice.fmt(f),
            Self::Ts(notice) => notice.fmt(f),
            Self::Mp4(notice) => notice.fmt(f),
        }
    }
}

/// Demultiplexes what one publisher sends.
#[derive(Debug)]
pub(super) struct Ingest {
    demux: Demux,
    /// Bytes of content that were taken.
    taken: u64,
    /// What it looks like, by how it begins.
    looks: Option<Container>,
}

#[derive(Debug)]
enum Demux {
    Flv(Box<FlvDemux>),
    Ts(Box<ts::Demux>),
    Mp4(Box<fmp4::Demux>),
}

#[derive(Debug)]
struct FlvDemux {
    file: FileReader,
    tags: Tags,
    /// Where what is being read begins: the tag, with the PreviousTagSize before it.
    tag_at: u64,
}

impl Ingest {
    pub(super) fn new(container: Container, config: &Config) -> Self {
        let demux = match container {
            Container::Flv => {
                let (file, tags) = (FileReader::new(config.flv), Tags::new(config.flv));
                Demux::Flv(Box::new(FlvDemux { file, tags, tag_at: 0 }))
            }
            Container::Ts => Demux::Ts(Box::new(ts::Demux::new(config.ts))),
            Container::Mp4 => Demux::Mp4(Box::new(fmp4::Demux::new(config.mp4))),
        };
        Self { demux, taken: 0, looks: None }
    }

    /// Takes all of `content` and appends what it held to `items`. True if there was sound or a
    /// picture in it, be it of a codec that is not carried.
    pub(super) fn push(&mut self, content: &[u8], items: &mut Vec<Item>) -> Result<bool, Error> {
        if self.taken == 0 {
            self.looks = Container::of(content);
        }
        self.push_demux(content, items).map_err(|error| self.explain(error))
    }

    /// If it is another container, that is what is wrong.
    fn explain(&self, error: Error) -> Error {
        let expected = self.container();
        match self.looks {
            Some(found) if found != expected => Error::Misnamed { expected, found },
            _ => error,
        }
    }

    fn push_demux(&mut self, mut content: &[u8], items: &mut Vec<Item>) -> Result<bool, Error> {
        let end = self.taken + content.len() as u64;
        self.taken = end;
        let mut has_media = false;
        match &mut self.demux {
            Demux::Flv(demux) => {
                let FlvDemux { file, tags, tag_at } = &mut **demux;
                let wrong = |at: u64| move |error| Error::Media { at, error };
                while let Some((kind, time_ms, body)) =
                    file.read(&mut content).map_err(wrong(*tag_at))?
                {
                    has_media |= kind != TagKind::Script;
                    tags.push(kind, time_ms, body, items).map_err(wrong(*tag_at))?;
                    *tag_at = end - content.len() as u64;
                }
            }
            Demux::Ts(demux) => {
                let had = items.len();
                let at = end - content.len() as u64;
                let pushed = demux.push(content, items).map_err(|error| Error::Ts { at, error });
                has_media = holds_media(&items[had..]);
                pushed?;
            }
            Demux::Mp4(demux) => {
                let had = items.len();
                let pushed = demux.push(content, items).map_err(Error::Mp4);
                has_media = holds_media(&items[had..]);
                pushed?;
            }
        }
        Ok(has_media)
    }

    /// The body is over: may it be? Appends to `items` what was still open. `had_media`: what
    /// [`Self::push`] answered so far.
    pub(super) fn finish(&mut self, had_media: bool, items: &mut Vec<Item>) -> Result<(), Error> {
        let had = items.len();
        let finished = match self.finish_demux(items) {
            Ok(()) if had_media || holds_media(&items[had..]) => return Ok(()),
            Ok(()) => Error::NoMedia { at: self.taken, container: self.container() },
            Err(error) => error,
        };
        Err(self.explain(finished))
    }

    fn container(&self) -> Container {
        match self.demux {
            Demux::Flv(_) => Container::Flv,
            Demux::Ts(_) => Container::Ts,
            Demux::Mp4(_) => Container::Mp4,
        }
    }

    fn finish_demux(&mut self, items: &mut Vec<Item>) -> Result<(), Error> {
        let at = self.taken;
        match &mut self.demux {
            Demux::Flv(demux) => {
                let at = demux.tag_at;
                demux.file.finish().map_err(|error| Error::Media { at, error })
            }
            Demux::Ts(demux) => demux.finish(items).map_err(|error| Error::Ts { at, error }),
            Demux::Mp4(demux) => demux.finish(items).map_err(Error::Mp4),
        }
    }

    /// What the demultiplexer has to tell the log, each once.
    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        match &mut self.demux {
            Demux::Flv(demux) => demux.tags.poll_notice().map(Notice::Flv),
            Demux::Ts(demux) => demux.poll_notice().map(Notice::Ts),
            Demux::Mp4(demux) => demux.poll_notice().map(Notice::Mp4),
        }
    }
}

fn holds_media(items: &[Item]) -> bool {
    items.iter().any(Item::is_media)
}
