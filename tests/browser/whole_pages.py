"""The page about a job in Chromium: nothing leaves it, nothing fails in it, filters work without a server or a script.

``make test-browser`` runs these, and leaves pictures of the page in ``browser-output`` to be looked at.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from faceveil.pipeline.report_page.page import Run
from faceveil.pipeline.report_page.write import MAX_PAGE_BYTES, make_page
from faceveil.pipeline.written_output import open_output
from tests.browser.chromium import Browser, browser
from tests.conftest import ROOT
from tests.made_outputs import made_failure, made_large_output, made_output, made_record
from tests.pipeline.report_page.test_page import evil_page

PICTURES = ROOT / "browser-output"
REASONS = ("corrupt_image", "not_an_image", "truncated")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    shards = [
        [made_record(f"people/{s}/{n}.png", 10 * s + n, faces=(s + n) % 6, size=(640, 480)) for n in range(9)]
        for s in range(4)
    ]
    shards.append([made_failure(f"bad/{n}.jpg", REASONS[n % 3], f"at byte {n}") for n in range(9)])
    ignored = {
        ".txt": {"files": 12, "reasons": {"no image or TFRecord by its ending": 12}, "examples": ["notes/a.txt"]}
    }
    made_output(folder / "photos", shards, ignored=ignored)
    path = folder / "page.html"
    path.write_bytes(make_page(open_output(str(folder / "photos")), Run("2026-12-01 09:04 UTC", 75.0, 45)))
    return path


class Served(ThreadingHTTPServer):
    """Serves files of a folder, and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), partial(_Handler, folder))
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        assert isinstance(self.server, Served)
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        path = self.folder / self.path[1:]
        self.wfile.write(path.read_bytes() if path.is_file() else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_leaves_it_and_nothing_fails(window: Browser, page: Path, theme: str, width: int) -> None:
    window.console(), window.requests()
    window.open(page.as_uri(), width, theme=theme)
    assert window.evaluate("document.querySelectorAll('figure').length") > 20
    assert window.evaluate("[...document.querySelectorAll('image')].length") > 10
    # Nothing is wider than the screen.
    assert window.evaluate("document.documentElement.scrollWidth") == width
    PICTURES.mkdir(exist_ok=True)
    data = window.screenshot()
    (PICTURES / f"{theme}-{width}.png").write_bytes(data)
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert (picture[5, 5] > 200) == (theme == "light")
    assert window.requests() == [page.as_uri()]
    assert window.console() == []


def test_its_pictures_are_shown_and_its_text_fits(window: Browser, page: Path) -> None:
    window.open(page.as_uri())
    width = "i => {const p = new Image(); p.src = i.href.baseVal; return p.decode().then(() => p.width, () => 0)}"
    widths = f"Promise.all([...document.querySelectorAll('image')].map({width}))"
    answer = window.command("Runtime.evaluate", expression=widths, awaitPromise=True, returnByValue=True)
    assert min(answer["result"]["value"]) > 100
    # No label of a plot is cut off at its left.
    assert window.evaluate("Math.min(...[...document.querySelectorAll('.label')].map(t => t.getBBox().x))") >= 0
    right = "t => t.ownerSVGElement.viewBox.baseVal.width - t.getBBox().x - t.getBBox().width"
    assert window.evaluate(f"Math.min(...[...document.querySelectorAll('.count')].map({right}))") >= 0


def test_filters_work_without_a_script(window: Browser, page: Path) -> None:
    window.open(page.as_uri())
    assert window.evaluate("document.scripts.length") == 0

    def shown(selector: str) -> list[str]:
        visible = f"[...document.querySelectorAll('{selector}')].filter(e => e.getClientRects().length)"
        classes: list[str] = window.evaluate(f"{visible}.map(e => e.getAttribute('class'))")
        return classes

    every = shown(".gallery figure")
    assert set(every) == {"kind0", "kind1", "kind2", "kind3"}
    window.click("label[for=kind2]")
    assert shown(".gallery figure") == [kind for kind in every if kind == "kind2"]
    window.click("label[for=kindAll]")
    assert shown(".gallery figure") == every
    window.click("label[for=outlines]")
    assert shown(".masks") == []
    window.click("label[for=outlines]")
    assert len(shown(".masks")) == len(every)
    assert len(shown("tr[class^=reason]")) == 9
    window.click("label[for=reason1]")
    assert shown("tr[class^=reason]") == ["reason1"] * 3
    # By the keyboard, too.
    window.evaluate("document.getElementById('reason1').focus()")
    for kind in ("rawKeyDown", "keyUp"):
        window.command(
            "Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
        )
    assert shown("tr[class^=reason]") == ["reason2"] * 3


def test_it_can_be_printed(window: Browser, page: Path) -> None:
    window.open(page.as_uri(), theme="dark")
    data = window.print()
    assert data.startswith(b"%PDF")
    (PICTURES / "printed.pdf").write_bytes(data)


def test_what_data_hold_does_nothing(window: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(evil_page(tmp_path))
    server = Served(tmp_path)
    window.console(), window.requests()
    window.open(f"{server.address}/page.html")
    time.sleep(0.5)
    assert window.evaluate("document.title").endswith("what faceveil did")
    assert window.console() == []
    assert server.asked == ["/page.html"]
    assert window.requests() == [f"{server.address}/page.html"]


def test_the_policy_forbids_what_gets_in_all_the_same(window: Browser, page: Path, tmp_path: Path) -> None:
    """If there were a way to put elements into the page, they could still load and run nothing."""
    server = Served(tmp_path)
    evil = (
        f'<img src="{server.address}/img"><script>document.title="ran"</script>'
        f'<script src="{server.address}/js"></script>'
        f'<iframe src="{server.address}/frame"></iframe><link rel=stylesheet href="{server.address}/css">'
        f'<style>body{{background:url({server.address}/style)}}</style><p onclick="document.title=1">'
        f'<video src="{server.address}/video"></video><base href="{server.address}/">'
    )
    text = page.read_text().replace("</main>", f"{evil}</main>")
    (tmp_path / "with.html").write_text(text)
    start, _, rest = text.partition('<meta http-equiv="Content-Security-Policy"')
    (tmp_path / "without.html").write_text(start + rest.partition(">")[2])
    window.console()
    window.open(f"{server.address}/with.html")
    time.sleep(0.5)
    assert window.evaluate("document.title").endswith("what faceveil did")
    assert server.asked == ["/with.html"]
    assert len(window.console()) >= 5
    # Without the policy they do, so this test would see it.
    window.open(f"{server.address}/without.html")
    time.sleep(1)
    assert window.evaluate("document.title") == "ran"
    assert {"/img", "/js", "/css", "/style"} < set(server.asked)


_MILLION = """
import re, sys, time
from pathlib import Path
from faceveil.pipeline.report_page.write import make_page
from faceveil.pipeline.written_output import open_output
start = time.process_time()
page = make_page(open_output(sys.argv[1]), None)
open(sys.argv[2], "wb").write(page)
most = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(f"{len(page):,} bytes, {time.process_time() - start:.1f} s of CPU, {most:.0f} MiB at most, libraries included")
assert most < 800
"""


def test_a_million_records_make_a_small_page(window: Browser, tmp_path: Path) -> None:
    made_large_output(tmp_path / "out", shards=400, per_shard=2500)
    path = tmp_path / "page.html"
    subprocess.run([sys.executable, "-c", _MILLION, str(tmp_path / "out"), str(path)], check=True)
    assert path.stat().st_size < MAX_PAGE_BYTES
    window.console()
    window.open(path.as_uri())
    assert window.console() == []
    (PICTURES / "million.png").write_bytes(window.screenshot())
