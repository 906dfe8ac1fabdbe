use crate::bytes::Short;
use crate::codec;

/// Why bytes cannot be an MP4 that is routed. The demultiplexer is of no more use. `at` counts bytes
/// from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin like one.
    #[error("mp4: at byte 0: expected a box such as \"ftyp\", found \"{}\"", found.escape_ascii())]
    NotMp4 {
        /// What is where a box has its type.
        found: [u8; 4],
    },
    /// There is no box where one should begin.
    #[error("mp4: at byte {at}: expected a box, found one of type \"{}\"", found.escape_ascii())]
    NotABox {
        /// Where it should begin.
        at: u64,
        /// What is where a box has its type.
        found: [u8; 4],
    },
    /// A box that is shorter than its own header, or longer than the one it is in.
    #[error("mp4/{}: at byte {at}: expected a length of {expected}, found {found}", kind.escape_ascii())]
    Length {
        /// Its type.
        kind: [u8; 4],
        /// Where it begins.
        at: u64,
        /// What would have been right.
        expected: &'static str,
        /// The length it announces.
        found: u64,
    },
    /// A box ends inside a field.
    #[error("mp4/{}: at byte {at}: expected {} bytes of {}, found {}", kind.escape_ascii(), short.need, short.what, short.have)]
    Short {
        /// Type of the box.
        kind: [u8; 4],
        /// Where the field begins.
        at: u64,
        /// Which field.
        short: Short,
    },
    /// A field with a value it cannot have.
    #[error("mp4/{}: at byte {at}: expected {expected}, found {found}", kind.escape_ascii())]
    Field {
        /// Type of the box.
        kind: [u8; 4],
        /// Where its content begins.
        at: u64,
        /// What would have been right.
        expected: &'static str,
        /// What came.
        found: u64,
    },
    /// A box without one it must have.
    #[error("mp4/{}: at byte {at}: expected a box \"{}\" in it, found none", kind.escape_ascii(), missing.escape_ascii())]
    Missing {
        /// Type of the box.
        kind: [u8; 4],
        /// Where its content begins.
        at: u64,
        /// Type of the one that is not there.
        missing: [u8; 4],
    },
    /// A configuration record that cannot be one.
    #[error("mp4/{}: at byte {at}: {error}", kind.escape_ascii())]
    Config {
        /// Type of its box.
        kind: [u8; 4],
        /// Where it begins.
        at: u64,
        /// Why.
        error: codec::Error,
    },
    /// A box that is longer than its limit; without a length, it goes on to the end.
    #[error("mp4/{}: at byte {at}: expected at most {max} bytes, found {}", what.escape_ascii(), length(*found))]
    TooLong {
        /// Its type.
        what: [u8; 4],
        /// Where it begins.
        at: u64,
        /// The limit.
        max: usize,
        /// Its length.
        found: Option<u64>,
    },
    /// More boxes than are looked at.
    #[error("mp4: at byte {at}: expected at most {max} boxes to be looked at, found more")]
    TooManyBoxes {
        /// Where one that is too many begins.
        at: u64,
        /// The limit.
        max: usize,
    },
    /// More samples than allowed.
    #[error("mp4/{}: at byte {at}: expected at most {max} samples in a fragment, found more", kind.escape_ascii())]
    TooManySamples {
        /// Type of the box that announces them.
        kind: [u8; 4],
        /// Where its content begins.
        at: u64,
        /// The limit.
        max: usize,
    },
    /// Too few samples are where the index says.
    #[error(
        "mp4/mdat: at byte {at}: expected samples where they are announced, found {frames}, and \
         missed {missing}"
    )]
    Misplaced {
        /// Where.
        at: u64,
        /// How many were not there.
        missing: u64,
        /// How many were.
        frames: u64,
    },
    /// None of its tracks can be routed.
    #[error("mp4/moov: at byte {at}: expected a track of a codec that is carried, found {found}")]
    NoTrack {
        /// Where its content begins.
        at: u64,
        /// Their forms.
        found: String,
    },
    /// A fragment before the movie it is of.
    #[error("mp4/moof: at byte {at}: expected a \"moov\" before it, found none")]
    NoMovie {
        /// Where it begins.
        at: u64,
    },
    /// Samples before their index: it is at the end, as in a file that was made to be kept.
    #[error(
        "mp4/mdat: at byte {at}: expected a \"moov\" before it, found none; a file that is sent while \
         it is written, or with its index at its end, cannot be routed: have ffmpeg write it with \
         -movflags frag_keyframe+empty_moov+default_base_moof, or with -movflags faststart"
    )]
    MediaFirst {
        /// Where it begins.
        at: u64,
    },
    /// Samples of a fragment before its head.
    #[error("mp4/mdat: at byte {at}: expected a \"moof\" before it, found none")]
    Unannounced {
        /// Where it begins.
        at: u64,
    },
    /// It ends before something in it does.
    #[error("mp4/{}: at byte {at}: expected {} of it, found the end", what.escape_ascii(), more(*missing))]
    CutOff {
        /// Type of the box; dots for one that is not known or not needed.
        what: [u8; 4],
        /// Where.
        at: u64,
        /// How many more bytes it should have, if that is known.
        missing: Option<u64>,
    },
}

fn length(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "one without an end".to_owned(), |bytes| bytes.to_string())
}

fn more(missing: Option<u64>) -> String {
    missing.map_or_else(|| "more".to_owned(), |bytes| format!("{bytes} more bytes"))
}
