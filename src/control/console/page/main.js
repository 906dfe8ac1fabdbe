// The console: which page is shown, and a look at the server once a second, while anyone looks.
import { get, hasToken, setToken } from "./api.js";
import { put } from "./dom.js";
import { DRAIN } from "./drain.js";
import * as events from "./events.js";
import { span } from "./format.js";
import { forget, remember } from "./history.js";
import { isOpen, login } from "./login.js";
import { forgetMedia } from "./media.js";
import { overview } from "./overview.js";
import { recordings } from "./recordings.js";
import { service } from "./service.js";
import { stream } from "./stream.js";
import { waiting } from "./waiting.js";

const LOOK_MS = 1000;
/// While the server does not answer, it is asked less and less.
const BACK_OFF_MS = [1000, 2000, 4000, 8000];

const byId = (id) => document.getElementById(id);

let shown = null;
/// Whether the server has let this page in.
let inside = false;
let timer = 0;
/// Counts looks that were begun: only the last one may show what it saw.
let look = 0;
let failures = 0;
let version = "";
/// Said while the server is another than this page was loaded from.
let outdated = "";
/// What the last look saw.
let seen = null;

/// The page of an address behind "#", and the name of its entry in the menu.
function pageOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  if (name === "stream" && rest.length === 2) {
    const [app, key] = rest.map(decoded);
    if (app && key) return ["stream", () => stream(app, key, new URLSearchParams(query).get("as"), soon)];
  }
  if (name === "recordings") return ["recordings", () => recordings(soon)];
  if (name === "waiting") return ["waiting", () => waiting(soon)];
  if (name === "service") return ["service", () => service(soon)];
  return ["overview", () => overview(soon)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function show(page) {
  shown?.close();
  // A question about what is not shown any more.
  document.querySelector("dialog")?.close();
  shown = page;
  byId("view").replaceChildren(page.element);
  document.title = page.title + " · Corecast console";
}

function route() {
  if (!inside) return;
  const [name, make] = pageOf(location.hash);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.route === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  show(make());
  // What is known is not waited for.
  if (seen) shown.show?.(...seen);
  scrollTo(0, 0);
  soon();
}

/// Has the server looked at now, instead of in a while.
function soon() {
  clearTimeout(timer);
  look += 1;
  if (inside) turn(look);
}

async function turn(own) {
  if (document.hidden) return;
  const begun = performance.now();
  const page = shown;
  let wait = LOOK_MS;
  try {
    const [node, progress] = await Promise.all([get("node"), get("drain")]);
    // A newer look tells more.
    if (!inside || own !== look) return;
    if (seen && node.uptime_s < seen[0].uptime_s) {
      events.restarted();
      learn();
    }
    remember(node);
    seen = [node, progress];
    top(node, progress);
    if (page === shown) await page.poll(node, progress);
    failures = 0;
    if (inside) trouble(outdated, false);
    wait = Math.max(LOOK_MS / 5, LOOK_MS - (performance.now() - begun));
  } catch (problem) {
    if (!inside || own !== look) return;
    if (problem.status === undefined) console.error(problem);
    if (problem.status === 401) return leave("The server does not know this token any more.");
    wait = BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)];
    failures += 1;
    const what = problem.status === 0 ? "The server does not answer. What is shown is old." : problem.message;
    trouble(`${what} It is asked again in ${wait / 1000} s.`);
  }
  if (own === look && inside) timer = setTimeout(soon, wait);
}

/// What stands on top of every page.
function top(node, progress) {
  const state = byId("state");
  const silent = node.silent_cores > 0;
  put(state, silent ? `${node.silent_cores} silent ${node.silent_cores === 1 ? "core" : "cores"}` : (DRAIN[progress.state]?.[0] ?? progress.state));
  state.className = "pill " + (silent ? "bad" : progress.state === "serving" ? "good" : "wait");
  put(byId("about"), [version, `up ${span(node.uptime_s)}`].filter(Boolean).join(" · "));
}

/// `old`: what the page shows may not be so any more.
function trouble(text, old = text !== "") {
  const banner = byId("trouble");
  put(banner, text);
  banner.hidden = text === "";
  document.body.classList.toggle("old", old);
}

async function enter() {
  inside = true;
  failures = 0;
  trouble("");
  byId("top").hidden = false;
  byId("forget").hidden = !hasToken();
  route();
  await learn();
}

/// Which version the server is.
async function learn() {
  const info = await get("info").catch(() => null);
  if (!info) return;
  if (version && version !== info.version) outdated = `The server was changed from ${version} to ${info.version}. Load this page again.`;
  version = info.version;
}

/// Asks for the token; what was seen with the old one goes.
function leave(said = "") {
  inside = false;
  clearTimeout(timer);
  look += 1;
  setToken("");
  events.stop();
  forget();
  forgetMedia();
  seen = null;
  trouble("");
  byId("top").hidden = true;
  const page = login(said, enter);
  show(page);
  page.focus();
}

/// Until the server answers for the first time.
async function begin() {
  try {
    if (await isOpen()) await enter();
    else leave();
    trouble("");
  } catch (problem) {
    const wait = BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)];
    failures += 1;
    trouble(`${problem.message} It is asked again in ${wait / 1000} s.`);
    setTimeout(begin, wait);
  }
}

addEventListener("hashchange", () => {
  route();
  if (inside) byId("view").focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", () => {
  events.looked(!document.hidden);
  if (!document.hidden) soon();
});
byId("forget").addEventListener("click", () => leave());
begin();
