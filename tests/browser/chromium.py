"""Chromium without a window, driven over the W3C's protocol (https://www.w3.org/TR/webdriver2/) by its own driver."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import missing

_START_SECONDS = 30
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    # What the browser itself would ask for on its own account.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    *("--disable-default-apps", "--disable-extensions", "--metrics-recording-only", "--no-pings"),
]


class Browser:
    """One window.

    Args:
        address: of the driver.
    """

    def __init__(self, address: str) -> None:
        self._session = address
        wanted = {
            "goog:chromeOptions": {"args": _FLAGS, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{address}/session/{made['sessionId']}"

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._session + path, data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())["value"]

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of https://chromedevtools.github.io/devtools-protocol/."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, address: str, width: int = 1400, height: int = 1000, theme: str = "light") -> None:
        """Opens a page at a width in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self._ask("POST", "/url", {"url": address})

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript, which no policy of the page forbids."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Clicks what a selector of CSS finds first, as a person does."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/click", {})

    def screenshot(self) -> bytes:
        """The whole page as a PNG, however long it is."""
        answer = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=self._extent())
        return base64.b64decode(answer["data"])

    def _extent(self) -> dict[str, float]:
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def print(self) -> bytes:
        """The page as a PDF."""
        return base64.b64decode(self.command("Page.printToPDF", printBackground=True)["data"])

    def console(self) -> list[str]:
        """What the page's console says since it was asked last: errors, and what a policy has refused."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call, those refused included; data URLs are none."""
        entries = [json.loads(e["message"])["message"] for e in self._ask("POST", "/se/log", {"type": "performance"})]
        asked = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith("data:")]

    def close(self) -> None:
        """Closes the window."""
        self._ask("DELETE", "")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    driver = shutil.which("chromedriver")
    if not driver or not shutil.which("chromium"):
        missing("needs a browser: apt-get install chromium chromium-driver")
    with subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            window = Browser(_address(process))
            try:
                yield window
            finally:
                window.close()
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    """Where a driver listens, as it says when it has begun."""
    assert process.stdout
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        line = process.stdout.readline()
        if "started successfully on port" in line:
            return f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}"
    raise TimeoutError("the browser's driver does not start")


def take_screenshots(page: Path, folder: Path) -> None:
    """Pictures of a page in both themes, on a phone and on a large screen, to be looked at."""
    with browser() as window:
        for theme in ("light", "dark"):
            for width in (400, 1400):
                window.open(page.resolve().as_uri(), width, theme=theme)
                (folder / f"{theme}-{width}.png").write_bytes(window.screenshot())
