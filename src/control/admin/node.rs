//! The figures of the node and of its cores without their streams: what a page that looks every
//! second can afford, however many streams there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use crate::control::stats::NodeSnapshot;
use crate::plane::{CoreSnapshot, PressureSnapshot, Quantiles, Rates, StreamState, Totals};

/// The node at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeInShort {
    /// When its cores were asked, in seconds since 1970.
    at: f64,
    /// Since its cores began.
    uptime_s: f64,
    /// CPU time of the whole process: its cores, the control thread, the log.
    cpu_s: f64,
    /// Open connections.
    connections: usize,
    /// As many may be open.
    connections_max: usize,
    /// Cores that did not answer in time; what stands for them is what they said before.
    silent_cores: usize,
    /// Its streams.
    streams: Streams,
    /// How many were refused since the start, by what refused them: all reasons, with the names that
    /// they have in the metrics.
    refused: BTreeMap<&'static str, u64>,
    /// Counters, and what it holds.
    #[serde(flatten)]
    totals: Totals,
    /// Rates of all cores together; their CPU is that of the whole process.
    rates: Rates,
    /// CPU time of its cores' threads, in per cent of all that they could have used.
    busy_percent: f64,
    /// How late something that was due was begun, on all cores.
    loop_lag: Quantiles,
    /// How long sweeps took on all cores.
    sweep: Quantiles,
    /// Each core.
    cores: Vec<CoreInShort>,
}

/// Streams by their state.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Streams {
    /// On.
    live: usize,
    /// Their tracks are not all known yet.
    probing: usize,
    /// Their publisher has left and may return.
    grace: usize,
    /// Viewers wait; nobody publishes.
    waiting: usize,
}

/// One core at one moment.
#[derive(Debug, Serialize, ToSchema)]
struct CoreInShort {
    /// Which core, from 0.
    core: u16,
    /// The CPU that it is pinned to.
    cpu: Option<usize>,
    /// What pressure does to it.
    pressure: PressureSnapshot,
    /// Counters, and what it holds.
    #[serde(flatten)]
    totals: Totals,
    /// Rates.
    rates: Rates,
    /// Of that time, how much its thread waited for its CPU.
    cpu_waited_percent: f64,
    /// How late something that was due was begun.
    loop_lag: Quantiles,
    /// How long its sweeps took.
    sweep: Quantiles,
}

/// The node and its cores, without their streams
///
/// Figures are at most a second old; rates and quantiles are of the time since somebody asked before.
#[utoipa::path(get, path = "/node", tag = "node", responses((status = 200, body = NodeInShort)))]
pub(super) async fn node(State(admin): State<Arc<Admin>>) -> Json<NodeInShort> {
    let seen = admin.view.latest().await;
    let age = seen.at.elapsed();
    let at = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut streams = Streams::default();
    for stream in seen.cores.iter().flat_map(|core| &core.streams) {
        *match stream.state {
            StreamState::Live => &mut streams.live,
            StreamState::Probing => &mut streams.probing,
            StreamState::Grace => &mut streams.grace,
            StreamState::Waiting => &mut streams.waiting,
        } += 1;
    }
    Json(NodeInShort {
        at,
        uptime_s: seen.uptime_s,
        cpu_s: seen.cpu_s,
        connections: seen.connections,
        connections_max: seen.connections_max,
        silent_cores: seen.silent_cores,
        streams,
        refused: refused(&admin, &seen),
        totals: seen.totals,
        rates: seen.rates,
        busy_percent: seen.busy_percent,
        loop_lag: seen.loop_lag,
        sweep: seen.sweep,
        cores: seen.cores.iter().map(|core| CoreInShort::of(core, &admin.host.cores)).collect(),
    })
}

fn refused(admin: &Admin, seen: &NodeSnapshot) -> BTreeMap<&'static str, u64> {
    let refused = admin.node.refused.all().into_iter();
    let mut refused: BTreeMap<_, _> = refused.map(|(it, count)| (it.name(), count)).collect();
    refused.extend([
        ("hand_over", seen.refused_hand_overs as u64),
        ("waiting", seen.totals.refused_waiting),
        ("overloaded", seen.totals.refused_overloaded),
        ("viewers_max_per_stream", seen.totals.refused_full),
    ]);
    refused
}

impl CoreInShort {
    fn of(seen: &CoreSnapshot, cpus: &[usize]) -> Self {
        Self {
            core: seen.core,
            cpu: cpus.get(usize::from(seen.core)).copied(),
            pressure: seen.pressure,
            totals: seen.totals,
            rates: seen.rates,
            cpu_waited_percent: seen.cpu_waited_percent,
            loop_lag: seen.loop_lag,
            sweep: seen.sweep,
        }
    }
}
