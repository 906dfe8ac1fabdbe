// Plays endless fragmented MP4 by feeding it to the browser as it comes.
import { Meter } from "./meter.js";
import { Boxes, codecsOf } from "./mp4_boxes.js";
import { reasonIn } from "./refusal.js";

/// Seconds behind the newest picture: it plays faster above the second until it is at the first, and
/// jumps above the third to what the fourth says.
const [NEAR_S, LATE_S, FAR_S, AFTER_JUMP_S] = [1.0, 1.6, 4, 0.9];
const FASTER = 1.15;
/// Seconds behind the picture on show: what is older than the first is dropped up to the second.
const [KEPT_S, LEFT_S] = [30, 10];
const METER_MS = 1000;

const Source = () => window.ManagedMediaSource ?? window.MediaSource;

export const prepare = async () => {};

export function begin({ url, video, on, referrerPolicy }) {
  const over = new AbortController();
  const { signal } = over;
  const source = new (Source())();
  const meter = new Meter();
  let buffer = null;

  // What ManagedMediaSource asks for.
  video.disableRemotePlayback = true;
  const address = URL.createObjectURL(source);
  video.src = address;
  video.addEventListener("error", () => undecodable(video.error?.message), { signal });
  video.addEventListener("timeupdate", () => keepUp(video), { signal });
  source.addEventListener("sourceopen", () => read().catch((error) => fail({ kind: "broken", text: error.message })), { once: true, signal });

  const fail = (problem) => { if (!signal.aborted) on.failed(problem); };
  const undecodable = (text) => fail({ kind: "undecodable", text: text || "the browser gave it up" });

  async function read() {
    URL.revokeObjectURL(address);
    let response;
    try {
      response = await fetch(url, { cache: "no-store", referrerPolicy, signal });
    } catch {
      return fail({ kind: "unreachable" });
    }
    if (!response.ok) {
      return fail({ kind: "refused", status: response.status, text: reasonIn(await response.text(), response.statusText) });
    }
    const reader = response.body.getReader();
    const boxes = new Boxes();
    let since = performance.now();
    let bytes = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) return on.over();
      bytes += value.length;
      const now = performance.now();
      if (now - since >= METER_MS) {
        meter.add(bytes, (now - since) / 1000);
        [since, bytes] = [now, 0];
      }
      for (const box of boxes.push(value)) {
        if (!(await take(box)) || signal.aborted) return;
      }
    }
  }

  /// The file type goes before the first `moov`, and says nothing.
  async function take({ type, bytes }) {
    if (type === "moov" && !prepareFor(codecsOf(bytes))) return false;
    if (!buffer) return true;
    await changed(() => buffer.appendBuffer(bytes));
    const { buffered, currentTime } = video;
    if (!signal.aborted && buffered.length && buffered.start(0) < currentTime - KEPT_S) {
      await changed(() => buffer.remove(0, currentTime - LEFT_S));
    }
    keepUp(video);
    return true;
  }

  /// Whether the browser takes these codecs.
  function prepareFor(codecs) {
    const mime = `video/mp4; codecs="${codecs.join(",")}"`;
    if (!Source().isTypeSupported(mime)) {
      undecodable(`no support for ${codecs.join(", ")}`);
      return false;
    }
    if (buffer) buffer.changeType(mime);
    else buffer = source.addSourceBuffer(mime);
    on.codecs(codecs);
    return true;
  }

  /// Does what keeps the buffer busy for a while, and waits for its end.
  const changed = (begin) => new Promise((done) => {
    buffer.addEventListener("updateend", done, { once: true });
    signal.addEventListener("abort", done, { once: true });
    begin();
  });

  return {
    meter,
    behind: () => behind(video),
    end() {
      over.abort();
      video.playbackRate = 1;
      video.removeAttribute("src");
      video.load();
    },
  };
}

/// Seconds of pictures that wait to be shown.
const behind = ({ buffered, currentTime }) => (buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0);

/// Times are the source's own, so it begins somewhere; what a publisher leaves out is not waited for.
function keepUp(video) {
  const { buffered } = video;
  if (!buffered.length) return;
  const start = buffered.start(buffered.length - 1);
  const end = buffered.end(buffered.length - 1);
  const late = behind(video);
  if (video.currentTime < start || (late > FAR_S && !video.paused)) video.currentTime = Math.max(start, end - AFTER_JUMP_S);
  else if (late > LATE_S) video.playbackRate = FASTER;
  else if (late < NEAR_S) video.playbackRate = 1;
}
