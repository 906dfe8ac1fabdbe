//! Foreign programs judge the server: `make judges`. What each publishes must come out of each
//! player as it went in; see `tests/support/frames.rs` for what "as it went in" means.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/waiting.rs"]
mod waiting;

mod browsers;
mod container;
mod exact;
mod life;
mod load;
mod load_balancer;
mod matrix;
mod relays;
