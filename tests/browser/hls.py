#!/usr/bin/env python3
"""Plays HLS in headless Chromium with a player no one here wrote, and tells as JSON how it went.

  hls.py PAGE --player hls|shaka --script FILE --media URL [--seconds N | --until-end] [--config JSON] [--mime MIME]

PAGE is any page of another origin than URL: what is played must be allowed to be played anywhere.
FILE is the player's script, put into that page. The JSON has how long it played, all errors the player
told of, how often and how long it waited for media once it played, and how far behind it was, in ms:

  latency   as the player itself reckons
  date      now, less the EXT-X-PROGRAM-DATE-TIME of what is played
  picture   now, less the time that stands in the picture (see tests/hls/publisher.rs); if one does

With --mime a browser that cannot decode that type need not play: {"supported": false}.
Exit code 0: it played for so long; 1: it did not, and the JSON says what was seen.
"""

import argparse
import json
import math
import statistics
import sys
import time

from playwright.sync_api import Error, sync_playwright
from watch import ARGUMENTS, SUPPORTED

PLAY = """
async ({player, media, config}) => {
  const video = document.createElement('video');
  video.muted = true;
  video.width = 640;
  document.body.append(video);
  const seen = {samples: [], errors: [], waits: [], widths: []};
  let look = () => ({});
  const complain = (what) => seen.errors.push(what);

  if (player === 'hls') {
    const hls = new Hls({lowLatencyMode: true, ...config});
    hls.on(Hls.Events.ERROR, (_, {type, details, fatal, reason, error, response, url}) =>
      complain({type, details, fatal, reason, text: error?.message, status: response?.code, url}));
    look = () => ({
      latency: hls.latency * 1000,
      aim: hls.targetLatency * 1000,
      date: hls.playingDate ? Date.now() - hls.playingDate.getTime() : null,
    });
    hls.loadSource(media);
    hls.attachMedia(video);
    video.play().catch((error) => complain({play: String(error)}));
    window.version = Hls.version;
  } else {
    shaka.polyfill.installAll();
    const own = new shaka.Player();
    const tell = (error) => {
      const {severity, category, code, data, stack} = error;
      const told = {severity, category, code, data: String(data).slice(0, 500), text: String(error)};
      complain({...told, stack: String(stack).slice(0, 500)});
    };
    own.addEventListener('error', ({detail}) => tell(detail));
    await own.attach(video);
    own.configure(config);
    look = () => {
      const date = own.getPlayheadTimeAsDate();
      return {
        latency: own.getStats().liveLatency * 1000,
        date: date ? Date.now() - date.getTime() : null,
      };
    };
    // Until it is loaded, it resets the element.
    own.load(media).then(() => video.play()).catch(tell);
    window.version = shaka.Player.version;
  }

  // The row of sixteen squares at the top of the picture: hundredths of a second, as a Gray code.
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [160, 1];
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const picture = () => {
    if (!video.videoWidth) return null;
    const height = video.videoHeight / 36;
    context.drawImage(video, 0, height, video.videoWidth, height, 0, 0, 160, 1);
    const pixels = context.getImageData(0, 0, 160, 1).data;
    let [value, bit] = [0, 0];
    for (let square = 15; square >= 0; square--) {
      const level = pixels[(square * 10 + 5) * 4];
      if (level > 60 && level < 190) return null;
      bit ^= level > 127 ? 1 : 0;
      value |= bit << square;
    }
    const behind = (Math.floor(Date.now() / 10) - value) & 0xffff;
    return behind * 10;
  };

  let [played, waiting] = [false, null];
  const now = () => performance.now();
  video.addEventListener('playing', () => {
    if (waiting !== null) seen.waits.push(Math.round(now() - waiting));
    [played, waiting] = [true, null];
  });
  video.addEventListener('waiting', () => {
    if (played && !video.ended) waiting ??= now();
  });
  setInterval(() => {
    if (video.currentTime === 0) return;
    const width = video.videoWidth;
    // Sound may be heard before the first picture.
    if (width && seen.widths.at(-1) !== width) seen.widths.push(width);
    seen.samples.push({at: now(), time: video.currentTime, picture: picture(), ...look()});
  }, 100);
  window.look = () => ({
    ...seen,
    waiting: waiting === null ? null : Math.round(now() - waiting),
    decoded: video.getVideoPlaybackQuality().totalVideoFrames,
    dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
    audio_bytes: video.webkitAudioDecodedByteCount,
    ended: video.ended,
    broken: video.error && video.error.message,
    version: window.version,
  });
}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    parser.add_argument("--player", choices=["hls", "shaka"], default="hls")
    parser.add_argument("--script", required=True)
    parser.add_argument("--media", required=True)
    parser.add_argument("--config", default="{}", help="more of the player's own settings")
    parser.add_argument("--mime", help="what MediaSource must support, or there is nothing to see")
    parser.add_argument("--seconds", type=float, default=5, help="media time to see")
    parser.add_argument("--widths", type=int, default=0, help="pictures of so many widths to see")
    parser.add_argument("--within", type=float, default=40, help="at most so many seconds more")
    parser.add_argument("--until-end", action="store_true", help="play until the stream ends")
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
            done, seen = watch(page, options)
        except Error as error:
            done, seen = False, {"failed": str(error)}
        finally:
            browser.close()
    print(json.dumps({**seen, "console": console[-10:]}))
    return 0 if done else 1


def watch(page, options):
    page.goto(options.page, wait_until="domcontentloaded")
    if options.mime and not page.evaluate(SUPPORTED, options.mime):
        return True, {"supported": False, "mime": options.mime}
    page.add_script_tag(path=options.script)
    config = json.loads(options.config)
    page.evaluate(PLAY, {"player": options.player, "media": options.media, "config": config})
    end = time.monotonic() + options.seconds + options.within
    while True:
        time.sleep(0.5)
        seen = page.evaluate("() => window.look()")
        told = tell(seen)
        done = told["seconds"] >= options.seconds and len(seen["widths"]) >= options.widths
        done = seen["ended"] if options.until_end else done
        if done or time.monotonic() > end:
            return done, {"supported": True, **told}


def is_told(value):
    """Players say NaN, or nothing, as long as there is nothing to measure."""
    return value is not None and math.isfinite(value)


def tell(seen):
    samples = seen.pop("samples")
    # What was left out is not played.
    steps = [after["time"] - before["time"] for before, after in zip(samples, samples[1:])]
    seconds = sum(step for step in steps if 0 < step < 1)
    behind = {}
    for name in ["latency", "date", "picture"]:
        values = [sample[name] for sample in samples if is_told(sample.get(name))]
        if values:
            behind[name] = {
                "median": round(statistics.median(values)),
                # Of the last second: one sample may be one that was disturbed.
                "end": round(statistics.median(values[-10:])),
                "max": round(max(values)),
                "samples": len(values),
            }
    aims = [sample["aim"] for sample in samples if is_told(sample.get("aim"))]
    still = [0]
    for before, after in zip(samples, samples[1:]):
        moved = after["time"] != before["time"]
        still.append(0 if moved else still[-1] + after["at"] - before["at"])
    return {
        **seen,
        "seconds": round(seconds, 2),
        "behind": behind,
        "aim": round(aims[-1]) if aims else None,
        "longest_still": round(max(still)),
    }


if __name__ == "__main__":
    sys.exit(main())
