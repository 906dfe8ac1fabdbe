//! Captions inside the pictures (CEA-608 in SEI messages): they are announced, and come through.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::flv::{self, Tag, VIDEO};
use crate::readers;
use crate::session::{Session, tags};
use crate::support::clips::{self, Clip};
use crate::support::machine::beside_others;
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::wait_for_viewers;

const TEXT: &str = "CAPTIONS COME THROUGH";

/// What a decoder of field 1 is told, two bytes a picture: erase, load a text for row 15, show it
/// (CTA-608-E, 4.3; commands are sent twice).
fn commands() -> Vec<[u8; 2]> {
    const ERASE: [u8; 2] = [0x14, 0x2c];
    const LOAD: [u8; 2] = [0x14, 0x20];
    const CLEAR_MEMORY: [u8; 2] = [0x14, 0x2e];
    const ROW_15: [u8; 2] = [0x14, 0x60];
    const SHOW: [u8; 2] = [0x14, 0x2f];
    let mut pairs = Vec::new();
    for command in [ERASE, LOAD, CLEAR_MEMORY, ROW_15] {
        pairs.extend([command, command]);
    }
    let text = TEXT.as_bytes().chunks(2);
    pairs.extend(text.map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]));
    pairs.extend([SHOW, SHOW]);
    pairs
}

/// Bit 7 makes the number of ones odd.
fn with_parity(byte: u8) -> u8 {
    byte | if byte.count_ones().is_multiple_of(2) { 0x80 } else { 0 }
}

/// An SEI message with the pair, as a NAL unit behind its length (H.264 D.1.6, CTA-708-E 4.4). No three
/// bytes of it need emulation prevention.
fn sei(pair: [u8; 2]) -> Vec<u8> {
    let [first, second] = pair.map(with_parity);
    let one_of_field_1 = [0x41, 0xff, 0xfc, first, second, 0xff];
    let payload = [&[0xb5, 0x00, 0x31][..], b"GA94", &[3], &one_of_field_1].concat();
    let length = u8::try_from(payload.len()).expect("short");
    let unit = [&[6, 4, length][..], &payload, &[0x80]].concat();
    let length = u32::try_from(unit.len()).expect("short");
    [&length.to_be_bytes()[..], &unit].concat()
}

/// `clip` with captions: a text each two seconds. They go by the order pictures are shown in.
fn captioned(clip: &Clip) -> Vec<Tag> {
    let mut all = flv::read(&clip.path);
    let is_picture = |tag: &Tag| tag.kind == VIDEO && tag.body[0] & 0x0f == 7 && tag.body[1] == 1;
    let shown = |tag: &Tag| tag.ms + u32::from_be_bytes([0, tag.body[2], tag.body[3], tag.body[4]]);
    let order: BTreeMap<u32, usize> = {
        let mut times: Vec<u32> = all.iter().filter(|tag| is_picture(tag)).map(shown).collect();
        times.sort_unstable();
        times.into_iter().zip(0..).collect()
    };
    let commands = commands();
    for tag in all.iter_mut().filter(|tag| is_picture(tag)) {
        let at = order[&shown(tag)] % 50;
        let pair = commands.get(at).copied().unwrap_or([0, 0]);
        tag.body.splice(5..5, sei(pair));
    }
    all
}

/// The texts that ffmpeg reads in the pictures.
fn texts(file: &Path) -> String {
    let source = format!("movie={}[out0+subcc]", file.display());
    let output = Command::new("/usr/bin/ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &source])
        .args(["-map", "0:s", "-f", "srt", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn captions_are_announced_and_come_through() {
    let _machine = beside_others();
    for app in ["", "hls_container = 'ts'"] {
        let (publisher_grace, wait_for_publisher) = ("3s", "40s");
        let setup =
            Setup { app, publisher_grace, wait_for_publisher, admin: true, ..Setup::default() };
        let server = Server::with(&setup);
        let published = captioned(&clips::h264_aac());
        let original = server.dir.file("captions.flv");
        fs::write(&original, flv::bytes(&published)).expect("there is room");
        let expected = texts(&original);
        assert_eq!(expected.matches(TEXT).count(), 5, "ours is no clip with captions: {expected}");
        thread::scope(|scope| {
            let all = scope.spawn(|| readers::download(server.http, "live/a", &server.dir));
            // It is there before the first text.
            wait_for_viewers(&server, "live/a", 1);
            let publisher = scope.spawn(|| flv::publish(&published, server.http, "live/a"));
            let mut session = Session::open(server.http, "live/a");
            session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
            let text = Session::open(server.http, "live/a").multivariant;
            let renditions = tags(&text, "EXT-X-MEDIA");
            assert_eq!(renditions.len(), 1, "{text}");
            let [kind, channel] = ["TYPE", "INSTREAM-ID"].map(|name| &renditions[0][name]);
            assert_eq!([kind, channel], ["CLOSED-CAPTIONS", "CC1"]);
            let group = &tags(&text, "EXT-X-STREAM-INF")[0]["CLOSED-CAPTIONS"];
            assert_eq!(*group, renditions[0]["GROUP-ID"]);

            publisher.join().expect("it was taken");
            let files = all.join().expect("all was there");
            let came = texts(&files[0]);
            assert_eq!(came.matches(TEXT).count(), 5, "{came}");
        });
        server.stop();
    }
}

#[test]
fn where_there_are_no_captions_that_is_said() {
    let _machine = beside_others();
    let server = Server::start();
    let url = server.rtmp("live/a");
    let _publisher = players::publish(&clips::h264_aac(), &url, &server.dir);
    let mut session = Session::open(server.http, "live/a");
    session.wait_for("two segments", |playlist| playlist.segments.len() > 1);
    let text = Session::open(server.http, "live/a").multivariant;
    assert_eq!(tags(&text, "EXT-X-STREAM-INF")[0]["CLOSED-CAPTIONS"], "NONE", "{text}");
    assert_eq!(tags(&text, "EXT-X-MEDIA"), []);
    server.stop();
}
