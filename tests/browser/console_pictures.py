#!/usr/bin/env python3
"""Takes pictures of the console, wide and narrow, light and dark, to be looked at.

  console_pictures.py CONSOLE --out DIR [--token TOKEN] [--stream APP/NAME] [--seconds N] [--files DIR]

CONSOLE is a running server's admin port; it is looked at for some seconds first, so that its plots
have lines. --files takes the page's files from a directory (src/control/console/page), so that a
change is seen without a build.
"""

import argparse
import pathlib
import time
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from watch import ARGUMENTS

SIZES = {1440: 900, 390: 844}


def serve_from(page, directory):
    def answer(route):
        file = pathlib.Path(directory) / route.request.url.rsplit("/", 1)[1]
        return route.fulfill(path=file) if file.is_file() else route.continue_()

    page.route("**/_/*", answer)


def take(browser, options, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme, device_scale_factor=1
    )
    page = context.new_page()
    page.on("console", lambda it: print(it.type, it.text) if it.type != "info" else None)
    page.on("pageerror", lambda error: print("page:", error))
    if options.files:
        serve_from(page, options.files)

    def shot(name, whole=True):
        page.screenshot(path=f"{options.out}/{name}-{width}-{scheme}.png", full_page=whole)

    page.goto(options.console)
    if options.token:
        page.get_by_label("Token").wait_for()
        shot("login")
        page.get_by_label("Token").fill(options.token)
        page.keyboard.press("Enter")
    page.locator("#figure-viewers").wait_for()
    time.sleep(options.seconds)
    page.wait_for_timeout(500)
    shot("overview")
    app, _, name = options.stream.partition("/")
    page.evaluate("(hash) => { location.hash = hash }", f"#/stream/{quote(app)}/{quote(name, safe='')}")
    page.get_by_role("button", name="Play", exact=True).click()
    # Not by wait_for_function, which the page's policy forbids.
    while page.evaluate("document.querySelector('video').currentTime") < 2:
        page.wait_for_timeout(200)
    shot("stream")
    kick = page.get_by_role("button", name="Kick").first
    if kick.is_visible():
        kick.click()
        shot("kick", whole=False)
        page.keyboard.press("Escape")
    for view in ["waiting", "service"]:
        page.evaluate("(hash) => { location.hash = hash }", f"#/{view}")
        page.wait_for_timeout(2000)
        shot(view)
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        print(f"{width} {scheme}: the page is {wide} wide")
    context.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("console")
    parser.add_argument("--out", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--stream", default="live/demo")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--files")
    parser.add_argument("--only", help="one width and scheme, as 390-dark")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    pathlib.Path(options.out).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, headless=True, args=ARGUMENTS
        )
        for width in SIZES:
            for scheme in ["light", "dark"]:
                if options.only in (None, f"{width}-{scheme}"):
                    take(browser, options, width, scheme)
        browser.close()


if __name__ == "__main__":
    main()
