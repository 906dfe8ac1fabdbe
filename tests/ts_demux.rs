//! Transport streams made by ffmpeg, read by `ts::Demux`: packet by packet the same as ffprobe and
//! ffmpeg read.

#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use corecast::codec::nal;
use corecast::container::{Item, ts};
use corecast::media::{Frame, Track, TrackKind};

const FFMPEG: &str = "/usr/bin/ffmpeg";
const FFPROBE: &str = "/usr/bin/ffprobe";

/// A packet as ffprobe tells of it, and its bytes as ffmpeg copies them.
struct Packet {
    /// Ticks of 90 kHz.
    pts: i64,
    dts: i64,
    key: bool,
    data: Vec<u8>,
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let said = Command::new(program).args(arguments).output().expect("it is installed");
    let complaint = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{program} {arguments:?}: {complaint}");
    said.stdout
}

/// Three seconds of what these arguments make of a test picture and a test tone.
fn make(name: &str, arguments: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ts_demux");
    std::fs::create_dir_all(&dir).expect("the target directory is ours");
    let path = dir.join(format!("{}-{name}.ts", std::process::id()));
    let input = "-nostdin -v error -y -f lavfi -i testsrc2=size=320x180:rate=25 \
                 -f lavfi -i sine=r=48000 -t 3";
    let mut all: Vec<&str> = input.split_whitespace().chain(arguments.split_whitespace()).collect();
    all.extend(["-f", "mpegts", path.to_str().expect("a path of ASCII")]);
    run(FFMPEG, &all);
    path
}

/// The packets of the first stream of a kind, `v` or `a`.
fn packets(path: &Path, kind: &str) -> Vec<Packet> {
    let file = path.to_str().expect("a path of ASCII");
    let stream = format!("{kind}:0");
    let entries = ["-show_entries", "packet=pts,dts,size,flags", "-of", "csv=p=0"];
    let select = ["-v", "error", "-select_streams", &stream];
    let told = run(FFPROBE, &[&select[..], &entries, &[file]].concat());
    let map = format!("0:{stream}");
    let copy = ["-map", &map, "-c", "copy", "-copyts", "-f", "data", "pipe:1"];
    let bytes = run(FFMPEG, &[&["-nostdin", "-v", "error", "-i", file][..], &copy].concat());
    let mut rest = &bytes[..];
    let told = String::from_utf8(told).expect("text");
    let packets = told.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut fields = line.split(',');
        let mut number =
            || fields.next().and_then(|field| field.parse::<i64>().ok()).expect("a number");
        let (pts, dts, size) = (number(), number(), number());
        let key = fields.next().is_some_and(|flags| flags.starts_with('K'));
        let (data, behind) = rest.split_at(usize::try_from(size).expect("a size"));
        rest = behind;
        Packet { pts, dts, key, data: data.to_vec() }
    });
    let packets = packets.collect();
    assert!(rest.is_empty(), "ffmpeg copies what ffprobe tells of");
    packets
}

/// What comes out when the file comes in pieces of this many bytes.
fn demux(path: &Path, piece: usize) -> (Vec<Track>, Vec<Frame>) {
    let bytes = std::fs::read(path).expect("it was made");
    let mut demux = ts::Demux::new(ts::Limits::default());
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        demux.push(piece, &mut items).expect("a transport stream");
    }
    demux.finish(&mut items).expect("a transport stream");
    let notices: Vec<_> = std::iter::from_fn(|| demux.poll_notice()).collect();
    assert_eq!(notices, []);
    assert_eq!(demux.counts(), ts::Counts::default());
    let (mut tracks, mut frames) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Track(track) => tracks.push(track),
            Item::Frame(frame) => frames.push(frame),
            other => panic!("expected tracks and frames, found {other:?}"),
        }
    }
    (tracks, frames)
}

/// The NAL units that have a place in a frame.
fn units(data: &[u8], is_h265: bool) -> Vec<&[u8]> {
    let stays = |unit: &&[u8]| match is_h265 {
        true => !matches!(unit[0] >> 1 & 0x3f, 32..=35 | 38),
        false => !matches!(unit[0] & 0x1f, 7 | 8 | 9 | 12),
    };
    nal::annex_b(data).filter(stays).collect()
}

fn ticks(at: corecast::time::Timestamp) -> i64 {
    at.as_nanos() * 9 / 100_000
}

#[track_caller]
fn assert_pictures(path: &Path, frames: &[Frame], is_h265: bool) {
    let packets = packets(path, "v");
    let frames: Vec<&Frame> =
        frames.iter().filter(|frame| frame.kind == TrackKind::Video).collect();
    assert_eq!((frames.len(), packets.len()), (75, 75));
    for (frame, packet) in frames.iter().zip(&packets) {
        let got = (ticks(frame.pts), ticks(frame.dts), frame.key);
        assert_eq!(got, (packet.pts, packet.dts, packet.key));
        let came: Vec<&[u8]> = nal::length_prefixed(&frame.data, 4).collect();
        assert!(came == units(&packet.data, is_h265), "the picture of {}", packet.dts);
    }
}

/// `head` bytes stand before the content of each packet that ffmpeg gives.
#[track_caller]
fn assert_sound(path: &Path, frames: &[Frame], head: usize) {
    let packets = packets(path, "a");
    let frames: Vec<&Frame> =
        frames.iter().filter(|frame| frame.kind == TrackKind::Audio).collect();
    assert_eq!(frames.len(), packets.len());
    assert!(frames.len() > 90, "{}", frames.len());
    for (frame, packet) in frames.iter().zip(&packets) {
        // ffmpeg rounds the length of each frame to ticks.
        let off = (ticks(frame.pts) - packet.pts).abs();
        assert!(off <= 9, "the frame of {} is {off} ticks off", packet.pts);
        assert!(frame.data == packet.data[head..], "the frame of {}", packet.pts);
    }
}

#[track_caller]
fn assert_tracks(tracks: &[Track], expected: &[&str]) {
    let names: Vec<String> = tracks.iter().map(ToString::to_string).collect();
    assert_eq!(names, expected);
}

const H264: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 -bf 2";

#[test]
fn h264_and_aac_are_those_that_ffmpeg_reads_however_they_arrive() {
    let path = make("h264-aac", &format!("{H264} -c:a aac -b:a 96k"));
    let (tracks, frames) = demux(&path, 1316);
    let video = "h264 320x180 profile 100 level 12";
    assert_tracks(&tracks, &[video, "aac 48000 Hz 1 channels"]);
    assert_pictures(&path, &frames, false);
    assert_sound(&path, &frames, 7);
    for piece in [1, 189, 4096, 1 << 20] {
        assert_eq!(demux(&path, piece), (tracks.clone(), frames.clone()), "pieces of {piece}");
    }
}

/// H.264 and `sound`, made by ffmpeg with `options`, are those that ffmpeg reads.
#[track_caller]
fn assert_h264_with(name: &str, options: &str, sound: &str) {
    let path = make(name, &format!("{H264} {options} -b:a 96k"));
    let (tracks, frames) = demux(&path, 1316);
    assert_tracks(&tracks, &["h264 320x180 profile 100 level 12", sound]);
    assert_pictures(&path, &frames, false);
    assert_sound(&path, &frames, 0);
}

#[test]
fn h264_whose_groups_are_open_begins_at_recovery_points() {
    let open = "-x264-params open-gop=1:scenecut=0:min-keyint=25 -slices 4";
    assert_h264_with("open", &format!("{open} -c:a libmp3lame"), "mp3 48000 Hz 1 channels");
}

#[test]
fn h264_with_lengths_in_its_packets_is_the_same() {
    let lengths = "-omit_video_pes_length 0 -c:a ac3";
    assert_h264_with("lengths", lengths, "ac3 48000 Hz 1 channels");
}

#[test]
fn h265_and_opus_are_those_that_ffmpeg_reads() {
    let h265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -bf 2 \
                -x265-params log-level=error:keyint=25:open-gop=1";
    let path = make("h265", &format!("{h265} -c:a libopus -b:a 64k"));
    let (tracks, frames) = demux(&path, 1316);
    let [video, sound] = &tracks[..] else { panic!("expected two tracks, found {tracks:?}") };
    assert!(video.to_string().starts_with("h265 320x180 profile 1 level"), "{video}");
    assert_eq!(sound.to_string(), "opus 48000 Hz 1 channels");
    assert_pictures(&path, &frames, true);
    assert_sound(&path, &frames, 0);
}
