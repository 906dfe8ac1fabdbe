// The ways a stream plays in a browser: which there are, which this browser has, and one handle for all.
import * as hls from "./play_hls.js";
import * as mp4 from "./play_mp4.js";
import * as mpegts from "./play_mpegts.js";

const isFed = () => Boolean(window.ManagedMediaSource ?? window.MediaSource);

/// `as` names it in addresses of pages. In this order they are tried.
const WAYS = [
  { as: "flv", label: "FLV", name: "HTTP-FLV", ends: ".flv", type: "flv", by: mpegts, here: isFed },
  { as: "hls", label: "HLS", name: "HLS", ends: ".m3u8", by: hls, here: () => hls.plays(document.createElement("video")) },
  { as: "mp4", label: "fMP4", name: "HTTP-fMP4", ends: ".mp4", by: mp4, here: isFed },
  { as: "ts", label: "TS", name: "HTTP-TS", ends: ".ts", type: "mpegts", by: mpegts, here: isFed },
  { as: "ws-flv", label: "WS-FLV", name: "WebSocket-FLV", ends: ".flv", type: "flv", socket: true, by: mpegts, here: isFed },
];

/// Those that this browser can play.
export const ways = () => WAYS.filter((way) => way.here());

/// How a file of a recording plays, by its format: as it is, or by the playlist that the server makes of it.
/// What a crash has left has no playlist; undefined: there is no way.
export function recordedWay({ format, recovered }) {
  if (!recovered && format !== "flv") return { as: "file", name: "HLS", ends: ".m3u8", recorded: true, by: hls };
  const type = { flv: "flv", ts: "mpegts" }[format];
  return type && { as: "file", name: format.toUpperCase(), ends: "", type, recorded: true, by: mpegts };
}

/// The next of some to try: `first`, and then those that carry codecs that it does not. `failed` has the names
/// of those that were tried; nothing is left: undefined.
export const nextWay = (some, first, failed) =>
  [first, ...some.filter((way) => !way.socket)].find((way) => way && !failed.has(way.as));

/// Where media is, of the address of a stream without its ending.
export function mediaUrl(way, stream, query) {
  const url = stream + way.ends + (query ? "?" + query : "");
  return way.socket ? url.replace(/^http/, "ws") : url;
}

/// All addresses of a stream, [what, address], for players of any kind. `stream` is its address by HTTP, `rtmp`
/// that by RTMP, if there is one.
export function addresses(stream, rtmp, query) {
  const of = (as) => {
    const way = WAYS.find((one) => one.as === as);
    return [way.name, mediaUrl(way, stream, query)];
  };
  const byRtmp = rtmp ? [["RTMP", rtmp + (query ? "?" + query : "")]] : [];
  return [...byRtmp, ...["flv", "ws-flv", "ts", "mp4", "hls"].map(of)];
}

/// Plays `url` into `video`. `on` is told: `codecs(names)`, once they are known; `over()`, when the stream has
/// ended; `failed({ kind, status, text })`, where `kind` is "refused" (with a status), "unreachable", "broken" or
/// "undecodable"; `blocked()`, if the browser wants a click first. Nothing after `end()`.
export function play(way, { url, video, on, ...more }) {
  let ended = false;
  let inner = null;
  const alive = (react) => (...values) => { if (!ended) react?.(...values); };
  const told = { codecs: alive(on.codecs), over: alive(on.over), failed: alive(on.failed) };
  const begin = alive(() => {
    inner = way.by.begin({ url, type: way.type, isLive: !way.recorded, video, on: told, ...more });
    video.play().catch(alive((error) => { if (error?.name === "NotAllowedError") on.blocked?.(); }));
  });
  way.by.prepare().then(begin).catch((error) => told.failed({ kind: "broken", text: error.message }));
  return {
    way,
    /// In words.
    get how() { return inner?.how ?? way.name; },
    get bytesPerSecond() { return inner?.meter.bytesPerSecond ?? null; },
    /// Seconds behind the newest that there is; null if that is not known.
    behind() {
      const late = inner?.behind() ?? null;
      return late === null ? null : Math.max(0, late);
    },
    end() {
      ended = true;
      inner?.end();
    },
  };
}

const NAMES = {
  avc1: "H.264", avc3: "H.264", hvc1: "H.265", hev1: "H.265", av01: "AV1", vp09: "VP9", mp4a: "AAC", opus: "Opus",
  mp3: "MP3", flac: "FLAC", "ac-3": "AC-3", "ec-3": "E-AC-3",
};
const PICTURES = ["avc1", "avc3", "hvc1", "hev1", "av01", "vp09"];

/// { video, audio }, each { name, raw } or undefined.
export function named(codecs) {
  const family = (raw) => raw.trim().split(".")[0].toLowerCase();
  const nameOf = (raw) => (raw.toLowerCase() === "mp4a.40.34" ? "MP3" : NAMES[family(raw)] ?? raw);
  const pick = (is) => {
    const raw = codecs.find((one) => PICTURES.includes(family(one)) === is);
    return raw && { name: nameOf(raw), raw };
  };
  return { video: pick(true), audio: pick(false) };
}
