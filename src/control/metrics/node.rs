use std::collections::BTreeMap;
use std::fmt;

use super::SharedFigures;
use super::page::{Labels, Page};
use crate::control::stats::NodeSnapshot;
use crate::plane::{AppSnapshot, CoreSnapshot, OutputTotals, StreamState};

/// The node, its cores, its outputs and its apps. What a core counts has its number as a label; the
/// node's is the sum.
pub(super) fn write(
    page: &mut Page<'_>,
    node: &NodeSnapshot,
    shared: &SharedFigures,
) -> fmt::Result {
    whole(page, node, shared)?;
    refusals(page, node, shared)?;
    let labelled = node.cores.iter().map(|core| ([("core", core.core.to_string())], core));
    cores(page, &labelled.collect::<Vec<_>>())?;
    outputs(page, &node.cores)?;
    apps(page, &node.cores)
}

const NONE: &Labels = &[];

fn whole(page: &mut Page<'_>, node: &NodeSnapshot, shared: &SharedFigures) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.gauge("build_info", "Which program this is; always 1.", [(&version[..], 1_u64)])?;
    page.gauge("uptime_seconds", "Since its cores began.", [(NONE, node.uptime_s)])?;
    let help = "CPU that a thousand viewers cost, in per cent of one core: that of the whole \
                process, since the figures were last told to anyone (1 to 30 s). None if nobody \
                watched.";
    let per_1000 = node.rates.cpu_per_1000_viewers_percent.map(|percent| (NONE, percent));
    page.gauge("cpu_per_1000_viewers", help, per_1000)?;
    let help = "CPU time of the cores, of all that they could have used, likewise.";
    page.gauge("busy_ratio", help, [(NONE, node.busy_percent / 100.0)])?;
    page.gauge("connections", "Open connections.", [(NONE, node.connections)])?;
    page.gauge("connections_max", "As many may be open.", [(NONE, node.connections_max)])?;
    let help = "Cores that did not answer in time; the figures are what they said before.";
    page.gauge("silent_cores", help, [(NONE, node.silent_cores)])?;
    let help = "Connections accepted, those included that were then refused.";
    let accepted = [("rtmp", shared.accepted_rtmp), ("http", shared.accepted_http)];
    let accepted = accepted.map(|(protocol, count)| ([("protocol", protocol.to_owned())], count));
    page.counter(
        "accepted_connections",
        help,
        accepted.iter().map(|(labels, count)| (&labels[..], *count)),
    )?;
    page.gauge("recordings", "Recordings that are being written.", [(NONE, shared.recordings)])?;
    let help = "Recordings that ended because a disk was full, broken or too slow.";
    page.counter("recordings_failed", help, [(NONE, shared.recordings_failed)])?;
    let help = "Bytes that recordings wrote.";
    page.counter("recorded_bytes", help, [(NONE, shared.recorded_bytes)])?;
    let help = "Events for hook servers and listeners of the API that found no room.";
    page.counter("events_lost", help, [(NONE, shared.events_lost)])?;
    let help = "Log lines that were dropped because the output was slow.";
    page.counter("log_lines_dropped", help, [(NONE, shared.log_lines_dropped)])
}

fn refusals(page: &mut Page<'_>, node: &NodeSnapshot, shared: &SharedFigures) -> fmt::Result {
    let of_node = |(reason, count)| (vec![("reason", String::from(reason))], count);
    let mut samples = vec![of_node(("hand_over", node.refused_hand_overs as u64))];
    samples.extend(shared.refusals.iter().map(|(reason, count)| of_node((reason.name(), *count))));
    for core in &node.cores {
        let of_core = [
            ("waiting", core.totals.refused_waiting),
            ("overloaded", core.totals.refused_overloaded),
            ("viewers_max_per_stream", core.totals.refused_full),
            ("hls", core.totals.refused_hls),
        ];
        for (reason, count) in of_core {
            let core = ("core", core.core.to_string());
            samples.push((vec![("reason", reason.to_owned()), core], count));
        }
    }
    let help = "Who was refused, by what: a limit (connections, connections_per_address, \
                connects_per_second_per_address, viewers, publishers, viewers_max, publishers_max, \
                viewers_max_per_address, viewers_max_per_stream, hls for hls_sessions and hls_max_bytes, waiting for waiting_sinks), rules, \
                referers, proof (no key, signature or token that counts), verdict (whoever was asked, \
                such as a hook server), app (not configured, or not for this), conflict (another \
                publishes), blocked (the address, by the API), request (it makes no sense), overloaded, \
                draining, hand_over (the core that owns the stream has too many in its inbox), \
                no_descriptor, replays.";
    page.counter("refusals", help, samples.iter().map(|(labels, count)| (&labels[..], *count)))
}

type Cores<'a> = [([(&'static str, String); 1], &'a CoreSnapshot)];

fn cores(page: &mut Page<'_>, cores: &Cores<'_>) -> fmt::Result {
    for (name, help, of) in COUNTS {
        page.counter(name, help, cores.iter().map(|(labels, core)| (&labels[..], of(core))))?;
    }
    for (name, help, of) in TIMES {
        page.counter(name, help, cores.iter().map(|(labels, core)| (&labels[..], of(core))))?;
    }
    for (name, help, of) in NOW {
        page.gauge(name, help, cores.iter().map(|(labels, core)| (&labels[..], of(core))))?;
    }
    let per_1000 = cores
        .iter()
        .filter_map(|(labels, core)| Some((&labels[..], core.rates.cpu_per_1000_viewers_percent?)));
    let help = "CPU of the core for a thousand of its viewers, in per cent.";
    page.gauge("core_cpu_per_1000_viewers", help, per_1000)?;
    streams_by_state(page, cores)?;
    let help = "How late something that was due was begun: a flush, or the second's count of an \
                active core.";
    let lags = cores.iter().map(|(labels, core)| (&labels[..], (&core.loop_lags).into()));
    page.histogram("loop_lag_seconds", help, lags)?;
    let help = "How long a sweep took: each visits every viewer of one output of a stream.";
    let sweeps = cores.iter().map(|(labels, core)| (&labels[..], (&core.sweep_times).into()));
    page.histogram("sweep_seconds", help, sweeps)
}

fn streams_by_state(page: &mut Page<'_>, cores: &Cores<'_>) -> fmt::Result {
    const STATES: [(StreamState, &str); 4] = [
        (StreamState::Waiting, "waiting"),
        (StreamState::Probing, "probing"),
        (StreamState::Live, "live"),
        (StreamState::Grace, "grace"),
    ];
    let mut samples = Vec::new();
    for (core_label, core) in cores {
        for (state, name) in STATES {
            let count = core.streams.iter().filter(|stream| stream.state == state).count();
            let labels = [core_label[0].clone(), ("state", name.to_owned())];
            samples.push((labels, count));
        }
    }
    let help = "Streams: waiting (for a publisher), probing (its tracks are not all known yet), \
                live, grace (its publisher has left and may return).";
    page.gauge("streams", help, samples.iter().map(|(labels, count)| (&labels[..], *count)))
}

fn outputs(page: &mut Page<'_>, cores: &[CoreSnapshot]) -> fmt::Result {
    let mut samples = Vec::new();
    for core in cores {
        for output in &core.outputs {
            let labels = [
                ("protocol", output.protocol.to_owned()),
                ("format", output.format.to_owned()),
                ("core", core.core.to_string()),
            ];
            samples.push((labels, *output));
        }
    }
    let of = |of: fn(&OutputTotals) -> u64| {
        let samples = samples.iter();
        samples.map(move |(labels, output)| (&labels[..], of(output)))
    };
    let help = "Viewers by protocol and format, those not counted who wait for a publisher.";
    page.gauge("output_viewers", help, of(|output| output.viewers))?;
    let help = "Viewers that were let in, those included who then waited in vain.";
    page.counter("output_plays", help, of(|output| output.plays))?;
    let help = "Bytes that viewers' sockets took, by protocol and format.";
    page.counter("output_egress_bytes", help, of(|output| output.egress_bytes))
}

fn apps(page: &mut Page<'_>, cores: &[CoreSnapshot]) -> fmt::Result {
    let mut apps: BTreeMap<&str, AppSnapshot> = BTreeMap::new();
    for app in cores.iter().flat_map(|core| &core.apps) {
        *apps.entry(&*app.app).or_default() += app;
    }
    let samples: Vec<_> =
        apps.into_iter().map(|(name, app)| ([("app", name.to_owned())], app)).collect();
    for (name, help, of) in APP_NOW {
        page.gauge(name, help, samples.iter().map(|(labels, app)| (&labels[..], of(app))))?;
    }
    for (name, help, of) in APP_COUNTS {
        page.counter(name, help, samples.iter().map(|(labels, app)| (&labels[..], of(app))))?;
    }
    let help = "Time that viewers watched, all of them together.";
    let seconds = samples.iter().map(|(labels, app)| (&labels[..], app.viewer_us as f64 / 1e6));
    page.counter("app_viewer_seconds", help, seconds)
}

type Of<T, V> = fn(&T) -> V;

const COUNTS: [(&str, &str, Of<CoreSnapshot, u64>); 18] = [
    ("ingest_bytes", "Bytes publishers sent.", |core| core.totals.ingest_bytes),
    ("egress_bytes", "Bytes viewers' sockets took.", |core| core.totals.egress_bytes),
    ("flush_writes", "Writes to sockets.", |core| core.totals.writes),
    ("short_writes", "Writes of which the socket took only a part.", |core| {
        core.totals.short_writes
    }),
    ("blocked_writes", "Writes of which the socket took nothing (EAGAIN).", |core| {
        core.totals.blocked_writes
    }),
    ("sweeps", "Sweeps that ended.", |core| core.totals.sweeps),
    ("swept_viewers", "Viewers that sweeps visited.", |core| core.totals.swept_viewers),
    ("overruns", "Sweeps that were still running when their next was due.", |core| {
        core.totals.overruns
    }),
    ("skips", "Viewers moved forward because they lagged.", |core| core.totals.skips),
    ("stalls", "Viewers closed because they took nothing.", |core| core.totals.stalls),
    ("pinned_out", "Viewers closed because they held too many bytes.", |core| {
        core.totals.pinned_out
    }),
    ("not_found", "Viewers that waited in vain for a publisher.", |core| core.totals.not_found),
    ("gop_overgrown", "Groups of pictures that outgrew their cache.", |core| {
        core.totals.gop_overgrown
    }),
    ("clock_jumps", "Jumps of publishers' clocks that were taken out.", |core| core.totals.jumps),
    ("hls_segments_without_key_frame", "HLS segments that ended as no key frame came.", |core| {
        core.totals.hls_forced
    }),
    (
        "hls_segments_cut_short",
        "HLS segments that went before their time (hls_max_bytes).",
        |core| core.totals.hls_cut_short,
    ),
    ("hls_parts_overgrown", "HLS parts too large to keep: broken off until a key frame.", |core| {
        core.totals.hls_overgrown
    }),
    ("hls_gaps", "HLS segments in whose time nothing came.", |core| core.totals.hls_gaps),
];

const TIMES: [(&str, &str, Of<CoreSnapshot, f64>); 5] = [
    ("core_cpu_seconds", "CPU time of the core's thread.", |core| core.cpu_s),
    ("core_cpu_waited_seconds", "Time in which others had the core's CPU.", |core| {
        core.cpu_waited_s
    }),
    ("viewer_seconds", "Time that viewers watched, all of them together.", |core| {
        core.totals.viewer_us as f64 / 1e6
    }),
    ("ingest_turn_seconds", "Time of publishers' turns, by the clock.", |core| {
        core.totals.ingest_ns as f64 / 1e9
    }),
    ("flush_turn_seconds", "Time of viewers' turns in the flush loop, by the clock.", |core| {
        core.totals.flush_ns as f64 / 1e9
    }),
];

const NOW: [(&str, &str, Of<CoreSnapshot, f64>); 11] = [
    ("core_busy_ratio", "CPU time of the core's thread, of the time that passed.", |core| {
        core.rates.cpu_percent / 100.0
    }),
    ("core_waited_ratio", "Time in which others had the core's CPU, likewise.", |core| {
        core.cpu_waited_percent / 100.0
    }),
    ("viewers", "Viewers, those not counted who wait for a publisher.", |core| {
        core.totals.viewers as f64
    }),
    ("sinks", "Viewers, those included who wait for a publisher.", |core| core.totals.sinks as f64),
    ("trans_streams", "Streams in an output format.", |core| core.totals.transes as f64),
    ("block_log_bytes", "Bytes kept for viewers who lag.", |core| core.totals.log_bytes as f64),
    ("gop_cache_bytes", "Bytes kept for newcomers.", |core| core.totals.gop_bytes as f64),
    ("hls_bytes", "Bytes of HLS segments.", |core| core.totals.hls_bytes as f64),
    ("pressure_step", "Steps by which pressure widens the core's merge windows.", |core| {
        f64::from(core.pressure.step)
    }),
    ("pressure_widest_step", "At this step they are as wide as may be.", |core| {
        f64::from(core.pressure.widest_step)
    }),
    ("refuses_newcomers", "1 while the widest windows are not enough.", |core| {
        f64::from(u8::from(core.pressure.refuses_newcomers))
    }),
];

const APP_NOW: [(&str, &str, Of<AppSnapshot, u64>); 2] = [
    ("app_streams", "Streams that have been published and have not ended.", |app| app.streams),
    ("app_viewers", "Viewers, those not counted who wait for a publisher.", |app| app.viewers),
];

const APP_COUNTS: [(&str, &str, Of<AppSnapshot, u64>); 5] = [
    ("app_ingest_bytes", "Bytes its publishers sent.", |app| app.ingest_bytes),
    ("app_egress_bytes", "Bytes its viewers' sockets took.", |app| app.egress_bytes),
    ("app_frames", "Frames its publishers sent.", |app| app.frames),
    ("app_frames_dropped", "Frames of an unknown track, or before the first key frame.", |app| {
        app.frames_dropped
    }),
    ("app_skips", "Times a viewer was moved forward because it lagged.", |app| app.skips),
];
