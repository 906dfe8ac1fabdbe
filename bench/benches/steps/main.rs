//! What single steps of a byte's way through the server cost, each by itself, with the demo clip
//! for a stream: read, mux, append, flush, join, and the way to another core.
//!
//! `cargo bench -p corecast-bench` measures; with `-- --test` each step is only run once. What the
//! whole server costs is told by `figure`.

mod append;
mod clip;
mod flush;
mod hand_over;
mod join;
mod mux;
mod read;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    let criterion = &mut { criterion };
    read::benches(criterion);
    mux::benches(criterion);
    append::benches(criterion);
    flush::benches(criterion);
    join::benches(criterion);
    hand_over::benches(criterion);
    criterion.final_summary();
}
