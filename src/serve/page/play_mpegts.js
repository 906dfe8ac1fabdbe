// Plays FLV and MPEG-TS, by HTTP or WebSocket, by mpegts.js.
import { library } from "./library.js";
import { streamLoader } from "./loader.js";
import { Meter } from "./meter.js";
import { asked } from "./refusal.js";

const LIVE = {
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
};

export async function prepare() {
  await library("mpegts");
  window.mpegts.LoggingControl.enableAll = false;
}

/// `type` is "flv" or "mpegts". Of a file, `isLive` is false.
export function begin({ url, type, isLive = true, video, on, referrerPolicy }) {
  const { mpegts } = window;
  const { Events, ErrorTypes, ErrorDetails } = mpegts;
  const bySocket = url.startsWith("ws");
  const player = mpegts.createPlayer({ type, isLive, url }, isLive
    ? { ...LIVE, referrerPolicy, customLoader: bySocket ? undefined : streamLoader(mpegts) }
    : { referrerPolicy });
  const meter = new Meter();
  let told = performance.now();
  let failing = false;

  player.on(Events.ERROR, async (type, reason, info) => {
    failing = true;
    // It goes on for a moment after it has said so, and must be there still.
    await null;
    if (type === ErrorTypes.MEDIA_ERROR) return on.failed({ kind: "undecodable", text: info?.msg ?? reason });
    // A WebSocket tells neither the status nor its reason.
    if (bySocket) return on.failed(await asked(url.replace(/^ws/, "http"), referrerPolicy));
    if (reason === ErrorDetails.NETWORK_STATUS_CODE_INVALID) return on.failed({ kind: "refused", status: info.code, text: info.msg });
    on.failed({ kind: reason === ErrorDetails.NETWORK_UNRECOVERABLE_EARLY_EOF ? "broken" : "unreachable" });
  });
  if (isLive) player.on(Events.LOADING_COMPLETE, () => { if (!failing) on.over(); });
  else video.addEventListener("ended", on.over);
  player.on(Events.MEDIA_INFO, ({ videoCodec, audioCodec }) => on.codecs([videoCodec, audioCodec].filter(Boolean)));
  player.on(Events.STATISTICS_INFO, ({ speed }) => {
    const now = performance.now();
    meter.add(speed * 1024 * (now - told) / 1000, (now - told) / 1000);
    told = now;
  });
  player.attachMediaElement(video);
  player.load();

  return {
    meter,
    /// Seconds of pictures that wait to be shown.
    behind: () => (video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0),
    end() {
      video.removeEventListener("ended", on.over);
      // In this order: told to end all at once, it stumbles over what is on its way still.
      player.pause();
      player.unload();
      player.detachMediaElement();
      player.destroy();
    },
  };
}
