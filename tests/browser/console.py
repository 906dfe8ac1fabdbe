#!/usr/bin/env python3
"""Uses the console in headless Chromium as an operator does, while ffmpeg publishes and watches.

  console.py CONSOLE --token TOKEN --rtmp rtmp://HOST:PORT --http http://HOST:PORT --clip FILE

Exit code 0: all of it was as it should be, and the JSON says what was seen. 1: the JSON says what
was expected in vain.
"""

import argparse
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request

from playwright.sync_api import Error, expect, sync_playwright

from watch import ARGUMENTS

# Nothing that is waited for takes longer, however busy the machine is.
PATIENCE = 40
# How the player calls each format, by what it says of it, and by how the API lists its viewers.
FORMATS = [
    ("hls", "LL-HLS", "hls"),
    ("mp4", "HTTP-fMP4", "http-fmp4"),
    ("ts", "HTTP-TS", "http-ts"),
    ("flv", "HTTP-FLV", "http-flv"),
]
# Streams that are recorded, as what, and how their files are played.
RECORDED = [("live/two", "TS", "HLS"), ("flv/two", "FLV", "FLV")]
HOSTILE = "<img src=x onerror=alert(1)>"

NOTE = """
window.noted = {first: {}, violations: []};
addEventListener('securitypolicyviolation', (event) =>
  window.noted.violations.push(event.violatedDirective + ' ' + event.blockedURI));
new MutationObserver(() => {
  for (const link of document.querySelectorAll('td.stream a')) {
    window.noted.first[link.textContent] ??= Date.now() / 1000;
  }
}).observe(document, {subtree: true, childList: true, characterData: true});
"""

KEPT = """
async () => ({
  local: localStorage.length,
  session: sessionStorage.length,
  cookies: document.cookie,
  databases: (await indexedDB.databases()).length,
  caches: (await caches.keys()).length,
})
"""


MEDIA = [
    (["[::]:8080"], [], "http://edge.example:8081", "http://edge.example:8080"),
    (["0.0.0.0:8080"], ["[::]:8443"], "https://edge.example", "https://edge.example:8443"),
    (["127.0.0.1:80"], [], "http://localhost:8081", "http://127.0.0.1:80"),
    (["127.0.0.1:9", "10.0.0.1:8080"], [], "http://edge.example:8081", "http://10.0.0.1:8080"),
    (["127.0.0.1:80", "10.0.0.1:8080"], [], "http://10.0.0.1:8081", "http://10.0.0.1:8080"),
    (["[::1]:8080"], [], "http://[::1]:8081", "http://[::1]:8080"),
    # Nothing that browsers would play.
    (["[::]:8080"], [], "https://edge.example", ""),
    ([], [], "http://edge.example:8081", ""),
]
FIND_MEDIA = """
async ([info, at]) => (await import('/_/media.js')).mediaBase(info, new URL(at))
"""


# A node that is up for 20 s sends 8 Mbit/s, has its clock set back by an hour, and sends 72 Mbit/s.
SET_BACK = """
async () => {
  const history = await import('/_/history.js?of=this-test');
  let up = 100, at = 1e9, sent = 0;
  const live = (seconds, bytes) => {
    for (let second = 0; second < seconds; second++, up++, at++, sent += bytes) {
      history.remember({
        at, uptime_s: up, cpu_s: up, viewers: 5, viewer_us: up * 5e6, egress_bytes: sent, ingest_bytes: 0,
        loop_lag: {p99_ms: 1},
      });
    }
    return history.latest().egress / 1e6;
  };
  const before = live(20, 1e6);
  at -= 3600;
  const after = live(20, 9e6);
  const [times] = history.columns('egress');
  const backwards = times.filter((time, place) => place > 0 && time <= times[place - 1]).length;
  return {before, after, samples: times.length, backwards, newest: history.newest() - (at - 1)};
}
"""

# What was typed, what it means on a page that came by HTTP.
ADDRESSES = {
    "http://media.example:8080/": "http://media.example:8080",
    "https://media.example/live/": "https://media.example/live",
    "192.0.2.7:8080": "http://192.0.2.7:8080",
    "media.example": "http://media.example",
    "[2001:db8::7]:8080": "http://[2001:db8::7]:8080",
    "ftp://media.example": "",
    "http://": "",
    "media.example:port": "",
    "": "",
}
MEDIA_ADDRESS = """
async (typed) => (await import('/_/media.js')).mediaAddress(typed, new URL('http://edge.example:8081'))
"""

# An address, and all that is blocked with it.
NETWORKS = {
    "192.0.2.7": "",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8::7": "2001:db8:0:0::/64",
    "::1": "0:0:0:0::/64",
    "fe80:0:0:0:1::": "fe80:0:0:0::/64",
    "::ffff:192.0.2.7": "",
}
NETWORK = "async (address) => (await import('/_/client.js')).network(address)"


class Events:
    """What the server says of itself, read beside the console."""

    def __init__(self, console, token):
        request = urllib.request.Request(
            console + "api/v1/events", headers={"Authorization": "Bearer " + token}
        )
        self.answer = urllib.request.urlopen(request)
        self.heard = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        name = None
        for line in self.answer:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                self.heard.append({"event": name, **json.loads(value)})

    def wait(self, what, is_it):
        return eventually(what, lambda: next(filter(is_it, list(self.heard)), None))


def eventually(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("in vain: " + what)


def kib(text):
    """What the page says of bytes, as a number."""
    number, unit = text.split()
    return float(number) * {"B": 1 / 1024, "KiB": 1, "MiB": 1024}[unit]


class Programs:
    """Publishers and players, which end with this."""

    def __init__(self, options):
        self.options = options
        self.running = []

    def start(self, *arguments):
        command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", *arguments]
        program = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.running.append(program)
        return program

    def publish(self, name, app="live"):
        source = ["-re", "-stream_loop", "-1", "-i", self.options.clip, "-c", "copy", "-f", "flv"]
        return self.start(*source, "-rtmp_playpath", name, f"{self.options.rtmp}/{app}")

    def view(self, name, agent, query=""):
        url = f"{self.options.http}/live/{name}.flv{query}"
        return self.start("-user_agent", agent, "-i", url, "-c", "copy", "-f", "null", "-")

    def end(self):
        for program in self.running:
            if program.poll() is None:
                program.kill()
            program.wait()


def operate(page, options, programs, asked):
    seen = {}
    expect.set_options(timeout=PATIENCE * 1000)
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(options.console)

    # A wrong token is refused, and the page says so.
    page.get_by_label("Token").fill("wrong-token-0123456789")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").filter(has_text="does not know this token")).to_be_visible()
    page.get_by_label("Token").fill(options.token)
    page.keyboard.press("Enter")
    expect(page.locator("#figure-viewers")).to_have_text("0")
    expect(page.get_by_text("No stream is published or waited for.")).to_be_visible()

    # A stream that is published now appears by itself, on a quiet machine within a second of the
    # server's saying so.
    events = Events(options.console, options.token)
    took = []
    for name in ["one", "two", "three"]:
        programs.publish(name)
        expect(page.get_by_role("link", name=f"live/{name}", exact=True)).to_be_visible()
        said = events.wait(name, lambda it: it["event"] == "published" and it["stream"] == f"live/{name}")
        took.append(page.evaluate("(key) => noted.first[key]", f"live/{name}") - said["at"])
    seen["appeared_after_s"] = [round(seconds, 2) for seconds in took]
    assert min(took) <= 2.0 and max(took) <= 20.0, f"expected one within 2 s, all within seconds: {took}"

    # Its page: what it is, and its picture moves.
    page.get_by_role("link", name="live/one", exact=True).click()
    expect(page.get_by_role("heading", name="live/one")).to_be_visible()
    expect(page.get_by_role("table", name="Tracks").get_by_text("640 × 360")).to_be_visible()
    page.get_by_role("button", name="Play").click()
    clock = lambda: page.evaluate("document.querySelector('video').currentTime")
    begun = eventually("a picture", clock)
    eventually("the picture moves", lambda: clock() > begun + 1)
    decoded = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
    # A machine that is late drops most of them.
    eventually("pictures are decoded", lambda: page.evaluate(decoded) > 10)
    expect(page.locator(".player .state")).to_have_text("Playing")
    expect(page.locator(".player .how")).to_contain_text("HTTP-FLV · H.264 · AAC")

    # In any format, which the address of the page remembers; the server lists it as what it is.
    own = page.get_by_role("table", name="Viewers").locator("tbody tr")
    for name, by, listed in FORMATS:
        page.locator(f'.player [data-as="{name}"]').click()
        expect(page.locator(".player .how")).to_contain_text(by)
        expect(page.locator(".player .how")).to_contain_text(" s behind")
        expect(own.locator("td.protocol")).to_have_text([listed])
        assert page.url.endswith(f"#/stream/live/one?as={name}"), page.url
        begun = clock()
        eventually(f"the picture moves by {by}", lambda: clock() > begun + 1)
    # Its addresses, for players of any kind.
    at = f"{options.http}/live/one"
    urls = page.locator(".rows .url").all_text_contents()
    ends = [at + end for end in [".flv", ".ts", ".mp4", ".m3u8"]]
    assert urls[0] == f"{options.rtmp}/live/one" and set(ends) <= set(urls), urls

    # It is recorded from now on, and no more.
    recorded = page.get_by_role("button", name="Stop recording")
    page.get_by_role("button", name="Record", exact=True).click()
    expect(recorded).to_be_visible()
    expect(page.locator(".title .pill.bad")).to_contain_text("recording, ")
    recorded.click()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()

    # A viewer appears with its lag; kicked, it goes, and its connection is closed.
    viewer = programs.view("one", HOSTILE)
    row = page.get_by_role("table", name="Viewers").get_by_role("row").filter(has_text=HOSTILE)
    expect(row.locator("td.protocol")).to_have_text("http-flv")
    seen["lag"] = eventually("its lag", lambda: row.locator("td.lag").text_content())
    assert seen["lag"].split()[1] in ("ms", "s"), seen
    eventually("bytes", lambda: not row.locator("td.bytes").text_content().startswith("0 "))
    assert viewer.poll() is None, "it watches"
    row.get_by_role("button", name="Kick").click()
    page.get_by_label("Reason").fill("too loud")
    page.keyboard.press("Enter")
    expect(row).to_have_count(0)
    left = events.wait("left", lambda it: it["event"] == "left" and it.get("agent") == HOSTILE)
    assert left["reason"] == "kicked: too loud", left
    eventually("the connection of the viewer is closed", lambda: viewer.poll() is not None)
    # The console's own is there still, and its picture moves.
    begun = clock()
    eventually("the picture moves", lambda: clock() > begun + 0.5)

    # Two logs of the same format and tracks have a row each, however often they are shown.
    programs.view("one", "old player", "?hevc=legacy")
    outputs = page.get_by_role("table", name="Outputs").locator("tbody tr")
    expect(outputs.filter(has_text="FLV, H.265 in its old form")).to_have_count(1)
    page.wait_for_timeout(3000)
    assert outputs.count() == 2, outputs.all_text_contents()

    # A name that is markup is a text.
    programs.publish(HOSTILE)
    page.get_by_role("link", name="Overview").click()
    link = page.get_by_role("link", name=f"live/{HOSTILE}", exact=True)
    expect(link).to_be_visible()
    assert page.locator("main img").count() == 0, "a name has become an element"
    link.click()
    expect(page.get_by_role("heading", name=f"live/{HOSTILE}", exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Tracks").get_by_text("640 × 360")).to_be_visible()

    # Where it looks for media, by what it was reached by and where media is served.
    for http, https, page_at, base in MEDIA:
        told = page.evaluate(FIND_MEDIA, [{"http": http, "https": https}, page_at])
        assert told["base"] == base, f"{http} {https} from {page_at}: {told}"
        assert bool(told["hint"]) == (base == ""), told
    for typed, address in ADDRESSES.items():
        told = page.evaluate(MEDIA_ADDRESS, typed)
        assert told == address, f"{typed}: {told}"
    for address, network in NETWORKS.items():
        told = page.evaluate(NETWORK, address)
        assert told == network, f"{address}: {told}"

    # What is remembered of the node goes by how long it is up, not by its clock.
    told = page.evaluate(SET_BACK)
    assert told == {"before": 8, "after": 72, "samples": 40, "backwards": 0, "newest": 0}, told

    # What is recorded, of any stream.
    page.get_by_role("link", name="Recordings").click()
    expect(page.get_by_text("Nothing is being recorded.")).to_be_visible()
    page.get_by_label("Stream to record").fill("live/two")
    page.get_by_label("Stream to record").press("Enter")
    row = page.get_by_role("table", name="Being recorded").locator("tbody tr")
    expect(row.locator("td.stream")).to_have_text(["live/two"])
    # About two seconds of it, however late they come: less could not be seen to play.
    eventually("it is written", lambda: kib(row.locator("td.bytes").text_content()) > 500)
    page.get_by_role("button", name="Stop the recording of live/two").click()
    expect(page.get_by_text("Nothing is being recorded.")).to_be_visible()

    # Its file is played, taken away, and removed; as is one in the other format.
    programs.publish("two", app="flv")
    events.wait("flv/two", lambda it: it["event"] == "published" and it["stream"] == "flv/two")
    page.get_by_label("Stream to record").fill("flv/two")
    page.get_by_role("button", name="Record", exact=True).click()
    expect(row.locator("td.stream")).to_have_text(["flv/two"])
    # About two seconds of it, however late they come: less could not be seen to play.
    eventually("it is written", lambda: kib(row.locator("td.bytes").text_content()) > 500)
    page.get_by_role("button", name="Stop the recording of flv/two").click()
    # What stands above the player is as high then as it will be.
    expect(page.get_by_text("Nothing is being recorded.")).to_be_visible()
    files = page.get_by_role("table", name="Files").locator("tbody tr")
    seen["recorded"] = []
    for stream, form, by in RECORDED:
        file = files.filter(has_text=stream + "/")
        expect(file.locator("td.codecs")).to_have_text([f"{form}, H.264, AAC"])
        file.get_by_role("button", name="Play").click()
        expect(page.locator(".player .state")).to_have_text("Playing")
        expect(page.locator(".player .how")).to_have_text(f"{by} · H.264 · AAC")
        eventually("it is played", lambda: clock() > 0.3)
        # Its row is marked, and nothing hides what stands above the picture.
        expect(file).to_have_attribute("aria-current", "true")
        head = page.locator("header.top").bounding_box()
        title = page.locator(".replay h2").bounding_box()
        assert title["y"] >= head["y"] + head["height"], (head, title)
        with page.expect_download() as taken:
            file.get_by_text("Download").click()
        seen["recorded"].append([form, taken.value.path().stat().st_size])
        assert seen["recorded"][-1][1] > 10_000, seen
        page.get_by_role("button", name="Close").click()
        expect(file).to_have_attribute("aria-current", "false")
        file.get_by_role("button", name="Remove").click()
        page.locator("dialog").get_by_role("button", name="Remove").click()
        expect(file).to_have_count(0)

    # A page of the console can be linked to; what is refused shows where it is looked for. A
    # connection is held for that only now: a browser has few.
    listens = lambda: [url for url in asked if url.endswith("/events")]
    assert not listens(), "nobody has wanted to know yet"
    page.goto(options.console + "#/waiting")
    expect(page.get_by_role("heading", name="Waited for")).to_be_visible()
    expect(page.get_by_text("listening", exact=True)).to_be_visible()
    assert len(listens()) == 1, listens()
    programs.publish("one")
    refused = page.get_by_role("table", name="What happened").get_by_role("row")
    expect(refused.filter(has_text="live/one").first.locator("td.what")).to_have_text("refused")

    seen["kept"] = page.evaluate(KEPT)
    assert seen["kept"] == {"local": 0, "session": 0, "cookies": "", "databases": 0, "caches": 0}, seen
    assert options.token not in page.url
    violations = page.evaluate("noted.violations")
    assert not violations, f"the policy was broken: {violations}"

    # Loaded again, the page knows no token any more.
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()
    return seen


def refused(options):
    request = urllib.request.Request(
        options.console + "api/v1/node", headers={"Authorization": "Bearer " + options.token}
    )
    return sum(json.load(urllib.request.urlopen(request))["refused"].values())


def go_wrong(page, options, programs, asked):
    """What the browser itself complains of in its console, too."""
    page.get_by_label("Token").fill(options.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Waited for")).to_be_visible()
    plays = lambda of: len([url for url in asked if f"{of}.flv" in url])
    play = page.get_by_role("button", name="Play")
    state = page.locator(".player .state")

    # Before anything is known of a stream nothing is said of it, and nothing can be done to it.
    stuck = json.dumps({"status": 503, "detail": "core 0 does not answer"})
    of_two = re.compile("/api/v1/streams/live/two")
    page.route(of_two, lambda route: route.fulfill(status=503, body=stuck))
    page.goto(options.console + "#/stream/live/two")
    expect(page.get_by_role("alert").filter(has_text="core 0 does not answer")).to_be_visible()
    expect(page.locator("p.card", has_text="Loading")).to_be_visible()
    for name in ["End stream", "Block address", "Play"]:
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    expect(page.get_by_text("Nobody publishes now.")).to_be_hidden()
    page.unroute(of_two)
    expect(page.get_by_role("button", name="End stream")).to_be_visible()
    expect(page.locator("p.card", has_text="Loading")).to_be_hidden()

    # Who presses Stop, while it is asked where media is, gets no picture.
    lets, held = "none", []

    def info(route):
        if lets == "none":
            route.abort()
        elif lets == "later":
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile("/api/v1/info$"), info)
    page.goto(options.console + "#/stream/live/three")
    expect(play).to_be_visible()
    lets = "later"
    play.click()
    expect(state).to_have_text("Connecting")
    # time.sleep would not let the request come.
    eventually("it is asked where media is", lambda: page.wait_for_timeout(50) or held)
    page.get_by_role("button", name="Stop").click()
    expect(state).to_have_text("Not playing")
    lets = "all"
    for route in held:
        route.continue_()
    page.wait_for_timeout(1500)
    expect(state).to_have_text("Not playing")
    assert plays("three") == 0, "nobody wants it any more"
    play.click()
    expect(state).to_have_text("Playing")
    assert plays("three") == 1
    page.get_by_role("button", name="Stop").click()

    # Media that the policy of the page keeps it from: it says so, and what would help.
    page.get_by_text("Where media comes from").click()
    where = page.get_by_label("Media address")
    where.fill("127.0.0.1:1")
    play.click()
    expect(page.locator(".over")).to_contain_text("admin.media_origins")
    expect(where).to_have_value("http://127.0.0.1:1")
    where.fill("ftp://127.0.0.1")
    play.click()
    expect(state).to_have_text("This is no media address")
    where.fill(options.http + "/")
    play.click()
    expect(state).to_have_text("Playing")

    # What cannot be recorded is refused in words, and stays there to be mended.
    page.goto(options.console + "#/recordings")
    record = page.get_by_label("Stream to record")
    record.fill("live/nobody")
    record.press("Enter")
    expect(page.get_by_text("nobody publishes live/nobody")).to_be_visible()
    expect(record).to_have_value("live/nobody")

    # Who may not watch is told why by the one refusal, here and on the watch page, which asks again
    # when it is told to.
    programs.publish("one", app="locked")
    before = refused(options)
    page.goto(options.console + "#/stream/locked/one")
    expect(page.get_by_role("table", name="Tracks")).to_be_visible()
    play.click()
    expect(state).to_have_text("Refused: 403")
    expect(page.locator(".over")).to_contain_text("not allowed")
    page.goto(options.http + "/locked/one")
    expect(page.locator("#state")).to_have_text("The server refused: 403")
    expect(page.locator("#detail")).to_contain_text("not allowed")
    page.wait_for_timeout(3000)
    assert plays("locked/one") == 2, asked[-5:]
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#state")).to_have_text("The server refused: 403")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    eventually("three refusals", lambda: refused(options) >= before + 3)
    page.wait_for_timeout(1500)
    assert refused(options) == before + 3 and plays("locked/one") == 3, asked[-5:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("console")
    for option in ["--token", "--rtmp", "--http", "--clip"]:
        parser.add_argument(option, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()

    said, asked = [], []
    programs = Programs(options)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, headless=True, args=ARGUMENTS
        )
        try:
            page = browser.new_page()
            page.add_init_script(NOTE)
            page.on("console", lambda it: said.append((it.type, it.text, it.location.get("url", ""))))
            page.on("pageerror", lambda error: said.append(("error", "page: " + str(error), "")))
            page.on("request", lambda request: asked.append(request.url))
            seen = operate(page, options, programs, asked)
            # The browser itself notes each 401; a wrong token and a page that has none get one.
            errors = [it for it in said if it[0] in ("error", "warning") and "401" not in it[1]]
            assert not errors, f"the console of the browser says {errors}"
            # blob: is what the player feeds the picture from.
            ours = (options.console, options.http + "/", "data:", "blob:" + options.console)
            foreign = [url for url in asked if not url.startswith(ours)]
            assert not foreign, f"it asked elsewhere: {foreign}"
            told = [url for url in asked if options.token in url]
            assert not told, f"the token stands in addresses: {told}"
            said.clear()
            go_wrong(page, options, programs, asked)
            errors = [it for it in said if it[1].startswith("page: ")]
            assert not errors, f"a script failed: {errors}"
            done = True
        except (AssertionError, Error) as failure:
            seen, done = {"failed": str(failure)[:2000], "console": said[-10:]}, False
        finally:
            programs.end()
            browser.close()
    print(json.dumps(seen))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
