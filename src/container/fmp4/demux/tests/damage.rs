//! What is damaged never costs more than the stream, and memory never more than was sent.

use proptest::collection::vec;

use super::*;

/// What a demultiplexer of little patience holds.
const SMALL: Limits = Limits {
    movie_bytes: 4 << 10,
    fragment_head_bytes: 2 << 10,
    boxes: 400,
    config_bytes: 256,
    tracks: 4,
    samples: 100,
    sample_bytes: 2000,
    waiting_bytes: 4000,
    waiting_frames: 1000,
    notices: 4,
};

/// A fragment of pictures whose run announces so many samples of so many bytes each, where its head
/// is.
fn announced(count: u32, size: u32) -> Vec<u8> {
    let header = full(b"tfhd", 0, 0x02_0010, &[1, size]);
    atom(b"moof", &[&atom(b"traf", &[&header, &full(b"trun", 0, 0, &[count])])])
}

fn mdat(bytes: usize) -> Vec<u8> {
    atom(b"mdat", &[&vec![7; bytes]])
}

fn head() -> Vec<u8> {
    init(Some(&h264()), None).to_vec()
}

#[test]
fn announced_samples_cost_nothing_until_they_come() {
    let read = Read::of(&[head(), announced(u32::MAX, 1), mdat(10)].concat());
    assert!(read.error().contains("mp4/trun: at byte "), "{}", read.error());
    assert!(read.error().contains("expected at most 65536 samples in a fragment, found more"));
    // They begin in the moof, which has 56 bytes and the header of mdat behind it.
    let read = Read::in_pieces([&[head(), announced(90, 1), mdat(10)].concat()[..]], SMALL);
    assert_eq!((read.frames().len(), read.counts.missing_samples, read.error), (10, 80, None));
}

#[test]
fn a_box_that_is_kept_is_refused_by_its_length_and_one_that_is_not_may_have_any() {
    for (kind, max) in [(b"moov", 4096), (b"moof", 2048)] {
        let huge = [&u32::MAX.to_be_bytes()[..], kind].concat();
        let read = Read::in_pieces([&[head(), huge].concat()[..]], SMALL);
        let expected = format!("expected at most {max} bytes, found 4294967287");
        assert!(read.error().contains(&expected), "{}", read.error());
        let endless = [&[0; 4][..], kind].concat();
        let read = Read::in_pieces([&[head(), endless].concat()[..]], SMALL);
        assert!(read.error().contains("found one without an end"), "{}", read.error());
    }
    let far = [&1_u32.to_be_bytes()[..], b"free", &u64::MAX.to_be_bytes(), &[0; 99]].concat();
    let read = Read::of(&[head(), far].concat());
    assert!(matches!(read.error, Some(Error::CutOff { .. })), "{read:?}");
}

#[test]
fn boxes_that_are_passed_again_and_again_are_an_error() {
    // As many as there may be, if each were passed once.
    let crowded =
        |kind, parts: &[&[u8]]| atom(kind, &[&atom(b"free", &[]).repeat(150), &parts.concat()]);
    let header = full(b"mvhd", 0, 0, &[0, 0, 1000, 0]);
    let around_tables = crowded(b"minf", &[&crowded(b"stbl", &[])]);
    let media = [full(b"hdlr", 0, 0, &[0, u32::from_be_bytes(*b"vide")]), around_tables].concat();
    let track = [full(b"tkhd", 0, 0, &[0, 0, 1]), atom(b"mdia", &[&media])].concat();
    let movie = |of: &[u8]| atom(b"moov", &[&header, &atom(b"trak", &[of])]);
    let read = Read::in_pieces([&movie(&track)[..]], SMALL);
    assert!(read.error().contains("expected a box \"stsd\" in it, found none"), "{}", read.error());
    let thrice = crowded(b"trak", &[&track]);
    let read = Read::in_pieces([&atom(b"moov", &[&header, &thrice])[..]], SMALL);
    let expected = "expected at most 400 boxes to be looked at, found more";
    assert!(read.error().contains(expected), "{}", read.error());
}

#[test]
fn a_sample_over_the_limit_is_dropped_and_the_next_comes() {
    let sent =
        [picture(0, 0, true, 500), picture(40, 40, false, 5000), picture(80, 80, false, 500)];
    let stream = write(Some(&h264()), None, &sent, 3);
    let read = Read::in_pieces([&stream[..]], SMALL);
    assert_eq!(
        read.frames().iter().map(|frame| frame.dts.as_millis()).collect::<Vec<_>>(),
        [0, 80]
    );
    assert_eq!(read.notices, [Notice::TooLong { kind: TrackKind::Video }]);
    assert_eq!((read.counts.long_samples, read.counts.skipped_bytes), (1, 5000));
}

#[test]
fn what_waits_for_the_other_track_is_bounded() {
    // Pictures first, then sound: the pictures wait for it.
    let sent = media(50);
    let stream = write(Some(&h264()), Some(&aac()), &sent, 100);
    let few = Limits { waiting_bytes: 1 << 20, waiting_frames: 4, ..SMALL };
    for limits in [SMALL, few] {
        let mut demux = Demux::new(limits);
        let (mut items, mut fed, mut given) = (Vec::new(), 0, 0);
        for piece in stream.chunks(100) {
            demux.push(piece, &mut items).unwrap();
            fed += piece.len();
            for item in items.drain(..) {
                given += if let Item::Frame(frame) = item { frame.data.len() } else { 0 };
            }
            assert!(fed - given < 4000 + 2000 + 2 * 2048 + 2000, "{fed} came, {given} went");
        }
        demux.finish(&mut items).unwrap();
        assert!(demux.counts().unordered_frames > 0);
        assert_eq!(demux.poll_notice(), Some(Notice::Unordered));
    }
}

#[test]
fn samples_that_are_elsewhere_are_left_out_and_too_many_of_them_are_an_error() {
    let empty = |count| [announced(count, 0), mdat(10)].concat();
    let read = Read::in_pieces([&[head(), empty(100)].concat()[..]], SMALL);
    assert_eq!((&read.error, read.frames().len()), (&None, 0));
    assert_eq!(read.notices, [Notice::MissingSamples { kind: TrackKind::Video }]);
    // Fragments of them that cost their sender nothing.
    let read = Read::in_pieces([&[head(), empty(100), empty(1)].concat()[..]], SMALL);
    let expected = "expected samples where they are announced, found 0, and missed 101";
    assert!(read.error().contains(expected), "{}", read.error());
    let never = [announced(60, 500), announced(60, 500)].concat();
    let read = Read::in_pieces([&[head(), never, announced(0, 0)].concat()[..]], SMALL);
    assert!(read.error().contains("found 0, and missed 120"), "{}", read.error());
    // A table names as many as it likes.
    let read = Read::in_pieces([&[endless_file(), mdat(99)].concat()[..]], SMALL);
    assert!(read.error().contains(expected), "{}", read.error());
}

/// A file of one track whose samples, one byte each and 2^32 of them, lie before its `mdat`.
fn endless_file() -> Vec<u8> {
    let mut file = head();
    let at = file.windows(4).position(|it| it == b"stsz").unwrap();
    file[at + 8..at + 16].copy_from_slice(&[0, 0, 0, 1, 255, 255, 255, 255]);
    // One chunk of them all.
    let chunks = full(b"stsc", 0, 0, &[1, 1, u32::MAX, 1]);
    with_tables(&file, &chunks, &full(b"stco", 0, 0, &[1, 0]))
}

/// The same with other tables of chunks, each around it as much longer.
fn with_tables(file: &[u8], chunks: &[u8], places: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for (kind, table) in [(b"stsc", chunks), (b"stco", places)] {
        let at = file.windows(4).position(|it| it == kind).unwrap() - 4;
        let length = file[at + 3] as usize;
        file.splice(at..at + length, table.iter().copied());
        for around in [b"moov", b"trak", b"mdia", b"minf", b"stbl"] {
            let at = file.windows(4).position(|it| it == around).unwrap() - 4;
            let longer = u32::from_be_bytes(file[at..][..4].try_into().unwrap())
                + (table.len() - length) as u32;
            file[at..at + 4].copy_from_slice(&longer.to_be_bytes());
        }
    }
    file
}

#[test]
fn cut_at_every_byte_it_is_no_more_than_cut() {
    let stream = write(Some(&h264()), Some(&aac()), &media(4), 4);
    let whole = Read::of(&stream).frames().len();
    for end in 0..stream.len() {
        let read = Read::of(&stream[..end]);
        let is_cut = matches!(read.error, None | Some(Error::CutOff { .. }));
        assert!(is_cut && read.frames().len() < whole, "{end}: {:?}", read.error);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_cut_of_the_input_means_the_same(
        cuts in vec(0_usize..20_000, 0..40),
        damage in vec((0_usize..20_000, any::<u8>()), 0..4),
    ) {
        let mut stream = stream();
        stream.truncate(20_000);
        let length = stream.len();
        for (at, byte) in damage {
            stream[at % length] = byte;
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % length).collect();
        cuts.extend([0, length]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        let (cut, whole) = (Read::in_pieces(pieces, Limits::default()), Read::of(&stream));
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn damage_never_panics_and_nothing_comes_of_nothing(
        damage in vec((0_usize..1 << 20, any::<u8>()), 1..30),
        in_head in vec((0_usize..1400, any::<u8>()), 0..6),
        drops in vec((0_usize..1 << 20, 1_usize..400), 0..3),
    ) {
        let mut stream = stream();
        for (at, byte) in damage.into_iter().chain(in_head) {
            let at = at % stream.len();
            stream[at] = byte;
        }
        for (at, count) in drops {
            let at = at % stream.len();
            let end = (at + count).min(stream.len());
            stream.drain(at..end);
        }
        let read = Read::in_pieces(stream.chunks(700), SMALL);
        let frames = read.frames();
        let bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
        prop_assert!(bytes <= stream.len());
        prop_assert!(frames.iter().all(|frame| frame.data.len() <= SMALL.sample_bytes));
        prop_assert!(read.notices.len() <= SMALL.notices);
    }

    #[test]
    fn random_boxes_never_panic(
        boxes in vec((0_usize..12, vec(any::<u8>(), 0..120)), 0..40),
        head in any::<bool>(),
    ) {
        const KINDS: [&[u8; 4]; 12] = [
            b"moof", b"moof", b"traf", b"tfhd", b"trun", b"tfdt", b"mdat", b"mdat", b"free",
            b"moov", b"trak", b"uuid",
        ];
        let mut stream = if head { self::head() } else { Vec::new() };
        for (kind, content) in boxes {
            stream.extend((content.len() as u32 + 8).to_be_bytes());
            stream.extend(KINDS[kind]);
            stream.extend(content);
        }
        Read::in_pieces(stream.chunks(33), SMALL);
    }
}
