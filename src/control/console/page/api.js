// The way to the API. The token is in this variable and nowhere else: it goes when the page goes.
let token = "";

/// An answer that says no. `status` 0: there was no answer.
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/// An answer may take so long: a core that is stuck holds one for seconds.
const PATIENCE_MS = 15000;

/// A token can be no other characters, and a header can hold no other.
export const canBeToken = (text) => /^[\x21-\x7e]+$/.test(text);

export const setToken = (text) => { token = text; };

export const hasToken = () => token !== "";

/// One segment of a path.
export const segment = (text) => encodeURIComponent(text);

/// The path of a stream, of its APP/NAME.
export function streamPath(key) {
  const slash = key.indexOf("/");
  return `streams/${segment(key.slice(0, slash))}/${segment(key.slice(slash + 1))}`;
}

/// `path` with those values that there are.
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? path + "?" + new URLSearchParams(given) : path;
}

/// Asks, and hands out the answer once its head is there.
async function ask(method, path, { body, signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = "Bearer " + token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL("api/v1/" + path, document.baseURI), {
      method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "The server does not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

/// What a request is answered, read; null if there is nothing to read.
export async function call(method, path, body) {
  const response = await ask(method, path, { body, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new Refusal(0, "The answer of the server broke off.");
  }
}

export const get = (path) => call("GET", path);

/// An answer without an end: its body, to be read as it comes.
export const open = async (path, signal) => (await ask("GET", path, { signal })).body;
