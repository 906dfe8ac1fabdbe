// Plays the stream of this page's address, says what goes on, and comes back when the stream does. How it is
// played, `?as=` and the buttons say; what does not play that way is tried in the others.
// body[data-state] is connecting, waiting, click, playing or error.
import { isAbsent, isOff } from "./refusal.js";
import { byId, rtmpBase, shellWord, showRows } from "./rows.js";
import { addresses, mediaUrl, named, nextWay, play, ways } from "./ways.js";

const video = byId("video");
const stream = location.origin + location.pathname;
const plainPath = decoded(location.pathname);
/// What else stands behind the question mark is for the server, as it stands.
const query = location.search.slice(1).split("&").filter((part) => part && !/^as(=|$)/.test(part)).join("&");
const offered = ways();

let chosen = offered.find((way) => way.as === new URLSearchParams(location.search).get("as")) ?? offered[0];
let attempt = null; // { handle, played, codecs }, one at a time
let untold = new Map(); // why a way did not play, by its name in addresses
let failures = 0;
let retry = 0;
let moved = { at: performance.now(), time: 0 };

function decoded(path) {
  try {
    const text = decodeURIComponent(path);
    return /[\p{Cc}\p{Cf}]/u.test(text) ? path : text;
  } catch {
    return path;
  }
}

function say(state, title, detail = "") {
  if (document.body.dataset.state !== state || byId("title").textContent !== title) {
    document.body.dataset.state = state;
    byId("title").textContent = title;
    byId("state").textContent = title;
  }
  byId("detail").textContent = detail;
  // The element turns a wheel of its own beside its controls, below what is said here.
  video.controls = state === "playing" || state === "click";
}

function connect() {
  disconnect();
  byId("again").hidden = true;
  const way = nextWay(offered, chosen, untold);
  mark(way);
  if (!way) {
    say("error", "This browser cannot play live video",
      "It has neither Media Source Extensions nor HLS. The addresses below work in other players.");
    return;
  }
  if (document.body.dataset.state !== "waiting") say("connecting", "Connecting");
  const own = attempt = { handle: null, played: false, codecs: {} };
  moved = { at: performance.now(), time: video.currentTime };
  own.handle = play(way, {
    url: mediaUrl(way, stream, query),
    video,
    on: {
      codecs(names) { own.codecs = named(names); },
      over: onEnd,
      failed: onFailed,
      blocked() { say("click", "Press play to watch"); },
    },
  });
}

function disconnect() {
  clearTimeout(retry);
  const old = attempt;
  attempt = null;
  old?.handle.end();
}

function connectLater(seconds) {
  disconnect();
  retry = setTimeout(connect, seconds * 1000);
}

/// 1, 2, 4, then each 8 seconds.
function patience() {
  failures += 1;
  return Math.min(2 ** (failures - 1), 8);
}

function onEnd() {
  say("waiting", "Waiting for the publisher", "The stream has ended. It starts by itself when it is back.");
  connectLater(1);
}

/// What a format has no place for is refused with that status.
const NO_PLACE = 415;

function onFailed(problem) {
  const { kind, status, text } = problem;
  const { way } = attempt.handle;
  const isRefused = kind === "refused";
  // What has played before will again; what is refused, while others are tried, is no other than those.
  const unfit = kind === "undecodable" ? !attempt.played
    : isRefused && !isAbsent(problem) && (status === NO_PLACE || isOff(problem) || untold.size > 0);
  disconnect();
  if (isOff(problem)) close(way, text);
  if (unfit) {
    untold.set(way.as, isOff(problem) ? text : `${way.name}: ${text}`);
    if (nextWay(offered, chosen, untold)) return connect();
    say("error", "This browser plays the stream in no format", [...untold.values()].join(". ") + ".");
    untold = new Map();
    return connectLater(patience());
  }
  if (isAbsent(problem)) {
    say("waiting", "Waiting for the publisher", "Nobody publishes " + plainPath.slice(1) + " yet.");
    return connectLater(1);
  }
  if (isRefused) {
    say("error", "The server refused: " + status, text);
    // Who may not watch now may not in a second; each time would be one more refusal in the log.
    if (status === 401 || status === 403) byId("again").hidden = false;
    else connectLater(patience());
    return;
  }
  if (kind === "unreachable") say("error", "The server does not answer", "Trying again by itself.");
  else say("connecting", "Connecting", text);
  connectLater(patience());
}

/// Twice a second: is it moving, how late is it, what is it.
function look() {
  const now = performance.now();
  if (attempt && video.currentTime !== moved.time) {
    moved = { at: now, time: video.currentTime };
    if (video.readyState > 2 && !video.paused) {
      failures = 0;
      attempt.played = true;
      say("playing", "Playing");
    }
  } else if (attempt && !video.paused && now - moved.at > 2000) {
    say("waiting", "Waiting for the publisher",
      video.readyState > 0 ? "No new picture. It goes on by itself." : "It starts by itself.");
  }

  const playing = document.body.dataset.state === "playing";
  const { codecs = {}, handle } = attempt ?? {};
  byId("way").textContent = playing ? handle.how : "–";
  byId("resolution").textContent = playing && video.videoWidth
    ? video.videoWidth + " × " + video.videoHeight : "–";
  show("video-codec", playing && codecs.video);
  show("audio-codec", playing && codecs.audio);
  const bytes = handle?.bytesPerSecond ?? null;
  byId("bitrate").textContent = playing && bytes !== null ? rate(bytes * 8) : "–";
  const late = handle?.behind() ?? null;
  byId("latency").textContent = playing && late !== null ? late.toFixed(1) + " s" : "–";
}

function show(id, codec) {
  byId(id).textContent = codec ? codec.name : "–";
  byId(id).title = codec ? codec.raw : "";
}

const rate = (bits) => bits >= 1e6 ? (bits / 1e6).toFixed(2) + " Mbit/s" : Math.round(bits / 1e3) + " kbit/s";

function choose(way) {
  chosen = way;
  const search = [query, "as=" + way.as].filter(Boolean).join("&");
  history.replaceState(null, "", location.pathname + "?" + search);
  again();
}

/// The server does not offer it, and its button says why.
function close(way, why) {
  const button = [...byId("ways").children].find((one) => one.dataset.as === way.as);
  button.disabled = true;
  button.title = why;
}

/// As if nothing had been tried.
function again() {
  failures = 0;
  untold = new Map();
  say("connecting", "Connecting");
  connect();
}

/// Shows which way it goes, and why not as it was chosen.
function mark(way) {
  for (const button of byId("ways").children) button.setAttribute("aria-pressed", String(button.dataset.as === way?.as));
  byId("note").textContent = way ? [...untold.values()].join(". ") : "";
  byId("note").hidden = !byId("note").textContent;
}

for (const way of offered) {
  const button = byId("ways").appendChild(document.createElement("button"));
  button.type = "button";
  button.dataset.as = way.as;
  button.textContent = way.label;
  button.title = way.name;
  button.addEventListener("click", () => choose(way));
}
byId("again").addEventListener("click", again);
video.addEventListener("play", () => { moved.at = performance.now(); });

byId("name").textContent = plainPath.slice(1);
document.title = plainPath.slice(1) + " · Corecast";
const flv = stream + ".flv" + (query && "?" + query);
showRows(byId("urls"), [
  ...addresses(stream, rtmpBase() + plainPath, query),
  ["ffplay", "ffplay -fflags nobuffer " + shellWord(flv)],
  ["VLC", "vlc --network-caching=500 " + shellWord(flv)],
]);
setInterval(look, 500);
connect();
