from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from faceveil.evaluation.annotations import AnnotatedImage, AnnotationError
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.measures import BANDS, measure
from faceveil.transforms.codecs import stored, stored_boxes
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.merge import suppress_overlaps
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from tests.conftest import SKIMAGE_DATA

WIDTH, HEIGHT = 400, 300
FACE = np.array([[110, 60, 198, 176]], np.float32)
"""Eileen Collins's, in the part of NASA's portrait of her that the tests look at."""


@pytest.fixture(scope="module")
def detector(centerface: str) -> Detector:
    return Detector(DetectorConfig((centerface,), precision="float32", score_threshold=MIN_SCORE, threads=2))


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def annotated(file: str, boxes: np.ndarray, size: tuple[int, int] | None = None) -> AnnotatedImage:
    return AnnotatedImage(file, boxes, np.zeros(len(boxes), bool), size)


def test_turned_photos_are_found_as_well_as_upright_ones(detector: Detector, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB"))[:HEIGHT, 70 : 70 + WIDTH]
    images = []
    for orientation in range(1, 9):
        photo = Image.fromarray(np.ascontiguousarray(stored(pixels, orientation)))
        photo.save(tmp_path / f"{orientation}.png", exif=orientation_exif(orientation))
        size: np.ndarray = np.array([WIDTH, HEIGHT] * 2, np.float32)
        share = stored_boxes(FACE / size, orientation)
        images.append(annotated(f"{orientation}.png", share * np.array(photo.size * 2, np.float32), photo.size))
    results = list(detect_all(detector, images, [str(tmp_path / image.file) for image in images], read))
    assert [result.turned for result in results] == [False] * 4 + [True] * 4
    for image, result in zip(images, results, strict=True):
        assert iou(result.boxes[:1], image.boxes)[0, 0] > 0.7
        assert result.heights(result.boxes[:1]) == pytest.approx(results[0].heights(results[0].boxes[:1]), abs=0.01)
    for band in BANDS:
        assert measure(results, band).faces == (8 if band.low in (0, 16, 64) and band.high > 64 else 0)
        assert measure(results, band).at(0.5).recall in (1, None)


def test_annotations_of_another_size_are_an_error(detector: Detector) -> None:
    image = annotated("astronaut.png", FACE, (1024, 1024))
    with pytest.raises(AnnotationError, match=r"astronaut\.png is annotated as 1024 x 1024 px, but .* as 512 x 512"):
        list(detect_all(detector, [image], [str(SKIMAGE_DATA / "astronaut.png")], read))


def test_images_that_cannot_be_used_are_errors_by_name(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(AccessError, match=r"text\.jpg: cannot be decoded: not_an_image"):
        list(detect_all(detector, [annotated("text.jpg", FACE)], [str(tmp_path / "text.jpg")], read))
    with pytest.raises(AccessError, match=r"gone\.jpg: cannot be read"):
        list(detect_all(detector, [annotated("gone.jpg", FACE)], [str(tmp_path / "gone.jpg")], read))


@given(st.data())
def test_suppressing_first_and_then_thresholding_is_the_same(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    corners = data.draw(st_numpy.arrays(np.float32, (count, 2), elements=st.integers(0, 10)))
    sizes = data.draw(st_numpy.arrays(np.float32, (count, 2), elements=st.integers(1, 10)))
    scores = data.draw(st_numpy.arrays(np.float32, count, elements=st.sampled_from([0.125, 0.25, 0.5, 0.75])))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    for threshold in (0.25, 0.5):
        after = suppress_overlaps(Faces(boxes, scores))
        left = after.scores >= threshold
        enough = scores >= threshold
        before = suppress_overlaps(Faces(boxes[enough], scores[enough]))
        assert np.array_equal(after.boxes[left], before.boxes)
        assert np.array_equal(after.scores[left], before.scores)
