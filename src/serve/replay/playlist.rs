use std::time::Duration;

use crate::config::RecordFormat;
use crate::container::m3u8::{Piece, VodPlaylist};
use crate::serve::record::Kept;

/// A segment ends at the first key frame from here on.
const SEGMENT_MS: i64 = 4000;
/// A playlist is no longer; each of its readers holds one. That is a day without a query.
const TEXT_BYTES: usize = 4 << 20;
/// The lines of a segment, but for its name.
const LINES_BYTES: usize = 64;

/// The playlist of a file of `bytes`, which its sidecar and the index in it tell of, at `uri`. `None` if
/// the two do not agree.
pub(super) fn of(kept: &Kept, index: &[(i64, u64)], bytes: u64, uri: &str) -> Option<String> {
    let most = TEXT_BYTES / (uri.len() + LINES_BYTES);
    let mut segment_ms = SEGMENT_MS;
    let segments = loop {
        let segments = segments(kept, index, bytes, segment_ms)?;
        // A stream without key frames for so long is one segment.
        if segments.len() <= most.max(1) {
            break segments;
        }
        segment_ms = segment_ms.checked_mul(2)?;
    };
    let longest = segments.iter().map(|(_, lasts)| *lasts).max()?;
    // Where the tracks changed between two key frames, the file of MP4 that begins there does so without.
    let independent = index.first().is_some_and(|(_, at)| *at <= kept.init_bytes);
    let mut playlist = VodPlaylist::new(&uri, longest, independent);
    if kept.format == RecordFormat::Fmp4 {
        playlist.map(Piece { at: 0, length: kept.init_bytes });
    }
    for (piece, lasts) in segments {
        playlist.segment(piece, lasts);
    }
    Some(playlist.into_text())
}

/// From key frame to key frame; together all of it, but for what an init holds already.
fn segments(
    kept: &Kept,
    index: &[(i64, u64)],
    bytes: u64,
    segment_ms: i64,
) -> Option<Vec<(Piece, Duration)>> {
    let begins = match kept.format {
        RecordFormat::Fmp4 => kept.init_bytes,
        RecordFormat::Ts => 0,
        RecordFormat::Flv => return None,
    };
    let lasts = i64::try_from(kept.duration_ms?).ok()?;
    let end = (kept.start_ms.checked_add(lasts)?, bytes);
    let mut segments = Vec::new();
    let mut last = (kept.start_ms, begins);
    for &cut in index.iter().chain([&end]) {
        let (ms, at) = cut;
        if cut != end && (at <= last.1 || ms.saturating_sub(last.0) < segment_ms) {
            continue;
        }
        let length = at.checked_sub(last.1).filter(|length| *length > 0)?;
        // What ends with its first frame lasts as long as that does, which nobody knows.
        let lasts = u64::try_from(ms.checked_sub(last.0)?).ok()?.max(1);
        segments.push((Piece { at: last.1, length }, Duration::from_millis(lasts)));
        last = cut;
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(format: RecordFormat, start_ms: i64, duration_ms: u64) -> Kept {
        Kept {
            app: "live".to_owned(),
            name: "a".to_owned(),
            format,
            start: 0.0,
            end: Some(1.0),
            start_ms,
            duration_ms: Some(duration_ms),
            init_bytes: 700,
            codecs: Vec::new(),
            recovered: false,
        }
    }

    #[test]
    fn a_file_is_cut_at_key_frames_some_seconds_apart() {
        let ms = Duration::from_millis;
        let index =
            [(1000, 700), (3000, 800), (5000, 900), (7000, 1000), (9500, 1100), (10_000, 1200)];
        let piece = |at, length| Piece { at, length };
        let kept_mp4 = kept(RecordFormat::Fmp4, 1000, 10_000);
        let of_mp4 = segments(&kept_mp4, &index, 2000, SEGMENT_MS).expect("segments");
        assert_eq!(
            of_mp4,
            [
                (piece(700, 200), ms(4000)),
                (piece(900, 200), ms(4500)),
                (piece(1100, 900), ms(1500))
            ]
        );
        // Of TS all bytes are media.
        let kept_ts = kept(RecordFormat::Ts, 0, 2000);
        let of_ts = segments(&kept_ts, &[(0, 0), (2000, 188)], 376, SEGMENT_MS);
        assert_eq!(of_ts.expect("segments"), [(piece(0, 376), ms(2000))]);
    }

    #[test]
    fn one_picture_is_a_segment_and_flv_has_none() {
        let cut = |kept: &Kept, index: &[_], bytes| segments(kept, index, bytes, SEGMENT_MS);
        let one = cut(&kept(RecordFormat::Fmp4, 40, 0), &[(40, 700)], 900).expect("a segment");
        assert_eq!(one, [(Piece { at: 700, length: 200 }, Duration::from_millis(1))]);
        assert_eq!(cut(&kept(RecordFormat::Flv, 0, 10), &[(0, 13)], 900), None);
        assert_eq!(of(&kept(RecordFormat::Fmp4, 0, 10), &[(0, 700)], 600, "a"), None);
    }

    #[test]
    fn segments_get_longer_until_the_text_is_no_longer_than_it_may_be() {
        let index: Vec<_> = (0..86_400).map(|second| (second * 1000, second as u64)).collect();
        let kept = kept(RecordFormat::Ts, 0, 86_400_000);
        let short = of(&kept, &index, 86_400, "a.ts").expect("segments");
        assert_eq!(short.matches("#EXTINF:4.0,").count(), 21_600);
        let uri = format!("a.ts?{}", "x".repeat(1024));
        let long = of(&kept, &index, 86_400, &uri).expect("segments");
        assert_eq!(long.matches("#EXTINF:32.0,").count(), 2700);
        assert!(short.len() < TEXT_BYTES && long.len() < TEXT_BYTES, "{}", long.len());
    }

    #[test]
    fn a_file_that_begins_between_two_key_frames_is_not_said_to_be_independent() {
        let kept = kept(RecordFormat::Fmp4, 0, 10);
        let says = |index: &[_]| {
            let text = of(&kept, index, 900, "a.mp4").expect("a segment");
            text.contains("#EXT-X-INDEPENDENT-SEGMENTS")
        };
        assert!(says(&[(0, 700)]));
        assert!(!says(&[(4, 800)]) && !says(&[]));
    }

    proptest! {
        #[test]
        fn whatever_a_sidecar_says_segments_follow_each_other_in_the_file(
            index: Vec<(i64, u64)>, duration_ms: u64, bytes: u64, init_bytes: u64
        ) {
            let start_ms = index.first().map_or(0, |first| first.0);
            let kept = Kept { init_bytes, ..kept(RecordFormat::Fmp4, start_ms, duration_ms) };
            let mut at = init_bytes;
            for (piece, _) in segments(&kept, &index, bytes, SEGMENT_MS).unwrap_or_default() {
                prop_assert_eq!(piece.at, at);
                at = piece.at + piece.length;
                prop_assert!(at <= bytes);
            }
        }
    }
}
