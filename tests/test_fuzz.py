import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import audit_of, shared_data
from tests.fuzz import fuzz, run_job


@pytest.mark.usefixtures("centerface")
def test_damaged_images_and_tfrecords_are_accounted_for(tmp_path: Path) -> None:
    """A small one of `make test-fuzz`."""
    figures = fuzz(tmp_path, count=120, seed=3)
    assert figures["clear_faces_masked"] > 0
    assert figures["quarantined_for"].keys() >= {"corrupt_image", "truncated"}
    assert figures["laden"]["laden_images"] > 80
    assert figures["laden"]["written"] > 80


@pytest.mark.usefixtures("centerface")
def test_awkward_files_of_other_projects_are_accounted_for(tmp_path: Path) -> None:
    tricky = shared_data("tricky")
    run = run_job(tricky, tmp_path / "out", pattern="**")
    assert run.status == 0, run.said
    keys = [row["key"] for row in pq.read_table(audit_of(tmp_path / "out")).to_pylist()]
    assert sorted(keys) == sorted(str(path.relative_to(tricky)) for path in tricky.rglob("*") if path.is_file())
    assert len(keys) == 339
    assert not re.search("Traceback|crashed|earlier attempt died", run.said)
