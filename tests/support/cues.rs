//! Cues of SCTE 35, which the muxers at hand do not write: put into a transport stream byte by byte,
//! and read again by Wireshark's dissector.

use std::path::Path;
use std::process::Command;

use super::ts_check::{crc32, time};

const PACKET: usize = 188;
const CUES_PID: u16 = 0x1f0;
/// Those that ffmpeg gives the table of the program and the pictures.
const TABLE_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
/// A splice is so many ticks behind the picture that its cue stands before, at every so manyth.
const AHEAD: u64 = 180_000;
const EVERY: usize = 50;
const WRAP: u64 = 1 << 33;

/// A cue, as the dissector tells of it. Ticks of 90 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cue {
    pub(crate) event: u64,
    pub(crate) adjustment: u64,
    pub(crate) splice: u64,
}

impl Cue {
    /// When the splice is, behind `pts`.
    pub(crate) fn behind(&self, pts: u64) -> u64 {
        (self.splice + self.adjustment + WRAP - pts) % WRAP
    }
}

/// `stream`, as ffmpeg writes it, with cues in it and in its table.
pub(crate) fn with_cues(stream: &[u8]) -> Vec<u8> {
    let (mut out, mut pictures, mut cues) = (Vec::new(), 0, 0);
    for packet in stream.chunks_exact(PACKET) {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        if pid == TABLE_PID {
            out.extend(listing(packet));
            continue;
        }
        if pid == VIDEO_PID && packet[1] & 0x40 != 0 {
            if pictures % EVERY == EVERY / 2 {
                out.extend(cue(cues, pts(packet)));
                cues += 1;
            }
            pictures += 1;
        }
        out.extend_from_slice(packet);
    }
    out
}

/// The packet of a table with the cues in it.
fn listing(packet: &[u8]) -> Vec<u8> {
    assert_eq!((packet[3] & 0x30, packet[4]), (0x10, 0), "it holds a section from its start on");
    let length = usize::from(u16::from_be_bytes([packet[6] & 0xf, packet[7]]));
    let section = &packet[5..8 + length - 4];
    assert_eq!(section[10..12], [0xf0, 0], "without descriptors of the program");
    let [high, low] = CUES_PID.to_be_bytes();
    let of_program = b"\xf0\x06\x05\x04CUEI";
    let stream = [0x86, 0xe0 | high, low, 0xf0, 3, 0x8a, 1, 0];
    let mut section = [&section[..10], of_program, &section[12..], &stream].concat();
    section[2] = u8::try_from(section.len() + 1).expect("a short table");
    in_packet(&packet[..4], section)
}

/// One for a splice behind `pts`; each second one leaves some of its time to its adjustment.
fn cue(number: u8, pts: u64) -> Vec<u8> {
    let adjustment = if number % 2 == 1 { WRAP - 12_345 } else { 0 };
    let splice = (pts + AHEAD + WRAP - adjustment) % WRAP;
    let [.., a, b, c, d, e] = adjustment.to_be_bytes();
    let mut section = vec![0xfc, 0x30, 0x20, 0, a, b, c, d, e, 0, 0xff, 0xf0, 15, 5];
    let [.., a, b, c, d, e] = splice.to_be_bytes();
    section.extend([0, 0, 0, number, 0x7f, 0xcf, 0xfe | a, b, c, d, e, 0, 0, 0, 0, 0, 0]);
    let [high, low] = CUES_PID.to_be_bytes();
    in_packet(&[0x47, 0x40 | high, low, 0x10 | number & 15], section)
}

/// A section that is without its sum.
fn in_packet(head: &[u8], mut section: Vec<u8>) -> Vec<u8> {
    section.extend(crc32(&section).to_be_bytes());
    let mut packet = [head, &[0], &section].concat();
    packet.resize(PACKET, 0xff);
    packet
}

/// Of the PES packet that begins in `packet`.
fn pts(packet: &[u8]) -> u64 {
    let field = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
    let header = &packet[4 + field..];
    time(&header[9..], header[7] >> 6).expect("ffmpeg marks it")
}

/// The cues of a recording.
pub(crate) fn read(path: &Path) -> Vec<Cue> {
    let fields = ["scte35_si.event_id", "scte35.pts_adjustment", "scte35_si.splice_time.pts"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["-X", "read_format:MPEG2 transport stream"]);
    command.args(["-Y", "scte35_si", "-T", "fields"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {said}");
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect("a number"),
        None => text.parse().expect("a number"),
    };
    let cue = |line: &str| {
        let numbers: Vec<_> = line.split('\t').map(number).collect();
        let [event, adjustment, splice] = numbers[..] else { panic!("{line:?}") };
        Cue { event, adjustment, splice }
    };
    String::from_utf8_lossy(&output.stdout).lines().map(cue).collect()
}
