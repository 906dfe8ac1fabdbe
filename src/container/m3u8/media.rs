use std::fmt::{Display, Write};
use std::time::Duration;

use ::time::OffsetDateTime;

use super::{VERSION, quoted};

/// A media playlist while it is written (4.4.2 to 4.4.5): its head, then of each segment what
/// precedes it, its parts, and itself; then hints, reports, and the end if it has come.
#[derive(Debug)]
pub struct MediaPlaylist {
    text: String,
}

/// What stands at the top of a media playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// No segment is longer, rounded to whole seconds.
    pub target_s: u64,
    /// No part is longer.
    pub part_target: Duration,
    /// How far from the end a player of parts stays: at least three of them.
    pub part_hold_back: Duration,
    /// Deltas leave out segments that are further from the end: at least six targets.
    pub can_skip_until: Duration,
    /// The number of the first segment.
    pub media_sequence: u64,
    /// How many discontinuities there were before the first segment.
    pub discontinuity_sequence: u64,
}

impl MediaPlaylist {
    /// A playlist of which the head is written.
    pub fn new(head: &Head) -> Self {
        let mut playlist = Self { text: String::with_capacity(CAPACITY) };
        playlist.line(format_args!("#EXTM3U"));
        playlist.line(format_args!("#EXT-X-VERSION:{VERSION}"));
        playlist.line(format_args!("#EXT-X-TARGETDURATION:{}", head.target_s));
        playlist.line(format_args!(
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={},CAN-SKIP-UNTIL={}",
            Seconds(head.part_hold_back),
            Seconds(head.can_skip_until)
        ));
        playlist.line(format_args!("#EXT-X-PART-INF:PART-TARGET={}", Seconds(head.part_target)));
        playlist.line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", head.media_sequence));
        if head.discontinuity_sequence > 0 {
            let passed = head.discontinuity_sequence;
            playlist.line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{passed}"));
        }
        playlist
    }

    /// The playlist is a delta: this many segments stand in the one before (4.4.5.2).
    pub fn skip(&mut self, segments: u64) {
        self.line(format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={segments}"));
    }

    /// What follows does not go on from what precedes it (4.4.4.3).
    pub fn discontinuity(&mut self) {
        self.line(format_args!("#EXT-X-DISCONTINUITY"));
    }

    /// What a decoder needs before the segments from here on (4.4.4.5).
    pub fn map(&mut self, uri: &dyn Display) {
        self.text.push_str("#EXT-X-MAP:");
        self.uri(uri);
        self.text.push('\n');
    }

    /// When the segment that follows began, since 1970 (4.4.4.6).
    pub fn program_date_time(&mut self, since_1970: Duration) {
        let nanos = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX);
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else { return };
        self.line(format_args!(
            "#EXT-X-PROGRAM-DATE-TIME:{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        ));
    }

    /// A part of the segment that follows, or that is still made (4.4.4.9).
    pub fn part(&mut self, uri: &dyn Display, duration: Duration, independent: bool) {
        self.part_with(uri, duration, if independent { ",INDEPENDENT=YES\n" } else { "\n" });
    }

    /// A part that was never there: nothing came (4.4.4.9).
    pub fn part_gap(&mut self, uri: &dyn Display, duration: Duration) {
        self.part_with(uri, duration, ",GAP=YES\n");
    }

    fn part_with(&mut self, uri: &dyn Display, duration: Duration, rest: &str) {
        // A text takes all that is written to it.
        let _ = write!(self.text, "#EXT-X-PART:DURATION={},", Seconds(duration));
        self.uri(uri);
        self.text.push_str(rest);
    }

    /// A segment that is whole (4.4.4.1).
    pub fn segment(&mut self, uri: &dyn Display, duration: Duration) {
        self.line(format_args!("#EXTINF:{},", Seconds(duration)));
        quoted::push(&mut self.text, uri);
        self.text.push('\n');
    }

    /// A segment that was never there: nothing came (4.4.4.7).
    pub fn gap(&mut self, uri: &dyn Display, duration: Duration) {
        self.line(format_args!("#EXT-X-GAP"));
        self.segment(uri, duration);
    }

    /// The part that is made next (4.4.5.3).
    pub fn preload_hint(&mut self, uri: &dyn Display) {
        self.text.push_str("#EXT-X-PRELOAD-HINT:TYPE=PART,");
        self.uri(uri);
        self.text.push('\n');
    }

    /// How far another rendition has come (4.4.5.4).
    pub fn rendition_report(&mut self, uri: &dyn Display, last_msn: u64, last_part: u32) {
        self.text.push_str("#EXT-X-RENDITION-REPORT:");
        self.uri(uri);
        self.line(format_args!(",LAST-MSN={last_msn},LAST-PART={last_part}"));
    }

    /// Nothing follows, ever (4.4.3.4).
    pub fn end(&mut self) {
        self.line(format_args!("#EXT-X-ENDLIST"));
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn uri(&mut self, uri: &dyn Display) {
        self.text.push_str("URI=\"");
        quoted::push(&mut self.text, uri);
        self.text.push('"');
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A text takes all that is written to it.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }
}

/// Of six segments, the last of which have ten parts.
const CAPACITY: usize = 4 << 10;

/// A decimal-floating-point (4.2), exact to the microsecond.
pub(super) struct Seconds(pub(super) Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut micros, mut digits) = (self.0.subsec_micros(), 6);
        while digits > 1 && micros % 10 == 0 {
            (micros, digits) = (micros / 10, digits - 1);
        }
        write!(f, "{}.{micros:0digits$}", self.0.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_as_many_digits_as_they_need() {
        let seconds = |micros| Seconds(Duration::from_micros(micros)).to_string();
        assert_eq!(
            [0, 200_000, 2_000_000, 2_033_367, 1].map(seconds),
            ["0.0", "0.2", "2.0", "2.033367", "0.000001"]
        );
    }

    #[test]
    fn a_playlist_is_written_line_by_line() {
        let ms = Duration::from_millis;
        let mut playlist = MediaPlaylist::new(&Head {
            target_s: 2,
            part_target: ms(220),
            part_hold_back: ms(660),
            can_skip_until: ms(12_000),
            media_sequence: 7,
            discontinuity_sequence: 1,
        });
        playlist.skip(3);
        playlist.map(&"init-1.mp4");
        playlist.gap(&"10.m4s", ms(2000));
        playlist.discontinuity();
        playlist.program_date_time(ms(1_700_000_000_123));
        playlist.part(&"11.0.m4s", ms(200), true);
        playlist.part(&"11.1.m4s", ms(120), false);
        playlist.part_gap(&"11.2.m4s", ms(200));
        playlist.segment(&"11.m4s?a=\"", ms(320));
        playlist.preload_hint(&"12.0.m4s");
        playlist.rendition_report(&"audio.m3u8", 11, 1);
        playlist.end();
        let lines: Vec<String> = playlist.into_text().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "#EXTM3U",
                "#EXT-X-VERSION:9",
                "#EXT-X-TARGETDURATION:2",
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.66,CAN-SKIP-UNTIL=12.0",
                "#EXT-X-PART-INF:PART-TARGET=0.22",
                "#EXT-X-MEDIA-SEQUENCE:7",
                "#EXT-X-DISCONTINUITY-SEQUENCE:1",
                "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
                "#EXT-X-MAP:URI=\"init-1.mp4\"",
                "#EXT-X-GAP",
                "#EXTINF:2.0,",
                "10.m4s",
                "#EXT-X-DISCONTINUITY",
                "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.123Z",
                "#EXT-X-PART:DURATION=0.2,URI=\"11.0.m4s\",INDEPENDENT=YES",
                "#EXT-X-PART:DURATION=0.12,URI=\"11.1.m4s\"",
                "#EXT-X-PART:DURATION=0.2,URI=\"11.2.m4s\",GAP=YES",
                "#EXTINF:0.32,",
                "11.m4s?a=%22",
                "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"12.0.m4s\"",
                "#EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=11,LAST-PART=1",
                "#EXT-X-ENDLIST",
            ]
        );
    }
}
