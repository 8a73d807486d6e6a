from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.__main__ import main
from tests.conftest import ROOT


@pytest.mark.usefixtures("default_detector")
def test_the_demo_draws_the_picture_that_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert main() == 0
    drawn, shown = (
        np.asarray(Image.open(path).convert("RGB")).astype(int)
        for path in (tmp_path / "demo-output" / "before-after.png", ROOT / "docs" / "before-after.png")
    )
    assert drawn.shape == shown.shape
    # The mask depends on the CPU a little.
    assert np.abs(drawn - shown).mean() < 1
