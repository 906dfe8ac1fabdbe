// What happens on the node, heard as it happens: server-sent events, read through fetch because an
// EventSource cannot send the token as a header. This takes a connection of the few that a browser
// has for a host, all tabs together, so it is held only once it is asked for, and while it is looked at.
import { open } from "./api.js";

/// As many of each kind are kept.
const KEPT = 300;
/// The server says something every 15 s, if only that it is there.
const SILENCE_MS = 40000;
const BACK_OFF_MS = [1000, 2000, 4000, 8000, 15000];
/// Who looks away for a moment misses nothing.
const REST_MS = 30000;

/// Which events go together.
const KINDS = {
  refused: "refused", not_found: "refused",
  published: "streams", unpublished: "streams", idle: "streams", skipped: "streams", drain: "streams",
  record_started: "streams", record_ended: "streams", segment: "streams",
  joined: "viewers", left: "viewers", connected: "viewers", disconnected: "viewers",
};

let kept = { refused: [], streams: [], viewers: [] };
let state = "off";
/// Whether anyone wants to know.
let wanted = false;
/// The connection, or the tries to have one.
let stopping = null;
let resting = 0;
/// The id of the last event, which count up by one.
let number = 0;
/// Each row has a key that no other has or had.
let counted = 0;

/// What was heard, newest first.
export const heard = (kind) => kept[kind];

/// "off", "listening" or "lost".
export const listening = () => state;

/// Counts what was heard, so that nothing is drawn again that did not change.
export const version = () => counted;

/// Listens until `stop` while this page is looked at, and comes back whenever it breaks off.
export function start() {
  wanted = true;
  if (!document.hidden) connect();
}

export function stop() {
  wanted = false;
  hangUp();
  number = 0;
  kept = { refused: [], streams: [], viewers: [] };
  counted += 1;
}

/// Whether this page is looked at now.
export function looked(visible) {
  clearTimeout(resting);
  if (visible) connect();
  else resting = setTimeout(hangUp, REST_MS);
}

/// The server has started again, and counts its events anew.
export function restarted() {
  number = 0;
  if (wanted) note("restarted");
}

function connect() {
  if (!wanted || stopping) return;
  stopping = new AbortController();
  run(stopping.signal);
}

function hangUp() {
  clearTimeout(resting);
  stopping?.abort();
  stopping = null;
  state = "off";
  counted += 1;
}

async function run(signal) {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await listen(signal, () => { failures = 0; });
    } catch (problem) {
      // The page that polls tells of what is wrong. Here it is only tried again, unless the token
      // is not known any more.
      if (!signal.aborted && (problem.status === 401 || problem.status === 403)) return hangUp();
    }
    if (signal.aborted) return;
    state = "lost";
    counted += 1;
    const wait = BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)];
    failures += 1;
    // Not all pages at once, after a restart of the server.
    await new Promise((done) => setTimeout(done, wait * (0.75 + Math.random() / 2)));
  }
}

/// Reads one connection to its end.
async function listen(signal, begun) {
  const broken = new AbortController();
  const both = AbortSignal.any([signal, broken.signal]);
  let watchdog = setTimeout(() => broken.abort(), SILENCE_MS);
  try {
    const reader = (await open("events", both)).pipeThrough(new TextDecoderStream()).getReader();
    if (signal.aborted) return;
    state = "listening";
    counted += 1;
    let text = "";
    let first = true;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => broken.abort(), SILENCE_MS);
      begun();
      text += value;
      const whole = text.split("\n\n");
      text = whole.pop();
      for (const part of whole) {
        const event = parse(part);
        if (!event) continue;
        if (first) sayMissed(event);
        first = false;
        keep(event);
      }
    }
  } finally {
    clearTimeout(watchdog);
    broken.abort();
  }
}

function parse(text) {
  const event = { name: "message", data: "", id: 0 };
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    // A comment, or nothing.
    if (colon < 1) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.name = value;
    else if (line.startsWith("data:")) event.data += value;
    else if (line.startsWith("id:")) event.id = Number(value);
  }
  if (!event.data) return null;
  try {
    return { ...JSON.parse(event.data), name: event.name, id: event.id };
  } catch {
    return null;
  }
}

/// Of a connection that follows on one that was lost.
function sayMissed(event) {
  // Lower: it has started again.
  if (number && event.id > number + 1) note("lost", event.id - number - 1);
}

/// A row in all lists. If the newest of one says the same, it counts for both.
function note(name, count = 0) {
  const at = Date.now() / 1000;
  for (const list of Object.values(kept)) {
    counted += 1;
    const same = list[0]?.name === name ? list.shift() : { count: 0, key: counted };
    put(list, { name, at, count: count + same.count, key: same.key });
  }
}

function keep(event) {
  if (event.name === "lost") return note("lost", event.count);
  number = event.id || number;
  const list = kept[KINDS[event.name]];
  if (!list) return;
  counted += 1;
  put(list, { ...event, key: counted });
}

function put(list, event) {
  list.unshift(event);
  if (list.length > KEPT) list.length = KEPT;
}
