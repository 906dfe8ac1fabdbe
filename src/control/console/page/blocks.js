// The addresses that may not connect for a time.
import { call, get, query, segment } from "./api.js";
import { block, network } from "./client.js";
import { attempt } from "./dialog.js";
import { button, el, put, section } from "./dom.js";
import { count, span } from "./format.js";
import { pager } from "./pager.js";
import { table } from "./table.js";

const PAGE = 50;

export function blocks(again) {
  const turning = pager(PAGE, "addresses", again);
  const total = el("span", { class: "soft" });
  const address = el("input", {
    required: true, pattern: "[0-9A-Fa-f.:]+", title: "One IPv4 or IPv6 address", placeholder: "192.0.2.7 or 2001:db8::7", "aria-label": "Address to block",
    spellcheck: "false", autocapitalize: "off", autocomplete: "off",
  });
  const form = el("form", { class: "tools", onsubmit: add }, address, el("button", { type: "submit" }, "Block"));
  const rows = table({
    label: "Blocked addresses",
    empty: "No address is blocked.",
    keyOf: (blocked) => blocked.address,
    columns: [
      { name: "address", label: "Address", show: (_, it) => (network(it.address) ? `${it.address} (${network(it.address)})` : it.address) },
      { name: "for", label: "For", number: true, show: (_, it) => span(it.for_s) },
      { name: "why", label: "Why", show: (_, it) => it.reason },
      { name: "act", label: "Actions", bare: true, make: (cell) => cell.append(button("Unblock", () => unblock(cell.address))),
        show: (cell, it) => { cell.address = it.address; cell.firstChild.setAttribute("aria-label", "Unblock " + it.address); } },
    ],
  });

  async function add(event) {
    event.preventDefault();
    // What was called off or refused is there still, to be mended.
    if (await block(address.value.trim())) address.value = "";
    again();
  }

  async function unblock(which) {
    await attempt(() => call("DELETE", "block/" + segment(which)), `${which} may connect again.`);
    again();
  }

  return {
    element: section("Blocked addresses", { beside: [total, form] }, rows.element, turning.element),
    async poll() {
      const { limit, offset } = turning;
      const page = await get(query("block", { limit, offset }));
      if (offset !== turning.offset || !turning.show(page.total, page.items.length)) return;
      put(total, page.total ? count(page.total) : "");
      rows.show(page.items);
    },
  };
}
