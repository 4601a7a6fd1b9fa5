"""Control a real browser without a driver: Chromium's DevTools protocol over a pair of pipes.

Source: https://chromedevtools.github.io/devtools-protocol; each message on the pipes ends with a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Page", "find_browser", "open_page"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_SECONDS = 60


def find_browser() -> str | None:
    """Return the path of a Chromium, or None if none is installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
    """A browser tab."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to, self._from = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.requested: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def show(self, url: str, *, width: int, height: int) -> None:
        """Open a URL in a window of the given size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.value(script):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script} did not become true: {self.value('document.body.innerText')}")
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the window as a PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _read(self) -> Any:
        data = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser has exited")
            data += byte
        message = json.loads(data)
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(message["params"]["exceptionDetails"]))
        return message


@contextlib.contextmanager
def open_page(browser: str, profile: Path) -> Iterator[Page]:
    """Start a browser with an empty profile; it is stopped at the end of the context."""
    commands, answers = os.pipe(), os.pipe()

    def set_descriptors() -> None:
        # Chromium reads commands from descriptor 3 and writes answers to 4; neither may be overwritten before it is
        # copied.
        read, write = os.dup(commands[0]), os.dup(answers[1])
        high = [os.dup2(read, 100), os.dup2(write, 101)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    command = [browser, *_FLAGS, f"--user-data-dir={profile}"]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=null, stderr=null, close_fds=False, preexec_fn=set_descriptors)
    os.close(commands[0])
    os.close(answers[1])
    try:
        with os.fdopen(commands[1], "wb") as to_browser, os.fdopen(answers[0], "rb") as from_browser:
            yield Page(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait()
