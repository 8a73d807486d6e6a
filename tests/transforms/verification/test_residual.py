"""Which faces of a second look lie outside the masks, against masks painted on whole images."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.anonymizers.methods import painted_pixels
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.faces import Faces
from faceveil.transforms.verification.residual import INSIDE, covered_shares, faces_outside

HEIGHT, WIDTH = 60, 80
SHAPES: tuple[Shape, ...] = get_args(Shape)


def faces(*boxes: tuple[float, ...]) -> Faces:
    return Faces(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.5, np.float32))


_side = st.integers(-5, 70)
_boxes = st.lists(
    st.tuples(_side, _side, st.integers(1, 40), st.integers(1, 40)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(found=_boxes, known=_boxes, shape=st.sampled_from(SHAPES), margin=st.sampled_from([0.0, 0.1, 0.5]))
def test_a_share_is_that_of_masks_painted_on_the_whole_image(
    found: list[tuple[int, ...]], known: list[tuple[int, ...]], shape: Shape, margin: float
) -> None:
    geometry = MaskGeometry(margin=margin, shape=shape)
    painted = painted_pixels("solid", faces(*known), Style(geometry), HEIGHT, WIDTH)
    shares = covered_shares(faces(*found), faces(*known), geometry, HEIGHT, WIDTH)
    for (x0, y0, x1, y1), share in zip(found, shares, strict=True):
        part = painted[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        assert share == pytest.approx(part.mean() if part.size else 0, abs=1e-6)


def test_a_face_that_sticks_out_by_half_is_outside() -> None:
    geometry = MaskGeometry(margin=0, shape="box")
    found = faces((10, 0, 30, 20), (14, 0, 34, 20), (20, 0, 40, 20))
    assert covered_shares(found, faces((0, 0, 30, 20)), geometry, HEIGHT, WIDTH).tolist() == [
        1,
        pytest.approx(0.8),
        0.5,
    ]
    assert faces_outside(found, faces((0, 0, 30, 20)), geometry, HEIGHT, WIDTH).boxes.tolist() == [[20, 0, 40, 20]]
    assert 0.5 < INSIDE < 0.8


@pytest.mark.parametrize("coverage", [0.1, 0.7, 1.0])
def test_what_a_job_leaves_bare_of_a_face_on_purpose_is_not_found(coverage: float) -> None:
    face = faces((20, 10, 50, 50))
    geometry = replace(MaskGeometry(shape="box"), coverage=coverage)
    assert len(faces_outside(face, face, geometry, HEIGHT, WIDTH)) == 0


def test_without_masks_everything_is_outside_and_keeps_its_keypoints() -> None:
    points = np.zeros((1, 5, 2), np.float32)
    found = replace(faces((1, 1, 9, 9)), keypoints=points)
    outside = faces_outside(found, Faces.none(), MaskGeometry(), HEIGHT, WIDTH)
    assert outside.keypoints is not None
    assert len(faces_outside(Faces.none(), found, MaskGeometry(), HEIGHT, WIDTH)) == 0
