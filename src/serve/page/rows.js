// What both pages need: addresses of this server, and rows with a copy button.
// Text from the address bar reaches the page by textContent alone.
export const byId = (id) => document.getElementById(id);

/// "rtmp://host[:port]", without the port if it is the protocol's own.
export function rtmpBase() {
  const port = document.body.dataset.rtmpPort;
  return "rtmp://" + location.hostname + (port === "1935" ? "" : ":" + port);
}

/// One word for a POSIX shell, whatever is in it: people paste these.
export const shellWord = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

/// `rows` is a list of [what, text].
export function showRows(place, rows) {
  place.replaceChildren(...rows.map(([what, text]) => {
    const row = document.createElement("div");
    const name = row.appendChild(document.createElement("span"));
    const url = row.appendChild(document.createElement("span"));
    const button = row.appendChild(document.createElement("button"));
    name.className = "what";
    name.textContent = what;
    url.className = "url";
    url.textContent = text;
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + what);
    button.addEventListener("click", () => copy(text, button));
    return row;
  }));
}

async function copy(text, button) {
  let done;
  // The clipboard API exists only on https and localhost; a media server often is neither.
  if (navigator.clipboard) {
    done = await navigator.clipboard.writeText(text).then(() => true, () => false);
  } else {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
