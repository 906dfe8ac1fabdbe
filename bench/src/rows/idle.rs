//! What a server costs that has nothing to send: no connections, viewers of a stream that nobody
//! publishes, and viewers that have paused.

use std::io;
use std::time::Duration;

use corecast_load::meter::Meter;
use corecast_load::server::Server;

use super::ratio::By;
use crate::clients::Clients;
use crate::figure::{Figure, median};
use crate::load::Publish;
use crate::suite::{Suite, WINDOW};

const CONNECTIONS: usize = 5000;
const ROUNDS: usize = 2;
const NONE_PERCENT: f64 = 0.2;
const CONNECTIONS_PERCENT: f64 = 1.0;
/// Paused viewers need a stream.
const BITRATE: u64 = 250_000;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let connections = if suite.quick { 500 } else { CONNECTIONS };
    let row = |what: &str, bound: f64, measure: &dyn Fn() -> io::Result<f64>| {
        let percents = suite.each_round(what, ROUNDS, |round| {
            let percent = suite.quietly(what, measure)?;
            eprintln!("  {what}, round {round}: {percent:.3} %");
            Ok(percent)
        });
        let percents = match percents {
            Ok(percents) => percents,
            Err(error) => return Figure::failed(what, &error),
        };
        Figure {
            what: what.to_owned(),
            measured: format!("{:.2} % of a core", median(&percents)),
            details: String::new(),
            bound: format!("≤ {bound} %"),
            shares: percents.iter().map(|percent| percent.max(0.0) / bound).collect(),
            notes: Vec::new(),
            noise: None,
        }
    };
    let waits = format!("idle, {connections} waiting, half HTTP-FLV, half RTMP");
    let paused_ones = format!("idle, {connections} paused by RTMP, beyond the stream");
    Ok(vec![
        row("idle, no connection", NONE_PERCENT, &|| none(suite)),
        row(&waits, CONNECTIONS_PERCENT, &|| waiting(suite, connections)),
        row(&paused_ones, CONNECTIONS_PERCENT, &|| paused(suite, connections)),
    ])
}

fn none(suite: &Suite) -> io::Result<f64> {
    let server = suite.corecast(WINDOW)?;
    suite.sleep(suite.seconds(2))?;
    cpu_percent(suite, &server)
}

fn waiting(suite: &Suite, connections: usize) -> io::Result<f64> {
    let config = format!(
        "limits.waiting_sinks = {connections}\nlimits.waiting_sinks_per_key = {connections}\n\
         app_defaults.wait_for_publisher = \"10m\"\n"
    );
    let server = suite.corecast_with(&[suite.core], WINDOW, &config)?;
    let mut clients = Clients::default();
    for by in [By::HttpFlv, By::Rtmp] {
        clients.connect(&by.url(&server).replace("{n}", "0"), connections / 2)?;
    }
    clients.settle(QUIET)?;
    let percent = cpu_percent(suite, &server)?;
    clients.must_be_there(connections)?;
    Ok(percent)
}

fn paused(suite: &Suite, connections: usize) -> io::Result<f64> {
    let server = suite.corecast(WINDOW)?;
    let publish =
        Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE, sound: true };
    let _publisher = suite.load.publish(&publish)?;
    let (mut clients, by_rtmp) = (Clients::default(), By::Rtmp.url(&server).replace("{n}", "0"));
    // The muxing for a viewer is the stream's own cost.
    clients.connect(&by_rtmp, 1)?;
    clients.play()?;
    clients.pause()?;
    clients.settle(QUIET)?;
    let alone = cpu_percent(suite, &server)?;
    clients.connect(&by_rtmp, connections)?;
    clients.play()?;
    clients.pause()?;
    clients.settle(QUIET)?;
    let percent = cpu_percent(suite, &server)?;
    clients.must_be_there(connections + 1)?;
    Ok(percent - alone)
}

/// Nothing from the server for this long: it has said all it had to say.
const QUIET: Duration = Duration::from_millis(1500);

/// What the server uses from now on, per cent of one core.
fn cpu_percent(suite: &Suite, server: &Server) -> io::Result<f64> {
    let meter = Meter::of_process(server.process.pid())?;
    let before = meter.read()?;
    suite.sleep(suite.measured(14))?;
    let percent = meter.read()?.cpu_percent_since(&before);
    Ok(percent.expect("time has passed on this host"))
}
