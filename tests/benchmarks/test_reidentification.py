import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from benchmarks.reidentification import Face, read_faces, table


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    """Thirty pictures that differ in their middles alone."""
    random = np.random.default_rng(0)
    box = np.array([[40, 40, 80, 90]], np.float32)
    made = []
    for _ in range(30):
        image = np.full((130, 120, 3), 90, np.uint8)
        middle = random.integers(110, 160, (6, 5, 3)).astype(np.uint8)
        image[40:90, 40:80] = cv2.resize(middle, (40, 50), interpolation=cv2.INTER_CUBIC)
        made.append(Face(image, box, box[0] + np.float32(1)))
    return made


def test_averages_tell_faces_apart_and_the_default_does_not(faces: list[Face]) -> None:
    rows = table(faces, ["blur", "pixelate"], [0.2, 1.0], 3, 0).splitlines()[4:]
    shares = {row.split("|")[1].strip(): [float(cell) for cell in row.split("|")[2:-1]] for row in rows}
    for method in ("blur", "pixelate"):
        assert min(shares[f"`{method}`, strength 0.2"][:2]) > 0.9  # the same photos
        assert max(shares[f"`{method}`, strength 1"]) < 0.4
    assert len(shares) == 5


def test_others_are_in_the_gallery_alone(faces: list[Face]) -> None:
    lines = table(faces[:10], ["blur"], [0.2], 2, 0, faces[10:]).splitlines()
    assert lines[0] == "10 faces among 30; chance 0.0333"
    assert float(lines[4].split("|")[2]) > 0.3  # by chance 0.03


def test_a_table_is_the_same_with_the_same_seed(faces: list[Face]) -> None:
    assert table(faces[:4], ["blur"], [1.0], 2, 7) == table(faces[:4], ["blur"], [1.0], 2, 7)


def test_faces_are_read_as_detector_and_annotator_have_them(tmp_path: Path, default_detector: tuple[str, ...]) -> None:
    del default_detector
    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    box = [181, 58, 270, 178]
    line = {"file": "a.png", "width": 512, "height": 512, "faces": [{"box": box, "invalid": 0}]}
    (tmp_path / "annotations.jsonl").write_text(json.dumps(line))
    [face] = read_faces(tmp_path, 1, 0)
    assert np.abs(face.boxes[0] - face.annotated).max() < 20
    assert max(face.boxes[0][2:] - face.boxes[0][:2]) <= 65
    assert list(read_faces(tmp_path, 2, 1)) == []
