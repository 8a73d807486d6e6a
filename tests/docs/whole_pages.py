"""Every command of README and docs that can be run is run, and every program in Python: a page from top to bottom.

    make test-docs

Each page gets a folder with the inputs of ``inputs.py``. An output of an earlier command goes before one that begins it
anew, and commands that look at an output find one. What is not run says why: in a comment before its block, or by its
kind in ``parsers.py``.
"""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from faceveil.pipeline.cli import main
from tests.conftest import ROOT, audit_of
from tests.docs.inputs import make_inputs
from tests.docs.pages import READ, Block, blocks
from tests.docs.parsers import is_run
from tests.docs.shell import commands

RUN_ELSEWHERE = {
    "docs/python.md": "tests/pipeline/test_python_page.py",
    "docs/beam.md": "tests/pipeline/test_beam_page.py",
}
"""Pages whose programs in Python have tests of their own, which look closer."""

TAKES_AN_OUTPUT_UP = {"--retry_quarantined", "--overwrite", "--update"}


def runnable(page: Path) -> list[Block]:
    """The blocks that are run."""
    languages = ["sh"] if str(page.relative_to(ROOT)) in RUN_ELSEWHERE else ["sh", "python"]
    return [block for block in blocks(page, *languages) if block.not_run is None and _does_something(block)]


def _does_something(block: Block) -> bool:
    return block.language == "python" or any(map(is_run, commands(block.text)))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.mark.parametrize(
    "page", [page for page in READ if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_does_what_it_says(
    page: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(inputs, folder, symlinks=True)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in runnable(page):
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)  # noqa: S102  our own
            continue
        for command in commands(block.text):
            for name, value in command.variables:
                monkeypatch.setenv(name, secrets.token_hex(32) if "$(openssl" in value else value)
            if is_run(command):
                _run(list(command.words[1:]), block, capfd)


def _run(words: list[str], block: Block, capfd: pytest.CaptureFixture[str]) -> None:
    if words[0] == "run":
        output = Path(words[words.index("--output") + 1])
        for made in (output, audit_of(output)):
            shutil.rmtree(made, ignore_errors=True)
        if TAKES_AN_OUTPUT_UP & set(words):
            assert main([word for word in words if word not in TAKES_AN_OUTPUT_UP]) == 0
    elif "anonymized" in words and not Path("anonymized").exists():
        assert main(["run", "--input", "photos/**", "--output", "anonymized"]) == 0
    try:
        status = main(words)
    except SystemExit as ended:  # --help
        status = ended.code if isinstance(ended.code, int) else 0
    said = capfd.readouterr()
    assert status == 0, f"{block.place}: faceveil {' '.join(words)}\n{said.err[-2000:]}"


def test_pages_that_are_run_elsewhere_are() -> None:
    for page, test in RUN_ELSEWHERE.items():
        assert re.search(Path(page).name, (ROOT / test).read_text(encoding="utf-8"))


if __name__ == "__main__":
    make_inputs(Path(sys.argv[1]))  # to look at them, or to try a page by hand
