//! ffmpeg and our parser side by side on the real server.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corecast_load::judge::{Judge, Program};
use corecast_load::play::{self, Options};
use corecast_load::publish::{self, Fleet};
use corecast_load::stream::{Material, Shape};
use procfs::net::TcpState;
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
    for (round, url) in [server.rtmp("live/x"), server.http("live/x.flv")].iter().enumerate() {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut since_s) = (Arc::clone(&stop), None);
        let options = Options {
            url: url.clone(),
            viewers: 5,
            settle: secs(1),
            duration: secs(100),
            judge: Some(Program::Ffmpeg),
            stop,
            ..Options::default()
        };
        // With five viewers and our own parser ffmpeg is the seventh, however long it takes to start.
        let all_in = || server.child.log().matches(" play client=").count() >= 7 * (round + 1);
        let report = play::run(&options, &mut |sample| {
            if since_s.is_none() && all_in() {
                since_s = Some(sample.at_s);
            }
            let is_enough = since_s.is_some_and(|since_s| sample.at_s > since_s + 8.0);
            told.store(is_enough, Ordering::Relaxed);
        });
        let report = report.expect("the run succeeds");
        let [judged] = &report.judged[..] else { panic!("{:?}", report.judged) };
        assert!(judged.agrees, "{url}: {}", judged.finding);
        // Of eight seconds ffmpeg needs the first to find out what it reads, and may lack the last.
        assert!(judged.frames > 5 * 56, "{url}: {}", judged.finding);
    }
}

#[test]
fn a_judge_that_hears_nothing_does_not_agree() {
    let server = Corecast::start("app_defaults.wait_for_publisher = '1s'");
    let judge = Judge::start(Program::Ffmpeg, &server.rtmp("live/nobody")).expect("it is there");
    // Those that looked whether it listens have asked for no stream.
    let closed = || {
        let log = server.child.log();
        let of_it = |line: &&str| {
            line.contains("access: close client=") && line.contains(" stream=live/nobody ")
        };
        log.lines().filter(of_it).count() >= 2
    };
    assert!(eventually(secs(30), closed), "{}", server.child.log());
    // Both were told. Who has heard it has no socket any more.
    let heard = || {
        let sockets = procfs::net::tcp().expect("the kernel tells").into_iter();
        let mut theirs = sockets.filter(|socket| socket.remote_address.port() == server.rtmp);
        !theirs.any(|socket| matches!(socket.state, TcpState::Established | TcpState::CloseWait))
    };
    assert!(eventually(secs(30), heard), "somebody stays");
    let judged = judge.finish();
    assert!(!judged.agrees && judged.finding.contains("nothing in common"), "{judged:?}");
    assert!(judged.finding.contains("our viewer ended: "), "{}", judged.finding);
    assert!(judged.finding.contains("ffmpeg said: "), "{}", judged.finding);
}
