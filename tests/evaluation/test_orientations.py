import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import find_faces
from faceveil.transforms.codecs import decode_for_detection, probe, stored
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.faces import Faces


@pytest.fixture(scope="module")
def detector(centerface: str) -> Detector:
    return Detector(DetectorConfig((centerface,)))


@pytest.fixture(scope="module")
def upright_faces(detector: Detector, wider_dev: Path) -> list[tuple[np.ndarray, Faces]]:
    """The pixels of some photos with many faces, and what is found in them."""
    images = parse_annotations((wider_dev / "annotations.jsonl").read_text())
    images = sorted(images, key=lambda image: len(image.boxes))[-3:]
    photos = [np.asarray(Image.open(wider_dev / image.file).convert("RGB")) for image in images]
    return [(pixels, find_faces(detector, data, probe(data))) for pixels in photos for data in [_png(pixels, 1)]]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_faces_are_the_same_however_a_photo_is_stored(
    detector: Detector, upright_faces: list[tuple[np.ndarray, Faces]], orientation: int
) -> None:
    for pixels, expected in upright_faces:
        data = _png(pixels, orientation)
        info = probe(data)
        assert info.orientation == orientation
        np.testing.assert_array_equal(next(decode_for_detection(data, info, 4096).renderings()).rgb, pixels)
        faces = find_faces(detector, data, info)
        assert len(faces) > 10
        np.testing.assert_array_equal(faces.boxes, expected.boxes)
        np.testing.assert_array_equal(faces.scores, expected.scores)
        np.testing.assert_array_equal(faces.keypoints, expected.keypoints)


def _png(pixels: np.ndarray, orientation: int) -> bytes:
    """The upright pixels, stored without loss in an orientation and tagged with it."""
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(stored(pixels, orientation)))
    image.save(file, "PNG", exif=orientation_exif(orientation), compress_level=1)
    return file.getvalue()
