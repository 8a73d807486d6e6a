"""Agreement of two detectors, and what it does on photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.detectors.second_opinion import LESS, RISE, SecondOpinion, agree
from faceveil.transforms.faces import Faces
from tests.conftest import SKIMAGE_DATA

COORDINATES = st.integers(0, 40)
FACES = st.lists(st.tuples(COORDINATES, COORDINATES, st.integers(1, 30), st.floats(0, 1, width=32)), max_size=6)


def faces_of(drawn: list[tuple[int, int, int, float]]) -> Faces:
    boxes = np.array([(x, y, x + side, y + side) for x, y, side, _ in drawn], np.float32).reshape(-1, 4)
    return Faces(boxes, np.array([score for *_, score in drawn], np.float32))


@given(FACES, FACES)
def test_scores_rise_by_what_the_other_sees_there_and_never_fall(
    drawn: list[tuple[int, int, int, float]], others_drawn: list[tuple[int, int, int, float]]
) -> None:
    faces, others = faces_of(drawn), faces_of(others_drawn)
    agreed = agree(faces, others)
    assert sorted(map(tuple, agreed.boxes)) == sorted(map(tuple, faces.boxes))
    expected = []
    for box, score in zip(faces.boxes, faces.scores, strict=True):
        there = others.scores[iou(box[None], others.boxes)[0] >= 0.4]
        expected.append((*box, max(score, min(score + np.float32(RISE), there.max(initial=0) - np.float32(LESS)))))
    found = [(*box, score) for box, score in zip(agreed.boxes, agreed.scores, strict=True)]
    np.testing.assert_allclose(sorted(found), sorted(expected), atol=1e-6)
    assert (np.diff(agreed.scores) <= 0).all()


def test_a_face_in_doubt_counts_where_another_detector_sees_it() -> None:
    astronaut = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB"))
    height, width, _ = astronaut.shape

    def found(config: DetectorConfig) -> Faces:
        detector = SecondOpinion(config) if config.second_opinion else Detector(config)
        return detector.detect([detector.prepare(astronaut, width, height)])[0]

    first, second = (
        DetectorConfig((str(known_model(name)),), precision="float32", score_threshold=0.05, quality=Quality(320))
        for name in ("centerface", "yunet-s")
    )
    unsure, sure = sorted((first, second), key=lambda config: float(found(config).scores[0]))
    alone, seen = found(unsure).scores[0], found(sure).scores[0]
    agreed = float(min(alone + RISE, seen - LESS))
    assert alone + 0.01 < agreed
    threshold = agreed - 0.005
    assert not len(found(replace(unsure, score_threshold=threshold)))
    both = found(replace(unsure, score_threshold=threshold, second_opinion=sure))
    assert both.scores.tolist() == pytest.approx([agreed], abs=1e-6)
    # What the other one alone sees is no face here.
    blind = replace(unsure, score_threshold=float(alone) + RISE + 0.01, second_opinion=sure)
    assert not len(found(blind))


@pytest.mark.parametrize(("asked", "looked"), [(0.3, 0.18), (0.1, 0.05), (0.05, 0.05), (0.01, 0.01)])
def test_a_low_threshold_is_not_lowered_until_everything_is_a_face(asked: float, looked: float) -> None:
    other = DetectorConfig((str(known_model("yunet-s")),))
    detector = SecondOpinion(replace(other, score_threshold=asked, second_opinion=other))
    assert detector.config.score_threshold == pytest.approx(looked)


def test_both_detectors_models_move() -> None:
    config = DetectorConfig(("a", "b"), second_opinion=DetectorConfig(("c",)))
    moved = config.moved("/there/{}".format)
    assert moved.model_dirs == ("/there/a", "/there/b")
    assert moved.second_opinion
    assert moved.second_opinion.model_dirs == ("/there/c",)
