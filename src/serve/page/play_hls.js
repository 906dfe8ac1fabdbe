// Plays HLS and Low-Latency HLS by hls.js, or by the browser itself where scripts cannot feed it.
import { library } from "./library.js";
import { Meter } from "./meter.js";
import { asked, reasonIn } from "./refusal.js";

const FAR_SEGMENTS = 5;

const canBeFed = () => Boolean(window.ManagedMediaSource ?? window.MediaSource);

const playsByItself = (video) => video.canPlayType("application/vnd.apple.mpegurl") !== "";

export const plays = (video) => canBeFed() || playsByItself(video);

export async function prepare() {
  if (canBeFed()) await library("hls");
}

export function begin(given) {
  if (window.Hls?.isSupported()) return beginByScript(given);
  if (playsByItself(given.video)) return beginByItself(given);
  given.on.failed({ kind: "undecodable", text: "this browser plays none" });
  return null;
}

function beginByScript({ url, video, on }) {
  const { Hls } = window;
  const { Events } = Hls;
  const hls = new Hls({
    lowLatencyMode: true,
    // A little late: play faster.
    maxLiveSyncPlaybackRate: 1.15,
    liveDurationInfinity: true,
    backBufferLength: 30,
    // Of blob:, which the pages' policies need not allow for this.
    enableWorker: false,
  });
  // Far behind, as after a pause: jump. Given above, it wants one for how late to be, which is the server's to say.
  hls.config.liveMaxLatencyDurationCount = FAR_SEGMENTS;
  // Sound may come beside the picture, in playlists of its own.
  const meters = new Map();
  const codecs = new Map();
  let how = "HLS";

  hls.on(Events.ERROR, (_, error) => { if (error.fatal) on.failed(problem(error)); });
  hls.on(Events.BUFFER_CODECS, (_, tracks) => {
    for (const [kind, track] of Object.entries(tracks)) if (track?.codec) codecs.set(kind, track.codec);
    on.codecs([...codecs.values()].flatMap((codec) => codec.split(",")));
  });
  hls.on(Events.LEVEL_UPDATED, (_, { details }) => { how = details.partList ? "LL-HLS" : "HLS"; });
  hls.on(Events.FRAG_LOADED, (_, { frag, part, payload }) => {
    if (!meters.has(frag.type)) meters.set(frag.type, new Meter());
    meters.get(frag.type).add(payload.byteLength, (part ?? frag).duration);
  });
  video.addEventListener("ended", on.over);
  hls.attachMedia(video);
  hls.loadSource(url);

  return {
    meter: {
      get bytesPerSecond() {
        const all = [...meters.values()].map((meter) => meter.bytesPerSecond);
        return all.length ? all.reduce((sum, one) => sum + one) : null;
      },
    },
    get how() { return how; },
    behind: () => hls.latency,
    end() {
      video.removeEventListener("ended", on.over);
      hls.destroy();
    },
  };
}

/// What a fatal error of hls.js says.
function problem({ type, details, response, networkDetails, error }) {
  const { ErrorTypes, ErrorDetails } = window.Hls;
  const undecodable = [
    ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR,
    ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR,
    ErrorDetails.BUFFER_ADD_CODEC_ERROR,
  ];
  if (undecodable.includes(details) || type === ErrorTypes.MEDIA_ERROR || type === ErrorTypes.MUX_ERROR) {
    return { kind: "undecodable", text: error?.message ?? details };
  }
  // Only of the first playlist: the others are named by a session, which may have ended.
  if (details === ErrorDetails.MANIFEST_LOAD_ERROR) {
    const status = response?.code ?? 0;
    if (status === 0) return { kind: "unreachable" };
    return { kind: "refused", status, text: reasonIn(networkDetails?.responseText ?? "", response.text) };
  }
  return { kind: "broken" };
}

function beginByItself({ url, video, on, referrerPolicy }) {
  const failed = async () => {
    const { code, message } = video.error ?? {};
    const undecodable = { kind: "undecodable", text: message || "the browser gave it up" };
    if (code === MediaError.MEDIA_ERR_DECODE) return on.failed(undecodable);
    // It tells one error of a refusal and of what it cannot decode.
    const found = await asked(url, referrerPolicy);
    on.failed(found.kind === "broken" ? undecodable : found);
  };
  video.addEventListener("error", failed);
  video.addEventListener("ended", on.over);
  video.src = url;

  return {
    meter: { bytesPerSecond: null },
    how: "Native HLS",
    // It need not tell.
    behind() {
      const late = video.seekable.length ? video.seekable.end(video.seekable.length - 1) - video.currentTime : 0;
      return late > 0 && late < Infinity ? late : null;
    },
    end() {
      video.removeEventListener("error", failed);
      video.removeEventListener("ended", on.over);
      video.removeAttribute("src");
      video.load();
    },
  };
}
