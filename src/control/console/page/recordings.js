// What is being recorded, and the files that are whole: to be played, taken away, and removed.
import { call, get, query } from "./api.js";
import { ask, attempt } from "./dialog.js";
import { button, el, put, section } from "./dom.js";
import { bytes, codecName, count, length, moment, span } from "./format.js";
import { media } from "./media.js";
import { pager } from "./pager.js";
import { player } from "./player.js";
import { endRecording, startRecording } from "./record.js";
import { linkColumn } from "./streams.js";
import { table } from "./table.js";
import { recordedWay } from "./ways.js";

const PAGE = 50;
/// How often it is looked which files there are.
const FILES_MS = 10000;
/// How soon the last file of a recording that was ended is whole.
const WHOLE_MS = 1000;

const NO_FILES = "No file is whole yet: one is when its recording ends, or goes on in the next.";

export function recordings(again) {
  const whole = files(again);
  const now = running(again, whole.later);
  return {
    element: el("div", {}, now.element, whole.element),
    title: "Recordings",
    poll: () => Promise.all([now.poll(), whole.poll()]),
    close: whole.close,
  };
}

/// Those that are being written; `ended()` is called when one was ended.
function running(again, ended) {
  const turning = pager(PAGE, "recordings", again);
  const total = el("span", { class: "soft" });
  const key = el("input", {
    required: true, pattern: "\\/*[^\\/]+\\/.*[^\\/].*", title: "APP/NAME of a stream that is published", placeholder: "APP/NAME", "aria-label": "Stream to record",
    spellcheck: "false", autocapitalize: "off", autocomplete: "off",
  });
  const form = el("form", { class: "tools", onsubmit: begin }, key, el("button", { type: "submit" }, "Record"));
  const rows = table({
    label: "Being recorded",
    empty: "Nothing is being recorded.",
    keyOf: (recording) => recording.id,
    columns: [
      { name: "stream", label: "Stream", ...linkColumn },
      { name: "format", label: "Format", show: (_, it) => muxName(it.format) },
      { name: "file", label: "File", narrow: false, show: (_, it) => it.file ?? "waits for a key frame" },
      { name: "bytes", label: "Written", number: true, show: (_, it) => bytes(it.bytes) },
      { name: "for", label: "For", number: true, show: (_, it) => span(Date.now() / 1000 - it.since) },
      { name: "act", label: "Actions", bare: true, make: (cell) => cell.append(button("Stop", () => end(cell.stream))),
        show: (cell, it) => { cell.stream = it.stream; cell.firstChild.setAttribute("aria-label", "Stop the recording of " + it.stream); } },
    ],
  });

  async function begin(event) {
    event.preventDefault();
    // What was refused is there still, to be mended.
    if (await startRecording(key.value.trim().replace(/^\/+/, ""))) key.value = "";
    again();
  }

  async function end(stream) {
    if (await endRecording(stream)) ended();
    again();
  }

  return {
    element: section("Being recorded", { beside: [total, form] }, rows.element, turning.element),
    async poll() {
      const { limit, offset } = turning;
      const page = await get(query("recordings", { limit, offset }));
      if (offset !== turning.offset || !turning.show(page.total, page.items.length)) return;
      put(total, page.total ? count(page.total) : "");
      rows.show(page.items);
    },
  };
}

/// Those that are whole.
function files(again) {
  const turning = pager(PAGE, "files", soon);
  const total = el("span", { class: "soft" });
  const from = media("", () => rows.show(listed));
  const place = el("div", { class: "replay", hidden: true });
  const wanted = el("input", {
    type: "search", placeholder: "APP or APP/NAME", "aria-label": "Files of an app or a stream", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    onchange: () => { turning.first(); soon(); },
  });
  let listed = [];
  let shown = null;
  /// The name of the file that is shown.
  let playing = null;
  let next = 0;
  const rows = table({
    label: "Files",
    empty: NO_FILES,
    stacked: true,
    keyOf: (file) => file.file,
    columns: [
      { name: "stream", label: "Stream", ...linkColumn },
      { name: "file", label: "File", narrow: false, show: (_, it) => it.file },
      { name: "start", label: "Begun", show: (_, it) => moment(it.start) },
      { name: "duration", label: "Length", number: true, show: (_, it) => length(it.duration_ms / 1000) },
      { name: "bytes", label: "Size", number: true, show: (_, it) => bytes(it.bytes) },
      { name: "codecs", label: "Format", narrow: false, show: (_, it) => [muxName(it.format), ...it.codecs.map(codecName)].join(", ") },
      { name: "act", label: "Actions", bare: true, make: makeActions, show: showActions },
    ],
  });

  function makeActions(cell) {
    cell.append(
      button("Play", () => open(cell.file)),
      el("a", { class: "as-button", target: "_blank", rel: "noreferrer", download: true }, "Download"),
      button("Remove", () => remove(cell.file)));
  }

  function showActions(cell, file, row) {
    cell.file = file;
    row.element.setAttribute("aria-current", String(file.file === playing));
    const [play, take, away] = cell.children;
    const { base } = from.now;
    play.hidden = !file.url || !recordedWay(file);
    take.hidden = !file.url || !base;
    // Served from elsewhere, it is taken away only if the server says so.
    if (base && file.url) take.setAttribute("href", base + file.url + queryOf(from.access(appOf(file)), "download=1"));
    for (const [it, what] of [[play, "Play"], [take, "Download"], [away, "Remove"]]) it.setAttribute("aria-label", `${what} ${file.file}`);
    cell.title = whyNot(file);
  }

  function open(file) {
    shown?.close();
    from.turn(appOf(file));
    shown = player({
      label: file.file,
      from,
      ways: [recordedWay(file)],
      urlOf: (way, base, access) => base + file.url + way.ends + queryOf(access),
    });
    const heading = el("div", { class: "heading" }, el("h2", {}, file.file), button("Close", close));
    place.replaceChildren(heading, shown.element);
    place.hidden = false;
    playing = file.file;
    rows.show(listed);
    // What stays on top of the page would hide its title.
    place.style.scrollMarginTop = headHeight() + 12 + "px";
    place.scrollIntoView({ block: "start" });
    shown.play();
  }

  function close() {
    shown?.close();
    shown = null;
    place.hidden = true;
    playing = null;
    rows.show(listed);
  }

  async function remove(file) {
    const answer = await ask({
      title: "Remove a file",
      text: `${file.file} of ${file.stream} (${moment(file.start)}, ${bytes(file.bytes)}) is removed from the disk. It cannot be brought back.`,
      action: "Remove",
      danger: true,
    });
    if (!answer) return;
    await attempt(() => call("DELETE", query("recordings/files", { file: file.file })), `${file.file} was removed.`);
    soon();
  }

  function soon() {
    next = 0;
    again();
  }

  return {
    element: section("Files", { beside: [total, el("div", { class: "tools" }, wanted)] }, place, rows.element, turning.element),
    close,
    /// There is another in a moment.
    later() { next = performance.now() + WHOLE_MS; },
    async poll() {
      await from.learn();
      // The server reads the disk for it.
      if (performance.now() < next) return;
      next = performance.now() + FILES_MS;
      const { limit, offset } = turning;
      const of = wanted.value.trim();
      const slash = of.indexOf("/");
      const [app, name] = slash < 0 ? [of, ""] : [of.slice(0, slash), of.slice(slash + 1)];
      const page = await get(query("recordings/files", { app, name, limit, offset }));
      // Something else is wanted by now, and asked for.
      if (of !== wanted.value.trim() || offset !== turning.offset || !turning.show(page.total, page.items.length)) return;
      put(total, page.total ? count(page.total) : "");
      rows.empty(of ? "There is no such file." : NO_FILES);
      listed = page.items;
      rows.show(listed);
    },
  };
}

const muxName = (format) => (format === "fmp4" ? "fMP4" : format.toUpperCase());

const appOf = ({ stream }) => stream.slice(0, stream.indexOf("/"));

function queryOf(...parts) {
  const query = parts.filter(Boolean).join("&");
  return query && "?" + query;
}

/// What there is to know of a file that does not play here.
function whyNot(file) {
  if (!file.url) return "Its app has no record_replay: its files are not served.";
  return recordedWay(file) ? "" : "A crash has left it without an index. It plays in other players.";
}

const headHeight = () => [...document.querySelectorAll("header.top, .banner")]
  .filter((it) => getComputedStyle(it).position === "sticky")
  .reduce((sum, it) => Math.max(sum, it.offsetHeight), 0);
