//! What a server costs that has nothing to send: no connections, viewers of a stream that nobody
//! publishes, and viewers that have paused.

use std::io;
use std::time::Duration;

use crate::clients::{Clients, Door};
use crate::figure::{Figure, median};
use crate::load::Publish;
use crate::measured::{Corecast, Setup};
use crate::suite::Suite;

const CONNECTIONS: usize = 5000;
const ROUNDS: usize = 3;
const NONE_PERCENT: f64 = 0.2;
const CONNECTIONS_PERCENT: f64 = 1.0;
/// Paused viewers need a stream.
const BITRATE: u64 = 250_000;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let connections = if suite.quick { 500 } else { CONNECTIONS };
    let mut figures = Vec::new();
    let mut row = |what: &str, bound: f64, measure: &dyn Fn() -> io::Result<f64>| {
        let mut percents = Vec::new();
        for round in 1..=suite.rounds(ROUNDS) {
            let percent = suite.quietly(what, measure)?;
            eprintln!("  {what}, round {round}: {percent:.3} %");
            percents.push(percent);
        }
        figures.push(Figure {
            what: what.to_owned(),
            measured: format!("{:.2} % of a core", median(&percents)),
            bound: format!("{bound} %"),
            shares: percents.iter().map(|percent| percent.max(0.0) / bound).collect(),
            notes: Vec::new(),
        });
        Ok::<_, io::Error>(())
    };
    row("idle, no connection", NONE_PERCENT, &|| none(suite))?;
    let what = format!("idle, {connections} waiting for a publisher, half HTTP-FLV, half RTMP");
    row(&what, CONNECTIONS_PERCENT, &|| waiting(suite, connections))?;
    let what = format!("idle, {connections} paused by RTMP, beyond their stream's own cost");
    row(&what, CONNECTIONS_PERCENT, &|| paused(suite, connections))?;
    Ok(figures)
}

fn none(suite: &Suite) -> io::Result<f64> {
    let mut server = Corecast::start(&suite.server, &Setup::on(suite.cpu))?;
    std::thread::sleep(suite.seconds(2));
    server.child.cpu_percent(suite.seconds(20))
}

fn waiting(suite: &Suite, connections: usize) -> io::Result<f64> {
    let config = format!(
        "limits.waiting_sinks = {connections}\nlimits.waiting_sinks_per_key = {connections}\n\
         app_defaults.wait_for_publisher = \"10m\"\n"
    );
    let setup = Setup { config, ..Setup::on(suite.cpu) };
    let mut server = Corecast::start(&suite.server, &setup)?;
    let mut clients = Clients::default();
    for door in [Door::HttpFlv(server.http_flv("nobody")), Door::Rtmp(server.rtmp("nobody"))] {
        clients.connect(&door, connections / 2)?;
    }
    clients.settle(QUIET)?;
    let percent = server.child.cpu_percent(suite.seconds(20))?;
    clients.must_be_there(connections)?;
    Ok(percent)
}

fn paused(suite: &Suite, connections: usize) -> io::Result<f64> {
    let mut server = Corecast::start(&suite.server, &Setup::on(suite.cpu))?;
    let publish = Publish { url: server.rtmp("x"), streams: 1, bitrate: BITRATE };
    let _publisher = suite.load.publish(&publish)?;
    let mut clients = Clients::default();
    // The muxing for a viewer is the stream's own cost.
    clients.connect(&Door::Rtmp(server.rtmp("x")), 1)?;
    clients.play()?;
    clients.pause()?;
    clients.settle(QUIET)?;
    let alone = server.child.cpu_percent(suite.seconds(20))?;
    clients.connect(&Door::Rtmp(server.rtmp("x")), connections)?;
    clients.play()?;
    clients.pause()?;
    clients.settle(QUIET)?;
    let percent = server.child.cpu_percent(suite.seconds(20))?;
    clients.must_be_there(connections + 1)?;
    Ok(percent - alone)
}

/// Nothing from the server for this long: it has said all it had to say.
const QUIET: Duration = Duration::from_millis(1500);
