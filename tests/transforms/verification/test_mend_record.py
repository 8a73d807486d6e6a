"""A record is mended until a look at it finds nothing more, with a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.shard.worker import Anonymization, Worker
from faceveil.transforms.verification.mend import mend_shard
from tests.conftest import audit_of, copy_output
from tests.transforms.verification.test_mend import mending_of, output

__all__ = ["output"]
CORNER = np.array([[10, 20, 60, 80]], np.float32)


def faces_of(output: Path) -> dict[str, list[list[float]]]:
    rows = pq.read_table(audit_of(output)).to_pylist()
    return {row["key"]: [[face[side] for side in ("x0", "y0", "x1", "y1")] for face in row["faces"]] for row in rows}


def test_what_another_look_finds_in_a_record_that_was_mended_is_masked_too(
    output: Path, centerface_int8: str, tmp_path: Path
) -> None:
    copy_output(output, tmp_path / "out")
    before = faces_of(output)
    key = "people/astronaut.JPG"  # her face is bare, and another place was found
    outside = {key: {0: Faces(CORNER, np.ones(1, np.float32))}}
    detector = DetectorConfig((centerface_int8,), quality=Quality(320))
    worker = Worker(Anonymization(detector, "solid", Style(JobOptions().geometry), FeatureRoles()), threads=2)
    shard, mending = mending_of(tmp_path / "out", "fix")
    mended = mend_shard(shard, outside, mending, worker)
    assert (mended.records, mended.faces, mended.failed) == (1, 2, 0)
    after = faces_of(tmp_path / "out")
    corner, face = after.pop(key)
    assert before.pop(key) == []
    assert corner == CORNER[0].tolist()
    left, top, right, bottom = face
    assert left < 224 < right, "where her face is"
    assert top < 120 < bottom
    assert after == before
