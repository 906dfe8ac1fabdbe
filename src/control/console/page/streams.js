// The streams of the node: found, sorted and turned over by the server, so that a thousand cost this
// page no more than fifty.
import { get, query } from "./api.js";
import { el, put, section } from "./dom.js";
import { bits, count, percent, span } from "./format.js";
import { pager } from "./pager.js";
import { table } from "./table.js";

/// Rows at once.
const PAGE = 50;
/// Who types is asked for no list at each letter.
const TYPING_MS = 150;

const NOTHING = "No stream is published or waited for.";

export const STATES = { live: "live", probing: "starting", grace: "publisher lost", waiting: "waiting" };

/// Where the page of a stream is.
export function streamLink(key) {
  const slash = key.indexOf("/");
  return `#/stream/${encodeURIComponent(key.slice(0, slash))}/${encodeURIComponent(key.slice(slash + 1))}`;
}

/// A link to a stream, as the make and show of a column.
export const linkColumn = {
  make: (cell) => cell.append(el("a")),
  show(cell, { stream }) {
    const link = cell.firstChild;
    if (link.textContent === stream) return;
    link.textContent = stream;
    link.setAttribute("href", streamLink(stream));
  },
};

export function showState(cell, { state }) {
  const mark = cell.firstChild ?? cell.appendChild(el("span"));
  mark.className = "state-" + state;
  put(mark, STATES[state] ?? state);
}

export function streams(again) {
  let typing = 0;
  const wanted = { search: "", state: "", sort: "viewers", reverse: false };
  const search = el("input", {
    type: "search", placeholder: "Find app/name", "aria-label": "Find streams by name",
    spellcheck: "false", autocapitalize: "off", autocomplete: "off", maxlength: 200,
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => change("search", search.value.trim()), TYPING_MS);
    },
  });
  const state = el("select", { "aria-label": "State", onchange: () => change("state", state.value) },
    el("option", { value: "" }, "Any state"),
    Object.entries(STATES).map(([value, text]) => el("option", { value }, text)));
  const turning = pager(PAGE, "streams", again);
  const total = el("span", { class: "soft", "aria-live": "polite" });

  const rows = table({
    label: "Streams",
    empty: NOTHING,
    keyOf: (stream) => stream.core + " " + stream.serial,
    sorted(sort, reverse) {
      Object.assign(wanted, { sort, reverse });
      turning.first();
      again();
    },
    columns: [
      { name: "stream", label: "Stream", sort: "name", ascending: true, ...linkColumn },
      { name: "phase", label: "State", show: showState },
      { name: "viewers", label: "Viewers", sort: "viewers", number: true, show: (_, it) => count(it.viewers) + (it.waiting ? ` + ${count(it.waiting)} waiting` : "") },
      { name: "in", label: "In", sort: "bitrate", number: true, narrow: false, show: (_, it) => bits(it.rates.ingest_bit_s) },
      { name: "out", label: "Out", sort: "egress", number: true, show: (_, it) => bits(it.rates.egress_bit_s) },
      { name: "cpu", label: "CPU", sort: "cpu", number: true, narrow: false, show: (_, it) => percent(it.rates.cpu_percent) + " %" },
      { name: "age", label: "Age", sort: "age", ascending: true, number: true, show: (_, it) => span(it.age_s), narrow: false },
      { name: "core", label: "Core", number: true, narrow: false, show: (_, it) => String(it.core) },
    ],
  });
  rows.order(wanted.sort, wanted.reverse);

  function change(name, value) {
    wanted[name] = value;
    turning.first();
    again();
  }

  const tools = el("div", { class: "tools" }, search, state);
  return {
    element: section("Streams", { beside: [total, tools] }, rows.element, turning.element),
    async poll() {
      const { limit, offset } = turning;
      const asked = JSON.stringify({ ...wanted, offset });
      const page = await get(query("streams", { ...wanted, limit, offset }));
      // Something else is wanted by now, and asked for.
      if (asked !== JSON.stringify({ ...wanted, offset: turning.offset })) return;
      if (!turning.show(page.total, page.items.length)) return;
      const found = wanted.search || wanted.state;
      put(total, found ? `${count(page.total)} found` : count(page.total));
      rows.empty(found ? "No stream is like that." : NOTHING);
      rows.show(page.items);
    },
  };
}
