// What the node was like in the last ten minutes, as this page has seen it. Samples are kept by how
// long the node was up then: its clock may be set.

export const WINDOW_S = 600;
/// Longer without a look is a gap in the plots.
const GAP_S = 5;
/// Figures nearer than this are the same ones, told twice.
const SAME_S = 0.3;

let samples = [];
/// When the node started, by its clock as it is now.
let started = 0;

/// Keeps what the API said of the node.
export function remember(node) {
  const last = samples.at(-1);
  const up = node.uptime_s;
  if (last && up < last.up) samples = [];
  else if (last && up - last.up < SAME_S) return;
  else if (last && up - last.up > GAP_S) samples.push({ up: up - 1 });
  started = node.at - up;
  samples.push({
    up,
    viewers: node.viewers,
    egress: bitRate(node, "egress_bytes"),
    ingest: bitRate(node, "ingest_bytes"),
    perThousand: perThousand(node),
    lag: node.loop_lag.p99_ms,
    cpu_s: node.cpu_s,
    viewer_us: node.viewer_us,
    egress_bytes: node.egress_bytes,
    ingest_bytes: node.ingest_bytes,
  });
  const old = samples.findIndex((sample) => sample.up >= up - WINDOW_S - GAP_S);
  if (old > 0) samples = samples.slice(old);
}

/// Forgets all of it: it may be another node that is looked at now.
export const forget = () => { samples = []; };

/// Two columns for a plot: times, and one of the figures; null where it is not known.
export const columns = (figure) => [
  samples.map((sample) => started + sample.up),
  samples.map((sample) => sample[figure] ?? null),
];

/// The time of the newest.
export const newest = () => (samples.length ? started + samples.at(-1).up : Date.now() / 1000);

/// The samples since the node was up for so long.
const since = (up) => samples.filter((sample) => sample.up >= up && sample.viewers !== undefined);

/// The worst of the last `seconds`.
export const worst = (figure, seconds) =>
  since((latest()?.up ?? 0) - seconds).reduce((most, sample) => Math.max(most, sample[figure] ?? 0), 0);

/// CPU that a thousand viewers cost, in per cent of one core, over the last ten seconds: of one
/// second alone it jumps about, since the kernel counts in ticks. Null if nobody watched.
function perThousand(node) {
  const first = since(node.uptime_s - 10).at(0);
  if (!first) return null;
  const watched = (node.viewer_us - first.viewer_us) / 1e6;
  // Somebody must have watched for a second, or it says nothing.
  return watched >= 1 ? ((node.cpu_s - first.cpu_s) / watched) * 1000 * 100 : null;
}

/// Bits per second over the last three seconds: viewers are sent a merge window at a time, so one
/// second alone holds now more of them, now less. Null until there was time for some.
function bitRate(node, counter) {
  const first = since(node.uptime_s - 3).at(0);
  const time = first ? node.uptime_s - first.up : 0;
  return time >= 0.5 ? ((node[counter] - first[counter]) * 8) / time : null;
}

export const latest = () => samples.at(-1) ?? null;
