// The recording of a stream: whether there is one, its begin and its end.
import { call, get, query, streamPath } from "./api.js";
import { attempt } from "./dialog.js";
import { button, el, put } from "./dom.js";
import { bytes } from "./format.js";

export const startRecording = (key) =>
  attempt(() => call("POST", streamPath(key) + "/recording"), `${key} is being recorded.`);

export const endRecording = (key) =>
  attempt(() => call("DELETE", streamPath(key) + "/recording"), `The recording of ${key} has ended.`);

/// As many as the API tells at once.
const PAGE = 1000;

/// What is being recorded of a stream; null if nothing is.
async function runningOf(key) {
  for (let offset = 0; ; offset += PAGE) {
    const { total, items } = await get(query("recordings", { limit: PAGE, offset }));
    const found = items.find((recording) => recording.stream === key);
    if (found || items.length === 0 || offset + PAGE >= total) return found ?? null;
  }
}

/// A button that begins or ends the recording of one stream, and a mark that says that it goes on.
export function recordButton(key, again) {
  const mark = el("span", { class: "pill bad", hidden: true });
  let running = null;
  const doing = button("Record", async () => {
    await (running ? endRecording(key) : startRecording(key));
    again();
  }, { hidden: true });

  function show(recording) {
    running = recording;
    mark.hidden = !recording;
    if (recording) put(mark, `recording, ${bytes(recording.bytes)}`);
    put(doing, recording ? "Stop recording" : "Record");
    if (!recording) doing.hidden = true;
  }

  return {
    mark,
    button: doing,
    show,
    /// Whether there is what could be recorded.
    allow(published) { doing.hidden = !published && !running; },
    async poll() { show(await runningOf(key)); },
  };
}
