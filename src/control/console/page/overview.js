// The node at a glance: what it does, what it costs, and its streams.
import { cores } from "./cores.js";
import { el, put, section } from "./dom.js";
import { NONE, bitRate, bits, clock, count, digits, millis, span } from "./format.js";
import { latest, worst } from "./history.js";
import { plot } from "./plots.js";
import { streams } from "./streams.js";

/// The worst of so many seconds is told of the loop lag.
const LAG_S = 10;

export function overview(again) {
  const cards = [
    card({
      figure: "viewers", title: "Viewers", least: 10, write: short,
      value: (node) => [count(node.viewers), ""],
      beside: (node) => (node.sinks > node.viewers ? `${count(node.sinks - node.viewers)} waiting` : "none waiting"),
      past: (value) => count(value),
    }),
    card({
      figure: "egress", title: "Egress", least: 1e6, write: short,
      value: (node) => bitRate(latest()?.egress ?? node.rates.egress_bit_s),
      beside: (node) => `${bits(latest()?.ingest ?? node.rates.ingest_bit_s)} in`,
      past: bits,
    }),
    card({
      figure: "perThousand", title: "CPU per 1000 viewers", least: 1, write: short,
      value: () => perThousand(latest()?.perThousand ?? null),
      beside: (node) => `${node.rates.cpu_percent.toFixed(1)} % of a core now`,
      past: (value) => digits(value) + " %",
    }),
    card({
      figure: "lag", title: "Loop lag p99", least: 1, write: short,
      value: () => [millis(worst("lag", LAG_S)), "ms"],
      beside: () => `worst of the last ${LAG_S} s`,
      past: (value) => millis(value) + " ms",
    }),
  ];
  const facts = ["Streams", "Publishers", "Connections", "Skips", "Refused", "Up"].map((name) => {
    const value = el("dd", {}, NONE);
    return { name, value, element: el("div", {}, el("dt", {}, name), value) };
  });
  const all = cores();
  const listed = streams(again);
  const element = el("div", {},
    el("div", { class: "figures" }, cards.map((it) => it.element)),
    el("dl", { class: "facts card" }, facts.map((fact) => fact.element)),
    section("Cores", {}, all.element),
    listed.element);

  function show(node) {
    cards.forEach((it) => it.show(node));
    const { streams: by, refused } = node;
    const texts = {
      Streams: count(by.live + by.probing + by.grace) + (by.waiting ? ` + ${count(by.waiting)} waited for` : ""),
      Publishers: count(by.live + by.probing),
      Connections: `${count(node.connections)} of ${count(node.connections_max)}`,
      Skips: count(node.skips),
      Refused: count(Object.values(refused).reduce((sum, one) => sum + one, 0)),
      Up: span(node.uptime_s),
    };
    facts.forEach((fact) => put(fact.value, texts[fact.name]));
    all.show(node);
  }

  return {
    element,
    title: "Overview",
    show,
    async poll(node) {
      show(node);
      await listed.poll();
    },
    close: () => cards.forEach((it) => it.close()),
  };
}

/// A big number over its plot.
function card({ title, figure, least, write, value, beside, past }) {
  const number = el("span", { class: "number", id: "figure-" + figure }, NONE);
  const unit = el("span", { class: "unit" });
  const small = el("span", { class: "beside" });
  let node = null;
  let pointed = null;
  const tell = () => put(small, pointed ? `${past(pointed.value)} at ${clock(pointed.at)}` : node ? beside(node) : "");
  const drawn = plot({
    figure, least, write, label: `${title}, the last ten minutes`,
    point(at) {
      pointed = at;
      tell();
    },
  });
  const element = el("section", { class: "figure card", "aria-label": title },
    el("h2", {}, title), el("p", {}, number, " ", unit), small, drawn.element);
  return {
    element,
    show(now) {
      node = now;
      const [text, of] = value(now);
      put(number, text);
      put(unit, of);
      tell();
      drawn.show();
    },
    close: drawn.close,
  };
}

const perThousand = (percent) => (percent === null ? [NONE, ""] : [digits(percent), "% of a core"]);

/// A value of an axis: 1.5k, 2M.
function short(value) {
  const step = value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : value >= 1e3 ? [1e3, "k"] : [1, ""];
  return Number((value / step[0]).toPrecision(3)) + step[1];
}
