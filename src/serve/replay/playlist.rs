use std::time::Duration;

use crate::config::RecordFormat;
use crate::container::m3u8::{Piece, VodPlaylist};
use crate::serve::record::Kept;

/// A segment ends at the first key frame from here on.
const SEGMENT_MS: i64 = 4000;

/// The playlist of a file of `bytes`, which its sidecar and the index in it tell of, at `uri`. `None` if
/// the two do not agree.
pub(super) fn of(kept: &Kept, index: &[(i64, u64)], bytes: u64, uri: &str) -> Option<String> {
    let segments = segments(kept, index, bytes)?;
    let longest = segments.iter().map(|(_, lasts)| *lasts).max()?;
    let mut playlist = VodPlaylist::new(&uri, longest);
    if kept.format == RecordFormat::Fmp4 {
        playlist.map(Piece { at: 0, length: kept.init_bytes });
    }
    for (piece, lasts) in segments {
        playlist.segment(piece, lasts);
    }
    Some(playlist.into_text())
}

/// From key frame to key frame; together all of it, but for what an init holds already.
fn segments(kept: &Kept, index: &[(i64, u64)], bytes: u64) -> Option<Vec<(Piece, Duration)>> {
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
        if cut != end && (at <= last.1 || ms.saturating_sub(last.0) < SEGMENT_MS) {
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
        let of_mp4 = segments(&kept_mp4, &index, 2000).expect("segments");
        assert_eq!(
            of_mp4,
            [
                (piece(700, 200), ms(4000)),
                (piece(900, 200), ms(4500)),
                (piece(1100, 900), ms(1500))
            ]
        );
        // Of TS all bytes are media.
        let of_ts = segments(&kept(RecordFormat::Ts, 0, 2000), &[(0, 0), (2000, 188)], 376);
        assert_eq!(of_ts.expect("segments"), [(piece(0, 376), ms(2000))]);
    }

    #[test]
    fn one_picture_is_a_segment_and_flv_has_none() {
        let one = segments(&kept(RecordFormat::Fmp4, 40, 0), &[(40, 700)], 900).expect("a segment");
        assert_eq!(one, [(Piece { at: 700, length: 200 }, Duration::from_millis(1))]);
        assert_eq!(segments(&kept(RecordFormat::Flv, 0, 10), &[(0, 13)], 900), None);
        assert_eq!(of(&kept(RecordFormat::Fmp4, 0, 10), &[(0, 700)], 600, "a"), None);
    }

    proptest! {
        #[test]
        fn whatever_a_sidecar_says_segments_follow_each_other_in_the_file(
            index: Vec<(i64, u64)>, duration_ms: u64, bytes: u64, init_bytes: u64
        ) {
            let start_ms = index.first().map_or(0, |first| first.0);
            let kept = Kept { init_bytes, ..kept(RecordFormat::Fmp4, start_ms, duration_ms) };
            let mut at = init_bytes;
            for (piece, _) in segments(&kept, &index, bytes).unwrap_or_default() {
                prop_assert_eq!(piece.at, at);
                at = piece.at + piece.length;
                prop_assert!(at <= bytes);
            }
        }
    }
}
