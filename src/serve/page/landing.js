// Addresses and commands for the stream typed into the box.
import { byId, rtmpBase, shellWord, showRows } from "./rows.js";
import { addresses } from "./ways.js";

const key = byId("key");

/// ["app", "name"], a name may hold slashes.
function parts() {
  const text = key.value.trim().replace(/^\/+|\/+$/g, "");
  const cut = text.indexOf("/");
  return cut < 0 ? [text || "APP", "NAME"] : [text.slice(0, cut), text.slice(cut + 1)];
}

const path = () => "/" + parts().join("/").split("/").map(encodeURIComponent).join("/");

function update() {
  const [app, name] = parts();
  const url = rtmpBase() + "/" + app + "/" + name;
  showRows(byId("publish"), [
    ["A file", "ffmpeg -re -stream_loop -1 -i FILE -c copy -f flv " + shellWord(url)],
    ["A test picture", "ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine "
      + "-c:v libx264 -preset veryfast -tune zerolatency -g 60 -pix_fmt yuv420p -c:a aac -f flv " + shellWord(url)],
    ["OBS: server", rtmpBase() + "/" + app],
    ["OBS: key", name],
  ]);
  byId("http").textContent = location.origin + path() + ".flv";
  showRows(byId("play"), addresses(location.origin + path(), url, ""));
}

key.addEventListener("input", update);
byId("watch").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(path());
});
update();
