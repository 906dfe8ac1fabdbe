// Where media is: the address of the port that it is served on, as this browser reaches it, and what lets a
// viewer in.
import { get } from "./api.js";
import { el, put } from "./dom.js";

/// What the operator said of where media is, and of what lets a viewer in. Of one app's streams.
const said = { base: null, access: new Map() };

/// Forgets what was said: the next operator may be another.
export function forgetMedia() {
  said.base = null;
  said.access.clear();
}

/// Origins that the policy of this page has kept it from.
const forbidden = new Set();
document.addEventListener("securitypolicyviolation", (event) => {
  const at = parsed(event.blockedURI);
  if (at) forbidden.add(at.origin);
});
/// It is told of that within so long.
const POLICY_MS = 100;

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/// What asks for it, of the streams of `app`, or of any app if there is none yet; `changed()` is called when it
/// is another.
export function media(app, changed = () => {}) {
  const base = el("input", { id: "media-base", spellcheck: "false", autocomplete: "off", placeholder: "http://HOST:8080", onchange: changed });
  const access = el("input", { id: "media-query", spellcheck: "false", autocomplete: "off", placeholder: "token=… or exp=…&sig=…", value: said.access.get(app) ?? "", onchange: changed });
  const hint = el("p", { class: "soft" });
  const element = el("details", {},
    el("summary", {}, "Where media comes from, and what lets a viewer in"),
    el("div", { class: "field" }, el("label", { for: "media-base" }, "Media address, as this browser reaches it"), base),
    el("div", { class: "field" }, el("label", { for: "media-query" }, "Query of a signed URL, or a token, where the app asks for one"), access),
    hint);
  let guessed = false;
  let info = null;

  return {
    element,
    /// Where it is, unless it is known.
    async learn() {
      if (guessed) return;
      try {
        info = await get("info");
        const guess = mediaBase(info);
        if (!base.value) base.value = said.base || guess.base;
        put(hint, guess.hint);
        hint.hidden = !guess.hint;
        guessed = true;
        changed();
      } catch {
        // The next look tries again.
      }
    },
    /// Goes on with another app's streams.
    turn(to) {
      app = to;
      access.value = said.access.get(app) ?? "";
    },
    /// What lets a viewer in to streams of `other`.
    access: (other) => (other === app ? access.value.trim().replace(/^\?/, "") : said.access.get(other) ?? ""),
    /// { base, query }, as it stands there; no base: none is known.
    get now() {
      return { base: mediaAddress(base.value.trim()), query: access.value.trim().replace(/^\?/, "") };
    },
    /// The same, to be played from, and remembered; or { problem }, in words.
    take() {
      const { base: at, query } = this.now;
      said.base = at;
      said.access.set(app, query);
      if (at) {
        base.value = at;
        return { base: at, query };
      }
      element.open = true;
      return { problem: base.value.trim()
        ? ["This is no media address", "Expected http://HOST:PORT or https://HOST:PORT."]
        : ["No media address", hint.textContent] };
    },
    /// The address of a stream by RTMP, of the host that media comes from; "" if it is not served.
    rtmp: (key) => {
      const at = info && rtmpBase(info, parsed(mediaAddress(base.value.trim()))?.hostname);
      return at ? `${at}/${key}` : "";
    },
    /// Why `url` was not reached, in words.
    async unreached(url) {
      const { origin } = new URL(url);
      // That its own policy kept it from there, a page is told a moment later.
      await new Promise((done) => setTimeout(done, POLICY_MS));
      if (!forbidden.has(origin)) return ["Media is not reached", `This browser does not reach ${origin}. Below you can say where media is.`];
      element.open = true;
      return ["Media may not be loaded from there", `The policy of this page lets it load media from ${portsOf(info)}. To play from ${origin}, put it into admin.media_origins, reload the configuration, and load this page again.`];
    },
  };
}

/// What was said of where media is, as an address; "" if it is none.
export function mediaAddress(text, page = location) {
  const at = parsed(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `${page.protocol}//${text}`);
  if (!text || !at || !/^https?:$/.test(at.protocol)) return "";
  return at.origin + at.pathname.replace(/\/+$/, "");
}

/// The ports that this page may load media from, by its policy, in words.
function portsOf({ http, https }) {
  const ports = [...http, ...https].map((address) => split(address).port);
  const all = [...new Set(ports)].join(", ") || "none";
  return `the ports of http.listen and http.tls_listen (${all}) and from the origins of admin.media_origins`;
}

function split(address) {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: address.slice(at + 1) };
}

const isHere = (host) => host === "localhost" || host === "[::1]" || host.startsWith("127.");

/// Of some addresses that are listened on, which one a browser reaches that has come to `hostname`.
function reached(listen, hostname) {
  const any = listen.find(({ host }) => host === "0.0.0.0" || host === "[::]");
  const own = listen.find(({ host }) => host === hostname);
  const near = isHere(hostname) ? listen.find(({ host }) => isHere(host)) : undefined;
  const far = listen.find(({ host }) => !isHere(host)) ?? listen[0];
  return own ?? (any ? { host: hostname, port: any.port } : near ?? far);
}

/// Where this browser may reach media: this page's host, unless media is served on other addresses
/// only. `hint` says what stands in the way.
export function mediaBase(info, page = location) {
  const secure = page.protocol === "https:";
  const listen = (secure ? info.https : info.http).map(split);
  const scheme = secure ? "https" : "http";
  if (listen.length === 0) {
    const other = secure ? info.http : info.https;
    const hint = !other.length
      ? "This server serves no media by HTTP."
      : `Media is served by ${secure ? "HTTP" : "HTTPS"} only, and this page came by ${secure ? "HTTPS: browsers refuse that. Set http.tls_listen." : "HTTP."}`;
    const base = !secure && other.length ? `https://${page.hostname}:${split(other[0]).port}` : "";
    return { base, hint };
  }
  const { host, port } = reached(listen, page.hostname);
  const hint = isHere(host) && !isHere(page.hostname)
    ? "Media is served on the server's own addresses only: other hosts do not reach it." : "";
  return { base: `${scheme}://${host}:${port}`, hint };
}

/// "rtmp://HOST[:PORT]", without the port if it is the protocol's own; "" if RTMP is not served.
export function rtmpBase(info, hostname = location.hostname) {
  if (info.rtmp.length === 0) return "";
  const { host, port } = reached(info.rtmp.map(split), hostname);
  return `rtmp://${host}${port === "1935" ? "" : ":" + port}`;
}
