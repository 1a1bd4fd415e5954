"""A browser without a window, driven over a pipe: the DevTools protocol of Chromium."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

# The browser reads from descriptor 3 and writes to 4. The pipes may be just those, so they are
# first moved out of the way.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
LIMIT = 20  # seconds; far more than anything takes


def find_browser():
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of Chromium. `complaints` are the errors of its console since the last open(),
    `requested` all addresses that it has ever asked for."""

    def __init__(self, folder):
        to_browser, self.output = os.pipe()
        self.input, from_browser = os.pipe()
        self.rest = b""
        self.number = 0
        self.loaded = False
        self.complaints, self.requested = [], set()
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        arguments += ["--no-first-run", "--disable-background-networking", "--hide-scrollbars"]
        arguments += ["--disable-features=BackForwardCache"]
        arguments += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        ends = [to_browser, from_browser]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, ends), find_browser(), *arguments],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        )
        os.close(to_browser)
        os.close(from_browser)
        self.session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self.output)
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.input)

    def message(self, end):
        while b"\0" not in self.rest:
            readable, _, _ = select.select([self.input], [], [], max(0, end - time.monotonic()))
            part = os.read(self.input, 1 << 20) if readable else b""
            assert part, "the browser has ended" if readable else "the browser does not answer"
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        self.note(message.get("method"), message.get("params", {}))
        return message

    def note(self, method, event):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requested.add(event["request"]["url"])
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.complaints.append(event["entry"]["text"] + " " + event["entry"].get("url", ""))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(event["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(event["args"]))

    def call(self, method, **parameters):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.output, json.dumps(command).encode() + b"\0")
        end = time.monotonic() + LIMIT
        while (answer := self.message(end)).get("id") != self.number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, url):
        self.loaded = False
        self.complaints = []
        result = self.call("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result['errorText']}"
        if "loaderId" not in result:  # another place in the same page
            self.call("Page.reload")
        end = time.monotonic() + LIMIT
        while not self.loaded:
            self.message(end)

    def evaluate(self, script):
        """The value of a script, which may be a promise."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key):
        code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=code,
                text=text,
            )

    def look(self, width, height=900, scheme="light", media="screen"):
        """The window's size and the reader's preferences, from now on."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[feature])

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", optimizeForSpeed=True)["data"]
        path.write_bytes(base64.b64decode(image))
