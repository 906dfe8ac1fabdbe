//! Boxes as other writers make them.

use shiguredo_mp4::Encode;

use super::*;

/// A track of so many ticks a second, with an edit list if one is given, and tables beside `stsd`.
fn trak(id: u32, hz: u32, track: &Track, edits: &[(i32, i32)], tables: &[u8]) -> Vec<u8> {
    let handler = if track.kind() == TrackKind::Video { b"vide" } else { b"soun" };
    let entry = sample_entry::of(track).unwrap().encode_to_vec().unwrap();
    of_entry(id, hz, handler, &entry, edits, tables)
}

fn of_entry(
    id: u32,
    hz: u32,
    handler: &[u8; 4],
    entry: &[u8],
    edits: &[(i32, i32)],
    tables: &[u8],
) -> Vec<u8> {
    let normal = 0x1_0000;
    let entries = edits
        .iter()
        .flat_map(|(duration, begin)| [duration.cast_unsigned(), begin.cast_unsigned(), normal]);
    let list: Vec<u32> = [edits.len() as u32].into_iter().chain(entries).collect();
    let edts = match edits {
        [] => Vec::new(),
        _ => atom(b"edts", &[&full(b"elst", 0, 0, &list)]),
    };
    let stsd = atom(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], entry]);
    let media = [
        full(b"mdhd", 0, 0, &[0, 0, hz, 0, 0]),
        full(b"hdlr", 0, 0, &[0, u32::from_be_bytes(*handler), 0, 0, 0]),
        atom(b"minf", &[&atom(b"stbl", &[&stsd, tables])]),
    ];
    atom(
        b"trak",
        &[&full(b"tkhd", 0, 3, &[0, 0, id, 0]), &edts, &atom(b"mdia", &[&media.concat()])],
    )
}

/// `moov` with 1000 ticks a second, in front of which stands `ftyp`.
fn movie(tracks: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let file_type = atom(b"ftyp", &[b"iso6\0\0\0\0"]);
    let header = full(b"mvhd", 0, 0, &[0, 0, 1000, 0]);
    [file_type, atom(b"moov", &[&header, &tracks.concat(), more])].concat()
}

/// Pictures of 1000 ticks a second as track 7.
fn pictures() -> Vec<u8> {
    movie(&[trak(7, 1000, &h264(), &[], &[])], &[])
}

const BASE_IS_MOOF: u32 = 0x02_0000;

fn fragment(trafs: &[Vec<u8>]) -> Vec<u8> {
    atom(b"moof", &[&full(b"mfhd", 0, 0, &[1]), &trafs.concat()])
}

fn traf(parts: &[Vec<u8>]) -> Vec<u8> {
    atom(b"traf", &[&parts.concat()])
}

/// Samples of these durations, sizes and offsets of composition, the first so far behind the base.
fn run(version: u8, offset: i32, samples: &[(u32, u32, i32)]) -> Vec<u8> {
    let samples = samples
        .iter()
        .flat_map(|(duration, size, after)| [*duration, *size, after.cast_unsigned()]);
    let fields = [samples.clone().count() as u32 / 3, offset.cast_unsigned()];
    full(b"trun", version, 0xb01, &fields.into_iter().chain(samples).collect::<Vec<_>>())
}

/// A fragment of one track whose samples are `data`, in pieces of these sizes.
fn simple(id: u32, at: u32, samples: &[(u32, u32, i32)]) -> Vec<u8> {
    let make = |offset| {
        let parts = [
            full(b"tfhd", 0, BASE_IS_MOOF, &[id]),
            full(b"tfdt", 0, 0, &[at]),
            run(1, offset, samples),
        ];
        fragment(&[traf(&parts)])
    };
    let moof = make(make(0).len() as i32 + 8);
    let bytes: u32 = samples.iter().map(|(_, size, _)| size).sum();
    [moof, atom(b"mdat", &[&content(bytes as usize)])].concat()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| at as u8).collect()
}

fn data(read: &Read) -> Vec<Vec<u8>> {
    read.frames().iter().map(|frame| frame.data.to_vec()).collect()
}

#[test]
fn boxes_nobody_needs_may_stand_anywhere() {
    let strange = [
        atom(b"free", &[&[0; 20]]),
        atom(b"styp", &[b"msdh\0\0\0\0"]),
        atom(b"sidx", &[&[0; 32]]),
        atom(b"emsg", &[b"\0\0\0\0urn"]),
        atom(b"uuid", &[&[7; 40]]),
        atom(b"\xa9xyz", &[]),
        [&1_u32.to_be_bytes()[..], b"skip", &20_u64.to_be_bytes(), b"long"].concat(),
    ]
    .concat();
    let whole = [
        pictures(),
        strange.clone(),
        simple(7, 0, &[(40, 3, 0)]),
        strange.clone(),
        simple(7, 40, &[(40, 2, 0)]),
        strange,
    ];
    let read = Read::of(&whole.concat());
    read.assert_clean();
    assert_eq!(read.times(), [(true, 0, 0), (true, 40, 40)]);
    assert_eq!(data(&read), [&[0, 1, 2][..], &[0, 1]]);
}

#[test]
fn a_length_of_eight_bytes_and_none_at_all_are_understood() {
    let moof = |bytes| {
        let samples = [(40, 3, 0), (40, bytes, 0)];
        let parts = move |offset| [full(b"tfhd", 0, BASE_IS_MOOF, &[7]), run(0, offset, &samples)];
        let length = fragment(&[traf(&parts(0))]).len() as i32;
        move |header: i32| fragment(&[traf(&parts(length + header))])
    };
    let long = [&1_u32.to_be_bytes()[..], b"mdat", &21_u64.to_be_bytes(), &content(5)].concat();
    let endless = [&0_u32.to_be_bytes()[..], b"mdat", &content(9)].concat();
    let read = Read::of(&[pictures(), moof(2)(16), long, moof(6)(8), endless].concat());
    read.assert_clean();
    let times: Vec<i64> = read.times().iter().map(|(_, dts, _)| *dts).collect();
    assert_eq!(times, [0, 40, 80, 120], "a fragment without tfdt goes on");
    assert_eq!(data(&read), [&[0, 1, 2][..], &[3, 4], &[0, 1, 2], &[3, 4, 5, 6, 7, 8]]);
}

#[test]
fn samples_are_found_by_each_way_to_say_where_they_are() {
    let both = movie(&[trak(1, 1000, &h264(), &[], &[]), trak(2, 48_000, &aac(), &[], &[])], &[]);
    // From the beginning of the stream; behind the track before; a second run behind the first.
    let make = |base: u64| {
        let base = [(base >> 32) as u32, base as u32];
        let second = full(b"trun", 0, 0x300, &[1, 40, 3]);
        let video = [full(b"tfhd", 0, 1, &[1, base[0], base[1]]), run(0, 0, &[(40, 2, 0)]), second];
        let sound = [full(b"tfhd", 0, 0, &[2]), full(b"trun", 0, 0x200, &[2, 4, 1])];
        // A track nobody knows lies between them.
        let other = [full(b"tfhd", 0, 0x10, &[9, 3]), full(b"trun", 0, 0, &[2])];
        fragment(&[traf(&video), traf(&other), traf(&sound)])
    };
    let moof = make((both.len() + make(0).len() + 8) as u64);
    let whole = [both, moof, atom(b"mdat", &[&content(16)])].concat();
    let read = Read::of(&whole);
    assert_eq!((read.error.clone(), read.counts.skipped_bytes), (None, 6));
    let of = |kind| -> Vec<Vec<u8>> {
        let frames = read.frames().into_iter().filter(|frame| frame.kind == kind);
        frames.map(|frame| frame.data.to_vec()).collect()
    };
    assert_eq!(of(TrackKind::Video), [&[0, 1][..], &[2, 3, 4]]);
    assert_eq!(of(TrackKind::Audio), [&[11, 12, 13, 14][..], &[15]]);
}

#[test]
fn what_a_fragment_leaves_out_the_movie_says() {
    let defaults = full(b"trex", 0, 0, &[7, 1, 20, 3, 0x01_0000]);
    let movie = movie(&[trak(7, 1000, &h264(), &[], &[])], &atom(b"mvex", &[&defaults]));
    let make = |offset: u32| {
        // The first of the run is one to start at.
        let parts = [
            full(b"tfhd", 0, BASE_IS_MOOF, &[7]),
            full(b"tfdt", 1, 0, &[1, 0]),
            full(b"trun", 0, 5, &[3, offset, 0x0200_0000]),
        ];
        fragment(&[traf(&parts)])
    };
    let moof = make(make(0).len() as u32 + 8);
    let read = Read::of(&[movie, moof, atom(b"mdat", &[&content(9)])].concat());
    read.assert_clean();
    let keys: Vec<bool> = read.frames().iter().map(|frame| frame.key).collect();
    assert_eq!(keys, [true, false, false]);
    let begin = 1_i64 << 32;
    assert_eq!(read.times().iter().map(|it| it.1 - begin).collect::<Vec<_>>(), [0, 20, 40]);
}

#[test]
fn pictures_that_would_be_shown_before_they_are_decoded_are_decoded_earlier() {
    // As ffmpeg's -movflags cmaf has it: offsets may be negative, and the first is none.
    let both = movie(&[trak(1, 1000, &h264(), &[], &[]), trak(2, 1000, &aac(), &[], &[])], &[]);
    let samples = [(40, 1, 0), (40, 1, 80), (40, 1, -40), (40, 1, -40)];
    let whole = [both, simple(1, 0, &samples), simple(2, 0, &[(160, 1, 0)])].concat();
    let read = Read::of(&whole);
    read.assert_clean();
    // Sound is as much later, and nothing is before zero.
    let pictures = [(true, 0, 40), (true, 40, 160), (true, 80, 80), (true, 120, 120)];
    assert_eq!(read.times()[..4], pictures);
    assert_eq!(read.times()[4], (false, 40, 40));
}

#[test]
fn where_each_fragment_is_a_frame_the_order_is_learnt_once() {
    let samples = [(0, 0), (40, 80), (80, -40), (120, -40), (160, 0), (200, 80), (240, -40)];
    let fragments = samples.map(|(dts, after)| simple(7, dts, &[(40, 1, after)]));
    let read = Read::of(&[pictures(), fragments.concat()].concat());
    read.assert_clean();
    let times: Vec<(i64, i64)> = read.times().iter().map(|(_, dts, pts)| (*dts, *pts)).collect();
    let learnt = [(40, 40), (80, 80), (120, 160), (160, 280), (200, 200)];
    assert_eq!((&times[..2], &times[2..]), (&[(0, 0), (40, 120)][..], &learnt[..]));
}

#[test]
fn an_edit_list_says_where_its_track_begins() {
    // Sound with 1024 samples of priming, and pictures reordered by 80 ms that begin at 23 ms.
    let tracks = [
        trak(1, 1000, &h264(), &[(23, -1), (4000, 80)], &[]),
        trak(2, 48_000, &aac(), &[(0, 1024)], &[]),
    ];
    let whole = [
        movie(&tracks, &[]),
        simple(1, 0, &[(40, 1, 80)]),
        simple(2, 0, &[(1024, 1, 0), (1024, 1, 0)]),
    ];
    let read = Read::of(&whole.concat());
    read.assert_clean();
    // In the movie: the picture at 23, decoded at -57; the sound at -21.3 and 0.
    assert_eq!(read.times(), [(true, 0, 80), (false, 36, 36), (false, 57, 57)]);
    // More than a beginning is told, and not done.
    let cut = trak(1, 1000, &h264(), &[(1000, 0), (1000, 5000)], &[]);
    let read = Read::of(&[movie(&[cut], &[]), simple(1, 0, &[(40, 1, 0)])].concat());
    assert_eq!(read.notices, [Notice::Edits { id: 1 }]);
    assert_eq!(read.times(), [(true, 0, 0)]);
}

#[test]
fn tracks_that_are_not_carried_are_told_of_and_left_out() {
    let tracks = [
        of_entry(1, 90_000, b"tmcd", &[], &[], &[]),
        of_entry(2, 90_000, b"vide", &atom(b"mp4v", &[&[0; 78]]), &[], &[]),
        trak(3, 90_000, &h264(), &[], &[]),
        trak(4, 90_000, &h264(), &[], &[]),
    ];
    let read = Read::of(&[movie(&tracks, &[]), simple(3, 0, &[(40, 1, 0)])].concat());
    assert_eq!((read.error, read.items.len()), (None, 2));
    assert_eq!(
        read.notices,
        [
            Notice::UnsupportedTrack { id: 1, form: *b"tmcd" },
            Notice::UnsupportedTrack { id: 2, form: *b"mp4v" },
            Notice::OtherTrack { kind: TrackKind::Video, id: 4 },
        ]
    );
    let none = Read::of(&movie(&tracks[..2], &[]));
    assert!(
        none.error()
            .contains("expected a track of a codec that is carried, found \"tmcd\", \"mp4v\"")
    );
    let few = Limits { tracks: 3, ..Limits::default() };
    let read = Read::in_pieces([&movie(&tracks, &[])[..]], few);
    assert_eq!((read.items.len(), read.notices.last()), (1, Some(&Notice::TooManyTracks)));
}

/// The tables of a file: sizes, durations, offsets, keys, samples of each chunk, places of chunks.
fn tables(parts: [&[u32]; 6]) -> Vec<u8> {
    let [sizes, durations, offsets, keys, chunks, places] = parts;
    let counted = |kind, width: usize, entries: &[u32]| {
        let fields: Vec<u32> = [&[(entries.len() / width) as u32], entries].concat();
        full(kind, 0, 0, &fields)
    };
    let sizes: Vec<u32> = [&[0, sizes.len() as u32], sizes].concat();
    [
        counted(b"stts", 2, durations),
        counted(b"ctts", 2, offsets),
        counted(b"stss", 1, keys),
        counted(b"stsc", 3, chunks),
        full(b"stsz", 0, 0, &sizes),
        counted(b"stco", 1, places),
    ]
    .concat()
}

#[test]
fn a_file_with_its_index_in_front_comes_out_in_order() {
    let make = |begin: u32| {
        let video = tables([
            &[3, 1, 2, 1],
            &[4, 40],
            &[1, 40, 1, 120, 2, 0],
            &[1, 4],
            &[1, 2, 1, 2, 1, 1],
            &[begin, begin + 6, begin + 9],
        ]);
        let sound = tables([&[2, 1], &[2, 60], &[], &[], &[1, 1, 1], &[begin + 4, begin + 8]]);
        let sound: Vec<u8> = sound.splice_out(b"stss");
        movie(&[trak(1, 1000, &h264(), &[], &video), trak(2, 1000, &aac(), &[], &sound)], &[])
    };
    let head = make(make(0).len() as u32 + 8);
    let whole = [head, atom(b"mdat", &[&content(10)])].concat();
    let read = Read::of(&whole);
    read.assert_clean();
    assert_eq!(
        read.times(),
        [
            (true, 0, 40),
            (false, 0, 0),
            (true, 40, 160),
            (false, 60, 60),
            (true, 80, 80),
            (true, 120, 120)
        ]
    );
    let frames = read.frames();
    let keys: Vec<bool> = frames.iter().map(|frame| frame.key).collect();
    assert_eq!(keys, [true, false, false, false, false, true]);
    let data: Vec<&[u8]> = frames.iter().map(|frame| &frame.data[..]).collect();
    assert_eq!(data, [&[0, 1, 2][..], &[4, 5], &[3], &[8], &[6, 7], &[9]]);
    // Fragments may follow.
    let read = Read::of(&[whole, simple(1, 160, &[(40, 2, 0)])].concat());
    read.assert_clean();
    assert_eq!(read.times()[6], (true, 160, 160));
}

trait SpliceOut {
    /// Without the first box of that type; there is one.
    fn splice_out(self, kind: &[u8; 4]) -> Vec<u8>;
}

impl SpliceOut for Vec<u8> {
    fn splice_out(mut self, kind: &[u8; 4]) -> Vec<u8> {
        let at = self.windows(4).position(|it| it == kind).unwrap() - 4;
        let length = u32::from_be_bytes(self[at..][..4].try_into().unwrap());
        self.drain(at..at + length as usize);
        self
    }
}

#[test]
fn what_cannot_be_routed_is_refused_with_its_cure() {
    let refused = |parts: &[Vec<u8>]| Read::of(&parts.concat()).error();
    let media = atom(b"mdat", &[&content(9)]);
    let file_type = atom(b"ftyp", &[b"isom\0\0\0\0"]);
    let at_the_end = refused(&[file_type.clone(), atom(b"free", &[]), media.clone(), pictures()]);
    assert!(at_the_end.starts_with("mp4/mdat: at byte 24: expected a \"moov\" before it"));
    assert!(at_the_end.contains("-movflags frag_keyframe+empty_moov+default_base_moof"));
    let first = refused(&[pictures(), media, simple(7, 0, &[(40, 1, 0)])]);
    assert!(first.contains("expected a \"moof\" before it, found none"), "{first}");
    let alone = refused(&[file_type, simple(7, 0, &[(40, 1, 0)])]);
    assert_eq!(alone, "mp4/moof: at byte 16: expected a \"moov\" before it, found none");
    assert_eq!(
        refused(&[b"<html></html>".to_vec()]),
        "mp4: at byte 0: expected a box such as \"ftyp\", found \"l></\""
    );
    let short = [3_u32.to_be_bytes(), *b"free"].concat();
    assert!(
        refused(&[pictures(), short])
            .contains("expected a length of at least its header's, found 3")
    );
    let none = [8_u32.to_be_bytes(), [0; 4]].concat();
    assert!(
        refused(&[pictures(), none]).contains("expected a box, found one of type \"\\x00\\x00")
    );
    // What was whole has come out.
    let cut = [pictures(), simple(7, 0, &[(40, 3, 0), (40, 9, 0)])].concat();
    let read = Read::of(&cut[..cut.len() - 2]);
    assert!(
        read.error().contains("mp4/mdat: at byte ")
            && read.error().contains("expected 2 more bytes")
    );
    assert_eq!((data(&read), read.counts.missing_samples), (vec![vec![0, 1, 2]], 1));
}

#[test]
fn a_fault_is_told_by_its_place() {
    let whole = pictures();
    let at = |kind: &[u8]| whole.windows(4).position(|it| it == kind).unwrap();
    // The handler ends in its third field.
    let mut short = whole.clone();
    short[at(b"avcC")..][..4].copy_from_slice(b"avcX");
    let error = Read::of(&short).error();
    assert!(
        error.starts_with("mp4/avc1: at byte ") && error.contains("a box \"avcC\" in it"),
        "{error}"
    );
    let mut long = whole.clone();
    long[at(b"stsd") - 1] += 1;
    let error = Read::of(&long).error();
    let place = format!(
        "mp4/stsd: at byte {}: expected a length of at most what its box has left",
        at(b"stsd") - 4
    );
    assert!(error.starts_with(&place), "{error}");
    let mut still = whole.clone();
    still[at(b"mdhd") + 16..][..4].fill(0);
    assert!(Read::of(&still).error().contains("expected a timescale of at least 1, found 0"));
}
