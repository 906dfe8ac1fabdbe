// One stream: what it is, who publishes it, what it is made into, where it plays, and who watches.
import { call, get, query, streamPath } from "./api.js";
import { block, host } from "./client.js";
import { ask, attempt } from "./dialog.js";
import { button, el, put, section } from "./dom.js";
import { NONE, bits, bytes, codecName, count, digits, lag, moment, percent, span } from "./format.js";
import { media } from "./media.js";
import { player } from "./player.js";
import { recordButton } from "./record.js";
import { showRows } from "./rows.js";
import { STATES, streamLink } from "./streams.js";
import { table } from "./table.js";
import { viewers } from "./viewers.js";
import { addresses, mediaUrl, ways } from "./ways.js";

const FACTS = ["Viewers", "In", "Out", "CPU", "Per 1000 viewers", "Window", "Key frame cache", "Age", "Core", "Frames dropped"];
/// Viewers from which on what a thousand of them cost says something.
const MANY = 50;
const PUBLISHER = ["Address", "Protocol", "Agent", "Since"];

/// `as` names the way it plays, if the address of the page does.
export function stream(app, name, as, again) {
  const key = `${app}/${name}`;
  const path = "/" + key.split("/").map(encodeURIComponent).join("/");
  const state = el("span", { class: "pill" });
  const end = button("End stream", endStream, { class: "danger" });
  const loading = el("p", { class: "empty card" }, "Loading");
  const gone = el("p", { class: "empty card", hidden: true }, "Nobody publishes this stream or waits for it. It shows here as soon as somebody does.");
  const facts = list(FACTS);
  const publisher = list(PUBLISHER);
  const keepOut = button("Block address", () => block(keepOut.address));
  const nobody = el("p", { class: "empty" }, "Nobody publishes now.");
  const from = media(app, listAddresses);
  const shown = player({
    label: key,
    from,
    // The policy of this page has no WebSockets, which bring no other media.
    ways: ways().filter((way) => !way.socket),
    chosen: as,
    chose: (way) => history.replaceState(null, "", `${streamLink(key)}?as=${way}`),
    urlOf: (way, base, access) => mediaUrl(way, base + path, access),
  });
  const urls = el("div", { class: "rows card" });
  const record = recordButton(key, again);
  const watched = viewers(key, again);
  const tracks = table({
    label: "Tracks",
    empty: "None is known yet.",
    keyOf: (track) => track.kind,
    columns: [
      { name: "kind", label: "Track", show: (_, it) => it.kind },
      { name: "codec", label: "Codec", show: (_, it) => [codecName(it.codec), it.profile, it.level].filter(Boolean).join(" ") },
      { name: "form", label: "Format", show: (_, it) => form(it) },
      { name: "rate", label: "Bitrate", number: true, show: (_, it) => (it.bit_s === undefined ? NONE : bits(it.bit_s)) },
    ],
  });
  const outputs = table({
    label: "Outputs",
    empty: "Nobody asks for any format now.",
    keyOf: (output) => JSON.stringify([output.format, output.hevc, output.chunk_size, output.selection]),
    columns: [
      { name: "format", label: "Muxed as", show: (_, it) => muxed(it) },
      { name: "viewers", label: "Viewers", number: true, show: (_, it) => count(it.viewers_raw + it.viewers_chunked + it.viewers_websocket) },
      { name: "blocks", label: "Blocks", number: true, narrow: false, show: (_, it) => count(it.log_blocks) },
      { name: "bytes", label: "Log", number: true, show: (_, it) => bytes(it.log_bytes) },
      { name: "ms", label: "Spans", number: true, show: (_, it) => lag(it.log_ms) },
    ],
  });
  // Nothing is said, and nothing can be done, before it is known what there is.
  end.hidden = true;
  const details = el("div", { hidden: true },
    el("div", { class: "split" },
      el("div", {}, section("Picture", {}, shown.element)),
      el("div", {},
        section("Stream", {}, facts.element),
        section("Publisher", { beside: [keepOut] }, publisher.element, nobody),
        section("Addresses", {}, urls))),
    el("div", { class: "split even" },
      section("Tracks", {}, tracks.element),
      section("Outputs", {}, outputs.element)),
    watched.element);
  const element = el("div", {},
    el("div", { class: "title" }, el("h1", {}, key), state, record.mark, el("div", { class: "doings" }, record.button, end)),
    loading, gone, details);

  /// Where players of any kind find it.
  function listAddresses() {
    const { base, query: access } = from.now;
    showRows(urls, base ? addresses(base + path, from.rtmp(key), access) : []);
    urls.parentElement.hidden = !base;
  }

  async function endStream() {
    const answer = await ask({
      title: "End the stream",
      text: `The publisher of ${key} is told so and closed. Its viewers stay for publisher_grace, in which another publisher, or the same, may go on; to keep one away, block its address.`,
      fields: [{ name: "reason", label: "Reason, for the log and for hooks" }],
      action: "End stream",
      danger: true,
    });
    if (!answer) return;
    await attempt(() => call("DELETE", query(streamPath(key), answer)), `The publisher of ${key} was ended.`);
    again();
  }

  function show(it) {
    put(state, STATES[it.state] ?? it.state);
    state.className = "pill state-" + it.state;
    end.hidden = it.publisher === null;
    record.allow(it.publisher !== null);
    const { rates } = it;
    const protocols = Object.entries(it.viewers_by_protocol).map(([by, number]) => `${by} ${count(number)}`);
    const waiting = it.waiting ? [`waiting ${count(it.waiting)}`] : [];
    facts.show({
      Viewers: [count(it.viewers), ...protocols, ...waiting].join(" · "),
      In: bits(rates.ingest_bit_s),
      Out: bits(rates.egress_bit_s),
      CPU: percent(rates.cpu_percent) + " %",
      // Of a few it is the cost of the stream alone.
      "Per 1000 viewers": rates.cpu_per_1000_viewers_percent === null || rates.viewers_mean < MANY ? NONE : digits(rates.cpu_per_1000_viewers_percent) + " %",
      Window: Math.round(it.window_ms) + " ms",
      "Key frame cache": bytes(it.gop_bytes),
      Age: span(it.age_s),
      Core: String(it.core),
      "Frames dropped": `${count(it.frames_dropped)} of ${count(it.frames)}`,
    });
    const by = it.publisher;
    nobody.hidden = by !== null;
    publisher.element.hidden = by === null;
    keepOut.hidden = !by?.address;
    if (by) {
      keepOut.address = host(by.address ?? "");
      publisher.show({
        Address: by.address ?? "the server itself",
        Protocol: by.protocol ?? NONE,
        Agent: by.agent ?? NONE,
        Since: moment(by.since),
      });
    }
    tracks.show(it.tracks);
    outputs.show(it.outputs);
  }

  return {
    element,
    title: key,
    async poll() {
      try {
        const [it] = await Promise.all([get(streamPath(key)), watched.poll(), from.learn(), record.poll()]);
        loading.hidden = true;
        gone.hidden = true;
        details.hidden = false;
        show(it);
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        loading.hidden = true;
        gone.hidden = false;
        details.hidden = true;
        end.hidden = true;
        record.show(null);
        put(state, "not here");
        state.className = "pill";
      }
    },
    close: shown.close,
  };
}

/// Names and values.
function list(names) {
  const values = names.map((name) => [name, el("dd")]);
  const element = el("dl", { class: "list card" }, values.map(([name, value]) => el("div", {}, el("dt", {}, name), value)));
  return { element, show: (texts) => values.forEach(([name, value]) => put(value, texts[name])) };
}

function form(track) {
  const parts = [];
  if (track.width) parts.push(`${track.width} × ${track.height}`);
  if (track.fps) parts.push(`${Number(track.fps.toFixed(1))} fps`);
  if (track.sample_rate_hz) parts.push(`${track.sample_rate_hz / 1000} kHz`);
  if (track.channels) parts.push(track.channels === 1 ? "mono" : track.channels === 2 ? "stereo" : `${track.channels} channels`);
  return parts.join(" · ") || NONE;
}

/// What distinguishes it from others: H.265 in its old form, chunks of another size, one track of two.
function muxed({ format, hevc, chunk_size: chunk, selection }) {
  const parts = [
    format.toUpperCase(),
    chunk === undefined ? "" : `chunks of ${count(chunk)}`,
    hevc === "legacy" ? "H.265 in its old form" : "",
    selected(selection),
  ];
  return parts.filter(Boolean).join(", ");
}

/// Which tracks, if it is not both.
const selected = ({ audio, video }) => (audio ? (video ? "" : "sound only") : "pictures only");
