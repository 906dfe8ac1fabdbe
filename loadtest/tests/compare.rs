//! A comparison of real servers, small enough for a test.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corecast_load::compare::{self, Load, Plan};
use corecast_load::server::Recipe;
use support::machine::alone;

fn small() -> Load {
    Load {
        streams: 2,
        viewers: 10,
        bitrate: 300_000,
        window: Duration::from_millis(100),
        gop: Duration::from_millis(400),
        settle: Duration::from_millis(300),
        // Who has to wait for a core for half a second does not miss most of it.
        duration: Duration::from_secs(2),
        inspect: 0.5,
        server_cores: Vec::new(),
        load_cores: Vec::new(),
        ..Load::default()
    }
}

#[test]
fn a_comparison_measures_each_server_and_leaves_nothing_behind() {
    let _alone = alone();
    let mut corecast = Recipe::corecast(support::binary(), "app_defaults.merge_window = '100ms'");
    corecast.play.retain(|name, _| ["HTTP-FLV", "RTMP"].contains(&name.as_str()));
    let mut other = corecast.clone();
    other.name = "ends at once".to_owned();
    other.start = "sh -c 'echo no licence; exit 7'".to_owned();
    let plan = Plan { rounds: 2, load: small(), servers: vec![corecast, other] };
    let mut lines = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    let found = compare::run(&plan, &stop, &mut |line| lines.push(line.to_owned()));
    let found = found.expect("the floor can be measured");

    assert_eq!(found.floor.cpu_percent.len(), 4, "before each server in each round");
    let names = found.rows.iter().map(|row| (row.server.as_str(), row.protocol.as_str()));
    let protocols = ["HTTP-FLV", "RTMP"];
    let expected = ["corecast", "ends at once"].map(|name| protocols.map(|of| (name, of)));
    assert_eq!(names.collect::<Vec<_>>(), expected.concat());
    for row in &found.rows[..2] {
        assert_eq!((row.cpu_percent.len(), row.lost, row.missing), (2, 0, Some(0)), "{row:?}");
        assert!(row.median_percent > Some(0.0) && row.ratio_to_floor > Some(0.0), "{row:?}");
        assert!(row.version.as_ref().is_some_and(|text| text.starts_with("corecast ")));
        // It sends what was published, and what a container adds.
        assert!(row.egress_percent > Some(60.0), "{row:?}");
    }
    let last = found.last.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(last, ["floor", "corecast HTTP-FLV", "corecast RTMP"]);
    for row in &found.rows[2..] {
        assert_eq!((row.median_percent, row.failures.len()), (None, 1), "{row:?}");
        assert!(row.failures[0].contains("no licence"), "{row:?}");
    }
    assert_eq!(lines.len(), 4 + 8, "{lines:#?}");
    let text = found.to_string();
    assert!(text.contains("## 10 viewers of 2 streams of 0.3 Mbit/s"), "{text}");

    let mine = format!("corecast-load-{}-", std::process::id());
    let left = std::fs::read_dir(std::env::temp_dir()).expect("there is one").flatten();
    let left = left.filter(|file| file.file_name().to_string_lossy().starts_with(&mine));
    assert_eq!(left.count(), 0);
    let me = procfs::process::Process::myself().expect("it runs");
    let children = me.tasks().expect("it runs").flatten().flat_map(|task| task.children());
    assert_eq!(children.flatten().collect::<Vec<_>>(), [0; 0]);
}

#[test]
fn a_comparison_that_is_stopped_ends_with_what_there_is() {
    let _alone = alone();
    let mut corecast = Recipe::corecast(support::binary(), "");
    // By HLS nothing comes within a round that short.
    corecast.play.remove("HLS");
    let plan = Plan { rounds: 50, load: small(), servers: vec![corecast] };
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut count) = (Arc::clone(&stop), 0);
    let found = compare::run(&plan, &stop, &mut |_| {
        count += 1;
        told.store(count == 2, Ordering::Relaxed);
    });
    let found = found.expect("the floor can be measured");
    assert_eq!((found.floor.cpu_percent.len(), found.rows[0].cpu_percent.len()), (1, 1));
    assert!(found.rows[1].median_percent.is_none() && found.rows[1].failures.is_empty());
}
