"""The examples of the page on Python, and the notebook, run as they stand."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("people/portrait.jpeg", "things/rocket.jpg"):
        shutil.copy(photos / name, Path("photos", Path(name).stem + ".jpg"))
    Path("salt.txt").write_text("0123456789abcdef0123456789abcdef")
    return tmp_path


@pytest.mark.usefixtures("default_detector")
def test_the_examples_of_the_page_run_as_they_stand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "__main__"}

    def printed(block: str) -> str:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  our own
        return capsys.readouterr().out

    data_set, encoded, arrays, found, quarantine, many, synthesis, loader, tensorflow = blocks
    assert ast.literal_eval(printed(data_set))["anonymized"] == 1
    assert json.loads((folder / "anonymized" / "manifest.json").read_text()) == names["manifest"]
    (folder / "photos" / "broken.jpg").write_bytes((folder / "photos" / "portrait.jpg").read_bytes()[:1000])
    assert printed(encoded) == ""
    assert Path("portrait.jpg").read_bytes() != names["photo"]
    assert printed(arrays) == ""
    changed = np.asarray(Image.open("portrait.png")) != names["pixels"]
    assert 0 < changed.any(axis=-1).mean() < 0.5
    assert re.fullmatch(r"\[\d+\.0, \d+\.0, \d+\.0, \d+\.0\] 0\.\d\d\n", printed(found))
    assert printed(quarantine).startswith("truncated - ")
    assert re.fullmatch(
        r"broken.jpg truncated: .*\nportrait.jpg \d+ bytes\nrocket.jpg \d+ bytes\n", printed(many), re.DOTALL
    )
    assert printed(synthesis) == ""
    assert Path("fake.jpg").read_bytes() not in (names["photo"], Path("portrait.jpg").read_bytes())
    assert printed(loader) == ""
    for made, path in zip(names["photos"], names["photos"].paths, strict=False):
        with Image.open(path) as image:
            assert made.shape == (image.height, image.width, 3)
    assert printed(tensorflow) == ""
    portrait, rocket = names["dataset"]
    np.testing.assert_array_equal(portrait, tf.io.decode_jpeg(Path("portrait.jpg").read_bytes()))
    np.testing.assert_array_equal(rocket, tf.io.decode_jpeg(Path("photos", "rocket.jpg").read_bytes()))


@pytest.mark.usefixtures("default_detector")
def test_so_does_the_readme_s(folder: Path) -> None:
    [block] = re.findall(r"```python\n(import faceveil\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    photo = (folder / "photos" / "portrait.jpg").read_bytes()
    names: dict[str, Any] = {"photo": photo}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102  our own
    assert names["manifest"]["totals"]["anonymized"] == 1
    assert names["anonymized"][:2] == b"\xff\xd8"
    assert names["anonymized"] != photo


@pytest.mark.usefixtures("default_detector")
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    (tmp_path / "cells.json").write_text(json.dumps(["".join(cell["source"]) for cell in cells]))
    command = [sys.executable, "-c", _RUN_CELLS]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout.splitlines()[-1])
    assert [kind for kind, _ in shown] == ["Image", "Image", "Image", "Image", "dict", "dict"]
    assert ast.literal_eval(shown[4][1])["anonymized"] == 1
    assert ast.literal_eval(shown[5][1]) == {"astronaut.jpg": 1, "coffee.jpg": 0, "rocket.jpg": 0}


_RUN_CELLS = """
# As a notebook does: a cell's last expression is what it shows.
import ast, json
names, shown = {}, []
for cell in json.load(open("cells.json")):
    tree = ast.parse(cell)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last:
        value = eval(compile(last, "cell", "eval"), names)
        shown.append((type(value).__name__, str(value)))
print(json.dumps(shown))
"""
