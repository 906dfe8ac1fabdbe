// Out of service, and back.
import { call } from "./api.js";
import { ask, attempt } from "./dialog.js";
import { button, el, put, section } from "./dom.js";
import { count, moment } from "./format.js";

/// Of each state: what it is called, and what goes on.
export const DRAIN = {
  serving: ["In service", "This node takes publishers and viewers."],
  announced: ["Leaving service", "/readyz says 503, so that balancers send nobody any more. Media is served still."],
  viewers: ["Leaving service", "Media ports are closed. Viewers are ended at a pace, each at a key frame."],
  publishers: ["Leaving service", "Viewers are gone. Publishers are ended."],
  drained: ["Out of service", "Nobody is left. The process runs, and can go back into service."],
  halted: ["Drain halted", "It is on its way back into service. If it stays so, a port could not be opened again: the log names it. Take the node out of service, or back into it, once more."],
};

const STEPS = ["announced", "viewers", "publishers", "drained"];
const STEP_NAMES = { announced: "Announced", viewers: "Viewers leave", publishers: "Publishers leave", drained: "Nobody is left" };

export function drain(again) {
  const what = el("p");
  const since = el("p", { class: "soft" });
  const steps = STEPS.map((name) => el("li", {}, STEP_NAMES[name]));
  const progress = el("ol", { class: "steps" }, steps);
  const begin = button("Take out of service", start, { class: "danger" });
  const back = button("Back into service", undo, { class: "main" });
  const element = section("Drain", {}, el("div", { class: "card pad" }, what, progress, since, el("div", { class: "actions" }, begin, back)));
  let now = null;

  async function start() {
    const answer = await ask({
      title: "Take this node out of service?",
      text: `${count(now.viewers)} viewers and ${count(now.publishers)} publishers are here. /readyz says 503 at once; after drain.delay media ports close, then viewers are ended at a pace, then publishers. The process and this console stay.`,
      action: "Take out of service",
      danger: true,
    });
    if (answer) await attempt(() => call("POST", "drain"), "The node leaves service.");
    again();
  }

  async function undo() {
    const answer = await ask({
      title: "Back into service?",
      text: "Media ports open again, and who is still here stays.",
      action: "Back into service",
    });
    if (answer) await attempt(() => call("DELETE", "drain"), "The node is in service again.");
    again();
  }

  return {
    element,
    show(node, at) {
      const { live, probing } = node.streams;
      now = { viewers: node.sinks, publishers: live + probing };
      const serving = at.state === "serving";
      put(what, DRAIN[at.state]?.[1] ?? at.state);
      progress.hidden = serving;
      const reached = STEPS.indexOf(at.state);
      steps.forEach((step, number) => {
        step.className = number < reached ? "done" : number === reached ? "now" : "";
        if (number === reached) step.setAttribute("aria-current", "step");
        else step.removeAttribute("aria-current");
      });
      const left = `${count(at.viewers_left)} viewers and ${count(at.publishers_left)} publishers are left.`;
      const stops = at.then_stops ? " The process ends when nobody is." : "";
      put(since, serving ? "" : `Since ${moment(at.since)}. ${left}${stops}`);
      begin.hidden = !serving && at.state !== "halted";
      // A process that was told to end does so: its manager would kill it.
      back.hidden = serving || at.then_stops;
    },
  };
}
