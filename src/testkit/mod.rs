//! For tests only: a fake clock, machines back to back, a seeded bad link.

mod link;

pub(crate) use link::{Link, Machine};
