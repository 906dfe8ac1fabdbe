// Who is not where they want to be: streams that are waited for, and those who were refused.
import { get, query } from "./api.js";
import { el, put, section } from "./dom.js";
import * as events from "./events.js";
import { count, span } from "./format.js";
import { happenings } from "./happenings.js";
import { pager } from "./pager.js";
import { linkColumn } from "./streams.js";
import { table } from "./table.js";

const PAGE = 50;

/// What refused: names of counters of the API. Limits that are not here are called by their keys.
const REASONS = {
  app: "the app: not configured, or not for this",
  blocked: "the address is blocked",
  conflict: "another publishes",
  draining: "the node leaves service",
  hand_over: "a core's inbox was full",
  no_descriptor: "no file descriptor left",
  overloaded: "the core was overloaded",
  proof: "no key, signature or token that counts",
  referers: "the page is not in referers",
  request: "the request makes no sense",
  rules: "a rule",
  verdict: "a hook server, or none answered",
  waiting: "too many wait for a publisher",
};

export function waiting(again) {
  events.start();
  const turning = pager(PAGE, "streams", again);
  const rows = table({
    label: "Streams that are waited for",
    empty: "Nobody waits for a publisher.",
    keyOf: (stream) => stream.core + " " + stream.serial,
    columns: [
      { name: "stream", label: "Stream", ...linkColumn },
      { name: "viewers", label: "Waiting viewers", number: true, show: (_, it) => count(it.waiting) },
      { name: "age", label: "For", number: true, show: (_, it) => span(it.age_s) },
    ],
  });
  const total = el("span", { class: "soft" });
  const refused = table({
    label: "Refused since the start",
    empty: "Nobody was refused.",
    keyOf: ([name]) => name,
    columns: [
      { name: "by", label: "By", show: (_, [name]) => REASONS[name] ?? name },
      { name: "count", label: "Times", number: true, show: (_, [, times]) => count(times) },
    ],
  });
  const happened = happenings(again);
  return {
    element: el("div", {},
      el("div", { class: "split even" },
        section("Waited for", { beside: [total] }, rows.element, turning.element),
        section("Refused since the start", {}, refused.element)),
      happened.element),
    title: "Waiting and refused",
    async poll(node) {
      const some = Object.entries(node.refused).filter(([, times]) => times > 0);
      refused.show(some.sort(([, one], [, other]) => other - one));
      const { limit, offset } = turning;
      const page = await get(query("streams", { state: "waiting", sort: "age", reverse: true, limit, offset }));
      happened.show();
      if (offset !== turning.offset || !turning.show(page.total, page.items.length)) return;
      put(total, page.total ? count(page.total) : "");
      rows.show(page.items);
    },
    close() {},
  };
}
