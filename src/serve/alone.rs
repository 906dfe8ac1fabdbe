//! A node of one core, for tests of what runs on it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Mesh;
use super::core::{Core, Node};
use crate::config::{App, Config};
use crate::media::{AudioCodec, Codec, StreamKey, Track, VideoCodec};
use crate::net::rt;
use crate::plane::Publisher;
use crate::shard::CoreId;

/// Runs `test` on the only core of a node on which `app` holds.
pub(super) fn on_the_only_core<F: Future<Output = ()> + 'static>(
    app: App,
    test: impl FnOnce(Rc<Core>) -> F + Send + 'static,
) {
    rt::on_a_core(move || async move {
        let config = Config { app_defaults: Arc::new(app), ..Config::default() };
        let node = Arc::new(Node::new(Mesh::new(1, 16)));
        let core = Core::new(CoreId(0), node, Arc::new(config));
        core.start();
        test(core).await;
    });
}

/// Publishes `live/NAME`.
pub(super) fn publish(core: &Rc<Core>, name: &str) -> (StreamKey, Publisher) {
    let key = StreamKey::new("live", name).expect("valid");
    let request = core.claim(&key).expect("the only core");
    let publisher = Publisher::acquire(core.hub(), request, Instant::now());
    (key, publisher.expect("nobody is there"))
}

/// H.264 of a level.
pub(super) fn h264(level: u8) -> Track {
    track(Codec::Video(VideoCodec::H264), vec![1, 100, 0, level, 0xff, 0xe0, 0, 1])
}

/// AAC, mono.
pub(super) fn aac() -> Track {
    track(Codec::Audio(AudioCodec::Aac), vec![0x12, 1])
}

fn track(codec: Codec, config: Vec<u8>) -> Track {
    Track { codec, config: Bytes::from(config), hdr: None, video: None, audio: None }
}
