"""A headless Chromium, driven through a pipe by the DevTools protocol: what a page shows, reports and asks for."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "google-chrome", "chromium-browser", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe")  # fmt: skip
# Texts against what is behind them, and names of what has a role, as a browser computes them. Source: WCAG 2.2.
AUDIT = """
(() => {
  const found = [];
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const c = channels(getComputedStyle(one).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const one = node.parentElement, box = one.getBoundingClientRect();
    if (!node.data.trim() || one.closest("svg, script, style") || !box.width) continue;
    texts += 1;
    const style = getComputedStyle(one), size = parseFloat(style.fontSize);
    const [high, low] = [light(channels(style.color)), light(behind(one))].sort((a, b) => b - a);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
  }
  for (const cell of document.querySelectorAll("th[scope=col]")) {
    for (const word of cell.textContent.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(cell.firstChild, word.index);
      range.setEnd(cell.firstChild, word.index + word[0].length);
      if (range.getClientRects().length > 1) found.push(`a broken word: ${word[0]}`);
    }
  }
  let last = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Number(one.tagName[1]);
    if (level > last + 1) found.push(`heading h${level} after h${last}`);
    if (!one.textContent.trim()) found.push(`empty heading h${level}`);
    last = level;
  }
  for (const one of document.querySelectorAll("img, svg[role=img]")) {
    if (!(one.alt || one.getAttribute("aria-label") || one.querySelector("title")?.textContent.trim()))
      found.push("a picture without a text");
  }
  for (const one of document.querySelectorAll("a[href]"))
    if (!one.textContent.trim()) found.push("a link without a text");
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
  if (new Set(ids).size < ids.length) found.push("an id twice");
  if (!document.title) found.push("no title");
  if (document.documentElement.scrollWidth > innerWidth) found.push("the page is wider than its window");
  return {texts, found};
})()
"""


def chromium() -> str | None:
    """Return the command of a Chromium: the variable CHROMIUM, or the first of the known names on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page; `errors` and `requests` have what the page reported and asked for since `open`."""

    def __init__(self, folder: Path, *, command: str | None = None, timeout: float = 60) -> None:
        ours, theirs = os.pipe(), os.pipe()  # Chromium reads from descriptor 3, and writes to 4
        arguments = [command or chromium() or NAMES[0], *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        renumber = f"os.dup2({ours[0]}, 3); os.dup2({theirs[1]}, 4); os.execvp(sys.argv[1], sys.argv[1:])"
        redirected = [sys.executable, "-I", "-S", "-c", f"import os, sys; {renumber}", *arguments]
        self._process = subprocess.Popen(
            redirected, pass_fds=(ours[0], theirs[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = ours[1], theirs[0]
        self._timeout, self._number, self._read = timeout, 0, b""
        self._session: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        """Open the page, and listen to it."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.close(self._to)  # which ends it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def open(self, url: str, *, scheme: str = "light", width: int = 1000, height: int = 800) -> None:
        """Open a page in a window of this width, in light or dark, and wait until it has loaded."""
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self.errors, self.requests, self._loaded = [], [], False
        self._ask("Page.navigate", url=url)
        deadline = time.monotonic() + self._timeout
        while not self._loaded:
            self._receive(deadline)

    def value(self, script: str) -> Any:
        """Return what a script gives in the page."""
        reply = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def audit(self) -> list[str]:
        """Return what hinders a reader: headings, names, contrast, width. A page without text is an error."""
        result = self.value(AUDIT)
        assert result["texts"]
        found: list[str] = result["found"]
        return found

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        reply = self._ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(reply["data"]))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._timeout
        while (reply := self._receive(deadline)).get("id") != self._number:
            pass
        assert "error" not in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        """Return the next message, and note what it reports of the page."""
        while b"\0" not in self._read:
            if not select.select([self._from], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("The browser didn't answer.")
            more = os.read(self._from, 2**20)
            assert more, "The browser ended."
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        facts = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(facts["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(facts["exceptionDetails"]))
            case "Log.entryAdded":
                self.errors.append(facts["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.errors.append(str(facts["args"]))
        return message
