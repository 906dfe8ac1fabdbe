// The node in service: its drain, and whom it keeps out.
import { blocks } from "./blocks.js";
import { drain } from "./drain.js";
import { el } from "./dom.js";

export function service(again) {
  const leaving = drain(again);
  const blocked = blocks(again);
  return {
    element: el("div", {}, leaving.element, blocked.element),
    title: "Service",
    show: leaving.show,
    async poll(node, progress) {
      leaving.show(node, progress);
      await blocked.poll();
    },
    close() {},
  };
}
