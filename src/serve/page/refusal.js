// Why a server said no.

/// What a body says of it, and else what its status is called.
export function reasonIn(text, statusText) {
  try {
    const body = JSON.parse(text);
    return body.detail ?? body.error ?? statusText;
  } catch {
    return statusText;
  }
}

/// Whether it is that the stream is not there, which may change by itself.
export const isAbsent = ({ kind, status, text }) => kind === "refused" && status === 404 && /^nobody publishes/.test(text);

/// Whether it is that the server does not offer this way, while it may offer others.
export const isOff = ({ kind, status, text }) => kind === "refused" && status === 404 && /^HLS is off/.test(text);

/// Asks once more, for players that tell neither the status nor its reason. What is answered well
/// broke off.
export async function asked(url, referrerPolicy) {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { cache: "no-store", referrerPolicy, signal: stop.signal });
    if (response.ok) return { kind: "broken" };
    const text = reasonIn(await response.text(), response.statusText);
    return { kind: "refused", status: response.status, text };
  } catch {
    return { kind: "unreachable" };
  } finally {
    stop.abort();
  }
}
