// Plays /APP/NAME.flv into the page, says what goes on, and comes back when the stream does.
// body[data-state] is connecting, waiting, click, playing or error.
"use strict";

const video = byId("video");
const httpUrl = location.origin + location.pathname + ".flv" + location.search;
const wsUrl = httpUrl.replace(/^http/, "ws");
const plainPath = decoded(location.pathname);

let transport = "http";
let attempt = null; // { player, bytesPerSecond, codecs }, one at a time
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
}

function connect() {
  disconnect();
  if (!mpegts.getFeatureList().mseLivePlayback) {
    say("error", "This browser cannot play live FLV",
      "It lacks Media Source Extensions. The addresses below work in other players.");
    return;
  }
  if (document.body.dataset.state !== "waiting") say("connecting", "Connecting");
  const url = transport === "ws" ? wsUrl : httpUrl;
  const player = mpegts.createPlayer({ type: "flv", isLive: true, url }, {
    enableStashBuffer: false,
    lazyLoad: false,
    // A little late: play faster. Far behind, as after the first group of pictures: jump.
    liveSync: true,
    liveSyncTargetLatency: 1.0,
    liveSyncMaxLatency: 1.6,
    liveSyncPlaybackRate: 1.15,
    liveBufferLatencyChasing: true,
    liveBufferLatencyMaxLatency: 4,
    liveBufferLatencyMinRemain: 0.9,
    autoCleanupSourceBuffer: true,
    autoCleanupMaxBackwardDuration: 30,
    autoCleanupMinBackwardDuration: 10,
  });
  const own = attempt = { player, bytesPerSecond: null, codecs: {} };
  const current = (react) => (...values) => { if (attempt === own) react(...values); };
  player.on(mpegts.Events.ERROR, current(onError));
  player.on(mpegts.Events.LOADING_COMPLETE, current(onEnd));
  player.on(mpegts.Events.MEDIA_INFO, current((info) => { own.codecs = info; }));
  player.on(mpegts.Events.STATISTICS_INFO, current((info) => {
    const now = info.speed * 1024;
    own.bytesPerSecond = own.bytesPerSecond === null ? now : own.bytesPerSecond * 0.8 + now * 0.2;
  }));
  moved = { at: performance.now(), time: video.currentTime };
  player.attachMediaElement(video);
  player.load();
  Promise.resolve(player.play()).catch(current((error) => {
    if (error?.name === "NotAllowedError") say("click", "Press play to watch");
  }));
}

function disconnect() {
  clearTimeout(retry);
  const old = attempt;
  attempt = null;
  old?.player.destroy();
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

async function onError(type, reason, info) {
  if (type === mpegts.ErrorTypes.MEDIA_ERROR) {
    say("error", "The browser cannot decode this stream", [reason, info?.msg].filter(Boolean).join(": "));
    connectLater(patience());
    return;
  }
  // Neither player nor WebSocket tell the status and its reason; asking once more does.
  disconnect();
  const answer = info?.code === 404 ? { status: 404 } : await ask();
  if (attempt) return;
  if (answer.status === 404) {
    say("waiting", "Waiting for the publisher", "Nobody publishes " + plainPath.slice(1) + " yet.");
    connectLater(1);
  } else if (answer.status === 200) {
    say("connecting", "Connecting");
    connectLater(patience());
  } else {
    say("error", answer.status ? "The server refused: " + answer.status : "The server does not answer", answer.text);
    connectLater(patience());
  }
}

/// The status of the stream's address and, if it is refused, why.
async function ask() {
  const stop = new AbortController();
  try {
    const response = await fetch(httpUrl, { cache: "no-store", signal: stop.signal });
    if (response.ok) return { status: 200 };
    const body = await response.json().catch(() => ({}));
    return { status: response.status, text: body.detail || body.error || response.statusText };
  } catch {
    return { status: 0, text: "Trying again by itself." };
  } finally {
    stop.abort();
  }
}

/// Twice a second: is it moving, how late is it, what is it.
function look() {
  const now = performance.now();
  if (attempt && video.currentTime !== moved.time) {
    moved = { at: now, time: video.currentTime };
    if (video.readyState > 2 && !video.paused) {
      failures = 0;
      say("playing", "Playing");
    }
  } else if (attempt && !video.paused && now - moved.at > 2000) {
    say("waiting", "Waiting for the publisher",
      video.readyState > 0 ? "No new picture. It goes on by itself." : "It starts by itself.");
  }

  const playing = document.body.dataset.state === "playing";
  const { codecs = {}, bytesPerSecond } = attempt ?? {};
  byId("resolution").textContent = playing && video.videoWidth
    ? video.videoWidth + " × " + video.videoHeight : "–";
  show("video-codec", playing && codecs.videoCodec);
  show("audio-codec", playing && codecs.audioCodec);
  byId("bitrate").textContent = playing && bytesPerSecond !== null ? rate(bytesPerSecond * 8) : "–";
  const edge = video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
  byId("latency").textContent = playing ? Math.max(0, edge - video.currentTime).toFixed(1) + " s" : "–";
}

function show(id, codec) {
  const names = {
    avc1: "H.264", hvc1: "H.265", hev1: "H.265", av01: "AV1", vp09: "VP9", mp4a: "AAC",
    opus: "Opus", mp3: "MP3", flac: "FLAC", "ac-3": "AC-3", "ec-3": "E-AC-3",
  };
  const raw = codec || "–";
  byId(id).textContent = names[raw.split(".")[0].toLowerCase()] ?? raw;
  byId(id).title = raw;
}

const rate = (bits) => bits >= 1e6 ? (bits / 1e6).toFixed(2) + " Mbit/s" : Math.round(bits / 1e3) + " kbit/s";

function choose(which) {
  transport = which;
  byId("http").setAttribute("aria-pressed", String(which === "http"));
  byId("ws").setAttribute("aria-pressed", String(which === "ws"));
  failures = 0;
  say("connecting", "Connecting");
  connect();
}

byId("http").addEventListener("click", () => choose("http"));
byId("ws").addEventListener("click", () => choose("ws"));
video.addEventListener("play", () => { moved.at = performance.now(); });

byId("name").textContent = plainPath.slice(1);
document.title = plainPath.slice(1) + " · Corecast";
showRows(byId("urls"), [
  ["RTMP", rtmpBase() + plainPath + location.search],
  ["HTTP-FLV", httpUrl],
  ["WebSocket-FLV", wsUrl],
  ["ffplay", "ffplay -fflags nobuffer " + shellWord(httpUrl)],
  ["VLC", "vlc --network-caching=500 " + shellWord(httpUrl)],
]);
mpegts.LoggingControl.enableAll = false;
mpegts.LoggingControl.enableError = true;
setInterval(look, 500);
connect();
