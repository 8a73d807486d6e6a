from pathlib import Path

import pytest

from tests.fuzz import fuzz


@pytest.mark.usefixtures("centerface")
def test_damaged_images_and_tfrecords_are_accounted_for(tmp_path: Path) -> None:
    """A small one of `make test-fuzz`."""
    figures = fuzz(tmp_path, count=120, seed=1)
    assert figures["clear_faces_masked"] > 0
    assert len(figures["quarantined_for"]) >= 4
