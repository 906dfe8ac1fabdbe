use std::fmt::{Display, Write};

use super::{VERSION, quoted};
use crate::codec::CaptionChannels;

/// A multivariant playlist while it is written (4.4.6): renditions first, then the variants that use
/// them.
#[derive(Debug)]
pub struct MultivariantPlaylist {
    text: String,
    has_captions: bool,
}

/// Sound that has a playlist of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioRendition {
    /// Channels, if they are known.
    pub channels: Option<u8>,
}

/// What is known of captions inside the pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Captions {
    /// Too little was seen to say.
    #[default]
    Unknown,
    /// There are none.
    None,
    /// There are these.
    In(CaptionChannels),
}

/// One way to play the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Most bits per second of a segment, its renditions included.
    pub bandwidth: u64,
    /// Bits per second on average.
    pub average_bandwidth: Option<u64>,
    /// RFC 6381, one per codec.
    pub codecs: Vec<String>,
    /// Width and height of the picture.
    pub resolution: Option<(u32, u32)>,
    /// Pictures per second, in thousandths.
    pub frame_rate_millis: Option<u64>,
    /// Of its pictures; none without pictures.
    pub captions: Option<Captions>,
    /// Its sound is the rendition that was written before.
    pub separate_audio: bool,
}

impl MultivariantPlaylist {
    /// A playlist of which the head is written.
    pub fn new() -> Self {
        let text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n");
        Self { text, has_captions: false }
    }

    /// Sound with a playlist of its own (4.4.6.1).
    pub fn audio(&mut self, uri: &dyn Display, rendition: AudioRendition) {
        self.text.push_str(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES",
        );
        if let Some(channels) = rendition.channels {
            let _ = write!(self.text, ",CHANNELS=\"{channels}\"");
        }
        self.text.push_str(",URI=\"");
        quoted::push(&mut self.text, uri);
        self.text.push_str("\"\n");
    }

    /// One way to play it (4.4.6.2).
    pub fn variant(&mut self, uri: &dyn Display, variant: &Variant) {
        // A text takes all that is written to it.
        if let Some(Captions::In(channels)) = variant.captions
            && !std::mem::replace(&mut self.has_captions, true)
        {
            for name in channels.names() {
                let _ = writeln!(
                    self.text,
                    "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"{name}\",\
                     AUTOSELECT=YES,INSTREAM-ID=\"{name}\""
                );
            }
        }
        let _ = write!(self.text, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth);
        if let Some(average) = variant.average_bandwidth {
            let _ = write!(self.text, ",AVERAGE-BANDWIDTH={average}");
        }
        if !variant.codecs.is_empty() {
            let _ = write!(self.text, ",CODECS=\"{}\"", variant.codecs.join(","));
        }
        if let Some((width, height)) = variant.resolution {
            let _ = write!(self.text, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = variant.frame_rate_millis {
            let _ = write!(self.text, ",FRAME-RATE={}.{:03}", rate / 1000, rate % 1000);
        }
        if variant.separate_audio {
            self.text.push_str(",AUDIO=\"audio\"");
        }
        match variant.captions {
            Some(Captions::In(_)) => self.text.push_str(",CLOSED-CAPTIONS=\"captions\""),
            Some(Captions::None) => self.text.push_str(",CLOSED-CAPTIONS=NONE"),
            Some(Captions::Unknown) | None => {}
        }
        self.text.push('\n');
        quoted::push(&mut self.text, uri);
        self.text.push('\n');
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Default for MultivariantPlaylist {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renditions_come_before_the_variant_that_uses_them() {
        let channels = CaptionChannels { cc: 0b101, services: 0 };
        let mut playlist = MultivariantPlaylist::new();
        playlist.audio(&"a.hls/audio.m3u8", AudioRendition { channels: Some(2) });
        playlist.variant(
            &"a.hls/main.m3u8?id=\"1\"",
            &Variant {
                bandwidth: 2_200_000,
                average_bandwidth: Some(2_000_000),
                codecs: vec!["avc1.64001f".into(), "mp4a.40.2".into()],
                resolution: Some((1280, 720)),
                frame_rate_millis: Some(29_970),
                captions: Some(Captions::In(channels)),
                separate_audio: true,
            },
        );
        assert_eq!(
            playlist.into_text(),
            "#EXTM3U\n#EXT-X-VERSION:9\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"a.hls/audio.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"CC1\",AUTOSELECT=YES,\
             INSTREAM-ID=\"CC1\"\n\
             #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"CC3\",AUTOSELECT=YES,\
             INSTREAM-ID=\"CC3\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2200000,AVERAGE-BANDWIDTH=2000000,\
             CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970,\
             AUDIO=\"audio\",CLOSED-CAPTIONS=\"captions\"\na.hls/main.m3u8?id=%221%22\n"
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let mut playlist = MultivariantPlaylist::new();
        let sound = Variant {
            bandwidth: 1,
            average_bandwidth: None,
            codecs: vec![],
            resolution: None,
            frame_rate_millis: None,
            captions: None,
            separate_audio: false,
        };
        playlist.variant(&"a", &sound);
        playlist.variant(&"b", &Variant { captions: Some(Captions::None), ..sound });
        let text = playlist.into_text();
        assert!(text.ends_with(
            "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1,CLOSED-CAPTIONS=NONE\nb\n"
        ));
    }
}
