//! The built-in clip, published in a loop by the ordinary way in.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::container::flv::{Demux, FileReader, Item, Limits};
use crate::control::start_checks::Host;
use crate::media::StreamKey;
use crate::net::rt;
use crate::plane::{PublishRequest, Publisher};
use crate::serve::core::Core;
use crate::time::Timestamp;

const CLIP: &[u8] = include_bytes!("clip.flv");
/// Both tracks end on a whole frame here, so the next round begins without a jump.
const CLIP_MS: i64 = 10_240;
const KEY: &str = "live/demo";

/// What a newcomer is told.
pub(super) fn welcome(host: &Host) -> String {
    let port = |listen: &[std::net::SocketAddr], usual: u16| {
        let port = listen.first().map_or(usual, std::net::SocketAddr::port);
        if port == usual { String::new() } else { format!(":{port}") }
    };
    let http = host.http.first().map_or(8080, std::net::SocketAddr::port);
    let rtmp = port(&host.rtmp, 1935);
    let console = host.admin.first().map_or(String::new(), |console| {
        format!("See what goes on     http://127.0.0.1:{}/\n", console.port())
    });
    format!(
        "\n  Corecast is running, and publishes a clip as {KEY}.\n\n  \
         Watch in a browser   http://127.0.0.1:{http}/{KEY}\n  \
         Watch with a player  ffplay http://127.0.0.1:{http}/{KEY}.flv\n                       \
         ffplay rtmp://127.0.0.1{rtmp}/{KEY}\n  \
         On phones, by HLS    http://127.0.0.1:{http}/{KEY}.m3u8\n  \
         {console}\n  \
         Publish your own     ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1{rtmp}/live/mine\n  \
         and watch it         http://127.0.0.1:{http}/live/mine\n\n  \
         Ctrl-C ends it.\n\n"
    )
}

/// Publishes on the core that is the key's home. It owns the key too: nobody was first.
pub(super) fn start(core: &Rc<Core>) {
    let key = StreamKey::parse(KEY).expect("a constant");
    if let Some(request) = core.claim(&key) {
        let core = Rc::clone(core);
        rt::spawn(async move { publish(&core, request).await });
    }
}

async fn publish(core: &Rc<Core>, request: PublishRequest) {
    let now = Instant::now();
    let publisher = match Publisher::acquire(core.hub(), request, now) {
        Ok(publisher) => publisher,
        Err(refused) => return tracing::warn!(%refused, "the demo clip is not published"),
    };
    let items = read_clip();
    for round in 0.. {
        for item in &items {
            match item {
                // The same each time round; the plane takes that for no change.
                Item::Track(track) => publisher.set_track(track.clone(), Instant::now()),
                Item::Metadata(metadata) => {
                    publisher.set_metadata(metadata.clone(), Instant::now());
                }
                Item::EndOfSequence(_) | Item::PrivateStreams(_) => {}
                Item::Frame(frame) => {
                    let mut frame = frame.clone();
                    let shift = round * CLIP_MS * 1_000_000;
                    (frame.dts, frame.pts) = (frame.dts + shift, frame.pts + shift);
                    let at = frame.dts.since(Timestamp::ZERO).max(0).unsigned_abs();
                    rt::sleep_until(now + Duration::from_nanos(at)).await;
                    if let Err(error) = core.turn(|| publisher.push(frame, Instant::now())) {
                        let why = poll_fn(|cx| Poll::Ready(publisher.poll_end(cx))).await;
                        return match why {
                            Poll::Ready(why) => tracing::info!("the demo clip ends: {why}"),
                            Poll::Pending => tracing::info!("the demo clip ends: {error}"),
                        };
                    }
                }
            }
        }
    }
}

fn read_clip() -> Vec<Item> {
    let (mut file, mut demux) = (FileReader::new(Limits::default()), Demux::new(Limits::default()));
    let (mut input, mut items) = (CLIP, Vec::new());
    while let Some((kind, ms, body)) = file.read(&mut input).expect("a test reads the clip") {
        let time = Timestamp::from_millis(i64::from(ms));
        demux.push(kind, time, body, &mut items).expect("a test reads the clip");
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::TrackKind;

    #[test]
    fn the_clip_begins_with_a_key_frame_and_its_tracks_end_on_the_round() {
        let items = read_clip();
        let frames = |kind| {
            let of = move |item: &Item| match item {
                Item::Frame(frame) if frame.kind == kind => Some((frame.key, frame.dts)),
                _ => None,
            };
            items.iter().filter_map(of).collect::<Vec<_>>()
        };
        let (video, audio) = (frames(TrackKind::Video), frames(TrackKind::Audio));
        assert_eq!(video[0], (true, Timestamp::ZERO));
        let interval =
            |frames: &[(bool, Timestamp)]| CLIP_MS - frames.last().expect("frames").1.as_millis();
        assert_eq!(interval(&video), 40);
        assert!((20..=23).contains(&interval(&audio)), "one AAC frame");
        assert!(CLIP.len() <= 400_000);
    }
}
