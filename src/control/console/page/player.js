// Plays a stream, or a recording, from the port that media is served on. Whoever plays here is a viewer like
// others, so nothing is played before it is asked for.
import { button, el, put } from "./dom.js";
import { isAbsent, isOff } from "./refusal.js";
import { named, nextWay, play as playBy } from "./ways.js";

/// What a format has no place for is refused with that status.
const NO_PLACE = 415;

/// `from` says where media is. `ways` are what may be tried, and `chosen` the name of the one to begin with;
/// `chose(name)` is told of another. `urlOf(way, base, query)` is where it is.
export function player({ label, from, ways, chosen, chose, urlOf }) {
  const video = el("video", { muted: true, playsinline: true, "aria-label": "Picture of " + label });
  video.muted = true;
  const title = el("strong");
  const detail = el("span");
  const start = button("Play", afresh, { class: "main" });
  const stage = el("div", { class: "stage card" }, video, el("div", { class: "cover over" }, title, detail, start));
  const status = el("span", { class: "state", role: "status" });
  const how = el("span", { class: "soft how" });
  const stop = button("Stop", () => halt("off", ""), { hidden: true });
  const note = el("p", { class: "note", role: "status", hidden: true });
  const choices = ways.map((way) => button(way.label, () => choose(way), { title: way.name, "data-as": way.as }));
  const element = el("div", { class: "player" }, stage,
    el("div", { class: "bar-line" }, status, how, stop),
    ways.length > 1 ? el("div", { class: "choice", role: "group", "aria-label": "Format" }, choices) : null,
    note, from.element);
  let first = ways.find((way) => way.as === chosen) ?? ways[0];
  /// { handle, played, codecs }, one at a time.
  let playing = null;
  /// Why a way did not play, by its name.
  let untold = new Map();
  let moved = 0;
  /// Counts what was asked for: an answer to what was asked before says nothing any more.
  let asked = 0;

  /// off, connecting, playing, waiting or error.
  function say(state, text, more = "") {
    element.dataset.state = state;
    // The element turns a wheel of its own beside its controls, below what is said here.
    video.controls = state === "playing";
    put(title, text);
    put(detail, more);
    put(status, state === "off" ? "Not playing" : text);
    const focused = document.activeElement;
    start.hidden = state !== "off" && state !== "error";
    stop.hidden = !start.hidden;
    // What is hidden loses the focus.
    if (focused === start && start.hidden) stop.focus();
    if (focused === stop && stop.hidden) start.focus();
  }

  function halt(state, text, more) {
    asked += 1;
    const old = playing;
    playing = null;
    old?.handle.end();
    put(how, "");
    say(state, text, more);
  }

  function choose(way) {
    first = way;
    chose?.(way.as);
    // Who only looks at the buttons wants no viewer yet.
    if (start.hidden) afresh();
    else mark(first, "");
  }

  function mark(way, why) {
    for (const one of choices) one.setAttribute("aria-pressed", String(one.dataset.as === way.as));
    put(note, why);
    note.hidden = why === "";
  }

  /// As if nothing had been tried.
  function afresh() {
    untold = new Map();
    return play();
  }

  async function play() {
    halt("connecting", "Connecting");
    const own = asked;
    await from.learn();
    if (own !== asked) return;
    const { base, query, problem } = from.take();
    if (problem) return halt("error", ...problem);
    const way = nextWay(ways, first, untold);
    if (!way) return halt("error", "This browser cannot play live video", "It has neither Media Source Extensions nor HLS.");
    mark(way, [...untold.values()].join(". "));
    begin(way, urlOf(way, base, query));
  }

  function begin(way, url) {
    const own = playing = { handle: null, played: false, codecs: {} };
    moved = 0;
    own.handle = playBy(way, {
      url,
      video,
      // What lets a viewer in stands in the address, and the token of the API goes nowhere else.
      referrerPolicy: "no-referrer",
      on: {
        codecs(names) { own.codecs = named(names); },
        over() { halt("off", "", way.recorded ? "That was all of it." : "It was ended by the server."); },
        failed: (problem) => failed(way, url, problem),
      },
    });
  }

  async function failed(way, url, problem) {
    const { kind, status: code, text } = problem;
    // What is refused, while others are tried, is no other than those.
    const unfit = kind === "undecodable" ? !playing.played
      : kind === "refused" && !isAbsent(problem) && (code === NO_PLACE || isOff(problem) || untold.size > 0);
    if (unfit) {
      untold.set(way.as, isOff(problem) ? text : `${way.name}: ${text}`);
      if (nextWay(ways, first, untold)) return play();
      return halt("error", "This browser plays it in no format", [...untold.values()].join(". ") + ".");
    }
    if (kind === "undecodable") return halt("error", "The browser cannot decode this stream", text);
    if (kind === "refused") return halt("error", isAbsent(problem) ? "Nobody publishes this stream" : `Refused: ${code}`, text);
    if (kind === "broken") return halt("error", "It broke off", text ?? "Play it again.");
    halt("connecting", "Connecting");
    const last = asked;
    const words = await from.unreached(url);
    if (last === asked) halt("error", ...words);
  }

  video.addEventListener("timeupdate", () => {
    if (!playing || video.currentTime === moved) return;
    moved = video.currentTime;
    playing.played = true;
    if (!video.paused) say("playing", "Playing");
    const { handle, codecs } = playing;
    const late = handle.way.recorded ? null : handle.behind();
    const behind = late === null ? "" : `${late.toFixed(1)} s behind`;
    put(how, [handle.how, codecs.video?.name, codecs.audio?.name, behind].filter(Boolean).join(" · "));
  });
  video.addEventListener("waiting", () => {
    // Who looks for a place in a recording needs its controls.
    if (playing && !playing.handle?.way.recorded) say("waiting", "Waiting for pictures");
  });

  say("off", "");
  if (first) mark(first, "");
  return { element, play: afresh, close: () => halt("off", "") };
}
