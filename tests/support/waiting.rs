//! Viewers that are to see the beginning of a stream are there before its publisher, however long
//! their programs take to start.

use serde_json::Value;

use crate::support::http::{exchange, get};
use crate::support::machine::{eventually, secs};
use crate::support::server::{Server, Setup};

/// A server that tells who waits, and lets them wait for the slowest of them.
pub(crate) const SETUP: Setup = Setup {
    cores: 1,
    app: "",
    publisher_grace: "1s",
    wait_for_publisher: "60s",
    video_stall: "20s",
    drain: ["0s", "3s"],
    tables: "",
    open_files: None,
    admin: true,
};

/// Waits until `count` viewers wait for the publisher of `key`, at a server with an API.
#[track_caller]
pub(crate) fn wait_for_viewers(server: &Server, key: &str, count: usize) {
    let request = get(&format!("api/v1/streams/{key}/sinks"));
    let mut said = String::new();
    let all = eventually(secs(45), || {
        said = exchange(server.admin, &request).text();
        let told = serde_json::from_str::<Value>(&said).unwrap_or_default();
        told["items"].as_array().is_some_and(|items| items.len() >= count)
    });
    assert!(all, "{count} are to wait for {key}: {said}");
}
