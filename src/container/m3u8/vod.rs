use std::fmt::{Display, Write};
use std::time::Duration;

use super::media::Seconds;
use super::quoted;

/// A playlist of one file that is whole, each segment of which is a part of it (4.4.4.2).
#[derive(Debug)]
pub struct VodPlaylist {
    text: String,
    uri: String,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes before it.
    pub at: u64,
    /// How many.
    pub length: u64,
}

/// The version that a map of its own in a playlist of segments needs (8).
const VERSION: u32 = 6;

impl VodPlaylist {
    /// A playlist of parts of `uri`, none of which lasts longer than `longest`. `independent`: each
    /// begins with a key frame (4.4.2.1).
    pub fn new(uri: &dyn Display, longest: Duration, independent: bool) -> Self {
        let mut quoted = String::new();
        quoted::push(&mut quoted, uri);
        // 4.4.3.1: a segment, rounded to whole seconds, is not longer.
        let target = longest.as_secs() + u64::from(longest.subsec_nanos() > 0);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n",
            target.max(1)
        );
        if independent {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        Self { text, uri: quoted }
    }

    /// What a decoder needs before the segments that follow (4.4.4.5).
    pub fn map(&mut self, Piece { at, length }: Piece) {
        let uri = &self.uri;
        let line = format_args!("#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{length}@{at}\"\n");
        // A text takes all that is written to it.
        let _ = self.text.write_fmt(line);
    }

    /// The next segment.
    pub fn segment(&mut self, Piece { at, length }: Piece, lasts: Duration) {
        let (uri, lasts) = (&self.uri, Seconds(lasts));
        let lines = format_args!("#EXTINF:{lasts},\n#EXT-X-BYTERANGE:{length}@{at}\n{uri}\n");
        let _ = self.text.write_fmt(lines);
    }

    /// The text, with its end.
    pub fn into_text(mut self) -> String {
        self.text.push_str("#EXT-X-ENDLIST\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_names_parts_of_one_file() {
        let ms = Duration::from_millis;
        let mut playlist = VodPlaylist::new(&"a.mp4?key=\"", ms(6040), true);
        playlist.map(Piece { at: 0, length: 700 });
        playlist.segment(Piece { at: 700, length: 1000 }, ms(6040));
        playlist.segment(Piece { at: 1700, length: 10 }, ms(40));
        let lines: Vec<String> = playlist.into_text().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "#EXTM3U",
                "#EXT-X-VERSION:6",
                "#EXT-X-TARGETDURATION:7",
                "#EXT-X-PLAYLIST-TYPE:VOD",
                "#EXT-X-INDEPENDENT-SEGMENTS",
                "#EXT-X-MAP:URI=\"a.mp4?key=%22\",BYTERANGE=\"700@0\"",
                "#EXTINF:6.04,",
                "#EXT-X-BYTERANGE:1000@700",
                "a.mp4?key=%22",
                "#EXTINF:0.04,",
                "#EXT-X-BYTERANGE:10@1700",
                "a.mp4?key=%22",
                "#EXT-X-ENDLIST",
            ]
        );
    }
}
