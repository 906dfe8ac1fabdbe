// What happened since this list was opened first: refusals first, since they are what one looks for.
import { block, host, makeClient, showClient } from "./client.js";
import { button, el, put, section } from "./dom.js";
import { heard, listening, version } from "./events.js";
import { bytes, clock, count, lag, span } from "./format.js";
import { linkColumn } from "./streams.js";
import { table } from "./table.js";

/// Rows drawn, of those that are kept.
const ROWS = 100;

const CHOICES = [["refused", "Refused and not found"], ["streams", "Streams, recordings and drain"], ["viewers", "Viewers and connections"]];

const NAMES = {
  refused: "refused", not_found: "not found", published: "published", unpublished: "ended", joined: "joined",
  left: "left", connected: "connected", disconnected: "disconnected", skipped: "skipped", idle: "idle", drain: "drain", lost: "missed", restarted: "restarted",
  record_started: "recording", record_ended: "recorded", segment: "file written",
};

const COLOURS = { refused: "bad", lost: "bad", restarted: "wait", not_found: "wait" };

export function happenings(again) {
  let drawn = -1;
  const kind = el("select", { "aria-label": "What to show", onchange: () => { drawn = -1; again(); } },
    CHOICES.map(([value, text]) => el("option", { value }, text)));
  const state = el("span", { class: "soft", role: "status" });
  const rows = table({
    label: "What happened",
    stacked: true,
    empty: "Nothing of this kind has happened since this list was opened.",
    keyOf: (event) => event.key,
    columns: [
      { name: "at", label: "Time", show: (_, it) => clock(it.at) },
      { name: "what", label: "What", show: showName },
      { name: "stream", label: "Stream", make: linkColumn.make, show: (cell, it) => linkColumn.show(cell, { stream: it.stream ?? "" }) },
      { name: "client", label: "Client", make: makeClient, show: (cell, it) => (it.address ? showClient(cell, it, it.protocol) : undefined) },
      { name: "why", label: "Why", show: (_, it) => reason(it) },
      { name: "act", label: "Actions", bare: true, make: (cell) => cell.append(button("Block", () => block(cell.address))), show: showBlock },
    ],
  });
  return {
    element: section("What happened", { beside: [state, el("div", { class: "tools" }, kind)] }, rows.element),
    show() {
      if (drawn === version()) return;
      drawn = version();
      put(state, { listening: "listening", lost: "lost, listening again soon", off: "" }[listening()]);
      rows.show(heard(kind.value).slice(0, ROWS));
    },
  };
}

function showName(cell, event) {
  cell.className = ["what", COLOURS[event.name]].filter(Boolean).join(" ");
  return NAMES[event.name] ?? event.name;
}

function showBlock(cell, event) {
  const keepOut = cell.firstChild;
  cell.address = host(event.address ?? "");
  keepOut.hidden = !event.address;
  keepOut.setAttribute("aria-label", "Block " + cell.address);
}

function reason(event) {
  if (event.name === "lost") return `${count(event.count)} events were missed.`;
  if (event.name === "restarted") return "The server was started again.";
  if (event.name === "skipped") return `${lag(event.skipped_ms)} left out, it lagged`;
  if (event.name === "not_found") return "nobody publishes it";
  if (event.name === "drain") return `${event.step}, ${count(event.viewers_left)} viewers and ${count(event.publishers_left)} publishers are left`;
  if (event.name === "record_ended") return `${event.failed ? "failed: " : ""}${event.reason}, ${bytes(event.bytes)}`;
  if (event.name === "segment") return `${event.file}, ${bytes(event.bytes)}`;
  if (event.name === "idle") return "nobody watches it";
  const lasted = event.seconds === undefined ? "" : `after ${span(event.seconds)}`;
  return [event.reason, lasted].filter(Boolean).join(", ");
}
