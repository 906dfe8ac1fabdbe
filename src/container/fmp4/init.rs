//! What a decoder must have before the first fragment: `ftyp` and `moov`.

use std::num::NonZeroU32;

use bytes::Bytes;
use shiguredo_mp4::boxes::{
    Brand, DinfBox, FtypBox, HdlrBox, MdhdBox, MdiaBox, MediaHeader, MinfBox, MoovBox, MvexBox,
    MvhdBox, SampleEntry, SmhdBox, StblBox, StcoBox, StscBox, StsdBox, StszBox, SttsBox, TkhdBox,
    TrakBox, TrexBox, VmhdBox,
};
use shiguredo_mp4::{
    Either, Encode, Error, FixedPointNumber, LanguageCode, Mp4FileTime, SampleFlags,
};

use super::{sample_entry, timescale, track_id};
use crate::media::{Track, TrackKind};

/// `ftyp` and `moov` of these tracks, without samples. Empty if none of them can be written.
pub fn init(video: Option<&Track>, audio: Option<&Track>) -> Bytes {
    let tracks = [video, audio].into_iter().flatten();
    let tracks = tracks.filter_map(|track| Some((track, sample_entry::of(track)?)));
    let tracks: Vec<(&Track, SampleEntry)> = tracks.collect();
    if tracks.is_empty() {
        return Bytes::new();
    }
    // What cannot be written is a box beyond 4 GiB, and no record is that long.
    encode(tracks).map_or_else(|_| Bytes::new(), Bytes::from)
}

fn encode(tracks: Vec<(&Track, SampleEntry)>) -> Result<Vec<u8>, Error> {
    let file_type = FtypBox {
        major_brand: Brand::ISO6,
        minor_version: 0,
        // iso5: offsets that count from the `moof`. iso6: `tfdt`, and signed composition offsets.
        compatible_brands: vec![Brand::ISO5, Brand::ISO6, Brand::MP41],
    };
    let defaults = tracks.iter().map(|(track, _)| TrexBox {
        track_id: track_id(track.kind()),
        default_sample_description_index: 1,
        default_sample_duration: 0,
        default_sample_size: 0,
        default_sample_flags: SampleFlags::empty(),
    });
    let fragments =
        MvexBox { mehd_box: None, trex_boxes: defaults.collect(), unknown_boxes: Vec::new() };
    let movie = MoovBox {
        mvhd_box: MvhdBox {
            creation_time: NO_TIME,
            modification_time: NO_TIME,
            timescale: MOVIE_HZ,
            duration: 0,
            rate: MvhdBox::DEFAULT_RATE,
            volume: MvhdBox::DEFAULT_VOLUME,
            matrix: MvhdBox::DEFAULT_MATRIX,
            next_track_id: track_id(TrackKind::Data),
        },
        trak_boxes: tracks.into_iter().map(|(track, entry)| trak(track, entry)).collect(),
        mvex_box: Some(fragments),
        unknown_boxes: Vec::new(),
    };
    let mut bytes = file_type.encode_to_vec()?;
    bytes.extend(movie.encode_to_vec()?);
    Ok(bytes)
}

const NO_TIME: Mp4FileTime = Mp4FileTime::from_secs(0);
const MOVIE_HZ: NonZeroU32 = NonZeroU32::new(1000).expect("more than zero");

fn trak(track: &Track, entry: SampleEntry) -> TrakBox {
    let (handler_type, media_header, volume) = match track.kind() {
        TrackKind::Audio => {
            let header = SmhdBox { balance: SmhdBox::DEFAULT_BALANCE };
            let volume = TkhdBox::DEFAULT_AUDIO_VOLUME;
            (HdlrBox::HANDLER_TYPE_SOUN, MediaHeader::Smhd(header), volume)
        }
        TrackKind::Video | TrackKind::Data | TrackKind::Private => {
            let header = VmhdBox {
                graphicsmode: VmhdBox::DEFAULT_GRAPHICSMODE,
                opcolor: VmhdBox::DEFAULT_OPCOLOR,
            };
            let volume = TkhdBox::DEFAULT_VIDEO_VOLUME;
            (HdlrBox::HANDLER_TYPE_VIDE, MediaHeader::Vmhd(header), volume)
        }
    };
    let (width, height) = track.video.map_or((0, 0), |video| (video.width, video.height));
    let side = |pixels| FixedPointNumber::new(i16::try_from(pixels).unwrap_or(i16::MAX), 0);
    let tkhd_box = TkhdBox {
        flag_track_enabled: true,
        flag_track_in_movie: true,
        flag_track_in_preview: false,
        flag_track_size_is_aspect_ratio: false,
        creation_time: NO_TIME,
        modification_time: NO_TIME,
        track_id: track_id(track.kind()),
        duration: 0,
        layer: TkhdBox::DEFAULT_LAYER,
        alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
        volume,
        matrix: TkhdBox::DEFAULT_MATRIX,
        width: side(width),
        height: side(height),
    };
    let mdhd_box = MdhdBox {
        creation_time: NO_TIME,
        modification_time: NO_TIME,
        timescale: timescale(track),
        duration: 0,
        language: LanguageCode::UNDEFINED,
    };
    let minf_box = MinfBox {
        media_header: Some(media_header),
        dinf_box: DinfBox::LOCAL_FILE,
        stbl_box: no_samples(entry),
        unknown_boxes: Vec::new(),
    };
    let mdia_box = MdiaBox {
        mdhd_box,
        // A string of no characters.
        hdlr_box: HdlrBox { handler_type, name: vec![0] },
        minf_box,
        unknown_boxes: Vec::new(),
    };
    TrakBox { tkhd_box, edts_box: None, mdia_box, unknown_boxes: Vec::new() }
}

/// The samples come with the fragments.
fn no_samples(entry: SampleEntry) -> StblBox {
    StblBox {
        stsd_box: StsdBox { entries: vec![entry] },
        stts_box: SttsBox { entries: Vec::new() },
        ctts_box: None,
        cslg_box: None,
        stsc_box: StscBox { entries: Vec::new() },
        stsz_box: StszBox::Variable { entry_sizes: Vec::new() },
        stco_or_co64_box: Either::A(StcoBox { chunk_offsets: Vec::new() }),
        stss_box: None,
        sdtp_box: None,
        unknown_boxes: Vec::new(),
    }
}
