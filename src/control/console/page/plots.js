// Lines over the last ten minutes, drawn by uPlot.
import uPlot from "./uplot.js";
import { el } from "./dom.js";
import { clock } from "./format.js";
import { WINDOW_S, columns, newest } from "./history.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const FONT = "11px system-ui, -apple-system, sans-serif";

/// A plot of one figure of the history. `write` makes a text of a value of the axis, `least` is the
/// smallest upper end of it, and `point(at, value)` hears what the pointer is on, or null.
export function plot({ figure, label, write, least, point }) {
  const element = el("div", { class: "plot", role: "img", "aria-label": label });
  let drawn = null;

  const draw = () => {
    drawn?.destroy();
    drawn = null;
    const { clientWidth: width, clientHeight: height } = element;
    if (width < 20 || height < 20) return;
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), font: FONT, ticks: { show: false } };
    drawn = new uPlot({
      width, height,
      legend: { show: false },
      padding: [6, 2, 0, 0],
      cursor: { sync: { key: "node" }, y: false, drag: { x: false, y: false } },
      scales: {
        x: { range: () => [newest() - WINDOW_S, newest()] },
        y: { range: (_, __, most) => [0, Math.max(most * 1.15, least)] },
      },
      axes: [
        { ...axis, size: 20, gap: 4, grid: { show: false }, incrs: [120, 300], space: 50,
          // One at the edge would be cut off.
          values: (it, times) => times.map((at) =>
            (it.valToPos(at, "x") > it.over.clientWidth - 16 ? "" : clock(at).slice(0, 5))) },
        { ...axis, size: 40, gap: 4, space: 32, grid: { stroke: colour("--line"), width: 1 },
          values: (_, values) => values.map(write) },
      ],
      series: [{}, {
        stroke: colour("--accent"), width: 1.5, fill: colour("--accent") + "1c", points: { show: false },
      }],
      hooks: {
        setCursor: [({ cursor, data }) => {
          const value = cursor.idx === null ? null : data[1][cursor.idx];
          point(value === null || value === undefined ? null : { at: data[0][cursor.idx], value });
        }],
      },
    }, columns(figure), element);
  };

  const resized = new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = element;
    if (drawn && drawn.width === width && drawn.height === height) return;
    draw();
  });
  resized.observe(element);
  dark.addEventListener("change", draw);

  return {
    element,
    show: () => (drawn ? drawn.setData(columns(figure)) : draw()),
    close() {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      drawn?.destroy();
      drawn = null;
    },
  };
}
