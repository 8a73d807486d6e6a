"""Faces that are hard to see, at default options unless said otherwise; docs/detection.md has figures of whole sets."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from faceveil.evaluation.matching import covering_scores
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.quality import QUALITIES
from tests.conftest import annotated_images, shared_data

FACE = np.array([[181, 58, 270, 178]], np.float32)
"""Eileen Collins's in the astronaut."""


@pytest.fixture(scope="module")
def detector(centerface: str) -> Detector:
    return Detector(DetectorConfig((centerface,)))


def best_overlap(detector: Detector, photo: np.ndarray, face: np.ndarray) -> float:
    height, width = photo.shape[:2]
    (faces,) = detector.detect([detector.prepare(photo, width, height)])
    return float(iou(face, faces.boxes).max(initial=0))


def dark(photo: np.ndarray) -> np.ndarray:
    return photo // 20


def masked(photo: np.ndarray) -> np.ndarray:
    photo = photo.copy()
    photo[128:185, 185:265] = 150, 190, 210
    return photo


def in_sunglasses(photo: np.ndarray) -> np.ndarray:
    photo = photo.copy()
    photo[85:112, 185:265] = 20
    return photo


@pytest.mark.parametrize("change", [dark, masked, in_sunglasses])
def test_a_face_is_found_although_part_of_it_cannot_be_seen(
    detector: Detector, astronaut: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert best_overlap(detector, change(astronaut), FACE) > 0.6


def test_a_face_of_15_pixels_is_found(detector: Detector, astronaut: np.ndarray) -> None:
    photo = np.full((768, 1024, 3), 110, np.uint8)
    photo[300:364, 500:564] = cv2.resize(astronaut, (64, 64), interpolation=cv2.INTER_AREA)
    assert best_overlap(detector, photo, FACE / 8 + np.array([500, 300] * 2, np.float32)) > 0.6


@pytest.mark.parametrize("turns", [1, 3])
def test_thorough_finds_a_face_that_lies_on_its_side(centerface: str, astronaut: np.ndarray, turns: int) -> None:
    detector = Detector(DetectorConfig((centerface,), quality=QUALITIES["thorough"]))
    x0, y0, x1, y1 = FACE[0]
    face = [y0, 512 - x1, y1, 512 - x0] if turns == 1 else [512 - y1, x0, 512 - y0, x1]
    assert best_overlap(detector, np.ascontiguousarray(np.rot90(astronaut, turns)), np.array([face], np.float32)) > 0.7


def covered_share(
    detector: Detector, folder: Path, images: Iterable[dict[str, Any]], counts: Callable[[dict[str, Any]], bool]
) -> tuple[float, int]:
    """The share of the faces that count of which at least half is under detected boxes, and their number."""
    covered: list[bool] = []
    for image in images:
        chosen = np.array([face["box"] for face in image["faces"] if counts(face)], np.float32).reshape(-1, 4)
        if len(chosen):
            photo = np.asarray(Image.open(folder / image["file"]).convert("RGB"))
            (faces,) = detector.detect([detector.prepare(photo, photo.shape[1], photo.shape[0])])
            covered += list(covering_scores(chosen, faces.boxes, faces.scores) > 0)
    return float(np.mean(covered)), len(covered)


def is_profile(face: dict[str, Any]) -> bool:
    """Whether a face of 32 px and more is turned so far that its nose is beside both eyes."""
    if face["invalid"] or not face.get("landmarks") or face["box"][3] - face["box"][1] < 32:
        return False
    eye, other_eye, nose = (point[0] for point in face["landmarks"][:3])
    return not min(eye, other_eye) <= nose <= max(eye, other_eye)


def test_faces_in_profile_are_covered(detector: Detector) -> None:
    folder = shared_data("wider-train")
    images = [image for image in annotated_images(folder) if any(map(is_profile, image["faces"]))][:20]
    share, faces = covered_share(detector, folder, images, is_profile)
    assert faces >= 20
    assert share >= 0.95


def test_faces_in_masks_are_covered(detector: Detector) -> None:
    folder = shared_data("masks")
    share, faces = covered_share(
        detector,
        folder,
        annotated_images(folder)[::45],
        lambda face: face["label"] == "with_mask" and face["box"][3] - face["box"][1] >= 16,
    )
    assert faces >= 40
    assert share >= 0.9
