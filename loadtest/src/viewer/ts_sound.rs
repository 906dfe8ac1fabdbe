//! The frames of sound in one PES packet of a transport stream.

use std::collections::VecDeque;

use bytes::Bytes;
use corecast::media::{Frame, TrackKind};
use corecast::time::Timestamp;

/// How frames tell where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sound {
    /// AAC behind ADTS headers (ISO/IEC 14496-3 1.A.2.2).
    Adts,
    /// Opus behind control headers (ETSI TS 103 491).
    Opus,
    /// MPEG-1/2 layer III.
    Mp3,
    /// AC-3, and what else there is: a PES packet is taken for one frame.
    Other,
}

/// A frame of a PES packet: the bytes that are its own, how long it is in all, and how long it lasts.
struct Found<'a> {
    data: &'a [u8],
    bytes: usize,
    lasts_ns: i64,
}

impl Sound {
    pub(super) fn of(stream_type: u8, descriptors: &[u8]) -> Option<Self> {
        match stream_type {
            0x0f => Some(Self::Adts),
            0x03 | 0x04 => Some(Self::Mp3),
            0x06 if descriptors.starts_with(b"\x05\x04Opus") => Some(Self::Opus),
            0x81 => Some(Self::Other),
            _ => None,
        }
    }

    /// Appends the frames of `payload`, the first of which is of `at`.
    ///
    /// # Errors
    /// There is something else.
    pub(super) fn split(
        self,
        mut payload: &[u8],
        mut at: Timestamp,
        frames: &mut VecDeque<Frame>,
    ) -> Result<(), String> {
        while !payload.is_empty() {
            let found = match self {
                Self::Adts => adts(payload),
                Self::Opus => opus(payload),
                Self::Mp3 => mp3(payload),
                Self::Other => Some(Found { data: payload, bytes: payload.len(), lasts_ns: 0 }),
            };
            let Some(Found { data, bytes, lasts_ns }) = found else {
                let begin = payload[..payload.len().min(8)].escape_ascii();
                return Err(format!("expected whole frames of {self:?}, found \"{begin}\""));
            };
            let data = Bytes::copy_from_slice(data);
            let kind = TrackKind::Audio;
            frames.push_back(Frame { kind, dts: at, pts: at, key: false, data });
            at = at + lasts_ns;
            payload = &payload[bytes..];
        }
        Ok(())
    }
}

const SECOND_NS: i64 = 1_000_000_000;

fn adts(bytes: &[u8]) -> Option<Found<'_>> {
    const RATES_HZ: [i64; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8000, 7350,
    ];
    const SAMPLES: i64 = 1024;
    let [0xff, b, c, d, e, f, _, ..] = *bytes else { return None };
    // With a checksum the header is longer.
    let header = if b & 1 == 1 { 7 } else { 9 };
    let length = (usize::from(d & 3) << 11) | usize::from(e) << 3 | usize::from(f >> 5);
    let data = bytes.get(header..length)?;
    let rate_hz = RATES_HZ.get(usize::from(c >> 2 & 15))?;
    (b & 0xf6 == 0xf0).then_some(Found {
        data,
        bytes: length,
        lasts_ns: SAMPLES * SECOND_NS / rate_hz,
    })
}

fn opus(bytes: &[u8]) -> Option<Found<'_>> {
    /// A usual packet; how long others last is nobody's concern here.
    const LASTS_NS: i64 = 20_000_000;
    let [0x7f, flags, sizes @ ..] = bytes else { return None };
    let steps = sizes.iter().take_while(|byte| **byte == 0xff).count();
    let length = 255 * steps + usize::from(*sizes.get(steps)?);
    // Trimming at the start, at the end, and an extension.
    let trims = 2 * (usize::from(flags >> 4 & 1) + usize::from(flags >> 3 & 1));
    let mut header = 3 + steps + trims;
    if flags & 4 != 0 {
        header += 1 + usize::from(*bytes.get(header)?);
    }
    let data = bytes.get(header..header + length)?;
    (flags & 0xe0 == 0xe0).then_some(Found { data, bytes: header + length, lasts_ns: LASTS_NS })
}

fn mp3(bytes: &[u8]) -> Option<Found<'_>> {
    const KBITS: [[usize; 15]; 2] = [
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    const RATES_HZ: [usize; 3] = [44_100, 48_000, 32_000];
    let [0xff, b, c, ..] = *bytes else { return None };
    let (version, layer) = (b >> 3 & 3, b >> 1 & 3);
    // Of MPEG-1, of its half rates, and of their halves.
    let slower = match version {
        3 => 1,
        2 => 2,
        0 => 4,
        _ => return None,
    };
    let kbits =
        KBITS[usize::from(slower > 1)].get(usize::from(c >> 4)).filter(|kbits| **kbits > 0)?;
    let rate_hz = RATES_HZ.get(usize::from(c >> 2 & 3))? / slower;
    let samples = if slower > 1 { 576 } else { 1152 };
    let length = samples / 8 * kbits * 1000 / rate_hz + usize::from(c >> 1 & 1);
    let data = bytes.get(..length)?;
    let lasts_ns = samples as i64 * SECOND_NS / rate_hz as i64;
    (b >= 0xe0 && layer == 1).then_some(Found { data, bytes: length, lasts_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(sound: Sound, payload: &[u8]) -> Result<Vec<(usize, i64)>, String> {
        let mut frames = VecDeque::new();
        sound.split(payload, Timestamp::ZERO, &mut frames)?;
        Ok(frames.iter().map(|frame| (frame.data.len(), frame.dts.as_nanos())).collect())
    }

    #[test]
    fn each_kind_tells_where_its_frames_end() {
        let aac = [0xff, 0xf1, 0x4c, 0x80, 1, 0x3f, 0xfc, 7, 7];
        assert_eq!(split(Sound::Adts, &aac.repeat(2)), Ok(vec![(2, 0), (2, 21_333_333)]));
        let opus = [&[0x7f, 0xe0, 0xff, 1][..], &[9; 256]].concat();
        assert_eq!(split(Sound::Opus, &opus.repeat(2)), Ok(vec![(256, 0), (256, 20_000_000)]));
        let trimmed = [0x7f, 0xf8, 1, 0, 10, 0, 20, 5];
        assert_eq!(split(Sound::Opus, &trimmed), Ok(vec![(1, 0)]));
        // 128 kbit/s at 44.1 kHz, without and with padding.
        let mp3 =
            |second: u8, bytes: usize| [&[0xff, 0xfb, second, 0][..], &vec![0; bytes - 4]].concat();
        let two = [mp3(0x90, 417), mp3(0x92, 418)].concat();
        assert_eq!(split(Sound::Mp3, &two), Ok(vec![(417, 0), (418, 26_122_448)]));
    }

    #[test]
    fn a_part_of_a_frame_is_told() {
        let aac = [0xff, 0xf1, 0x4c, 0x80, 1, 0x3f, 0xfc, 7];
        for payload in [&aac[..], &aac[..3], b"none of it"] {
            let error = split(Sound::Adts, payload).expect_err("cut");
            assert!(error.contains("whole frames of Adts"), "{error}");
        }
        assert!(split(Sound::Mp3, &[0xff, 0xfb, 0xf0, 0]).is_err());
        assert!(split(Sound::Opus, &[0x7f, 0xe0, 0xff]).is_err());
    }
}
