from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from benchmarks.hard_photos import filling, lying, orientations, paste
from faceveil.evaluation.annotations import AnnotatedImage
from faceveil.transforms.detectors.nms import iou

_FACE = (181, 58, 270, 178)


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory, default_detector: tuple[str, ...]) -> Path:
    """The folder of a photo with one face, which `annotated` describes."""
    del default_detector
    folder: Path = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    return folder


@pytest.fixture
def annotated() -> list[AnnotatedImage]:
    return [AnnotatedImage("astronaut.png", np.array([_FACE], np.float32), np.zeros(1, bool), (512, 512))]


def test_a_face_is_found_in_each_orientation(annotated: list[AnnotatedImage], astronaut: Path) -> None:
    rows = orientations(annotated, astronaut).splitlines()[1:]
    assert rows == [f"| {orientation} | 1.0000 | 1.0000 |" for orientation in range(1, 9)]


def test_a_face_that_lies_on_its_side_is_found_by_thorough(annotated: list[AnnotatedImage], astronaut: Path) -> None:
    rows = lying(annotated, astronaut).splitlines()[1:]
    assert [row.split("|")[1].strip() for row in rows] == ["0°", "90°", "180°", "270°"]
    assert all(row.split("|")[3].strip().startswith("1.0000") for row in rows)


def test_a_face_is_found_in_a_photo_cropped_to_it(annotated: list[AnnotatedImage], astronaut: Path) -> None:
    assert filling(annotated, astronaut).startswith("1.000 of 1 faces")


def test_a_mosaic_of_photos_holds_their_faces(astronaut: Path) -> None:
    whole, faces = paste([astronaut / "astronaut.png"] * 2)
    np.testing.assert_array_equal(whole[:512, 1200:1712], data.astronaut())
    np.testing.assert_allclose(faces[1], faces[0] + (1200, 0, 1200, 0))
    assert iou(np.array([_FACE], np.float32), faces[:1]) > 0.7
