import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.training.anchors import (
    ANCHORS_PER_CELL,
    BACKGROUND,
    IGNORED,
    assign,
    decode_boxes,
    encode_boxes,
    make_anchors,
)
from faceveil.training.architectures import ARCHITECTURES
from faceveil.transforms.detectors.nms import iou

SMALL = ARCHITECTURES["small"]
ANCHORS = make_anchors(SMALL)

coordinate = st.floats(-500, 500, width=32)
side = st.floats(1, 500, width=32)
boxes = st.tuples(coordinate, coordinate, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=8))
def test_what_is_encoded_is_decoded(pairs: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    faces, anchors = (np.array(each, np.float32) for each in zip(*pairs, strict=True))
    sides = (faces[:, 2:] - faces[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    within = ((sides < 60) & (sides > 1 / 60)).all(axis=1)
    decoded = decode_boxes(encode_boxes(faces, anchors), anchors)
    np.testing.assert_allclose(decoded[within], faces[within], atol=0.02)
    assert (decoded[:, 2:] > decoded[:, :2]).all()


def test_whatever_a_network_says_is_a_box() -> None:
    said = np.array([[0, 0, 1e9, -1e9]], np.float32)
    x0, y0, x1, y1 = decode_boxes(said, np.array([[0, 0, 16, 16]], np.float32))[0]
    assert 0 < x1 - x0 <= 1001
    assert 0 < y1 - y0 <= 1001


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_there_is_an_anchor_for_every_place_and_size(name: str) -> None:
    architecture = ARCHITECTURES[name]
    anchors = make_anchors(architecture)
    cells = sum(math.ceil(architecture.size / 2**level) ** 2 for level in architecture.levels)
    assert anchors.shape == (cells * ANCHORS_PER_CELL, 4)
    middle, smallest = architecture.size / 2, 2.5 * 2**architecture.min_level
    for height in np.geomspace(smallest, 0.9 * architecture.size, 12):
        for ratio in (1.0, 1.15, 1.3):
            half = np.array([height / ratio, height]) / 2
            face = np.concatenate([middle - half, middle + half])[None].astype(np.float32)
            # The few cells of the coarsest level have to do for all large faces.
            enough = 0.35 if height < 2 ** (architecture.max_level + 0.5) else 0.25
            assert iou(face, anchors).max() >= enough, (height, ratio)


def place(faces: Sequence[Sequence[float]], ignored: list[bool] | None = None) -> tuple[np.ndarray, np.ndarray]:
    count = len(faces)
    return assign(
        np.array(faces, np.float32).reshape(-1, 4),
        np.ones(count, np.int64),
        np.array(ignored or [False] * count, bool),
        ANCHORS,
    )


def test_every_face_has_an_anchor_however_small() -> None:
    faces = [[10, 10, 12, 13], [100, 100, 130, 139], [0, 0, 320, 320]]
    meant, encoded = place(faces)
    decoded = decode_boxes(encoded[meant > 0], ANCHORS[meant > 0])
    for face in faces:
        assert np.abs(decoded - face).max(axis=1).min() < 0.01


@settings(deadline=None)
@given(st.lists(boxes, max_size=6))
def test_anchors_of_faces_overlap_them_and_those_of_background_do_not(faces: list[tuple[float, ...]]) -> None:
    meant, encoded = place([list(face) for face in faces])
    overlap = iou(ANCHORS, np.array(faces, np.float32).reshape(-1, 4)).max(axis=1, initial=0)
    assert (meant[overlap >= 0.4] > 0).all()
    assert (overlap[meant == BACKGROUND] < 0.3).all()
    assert not encoded[meant <= 0].any()


def test_what_lies_in_an_ignored_face_counts_neither_way() -> None:
    meant, _ = place([[0, 0, 160, 320]], [True])
    centres = (ANCHORS[:, 0] + ANCHORS[:, 2]) / 2
    small = (ANCHORS[:, 2] - ANCHORS[:, 0]) < 20
    assert (meant[small & (centres > 20) & (centres < 140)] == IGNORED).all()
    assert (meant[small & (centres > 180)] == BACKGROUND).all()
    assert not (meant > 0).any()


def test_a_crowd_is_assigned_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    low = random.uniform(0, 300, (60, 2))
    faces = np.concatenate([low, low + random.uniform(4, 60, (60, 2))], axis=1).tolist()
    at_once = place(faces)
    monkeypatch.setattr("faceveil.training.anchors._PART", 60 * 1000)
    for whole, parted in zip(at_once, place(faces), strict=True):
        np.testing.assert_array_equal(whole, parted)
