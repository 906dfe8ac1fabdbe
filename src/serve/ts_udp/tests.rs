use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::config::{App, Config};
use crate::container::ts;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, TrackKind};
use crate::net::{rt, udp};
use crate::serve::Mesh;
use crate::serve::core::Node;
use crate::shard::CoreId;
use crate::time::Timestamp;

/// Datagrams with a frame of sound each.
fn datagrams(count: i64) -> Vec<Vec<u8>> {
    let track = Track {
        codec: Codec::Audio(AudioCodec::Aac),
        config: Bytes::from_static(&[0x11, 0x90]),
        hdr: None,
        video: None,
        audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 }),
    };
    let mut mux = ts::Mux::new();
    mux.set_tracks(None, Some(&track));
    let tone = |number: i64| {
        let (at, mut out) = (Timestamp::from_millis(number * 1024 / 48), BytesMut::new());
        let data = Bytes::from_static(&[7; 150]);
        mux.tables(&mut out, at);
        mux.push(&mut out, &Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data });
        mux.flush(&mut out);
        out.to_vec()
    };
    (0..count).map(tone).collect()
}

#[test]
fn a_panic_at_a_frame_ends_neither_the_input_nor_its_core() {
    let node = Arc::new(Node::new(Mesh::new(1, 16)));
    let settings = TsUdp {
        listen: "127.0.0.1:0".parse().expect("an address"),
        stream: "live/bad".to_owned(),
        interface: String::new(),
        source: None,
        timeout: Duration::from_secs(60),
        receive_buffer: 1 << 20,
        program: 0,
    };
    let socket = udp::bind(&wanted(&settings), false).expect("a free port");
    let to = socket2::SockRef::from(&socket).local_addr().expect("bound");
    let input = Input::new(settings).expect("a stream");
    let main = move || async move {
        // No clock reaches that far: who begins to publish panics.
        let app = App { probe_timeout: Duration::MAX, ..App::default() };
        let config = Config { app_defaults: Arc::new(app), ..Config::default() };
        let core = Core::new(CoreId(0), node, Arc::new(config));
        core.start();
        core.receive_datagrams(*first(&input, socket, &core.setup().config.limits));
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let to = to.as_socket().expect("of IPv4");
        let gave_up = Instant::now() + Duration::from_secs(20);
        for (datagram, sent) in datagrams(10).iter().zip(1..) {
            sender.send_to(datagram, to).expect("loopback");
            while input.figures().datagrams < sent && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(!input.is_gone());
        // What came behind the panic was thrown away.
        let figures = input.figures();
        assert_eq!(figures.datagrams, 10);
        assert!((1..10).contains(&figures.counts.taken), "{figures:?}");
        input.close();
        while !input.is_gone() && Instant::now() < gave_up {
            rt::sleep(Duration::from_millis(1)).await;
        }
        assert!(input.is_gone(), "it has heard that it is to end");
    };
    rt::on_a_core(main);
}
