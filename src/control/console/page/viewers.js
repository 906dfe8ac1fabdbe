// The viewers of a stream, one by one.
import { call, get, query, segment, streamPath } from "./api.js";
import { block, host, makeClient, showClient } from "./client.js";
import { ask, attempt } from "./dialog.js";
import { button, el, put, section } from "./dom.js";
import { NONE, bytes, count, lag, moment, span } from "./format.js";
import { pager } from "./pager.js";
import { table } from "./table.js";

const PAGE = 50;

const STATES = { waiting: "waits for a publisher", starting: "waits for a key frame", paused: "paused", ended: "ended" };

/// What it fetches by other connections than its playlists is not known to be its own.
const fetches = (viewer) => viewer.plays_by === "hls";

export function viewers(key, again) {
  const turning = pager(PAGE, "viewers", again);
  const total = el("span", { class: "soft" });
  const rows = table({
    label: "Viewers",
    empty: "Nobody watches.",
    stacked: true,
    keyOf: (viewer) => viewer.id,
    columns: [
      { name: "client", label: "Client", make: makeClient, show: (cell, it) => showClient(cell, it, STATES[it.state]) },
      { name: "protocol", label: "Protocol", show: (_, it) => it.plays_by },
      { name: "lag", label: "Lag", number: true, show: showLag },
      { name: "lag-bytes", label: "Unsent", number: true, narrow: false, show: (_, it) => (fetches(it) ? NONE : bytes(it.lag_bytes)) },
      { name: "skips", label: "Skips", number: true, narrow: false, show: showSkips },
      { name: "bytes", label: "Sent", number: true, show: (_, it) => (fetches(it) ? "≥ " : "") + bytes(it.bytes) },
      { name: "since", label: "For", number: true, show: showSince },
      { name: "act", label: "Actions", bare: true, make: makeActions, show: showActions },
    ],
  });
  return {
    element: section("Viewers", { beside: [total] }, rows.element, turning.element),
    async poll() {
      const { limit, offset } = turning;
      const page = await get(query(streamPath(key) + "/sinks", { limit, offset }));
      if (offset !== turning.offset || !turning.show(page.total, page.items.length)) return;
      put(total, count(page.total));
      rows.show(page.items);
    },
  };

  function makeActions(cell) {
    cell.append(button("Kick", () => kick(cell.viewer)), button("Block", () => block(host(cell.viewer.address))));
  }

  async function kick(viewer) {
    const who = viewer.address ?? viewer.id;
    const answer = await ask({
      title: "Kick a viewer",
      text: `${who} is told so in the way of its protocol, and its connection closes. It may come again.`,
      fields: [{ name: "reason", label: "Reason, for the log and for hooks" }],
      action: "Kick",
      danger: true,
    });
    if (!answer) return;
    const path = query("sinks/" + segment(viewer.id), answer);
    await attempt(() => call("DELETE", path), `${who} was kicked.`);
    again();
  }
}

function showActions(cell, viewer) {
  cell.viewer = viewer;
  const [kick, keepOut] = cell.children;
  kick.setAttribute("aria-label", `Kick ${viewer.address ?? viewer.id}`);
  keepOut.hidden = !viewer.address;
  keepOut.setAttribute("aria-label", `Block ${host(viewer.address ?? "")}`);
}

function showLag(cell, viewer) {
  cell.classList.toggle("wait", viewer.lag_ms >= 3000);
  return viewer.state === "waiting" || fetches(viewer) ? NONE : lag(viewer.lag_ms);
}

function showSkips(cell, viewer) {
  cell.title = viewer.skips ? `${lag(viewer.skipped_ms)} and ${bytes(viewer.skipped_bytes)} left out` : "";
  return fetches(viewer) ? NONE : count(viewer.skips);
}

function showSince(cell, viewer) {
  cell.title = "since " + moment(viewer.since);
  return span(viewer.age_s);
}
