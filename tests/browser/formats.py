#!/usr/bin/env python3
"""Watches a stream on its watch page in headless Chromium, format by format, as a visitor does.

  formats.py PAGE --formats flv,hls,... [--first FORMAT] [--gone "flv ..."] [--nothing]
                  [--off WHY [--waits]]

PAGE is the server's own page of a stream that is published. Without a word of which format, --first must
be played, and those of --gone be told of as what could not; then each of --formats, by the address of the
page and by its button. With --off the server has no HLS for it: who asks for it is told WHY, by the page
and by the button, and sees the first of the others, or with --waits that its publisher is waited for. With
--nothing the browser is one that decodes nothing, and must be told so.

Exit code 0: all of it was as it should be, and the JSON says what was seen. 1: the JSON says what was
expected in vain.
"""

import argparse
import json
import re
import sys
import time

from playwright.sync_api import Error, expect, sync_playwright

from watch import ARGUMENTS

# Nothing that is waited for takes longer, however busy the machine is.
PATIENCE = 60
NAMES = {
    "flv": "HTTP-FLV",
    "ws-flv": "WebSocket-FLV",
    "ts": "HTTP-TS",
    "mp4": "HTTP-fMP4",
    "hls": "LL-HLS",
}
DECODES_NOTHING = """
MediaSource.isTypeSupported = () => false;
HTMLMediaElement.prototype.canPlayType = () => '';
MediaSource.prototype.addSourceBuffer = () => { throw new DOMException('not here', 'NotSupportedError') };
"""
LOOK = """
() => ({
  time: video.currentTime,
  frames: video.getVideoPlaybackQuality().totalVideoFrames,
  width: video.videoWidth,
  way: document.getElementById('way').textContent,
  behind: document.getElementById('latency').textContent,
  codecs: ['video-codec', 'audio-codec'].map((id) => document.getElementById(id).textContent),
})
"""
WHY_NONE = """
() => document.getElementById('state').textContent === 'This browser plays the stream in no format'
  && document.getElementById('detail').textContent
"""


def eventually(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("in vain: " + what)


def plays(page, name):
    """Waits until pictures move in that format and the page says so; what it says then."""
    expect(page.locator("#way")).to_have_text(NAMES[name])
    expect(page.locator("#state")).to_have_text("Playing")
    expect(page.locator(f'#ways [data-as="{name}"]')).to_have_attribute("aria-pressed", "true")
    begun = page.evaluate(LOOK)
    moves = lambda look: look["time"] > begun["time"] + 2 and look["frames"] > begun["frames"] + 10
    look = {}

    def moved():
        look.update(page.evaluate(LOOK))
        return moves(look) and look["way"] == NAMES[name]

    eventually(f"pictures by {NAMES[name]}", moved)
    assert re.fullmatch(r"\d+\.\d s", look["behind"]), look
    assert "–" not in look["codecs"], look
    return {key: look[key] for key in ["frames", "width", "behind", "codecs"]}


def watch(page, options):
    expect.set_options(timeout=PATIENCE * 1000)
    page.set_default_timeout(PATIENCE * 1000)
    seen = {}
    page.goto(options.page)
    if options.nothing:
        # Both at once: a second later it tries again, and says that.
        said = eventually("no format", lambda: page.evaluate(WHY_NONE))
        for name in ["flv", "hls", "mp4", "ts"]:
            assert NAMES[name].removeprefix("LL-") + ": " in said, said
        return {"said": said}
    if options.off:
        return without_hls(page, options)
    seen["first"] = plays(page, options.first)
    note = page.locator("#note")
    for name in options.gone:
        expect(note).to_contain_text(NAMES[name] + ": ")
    if not options.gone:
        expect(note).to_be_hidden()
    for name in options.formats:
        page.goto(f"{options.page}?as={name}")
        seen[name] = plays(page, name)
    # By the buttons, which the address remembers.
    for name in reversed(options.formats):
        page.locator(f'#ways [data-as="{name}"]').click()
        plays(page, name)
        assert page.url == f"{options.page}?as={name}", page.url
        page.reload()
        plays(page, name)
    urls = page.locator("#urls .url").all_text_contents()
    at = options.page.removeprefix("http")
    ends = ["http" + at + end for end in [".flv", ".ts", ".mp4", ".m3u8"]] + ["ws" + at + ".flv"]
    assert set(ends) <= set(urls) and urls[0].startswith("rtmp://"), urls
    return seen


def without_hls(page, options):
    page.goto(options.page + "?as=hls")
    expect(page.locator("#note")).to_contain_text(options.off)
    button = page.locator('#ways [data-as="hls"]')
    expect(button).to_be_disabled()
    assert options.off in button.get_attribute("title")
    if not options.waits:
        return {"next": plays(page, "flv")}
    expect(page.locator("#state")).to_have_text("Waiting for the publisher")
    said = page.locator("#detail").text_content()
    page.wait_for_timeout(3000)
    expect(page.locator("#state")).to_have_text("Waiting for the publisher")
    return {"said": said}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page")
    listed = lambda text: [name for name in text.split(",") if name]
    parser.add_argument("--formats", type=listed, default=[])
    parser.add_argument("--first", default="flv")
    parser.add_argument("--gone", type=listed, default=[])
    parser.add_argument("--nothing", action="store_true")
    parser.add_argument("--off")
    parser.add_argument("--waits", action="store_true")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()

    said, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, headless=True, args=ARGUMENTS
        )
        try:
            page = browser.new_page()
            if options.nothing:
                page.add_init_script(DECODES_NOTHING)
            page.on("console", lambda it: said.append(f"{it.type} {it.text[:300]}"))
            page.on("pageerror", lambda error: said.append("page: " + str(error)[:300]))
            page.on("request", lambda request: asked.append(request.url))
            seen = watch(page, options)
            origin = options.page.split("/", 3)[2]
            foreign = [url for url in asked if not re.match(f"(blob:)?(http|ws)://{origin}/|data:", url)]
            assert not foreign, f"it asked elsewhere: {foreign}"
            broken = [it for it in said if it.startswith("page: ") or "Content Security Policy" in it]
            assert not broken, f"a script failed: {broken}"
            done = True
        except (AssertionError, Error) as failure:
            seen, done = {"failed": str(failure)[:2000], "console": said[-10:]}, False
        finally:
            browser.close()
    print(json.dumps(seen))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
