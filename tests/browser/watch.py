#!/usr/bin/env python3
"""Watches a stream in headless Chromium and tells as JSON what was really seen.

  watch.py PAGE [--media URL [--mse MIME]] [--seconds N] [--audio yes|no] [--video yes|no]
           [--chromium PATH]

PAGE is the server's own player page. Without --media its own <video id="video"> is watched. With
--media a second player is made in the same page from the server's copy of mpegts.js, fed with that
URL (http… or ws…). With --mime a browser that cannot decode that type need not show anything: then
mpegts.js must have found the codec in the stream, and the JSON says {"supported": false}. With --mse
the URL is fragmented MP4 of that type, fed to Media Source Extensions as it comes, without mpegts.js.
With --video no it is sound alone: the clock must run, and more and more bytes of sound be decoded.

Exit code 0: it was decoded (or is not supported); 1: it was not, and the JSON says what was seen.
"""

import argparse
import json
import sys
import time

from playwright.sync_api import Error, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--no-default-browser-check",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]

# A player of our own in the server's page: same origin, same mpegts.js.
MAKE_PLAYER = """
async (url) => {
  if (!window.mpegts) {
    await new Promise((resolve, reject) => {
      const script = document.createElement('script');
      script.src = '/_/mpegts.js';
      script.onload = resolve;
      script.onerror = () => reject(new Error('no /_/mpegts.js'));
      document.head.append(script);
    });
  }
  window.watch = {errors: [], info: null};
  const video = document.createElement('video');
  video.id = 'watched';
  video.muted = true;
  document.body.append(video);
  const player = mpegts.createPlayer({type: 'flv', isLive: true, url}, {enableStashBuffer: false});
  player.on(mpegts.Events.ERROR, (kind, detail, info) =>
    window.watch.errors.push([kind, detail, info && info.msg].join(': ')));
  player.on(mpegts.Events.MEDIA_INFO, (info) => {
    window.watch.info = {video: info.videoCodec, audio: info.audioCodec};
  });
  player.attachMediaElement(video);
  player.load();
  player.play().catch((e) => window.watch.errors.push(String(e)));
}
"""

# Bytes as they come, with no one between the server and the browser's own parser.
MAKE_SOURCE = """
async ([url, mime]) => {
  window.watch = {errors: [], info: null, ranges: 0};
  const video = document.createElement('video');
  video.id = 'watched';
  video.muted = true;
  document.body.append(video);
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((resolve) => source.addEventListener('sourceopen', resolve, {once: true}));
  const buffer = source.addSourceBuffer(mime);
  const queue = [];
  const next = () => {
    if (!buffer.updating && queue.length > 0 && !video.error) buffer.appendBuffer(queue.shift());
  };
  const take = (bytes) => {
    queue.push(bytes);
    next();
  };
  // Times are the source's own, and the element starts at zero. What a publisher leaves out until it
  // returns is left out here, and so is what a slow viewer was skipped over: the element would wait
  // for it.
  const goOn = () => {
    const ranges = video.buffered;
    window.watch.ranges = Math.max(window.watch.ranges, ranges.length);
    const before = (range) => range === 0 ? -Infinity : ranges.end(range - 1) - 0.2;
    for (let range = 0; range < ranges.length; range++) {
      const start = ranges.start(range);
      if (video.currentTime > before(range) && video.currentTime < start) video.currentTime = start;
    }
  };
  video.addEventListener('timeupdate', goOn);
  video.addEventListener('waiting', goOn);
  buffer.addEventListener('updateend', () => {
    goOn();
    next();
  });
  buffer.addEventListener('error', () => window.watch.errors.push('the parser gave up'));
  video.play().catch((e) => window.watch.errors.push(String(e)));
  if (url.startsWith('ws')) {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (message) => take(message.data);
    return;
  }
  const response = await fetch(url);
  window.watch.info = {type: response.headers.get('content-type')};
  const reader = response.body.getReader();
  const read = async () => {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      take(value);
    }
  };
  read().catch((e) => window.watch.errors.push(String(e)));
}
"""

# What the element shows now; the picture is drawn small and its colours counted.
LOOK = """
(id) => {
  const video = document.getElementById(id);
  if (!video) return {error: 'no <video id="' + id + '">'};
  const canvas = document.createElement('canvas');
  canvas.width = 64;
  canvas.height = 36;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 36);
  const pixels = context.getImageData(0, 0, 64, 36).data;
  const colours = new Set();
  let sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    colours.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2]);
    sum = (sum * 31 + pixels[i] + 3 * pixels[i + 1] + 7 * pixels[i + 2]) % 4294967291;
  }
  const quality = video.getVideoPlaybackQuality();
  return {
    time: video.currentTime,
    width: video.videoWidth,
    height: video.videoHeight,
    decoded: quality.totalVideoFrames,
    dropped: quality.droppedVideoFrames,
    audio_bytes: video.webkitAudioDecodedByteCount,
    ready: video.readyState,
    colours: colours.size,
    picture: sum,
    error: video.error && video.error.message,
  };
}
"""

SUPPORTED = """
(mime) => window.MediaSource ? MediaSource.isTypeSupported(mime) : false
"""


def watch(page, options, console):
    page.goto(options.page, wait_until="domcontentloaded")
    element = "video"
    if options.mse:
        if not page.evaluate(SUPPORTED, options.mse):
            return True, {"supported": False, "mime": options.mse}
        page.evaluate(MAKE_SOURCE, [options.media, options.mse])
        element = "watched"
    elif options.media:
        page.evaluate(MAKE_PLAYER, options.media)
        element = "watched"
    if options.mime and not page.evaluate(SUPPORTED, options.mime):
        return demultiplexed(page, options, console)

    looks = []
    end = time.monotonic() + options.within
    seen = {}
    while time.monotonic() < end:
        time.sleep(0.5)
        look = page.evaluate(LOOK, element)
        looks.append(look)
        playing = [l for l in looks if plays(l, options)]
        if not playing:
            continue
        first, last = playing[0], playing[-1]
        seen = {
            "seconds": round(last["time"] - first["time"], 2),
            "decoded": last["decoded"] - first["decoded"],
            "dropped": last["dropped"],
            "pictures": len({l["picture"] for l in playing}),
            "colours": last["colours"],
            "width": last["width"],
            "height": last["height"],
            "audio_bytes": last["audio_bytes"],
        }
        # The clock runs, frames are decoded, and the canvas shows pictures that differ.
        shown = options.video == "no" or (
            seen["decoded"] >= options.seconds * options.fps * 0.8
            and seen["pictures"] >= 3
            and options.width in (None, seen["width"])
        )
        heard = options.audio == "no" or last["audio_bytes"] > first["audio_bytes"]
        if seen["seconds"] >= options.seconds and shown and heard:
            return True, {"supported": True, **seen, **facts(page, console)}
    return False, {"supported": True, **seen, "last": looks[-1:], **facts(page, console)}


def plays(look, options):
    if options.video == "no":
        return look.get("audio_bytes", 0) > 0
    return look.get("decoded", 0) > 0 and look["colours"] > 8


def demultiplexed(page, options, console):
    family = options.mime.split('codecs="')[1].split(".")[0]
    end = time.monotonic() + options.within
    while time.monotonic() < end:
        time.sleep(0.2)
        found = page.evaluate("() => window.watch.info")
        if found and (found["video"] or "").startswith(family):
            return True, {"supported": False, "mime": options.mime, "codecs": found}
    return False, {"supported": False, "mime": options.mime, **facts(page, console)}


def facts(page, console):
    own = page.evaluate("() => window.watch || {}")
    said = {"codecs": own.get("info"), "errors": own.get("errors", []), "console": console[-10:]}
    return {**said, "ranges": own["ranges"]} if "ranges" in own else said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    parser.add_argument("--media")
    parser.add_argument("--mime", help="what MediaSource must support, or there is nothing to see")
    parser.add_argument("--mse", metavar="MIME", help="that --media is fragmented MP4 of this type")
    parser.add_argument("--seconds", type=float, default=3, help="media time to see")
    parser.add_argument("--within", type=float, default=40, help="at most so many seconds")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--width", type=int, help="how wide the last picture must be")
    parser.add_argument("--audio", choices=["yes", "no"], default="yes")
    parser.add_argument("--video", choices=["yes", "no"], default="yes")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()

    console = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, headless=True, args=ARGUMENTS
        )
        try:
            page = browser.new_page()
            page.on("console", lambda message: console.append(message.text[:300]))
            page.on("pageerror", lambda error: console.append("page: " + str(error)[:300]))
            done, seen = watch(page, options, console)
        except Error as error:
            done, seen = False, {"failed": str(error), "console": console[-10:]}
        finally:
            browser.close()
    print(json.dumps(seen))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
