//! Replays the seeds of the fuzz targets, and each of them cut short, through the same functions.
//!
//! An input that once broke something is kept in `bench/fuzz/seeds/TARGET/` and replayed here.

#[path = "../bench/fuzz/feed.rs"]
mod feed;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_is_read_without_a_panic() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/fuzz/seeds");
    for (name, feed) in feed::ALL {
        let files = fs::read_dir(seeds.join(name)).expect("a folder of seeds for each target");
        let mut count = 0;
        for file in files {
            let path = file.expect("readable").path();
            let data = fs::read(&path).expect("readable");
            println!("{}", path.display());
            feed(&data);
            // Cut at many places: every one of short seeds.
            let step = (data.len() / 200).max(1);
            (0..data.len()).step_by(step).for_each(|length| feed(&data[..length]));
            count += 1;
        }
        assert!(count > 0, "no seeds for {name}");
    }
}

#[test]
fn every_target_has_its_file() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/fuzz/fuzz_targets");
    let files = fs::read_dir(targets).expect("the folder is there").count();
    assert_eq!(files, feed::ALL.len());
}
