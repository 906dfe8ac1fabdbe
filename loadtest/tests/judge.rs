//! ffmpeg and our parser side by side on the real server.

#![allow(missing_docs)]

mod support;

use corecast_load::judge::{Judge, Program};
use corecast_load::play::{self, Options};
use corecast_load::publish::{self, Fleet};
use corecast_load::stream::{Material, Shape};
use support::{Corecast, eventually, secs};

fn publish(url: String) -> Fleet {
    let shape = Shape { bitrate: 400_000, fps: 25, gop: secs(1), sound: Some(32_000), seed: 1 };
    let material = Material::made_up(shape).expect("enough bits");
    let options = publish::Options { url, publishers: 1, material, reconnect: false };
    Fleet::start(&options).expect("they are let in")
}

#[test]
fn ffmpeg_reads_what_our_parser_reads() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"));
    for url in [server.rtmp("live/x"), server.http("live/x.flv")] {
        let options = Options {
            url: url.clone(),
            viewers: 5,
            settle: secs(1),
            duration: secs(4),
            judge: Some(Program::Ffmpeg),
            ..Options::default()
        };
        let report = play::run(&options, &mut |_| {}).expect("the run succeeds");
        let [judged] = &report.judged[..] else { panic!("{:?}", report.judged) };
        assert!(judged.agrees, "{url}: {}", judged.finding);
        // Of five seconds ffmpeg needs the first to find out what it reads.
        assert!(judged.frames > 3 * 56, "{url}: {}", judged.finding);
    }
}

#[test]
fn a_judge_that_hears_nothing_does_not_agree() {
    let server = Corecast::start("app_defaults.wait_for_publisher = '1s'");
    let judge = Judge::start(Program::Ffmpeg, &server.rtmp("live/nobody")).expect("it is there");
    // Both were told, and have a second to hear it.
    let closed = || server.child.log().matches(" close client=").count() >= 2;
    assert!(eventually(secs(30), closed), "{}", server.child.log());
    std::thread::sleep(secs(1));
    let judged = judge.finish();
    assert!(!judged.agrees && judged.finding.contains("nothing in common"), "{judged:?}");
    assert!(judged.finding.contains("our viewer ended: "), "{}", judged.finding);
    assert!(judged.finding.contains("ffmpeg said: "), "{}", judged.finding);
}
