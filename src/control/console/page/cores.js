// The cores: how busy each is, and with what.
import { el, put } from "./dom.js";
import { bits, count, millis, percent } from "./format.js";
import { table } from "./table.js";

export function cores() {
  const rows = table({
    label: "Cores",
    empty: "No core has answered.",
    keyOf: (core) => core.core,
    columns: [
      { name: "core", label: "Core", show: (_, core) => String(core.core) },
      { name: "cpu", label: "CPU", show: (_, core) => String(core.cpu ?? "–"), narrow: false },
      { name: "busy", label: "Busy", make: makeBar, show: showBar },
      { name: "lag", label: "Loop lag p99", number: true, show: (_, core) => millis(core.loop_lag.p99_ms) + " ms" },
      { name: "streams", label: "Streams", number: true, show: (_, core) => count(core.sources) },
      { name: "viewers", label: "Viewers", number: true, show: (_, core) => count(core.viewers) },
      { name: "egress", label: "Out", number: true, narrow: false, show: (_, core) => bits(core.rates.egress_bit_s) },
      { name: "pressure", label: "Pressure", narrow: false, show: showPressure },
    ],
  });
  return { element: rows.element, show: (node) => rows.show(node.cores) };
}

function makeBar(cell) {
  cell.append(el("span", { class: "gauge-text" }), el("span", { class: "gauge", "aria-hidden": "true" }, el("span")));
}

function showBar(cell, core) {
  const busy = core.rates.cpu_percent;
  const [text, bar] = cell.children;
  put(text, percent(busy) + " %");
  bar.firstChild.style.width = Math.min(100, busy) + "%";
  bar.className = busy > 90 ? "gauge bad" : busy > 70 ? "gauge wait" : "gauge";
  const waited = core.cpu_waited_percent;
  cell.title = waited >= 0.1 ? `waited for its CPU ${percent(waited)} % of the time` : "";
}

function showPressure(cell, core) {
  const { step, widest_step: widest, refuses_newcomers: refuses } = core.pressure;
  cell.classList.toggle("bad", refuses);
  cell.classList.toggle("soft", step === 0);
  if (refuses) return "refuses newcomers";
  return step > 0 ? `windows wider, step ${step} of ${widest}` : "none";
}
