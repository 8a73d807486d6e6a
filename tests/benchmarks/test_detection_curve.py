import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection_curve import draw
from faceveil.evaluation.measures import BANDS, ImageResult, measure
from faceveil.evaluation.report import describe_bands
from faceveil.transforms.detectors.detector import DetectorConfig


def test_the_curve_shows_the_default_threshold(tmp_path: Path) -> None:
    # Two faces, of which the default threshold finds one, beside one false box.
    faces = np.array([[0, 0, 20, 20], [50, 50, 80, 80]], np.float32)
    boxes = np.concatenate([faces, [[200, 200, 230, 230]]]).astype(np.float32)
    result = ImageResult(faces, np.zeros(2, bool), boxes[[0, 2, 1]], np.array([0.9, 0.5, 0.1], np.float32))
    threshold = DetectorConfig(()).score_threshold
    described = {"bands": describe_bands([measure([result], band) for band in BANDS], threshold)}
    for data in ("wider-dev", "masks"):
        for way in ("640", "balanced", "thorough", "1024-bf16"):
            (tmp_path / f"{data}-{way}.json").write_text(json.dumps(described))
    for panel in draw(tmp_path).axes:
        dots = [line.get_xydata() for line in panel.lines if line.get_marker() == "o"]
        assert len(dots) == 4
        assert np.asarray(dots).reshape(-1, 2).tolist() == [pytest.approx([1, 0.5])] * 4
