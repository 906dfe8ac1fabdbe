//! The currency of the program: stream keys, tracks and frames.
//!
//! Machines make these, the plane moves them, muxers read them. Media bytes are shared by count.

mod codec_id;
mod frame;
mod key;
mod private;
mod redact;
mod track;

pub use codec_id::{AudioCodec, Codec, VideoCodec};
pub use frame::{Frame, TrackKind};
pub use key::{InvalidKey, StreamKey};
pub use private::{PrivateStream, PrivateStreams, PrivateUnit};
pub use redact::Redacted;
pub use track::{AudioFormat, Track, VideoFormat};
