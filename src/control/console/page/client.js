// Who is at the other end: as a cell of a table shows it, and as an address that can be kept out.
import { call } from "./api.js";
import { ask, attempt } from "./dialog.js";
import { el, put } from "./dom.js";
import { count } from "./format.js";

/// The address without its port: of "192.0.2.7:50000" and of "[2001:db8::7]:50000".
export function host(address) {
  const end = address.lastIndexOf(":");
  return (end < 0 ? address : address.slice(0, end)).replace(/^\[|\]$/g, "");
}

/// The network of 64 bits of an IPv6 address, which is blocked as a whole; "" of another address.
export function network(address) {
  if (!address.includes(":") || address.includes(".")) return "";
  const [left, right] = address.split("::").map((part) => part.split(":").filter(Boolean));
  const between = right ? Math.max(0, 8 - left.length - right.length) : 0;
  const groups = [...left, ...Array(between).fill("0"), ...(right ?? [])].slice(0, 4);
  return groups.map((group) => parseInt(group, 16).toString(16)).join(":") + "::/64";
}

/// What a cell needs to show a client.
export function makeClient(cell) {
  cell.append(el("span", { class: "address" }), el("span", { class: "agent" }));
}

/// Its address, and below it what it says that it is.
export function showClient(cell, client, more = "") {
  const [address, agent] = cell.children;
  put(address, client.address ?? "the server itself");
  const said = [client.agent, more].filter(Boolean).join(" · ");
  put(agent, said);
  agent.title = [client.agent, client.page, client.client].filter(Boolean).join("\n");
}

const TIMES = [["600", "10 minutes"], ["3600", "1 hour"], ["86400", "1 day"], ["604800", "1 week"]];

/// Asks for how long and why, and keeps the address out. Whether it was done.
export async function block(address) {
  const whole = network(address);
  const answer = await ask({
    title: "Block an address",
    text: `Publishers and viewers from ${whole ? `all of ${whole}, to which ${address} belongs,` : address} are ended, and nobody connects from there for a time.`,
    fields: [
      { name: "for_s", label: "For", value: "3600", choices: TIMES },
      { name: "reason", label: "Reason, for the log and for hooks" },
    ],
    action: "Block",
    danger: true,
  });
  if (!answer) return false;
  const body = { address, for_s: Number(answer.for_s), reason: answer.reason };
  return attempt(() => call("POST", "block", body), ({ ended }) => `${whole || address} is blocked, ${count(ended)} were ended.`);
}
