use std::io::{self, Read};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unix;
use crate::config::RecordFormat;
use crate::plane::{TrackSnapshot, Tracks};

/// What a file of a recording holds. Written beside it as JSON: when it begins, without what is not
/// known yet, and when it is whole.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sidecar {
    /// Of this form.
    pub(super) version: u32,
    /// `APP/NAME`.
    pub(super) stream: String,
    pub(super) app: String,
    pub(super) name: String,
    /// The recording's id; its files have it in common.
    pub(super) recording: String,
    /// Which of its files, from 0.
    pub(super) sequence: u32,
    /// How it is muxed.
    pub(super) format: &'static str,
    /// Its name, when it is whole.
    pub(super) file: String,
    /// When it was begun and done, in seconds since 1970. No end: it was not.
    pub(super) start: f64,
    pub(super) end: Option<f64>,
    /// The stream's time of its first frame; times in the file are of the same clock.
    pub(super) start_ms: i64,
    pub(super) duration_ms: Option<u64>,
    pub(super) bytes: Option<u64>,
    /// So many of them, its first, whoever starts elsewhere must have.
    pub(super) init_bytes: u64,
    pub(super) codecs: Vec<TrackSnapshot>,
    /// Where one can start: the stream's time, and bytes before it. Without video, about each second.
    pub(super) key_frames: Vec<(i64, u64)>,
}

impl Sidecar {
    /// As it is written.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain values under names")
    }
}

/// What `tracks` carry.
pub(super) fn codecs(tracks: &Tracks) -> Vec<TrackSnapshot> {
    [&tracks.video, &tracks.audio].into_iter().flatten().map(TrackSnapshot::of).collect()
}

/// A sidecar that lies on disk, without its index.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Kept {
    pub(crate) app: String,
    pub(crate) name: String,
    pub(crate) format: RecordFormat,
    /// In seconds since 1970.
    pub(crate) start: f64,
    /// The same; none of a file that is not whole.
    pub(crate) end: Option<f64>,
    /// The stream's time of its first frame.
    pub(crate) start_ms: i64,
    pub(crate) duration_ms: Option<u64>,
    #[serde(default)]
    pub(crate) init_bytes: u64,
    pub(crate) codecs: Vec<Line>,
    /// A crash has left it: what depends on its end is by when it was last written to, and there is no
    /// index.
    #[serde(default)]
    pub(crate) recovered: bool,
}

/// A track in it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    pub(crate) codec: String,
}

#[derive(Deserialize)]
struct Index {
    key_frames: Vec<(i64, u64)>,
}

/// One with as many key frames as it may have is smaller.
const SIDECAR_BYTES_MAX: u64 = 8 << 20;
/// What precedes the index of most is smaller.
const HEAD_BYTES: u64 = 4 << 10;
/// Where the index begins. In a string its quotes would not stand alone.
const INDEX: &[u8] = b",\"key_frames\":";

impl Kept {
    /// Reads one, of most no more than precedes the index.
    ///
    /// # Errors
    /// What the kernel says, or that it is none.
    pub(crate) fn read(mut file: impl Read) -> io::Result<Self> {
        let mut text = Vec::new();
        (&mut file).take(HEAD_BYTES).read_to_end(&mut text)?;
        if let Some(head) = text.windows(INDEX.len()).position(|found| found == INDEX) {
            let head = [&text[..head], b"}"].concat();
            // Others may have written it again, in another order.
            let kept = serde_json::from_slice(&head).ok();
            if let Some(kept) =
                kept.filter(|it: &Self| it.end.is_some() && it.duration_ms.is_some())
            {
                return Ok(kept);
            }
        }
        file.take(SIDECAR_BYTES_MAX).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Reads one, or as much of it as one may hold, and its index: where one can start in the file, by
    /// the stream's time, and bytes before it.
    ///
    /// # Errors
    /// What the kernel says, or that it is none.
    pub(crate) fn read_with_index(file: impl Read) -> io::Result<(Self, Vec<(i64, u64)>)> {
        let mut text = Vec::new();
        file.take(SIDECAR_BYTES_MAX).read_to_end(&mut text)?;
        let Index { key_frames } = serde_json::from_slice(&text)?;
        Ok((serde_json::from_slice(&text)?, key_frames))
    }
}

/// The text of a sidecar of a file that holds `bytes` and was last written to at `written`, which is
/// its end if it has none.
///
/// # Errors
/// What the kernel says, or that it is none.
pub(super) fn with_end(file: impl Read, written: SystemTime, bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(SIDECAR_BYTES_MAX).read_to_end(&mut text)?;
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.end.is_some() {
        return Ok(text);
    }
    let mut fields: serde_json::Map<String, Value> = serde_json::from_slice(&text)?;
    let end = unix(written).max(kept.start);
    let lasted_ms = ((end - kept.start) * 1000.0).round() as u64;
    fields.insert("end".to_owned(), end.into());
    fields.insert("duration_ms".to_owned(), lasted_ms.into());
    fields.insert("bytes".to_owned(), bytes.into());
    fields.insert("recovered".to_owned(), true.into());
    Ok(serde_json::to_vec(&fields)?)
}

#[cfg(test)]
impl Sidecar {
    /// One of a stream of this name, for tests.
    pub(super) fn of(name: &str) -> Self {
        Self {
            version: 1,
            stream: format!("live/{name}"),
            app: "live".to_owned(),
            name: name.to_owned(),
            recording: "1".to_owned(),
            sequence: 0,
            format: "ts",
            file: "1.ts".to_owned(),
            start: 1.0,
            end: Some(2.0),
            start_ms: 0,
            duration_ms: Some(1000),
            bytes: Some(100),
            init_bytes: 0,
            codecs: Vec::new(),
            key_frames: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, key_frames: u64) -> Vec<u8> {
        let key_frames = (0..key_frames).map(|at| (0, at)).collect();
        Sidecar { key_frames, ..Sidecar::of(name) }.to_json()
    }

    #[test]
    fn what_precedes_the_index_is_read_without_it() {
        let text = text("a", 100_000);
        let mut rest = &text[..];
        let kept = Kept::read(&mut rest).expect("a sidecar");
        assert_eq!((&*kept.name, kept.end, kept.duration_ms), ("a", Some(2.0), Some(1000)));
        assert_eq!(text.len() - rest.len(), HEAD_BYTES as usize);
        let (kept, index) = Kept::read_with_index(&text[..]).expect("a sidecar");
        assert_eq!((&*kept.name, index.len()), ("a", 100_000));
    }

    #[test]
    fn names_that_are_long_or_look_like_the_index_are_read_right() {
        let odd = "a,\"key_frames\":[[0,0]]}".to_owned();
        for name in [odd, "\n".repeat(HEAD_BYTES as usize)] {
            let text = text(&name, 1000);
            assert_eq!(Kept::read(&text[..]).expect("a sidecar").name, name);
        }
        assert!(Kept::read(&b"{}"[..]).is_err() && Kept::read(&b""[..]).is_err());
    }

    #[test]
    fn one_in_another_order_is_read_to_its_end() {
        let text = String::from_utf8(text("a", 1)).expect("JSON");
        let index = ",\"key_frames\":[[0,0]]";
        let end = ",\"end\":2.0";
        let text = text.replace(end, "").replace(index, &format!("{index}{end}"));
        assert_eq!(Kept::read(text.as_bytes()).expect("a sidecar").end, Some(2.0));
    }
}
