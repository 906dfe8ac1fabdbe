//! Framings and formats, byte for byte.

use super::*;

/// A stream of one key frame, then one picture in the next window, as `change` wants it.
fn wire(change: impl FnOnce(&mut PlayRequest)) -> Vec<u8> {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(true, false), rig.now);
    publisher.set_track(video_track(1), rig.now);
    let watcher = rig.join_with(|request| {
        request.greeting = Bytes::from_static(b"greeting\n");
        change(request);
    });
    rig.push(&publisher, picture(0, true, 300));
    rig.advance(350);
    rig.push(&publisher, picture(40, false, 300));
    rig.advance(350);
    std::mem::take(&mut rig.socket(&watcher).got)
}

fn framed(framing: Framing) -> Vec<u8> {
    let got = wire(|request| request.framing = framing);
    got.strip_prefix(b"greeting\n").expect("the greeting comes first and unframed").to_vec()
}

#[test]
fn chunks_hold_the_preamble_the_init_and_one_block_each() {
    let raw = framed(Framing::Raw);
    let mut chunked = &framed(Framing::Chunked)[..];
    let (mut body, mut sizes) = (Vec::new(), Vec::new());
    while !chunked.is_empty() {
        let end = chunked.windows(2).position(|pair| pair == b"\r\n").expect("a chunk size");
        let digits = std::str::from_utf8(&chunked[..end]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("hexadecimal");
        body.extend_from_slice(&chunked[end + 2..end + 2 + size]);
        assert_eq!(chunked[end + 2 + size..][..2], *b"\r\n");
        chunked = &chunked[end + 4 + size..];
        sizes.push(size);
    }
    assert_eq!(body, raw);
    assert_eq!((sizes.len(), sizes[0], sizes[2..].to_vec()), (4, 13, vec![320, 320]));
}

#[test]
fn web_socket_messages_hold_the_preamble_the_init_and_one_block_each() {
    let raw = framed(Framing::Raw);
    let mut messages = &framed(Framing::WebSocket)[..];
    let (mut body, mut sizes) = (Vec::new(), Vec::new());
    while !messages.is_empty() {
        assert_eq!(messages[0], 0x82, "one whole binary message");
        let (head, size) = match messages[1] {
            126 => (4, usize::from(u16::from_be_bytes([messages[2], messages[3]]))),
            size => (2, usize::from(size)),
        };
        body.extend_from_slice(&messages[head..head + size]);
        messages = &messages[head + size..];
        sizes.push(size);
    }
    assert_eq!(body, raw);
    assert_eq!((sizes.len(), sizes[0], sizes[2..].to_vec()), (4, 13, vec![320, 320]));
}

#[test]
fn rtmp_is_whole_messages_on_stream_1_in_chunks_of_the_agreed_size() {
    let format = Format::Rtmp { chunk_size: 128, hevc: HevcForm::Enhanced };
    let got = wire(|request| request.format = format);
    let got = got.strip_prefix(b"greeting\n").expect("the greeting first");
    assert_eq!(rtmp_words(got, 128), ["meta", "V1", "K0", "v40"]);
}

#[test]
fn a_chunk_size_of_its_own_is_a_trans_stream_of_its_own() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let rtmp = |chunk_size| Format::Rtmp { chunk_size, hevc: HevcForm::Enhanced };
    let watchers =
        [4096, 60_000, 60_000].map(|size| rig.join_with(|request| request.format = rtmp(size)));
    rig.push(&publisher, picture(0, true, 10_000));
    rig.advance(350);
    assert_eq!(rig.totals().transes, 2);
    for (watcher, size) in watchers.iter().zip([4096, 60_000, 60_000]) {
        assert_eq!(rtmp_words(&rig.sockets[&watcher.fd].got, size), ["V1", "A1", "K0"]);
    }
}

#[test]
fn a_message_too_long_for_its_length_field_is_left_out_of_every_format() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let format = Format::Rtmp { chunk_size: 60_000, hevc: HevcForm::Enhanced };
    let watchers = [rig.join(), rig.join_with(|request| request.format = format)];
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, picture(40, false, 1 << 24));
    rig.push(&publisher, picture(80, false, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watchers[0]), "flv5 V1 A1 K0 v80");
    assert_eq!(rtmp_words(&rig.sockets[&watchers[1].fd].got, 60_000), ["V1", "A1", "K0", "v80"]);
}

/// Messages of stream 1, each begun with a full header, as words.
fn rtmp_words(mut bytes: &[u8], chunk_size: usize) -> Vec<String> {
    let mut words = Vec::new();
    while !bytes.is_empty() {
        let csid = bytes[0];
        let ms = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
        let len = u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]) as usize;
        let kind = bytes[7];
        let expected = [(8, 4), (18, 5), (9, 6)];
        assert!(expected.contains(&(kind, csid)), "kind {kind} on {csid}, after {words:?}");
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        bytes = &bytes[12..];
        let mut body = Vec::new();
        while body.len() < len {
            if !body.is_empty() {
                assert_eq!(bytes[0], 0xc0 | csid);
                bytes = &bytes[1..];
            }
            let (part, rest) = bytes.split_at((len - body.len()).min(chunk_size));
            body.extend_from_slice(part);
            bytes = rest;
        }
        words.push(word(kind, ms, &body));
    }
    words
}
