"""A Chromium without a window, told what to do over its DevTools protocol, on pipes: no port, no driver, no download.

The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

CHROMIUM = shutil.which("chromium")
"""Debian's; None where it is not installed."""

PATIENCE_S = 60.0
"""For one answer: a busy machine may take its time."""

# The browser wants its pipes as 3 and 4. The sandbox of Chromium can't be had as root in a container; what is shown here is ours.
_START = 'exec "$@" 3<&0 4>&1 </dev/null >&2'
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


class Screen(NamedTuple):
    """`width` and `height` in CSS pixels; `scheme` is `light` or `dark`; `scale` is device pixels to a CSS pixel."""

    width: int
    height: int
    scheme: str = "light"
    scale: float = 1.0
    touch: bool = False


class BrowserError(Exception):
    """The browser did not do as it was told, or ended."""


class Browser:
    """Talks to a browser that runs already. Everything happens in the caller's thread, in turn."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._number = 0
        self._read = b""
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of `method`. BrowserError if the browser refuses, ends, or takes longer than PATIENCE_S."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        assert self._process.stdin is not None  # noqa: S101 - for the type
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        until_s = time.monotonic() + PATIENCE_S
        while True:
            said = self._next(until_s)
            if said.get("id") == self._number:
                if "error" in said:
                    raise BrowserError(f"{method}: {said['error'].get('message')}")
                result: dict[str, Any] = said["result"]
                return result

    def wait_for(self, event: str, session: str) -> None:
        """Until `event` has happened to `session`, if it hasn't yet."""
        until_s = time.monotonic() + PATIENCE_S
        while not self.events(event, session):
            self._next(until_s)

    def events(self, event: str, session: str) -> list[dict[str, Any]]:
        """What is known of each `event` of `session` so far."""
        return [
            each["params"]
            for each in self._events
            if each["method"] == event and each.get("sessionId") == session
        ]

    @contextmanager
    def page(self, screen: Screen, *, scripts: bool = True) -> Iterator["Page"]:
        """A page of its own, with no history or cache in common with others; `scripts` is whether pages may run any."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.show_on(screen)
        yield page
        self.call("Target.disposeBrowserContext", browserContextId=context)

    def _next(self, until_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - for the type
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                raise BrowserError(f"the browser has said nothing for {PATIENCE_S:g} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise BrowserError("the browser has ended")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        if "method" in said:
            self._events.append(said)
        return said


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def show_on(self, screen: Screen, media: str = "screen") -> None:
        """Lay the page out for `screen` (or, with `media`, for print)."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=screen.width, height=screen.height, deviceScaleFactor=screen.scale, mobile=screen.touch,
        )  # fmt: skip
        prefers = {"name": "prefers-color-scheme", "value": screen.scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[prefers])

    def open(self, address: str) -> None:
        """Go to `address` and wait until all of it is there."""
        failed = self.call("Page.navigate", url=address).get("errorText")
        if failed:
            raise BrowserError(f"{address}: {failed}")
        self._browser.wait_for("Page.loadEventFired", self._session)

    def fill(self, html: str) -> None:
        """Show `html` without asking anyone for it."""
        frame = self.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.call("Page.setDocumentContent", frameId=frame, html=html)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, even where the page itself may run no script."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Everything the console has: refusals of the policy, errors of scripts, what could not be loaded."""
        return [
            json.dumps(said)
            for event in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
            for said in self._browser.events(event, self._session)
        ]

    def requested(self) -> list[str]:
        """The address of each request, in turn."""
        events = self._browser.events("Network.requestWillBeSent", self._session)
        return [each["request"]["url"] for each in events]

    def answered(self) -> Mapping[str, int]:
        """The status of each address that was answered."""
        events = self._browser.events("Network.responseReceived", self._session)
        return {each["response"]["url"]: each["response"]["status"] for each in events}

    def picture(self, *, whole: bool = True) -> bytes:
        """A PNG of the whole page, however far it reaches below the screen; or of what is on the screen."""
        if not whole:
            return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        height = self.evaluate("document.documentElement.offsetHeight")
        width = self.evaluate("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(answer["data"])

    def printed(self) -> bytes:
        """A PDF of the page as a printer would get it."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])


def _see_it_answer(running: Browser, log: Path) -> None:
    try:
        running.call("Browser.getVersion")
    except (BrowserError, OSError) as error:
        raise BrowserError(f"chromium does not start: {log.read_text(errors='replace')[-2000:]}") from error


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, both gone afterwards. BrowserError if there is none here."""
    if CHROMIUM is None:
        raise BrowserError("there is no chromium here; on Debian: apt install chromium")
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), folder)
        command = ["/bin/sh", "-c", _START, "sh", CHROMIUM, *_FLAGS, f"--user-data-dir={folder}/profile"]
        with (
            (Path(folder) / "log").open("wb") as log,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **home}
            ) as process,
        ):
            try:
                running = Browser(process)
                _see_it_answer(running, Path(folder) / "log")
                yield running
            finally:
                # The end of its pipe is the end of the browser; one that hangs is ended.
                assert process.stdin is not None  # noqa: S101 - for the type
                process.stdin.close()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
