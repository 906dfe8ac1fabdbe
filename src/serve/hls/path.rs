use crate::media::StreamKey;
use crate::plane::hls::{Container, Rendition, Resource, What};

/// What of a stream a path is the name of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    /// `/APP/NAME.m3u8`: its multivariant playlist.
    Multivariant {
        /// `/APP/NAME`.
        stream: &'a str,
    },
    /// `/APP/NAME.hls/main.m3u8`: a media playlist.
    Playlist {
        /// `/APP/NAME`.
        stream: &'a str,
        rendition: Rendition,
    },
    /// `/APP/NAME.hls/DIR/main-12.m4s`: what such a playlist lists.
    Media {
        /// `/APP/NAME`.
        stream: &'a str,
        dir: u128,
        name: &'a str,
    },
}

impl<'a> Path<'a> {
    /// `None` if it is the name of something else.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let (rest, name) = path.rsplit_once('/')?;
        if let Some(stem) = path.strip_suffix(".m3u8") {
            let of = |container| Resource::parse(name, container);
            return Some(match (rest.strip_suffix(SUFFIX), of(Container::Ts)) {
                (Some(stream), Some(Resource { rendition, what: What::Playlist })) => {
                    Self::Playlist { stream, rendition }
                }
                _ => Self::Multivariant { stream: stem },
            });
        }
        let (parent, dir) = rest.rsplit_once('/')?;
        let stream = parent.strip_suffix(SUFFIX)?;
        // A stream may be called anything, but not by accident like that.
        Some(Self::Media { stream, dir: unguessable_of(dir)?, name })
    }

    /// The stream.
    ///
    /// # Errors
    /// It has no such name.
    pub(crate) fn key(&self) -> Result<StreamKey, String> {
        let (Self::Multivariant { stream }
        | Self::Playlist { stream, .. }
        | Self::Media { stream, .. }) = self;
        StreamKey::parse(stream).map_err(|error| error.to_string())
    }
}

/// Where what belongs to a stream lies, beside its multivariant playlist.
pub(super) const SUFFIX: &str = ".hls";

/// The number that `text` is, as playlists write it: one thing has one name.
pub(super) fn unguessable_of(text: &str) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_one = text.len() == 32 && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_and_others_are_not() {
        let dir = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        let media = "/live/a/b.hls/0123456789abcdef0123456789abcdef/main-12.3.m4s";
        let stream = "/live/a/b";
        assert_eq!(Path::parse("/live/a/b.m3u8"), Some(Path::Multivariant { stream }));
        let rendition = Rendition::Audio;
        let playlist = Path::Playlist { stream, rendition };
        assert_eq!(Path::parse("/live/a/b.hls/audio.m3u8"), Some(playlist));
        let name = "main-12.3.m4s";
        assert_eq!(Path::parse(media), Some(Path::Media { stream, dir, name }));
        let other = Path::Multivariant { stream: "/live/a/b.hls/other" };
        assert_eq!(Path::parse("/live/a/b.hls/other.m3u8"), Some(other));
        let twice = media.to_uppercase().replace(".HLS", ".hls");
        for none in
            ["/live/a.flv", "/live/a.hls/main-1.m4s", "/live/a.hls/../main-1.m4s", "a", "/", &twice]
        {
            assert_eq!(Path::parse(none), None, "{none}");
        }
    }
}
