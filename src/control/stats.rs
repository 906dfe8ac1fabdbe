//! The node's own figures: asked of its cores whenever somebody wants them, and told in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use super::cores::{ANSWER_WITHIN, all, ask_all};
use crate::config::Config;
use crate::plane::{CoreSnapshot, Quantiles, Rates, Timings, Totals};
use crate::serve::core::Node;
use crate::serve::order::Order;
use crate::shard::CoreId;

/// The node at one moment. The same names in every release; what is new is added.
///
/// Counters are the sums of the cores', from their start; rates and quantiles are of the time
/// since the earlier snapshot that [`measure`] was given. A core that was silent then tells of the
/// time since it last answered, and while it is silent its rates are taken to be what they were.
#[derive(Debug, Clone, Serialize)]
pub struct NodeSnapshot {
    /// When its cores were asked.
    #[serde(skip)]
    pub at: std::time::Instant,
    /// Since its cores began.
    pub uptime_s: f64,
    /// CPU time of the whole process: its cores, the control thread, the log.
    pub cpu_s: f64,
    /// Open connections.
    pub connections: usize,
    /// As many may be open.
    pub connections_max: usize,
    /// Connections refused before anyone heard what they want: too many, of all or of one address.
    pub refused_connections: usize,
    /// Connections refused because the core that owns their stream has too many in its inbox.
    pub refused_hand_overs: usize,
    /// All that was refused, whatever has refused it: the sum of the metric `corecast_refusals_total`.
    pub refused: u64,
    /// Cores that did not answer in time; what stands for them is what they said before, if they
    /// have.
    pub silent_cores: usize,
    /// Counters.
    #[serde(flatten)]
    pub totals: Totals,
    /// Rates of all cores together, each by its own clock; their CPU is that of the whole process, as
    /// others measure it, and by the clock of who asks.
    pub rates: Rates,
    /// CPU time of its cores' threads, in per cent of all that they could have used.
    pub busy_percent: f64,
    /// How late all cores were, see [`CoreSnapshot::loop_lag`].
    pub loop_lag: Quantiles,
    /// How long sweeps took on all cores, see [`CoreSnapshot::sweep`].
    pub sweep: Quantiles,
    /// Each core, with its streams.
    pub cores: Vec<CoreSnapshot>,
}

/// Asks every core of `node`. Rates are those since `earlier`, an older snapshot of this node, or
/// since its start.
pub async fn measure(node: &Node, earlier: Option<&NodeSnapshot>) -> NodeSnapshot {
    let (at, cpu) = (std::time::Instant::now(), process_cpu());
    let (mut snapshots, mut silent_cores) = (Vec::new(), 0);
    let answers = ask_all(node, ANSWER_WITHIN, |_, asker| Order::Measure(asker)).await;
    for (CoreId(core), answer) in all(node).zip(answers) {
        let before = earlier.and_then(|earlier| earlier.cores.iter().find(|c| c.core == core));
        match answer {
            Some(now) => snapshots.push(now.since(before)),
            None => {
                silent_cores += 1;
                snapshots.extend(before.cloned());
            }
        }
    }
    NodeSnapshot::new(node, earlier, (at, cpu), snapshots, silent_cores)
}

fn process_cpu() -> Duration {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    cpu.try_into().expect("the time a process has run is not negative")
}

impl NodeSnapshot {
    fn new(
        node: &Node,
        earlier: Option<&Self>,
        (at, cpu): (std::time::Instant, Duration),
        cores: Vec<CoreSnapshot>,
        silent_cores: usize,
    ) -> Self {
        let (mut totals, mut rates) = (Totals::default(), Rates::default());
        let (mut loop_lags, mut sweep_times) = (Timings::default(), Timings::default());
        let mut uptime_s = 0.0;
        for core in &cores {
            totals += core.totals;
            rates.add(&core.rates);
            uptime_s = core.uptime_s.max(uptime_s);
            let before = earlier.and_then(|e| e.cores.iter().find(|c| c.core == core.core));
            match before {
                Some(before) => {
                    loop_lags.add(&core.loop_lags.since(&before.loop_lags));
                    sweep_times.add(&core.sweep_times.since(&before.sweep_times));
                }
                None => {
                    loop_lags.add(&core.loop_lags);
                    sweep_times.add(&core.sweep_times);
                }
            }
        }
        let cores_percent = rates.cpu_percent;
        let cpu_s = cpu.as_secs_f64();
        let refused_hand_overs = node.counters.refused_hand_overs.load(Ordering::Relaxed);
        let shared: u64 = node.refused.all().iter().map(|(_, count)| count).sum();
        let refused = shared + refused_hand_overs as u64 + refused_by_cores(&totals);
        // Not a core's own span: one that was silent looks back further than the others.
        rates.over_s = earlier.map_or(uptime_s, |earlier| (at - earlier.at).as_secs_f64());
        rates.set_cpu(cpu_s - earlier.map_or(0.0, |earlier| earlier.cpu_s));
        Self {
            at,
            uptime_s,
            cpu_s,
            connections: node.counters.connections.load(Ordering::Relaxed),
            connections_max: node.connections_max,
            refused_connections: node.counters.refused_connections.load(Ordering::Relaxed),
            refused_hand_overs,
            refused,
            silent_cores,
            totals,
            rates,
            busy_percent: cores_percent / node.mesh.cores() as f64,
            loop_lag: loop_lags.quantiles(),
            sweep: sweep_times.quantiles(),
            cores,
        }
    }
}

/// Those refusals that cores count themselves.
fn refused_by_cores(totals: &Totals) -> u64 {
    totals.refused_waiting + totals.refused_overloaded + totals.refused_full
}

/// Logs what happened in each `log.stats_interval`, for as long as the node runs; never if that is
/// zero. A node with nothing to do says so once.
pub(crate) async fn log(node: Arc<Node>, mut config: watch::Receiver<Arc<Config>>) {
    let mut before: Option<NodeSnapshot> = None;
    let mut said_idle = false;
    loop {
        let interval = config.borrow_and_update().log.stats_interval;
        tokio::select! {
            () = sleep(interval), if !interval.is_zero() => {}
            changed = config.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let now = measure(&node, before.as_ref()).await;
        // Whoever wonders why nobody can publish looks here.
        let idle = is_idle(&now.totals, &now.rates) && refused(&now, before.as_ref()) == 0;
        if !(idle && said_idle) {
            tell(&now, before.as_ref());
        }
        said_idle = idle;
        before = Some(now);
    }
}

/// Nothing is published, watched or waited for, and nothing was.
fn is_idle(totals: &Totals, rates: &Rates) -> bool {
    totals.sources == 0 && rates.ingest_bit_s == 0.0 && rates.egress_bit_s == 0.0
}

fn refused(now: &NodeSnapshot, before: Option<&NodeSnapshot>) -> u64 {
    now.refused.saturating_sub(before.map_or(0, |before| before.refused))
}

/// One line for the node, and one for each core with something to do if there are several.
fn tell(now: &NodeSnapshot, before: Option<&NodeSnapshot>) {
    let was = before.map_or_else(Totals::default, |before| before.totals);
    let line = Line {
        core: None,
        connections: Some(now.connections),
        busy_percent: now.busy_percent,
        rates: &now.rates,
        totals: &now.totals,
        was: &was,
        refused: refused(now, before),
        loop_lag: &now.loop_lag,
        sweep: &now.sweep,
        silent_cores: Some(now.silent_cores).filter(|silent| *silent > 0),
    };
    line.write(&now.cores);
    if now.cores.len() < 2 {
        return;
    }
    for core in now.cores.iter().filter(|core| !is_idle(&core.totals, &core.rates)) {
        let was = before.and_then(|before| before.cores.iter().find(|c| c.core == core.core));
        if was.is_some_and(|was| was.uptime_s >= core.uptime_s) {
            // It was silent: this line has been.
            continue;
        }
        let was = was.map_or_else(Totals::default, |was| was.totals);
        let refused = refused_by_cores(&core.totals).saturating_sub(refused_by_cores(&was));
        let line = Line {
            core: Some(core.core),
            connections: None,
            busy_percent: core.rates.cpu_percent,
            rates: &core.rates,
            totals: &core.totals,
            was: &was,
            refused,
            loop_lag: &core.loop_lag,
            sweep: &core.sweep,
            silent_cores: None,
        };
        line.write(std::slice::from_ref(core));
    }
}

/// A line of figures, of the node or of one core. What is `None` is left out.
struct Line<'a> {
    core: Option<u16>,
    connections: Option<usize>,
    busy_percent: f64,
    rates: &'a Rates,
    totals: &'a Totals,
    was: &'a Totals,
    refused: u64,
    loop_lag: &'a Quantiles,
    sweep: &'a Quantiles,
    silent_cores: Option<usize>,
}

impl Line<'_> {
    fn write(&self, cores: &[CoreSnapshot]) {
        let Self { core, connections, rates, totals, silent_cores, .. } = self;
        let new = |of: fn(&Totals) -> u64| of(totals).saturating_sub(of(self.was));
        // Only under pressure: how far, the widest window it makes, and whether that is enough.
        let step = cores.iter().map(|core| core.pressure.step).max().filter(|step| *step > 0);
        let pressed = cores.iter().filter(|core| core.pressure.step > 0);
        let windows = pressed.flat_map(|core| &core.streams).map(|stream| stream.window_ms);
        let window_ms = windows.reduce(f64::max).map(tenths);
        // Of a few it is the cost of the streams alone.
        let per_1000 = rates.cpu_per_1000_viewers_percent.filter(|_| rates.viewers_mean >= MANY);
        let refuses = cores.iter().any(|core| core.pressure.refuses_newcomers);
        tracing::info!(
            core,
            over_s = tenths(rates.over_s),
            busy_percent = tenths(self.busy_percent),
            connections,
            viewers = totals.viewers,
            streams = totals.sources,
            ingest_mbit_s = hundredths(rates.ingest_bit_s / 1e6),
            egress_mbit_s = hundredths(rates.egress_bit_s / 1e6),
            cpu_per_1000_viewers_percent = per_1000.map(hundredths),
            loop_lag_p99_ms = tenths(self.loop_lag.p99_ms),
            sweep_p99_ms = tenths(self.sweep.p99_ms),
            skips = new(|totals| totals.skips),
            stalls = new(|totals| totals.stalls),
            overruns = new(|totals| totals.overruns),
            refused = self.refused,
            window_ms,
            pressure_step = step,
            refuses_newcomers = refuses.then_some(true),
            silent_cores,
            "{}",
            if core.is_some() { "core stats" } else { "node stats" }
        );
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Viewers from which on what a thousand of them cost says something.
const MANY: f64 = 50.0;

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::{CoreTimes, Hub};
    use crate::serve::Mesh;
    use crate::shard::Tell;

    /// A core at `second` of its life that has always had 100 viewers, each of them sent 1 Mbit/s.
    fn core(core: u16, second: u32) -> CoreSnapshot {
        let now = std::time::Instant::now();
        let uptime = Duration::from_secs(second.into());
        let times = CoreTimes { core, uptime, cpu: uptime / 10, waited: Duration::ZERO };
        let mut snapshot = Hub::new(Arc::default(), now).snapshot(now, times);
        snapshot.totals.viewer_us = u64::from(second) * 100 * 1_000_000;
        snapshot.totals.egress_bytes = u64::from(second) * 100 * 125_000;
        snapshot
    }

    /// Measures a node whose cores answer this, or nothing.
    async fn measured(
        node: &Node,
        earlier: Option<&NodeSnapshot>,
        answers: [Option<CoreSnapshot>; 2],
    ) -> NodeSnapshot {
        let cores = async {
            for (id, answer) in (0..).zip(answers) {
                let Tell::Order(Order::Measure(asker)) = node.mesh.receive(CoreId(id)).await else {
                    panic!("nothing else was asked");
                };
                // Dropped unanswered, it is as if the time were over.
                if let Some(answer) = answer {
                    asker.send(answer).expect("it waits");
                }
            }
        };
        tokio::join!(measure(node, earlier), cores).0
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_core_that_was_silent_does_not_make_the_rates_of_the_node_jump() {
        let node = Node { connections_max: 10, ..Node::new(Mesh::new(2, 16)) };
        let mut earlier = measured(&node, None, [Some(core(0, 100)), Some(core(1, 100))]).await;
        assert_eq!(earlier.rates.over_s, 100.0);
        for (silent, second) in [(false, 110), (true, 120), (true, 130), (false, 140), (false, 150)]
        {
            let answers = [Some(core(0, second)), (!silent).then(|| core(1, second))];
            let now = measured(&node, Some(&earlier), answers).await;
            assert_eq!((now.silent_cores, now.cores.len()), (usize::from(silent), 2));
            assert_eq!(now.rates.viewers_mean, 200.0, "second {second}");
            assert_eq!(now.rates.egress_bit_s, 200e6, "second {second}");
            assert!((now.busy_percent - 10.0).abs() < 1e-6, "second {second}");
            // The cores say that ten seconds and more have passed. By the clock it was less, and
            // that goes with the CPU of the process that was spent in it.
            let (over_s, cpu_s) = (now.rates.over_s, now.cpu_s - earlier.cpu_s);
            assert_eq!(over_s, (now.at - earlier.at).as_secs_f64(), "second {second}");
            assert!(over_s < 10.0 && now.rates.cpu_percent == cpu_s * 100.0 / over_s);
            earlier = now;
        }
    }
}
