use bytes::{BufMut, Bytes, BytesMut};

use crate::container::{fmp4, ts};
use crate::media::{AudioCodec, Codec, Frame, PrivateStreams, Track, TrackKind};
use crate::time::Timestamp;

/// What segments are muxed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// Fragmented MP4: a part is a fragment.
    Fmp4,
    /// MPEG-2 transport packets.
    Ts,
}

impl Container {
    /// What names of segments and parts end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Fmp4 => "m4s",
            Self::Ts => "ts",
        }
    }

    /// The media type of segments and parts.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Fmp4 => "video/mp4",
            Self::Ts => "video/mp2t",
        }
    }

    /// False if frames of `track` have no place in it. A transport stream may have Opus, but no player
    /// looks for that in segments (RFC 8216bis 3.1.1 lists none of its own; Apple's authoring
    /// specification 2.2 and hls.js know AAC, MP3 and AC-3).
    pub(crate) fn carries(self, track: &Track) -> bool {
        match self {
            Self::Fmp4 => fmp4::carries(track),
            Self::Ts => track.codec != Codec::Audio(AudioCodec::Opus) && ts::carries(track),
        }
    }

    pub(super) fn muxer(self) -> Muxer {
        match self {
            Self::Fmp4 => Muxer::Fmp4(Box::default()),
            Self::Ts => Muxer::Ts(Box::default()),
        }
    }
}

/// Writes the parts of one rendition, one after the other: [`Self::begin_part`], [`Self::push`] for
/// each frame, [`Self::end_part`]. A part is never empty, frames or not.
#[derive(Debug)]
pub(super) enum Muxer {
    Fmp4(Box<fmp4::Fragmenter>),
    Ts(Box<ts::Mux>),
}

impl Muxer {
    /// Other tracks from the next part on. Answers what a player must have before it; empty if that
    /// stands in the parts themselves.
    pub(super) fn set_tracks(&mut self, video: Option<&Track>, audio: Option<&Track>) -> Bytes {
        match self {
            Self::Fmp4(fragmenter) => {
                fragmenter.set_tracks(video, audio);
                fmp4::init(video, audio)
            }
            Self::Ts(mux) => {
                mux.set_tracks(video, audio.filter(|track| Container::Ts.carries(track)));
                Bytes::new()
            }
        }
    }

    /// Other private streams from the next part on.
    pub(super) fn set_private_streams(&mut self, streams: &PrivateStreams) {
        match self {
            Self::Fmp4(_) => {}
            Self::Ts(mux) => mux.set_private_streams(streams),
        }
    }

    /// True if there is nothing that can be written.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Fmp4(fragmenter) => fragmenter.is_empty(),
            Self::Ts(mux) => mux.is_empty(),
        }
    }

    /// True if frames of that kind are written.
    pub(super) fn carries(&self, kind: TrackKind) -> bool {
        match self {
            Self::Fmp4(fragmenter) => fragmenter.carries(kind),
            Self::Ts(mux) => mux.carries(kind),
        }
    }

    /// Anyone may begin to play at any part that has a key frame: each has all that takes.
    pub(super) fn begin_part(&mut self, out: &mut BytesMut, at: Timestamp) {
        match self {
            Self::Fmp4(_) => {}
            Self::Ts(mux) => mux.tables(out, at),
        }
    }

    /// `starts`: a decoder of video can start here, key frame or not.
    pub(super) fn push(&mut self, out: &mut BytesMut, frame: &Frame, starts: bool) {
        match self {
            Self::Fmp4(fragmenter) => {
                if starts {
                    fragmenter.start_at_next_picture();
                }
                fragmenter.push(frame);
            }
            Self::Ts(mux) => mux.push(out, frame),
        }
    }

    /// Bytes that were added and are not in `out` yet.
    pub(super) fn gathered(&self) -> usize {
        match self {
            Self::Fmp4(fragmenter) => fragmenter.gathered(),
            Self::Ts(mux) => mux.gathered(),
        }
    }

    /// All of the part is in `out` now.
    pub(super) fn end_part(&mut self, out: &mut BytesMut) {
        match self {
            Self::Fmp4(fragmenter) => {
                fragmenter.flush(out);
                if out.is_empty() {
                    out.put_slice(NOTHING);
                }
            }
            Self::Ts(mux) => mux.flush(out),
        }
    }
}

/// A box that players pass over (ISO/IEC 14496-12 8.1.2): in the time of the part nothing came.
const NOTHING: &[u8] = &[0, 0, 0, 8, b'f', b'r', b'e', b'e'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioFormat;

    #[test]
    fn segments_of_ts_have_the_sound_that_players_look_for_there() {
        use AudioCodec::{Aac, Ac3, Flac, Mp3, Opus};
        let places = [Aac, Mp3, Ac3, Opus, Flac].map(|codec| {
            let track = Track {
                codec: Codec::Audio(codec),
                config: Bytes::from_static(&[0x11, 0x90]),
                hdr: None,
                video: None,
                audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 }),
            };
            let mut muxer = Container::Ts.muxer();
            muxer.set_tracks(None, Some(&track));
            assert_eq!(muxer.carries(TrackKind::Audio), Container::Ts.carries(&track));
            muxer.carries(TrackKind::Audio)
        });
        assert_eq!(places, [true, true, true, false, false]);
    }
}
