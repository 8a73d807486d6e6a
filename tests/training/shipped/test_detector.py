from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from faceveil.training.shipped.coverings import cover_by_block, cover_by_mask
from faceveil.training.shipped.detector import sharpen, train
from faceveil.training.shipped.photo_crops import SIDE, Photo, draw_crop, load_photos
from faceveil.transforms.detectors.centerface import (
    HEATMAP,
    LANDMARKS,
    LOG_SIZE,
    OFFSET,
    STRIDE,
    load_weights,
    read_weights,
    run_network,
)
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import KNOWN_MODELS, known_model
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.quality import QUALITIES

ASTRONAUT = skimage.data.astronaut()
BOX = np.array([181.0, 58.0, 270.0, 178.0])
KEYPOINTS = np.array([[204.0, 105.0], [245.0, 103.0], [228.0, 126.0], [208.0, 145.0], [243.0, 143.0]])


def photo(**changes: np.ndarray) -> Photo:
    known = {"boxes": BOX[None], "keypoints": KEYPOINTS[None], "ignored": np.array([False])}
    return Photo(ASTRONAUT, **{**known, **changes})


@given(st.integers(0, 2**32 - 1))
def test_targets_say_where_the_face_is(seed: int) -> None:
    crop = draw_crop(photo(), np.random.default_rng(seed))
    assert crop.clean.shape == crop.spoilt.shape == (SIDE, SIDE, 3)
    for y, x in np.argwhere(crop.centres):
        assert crop.heat[y, x] == crop.counted[y, x] == crop.has_keypoints[y, x] == 1
        log_height, log_width, *offset = crop.boxes[y, x]
        size = np.exp([log_height, log_width]) * STRIDE
        np.testing.assert_allclose(size[0] / size[1], (BOX[3] - BOX[1]) / (BOX[2] - BOX[0]), rtol=1e-4)
        corner = (np.array([y, x]) + 0.5 + offset) * STRIDE - size / 2
        nose = corner + crop.keypoints[y, x].reshape(5, 2)[2] * size
        # The place is the same part of the face, mirrored or not: as bright as the nose is in the photo.
        inside = (nose >= 4) & (nose < SIDE - 4)
        if inside.all():
            row, column = nose.astype(int)
            seen = crop.clean[row - 2 : row + 3, column - 2 : column + 3].mean()
            assert abs(seen - ASTRONAUT[122:131, 224:233].mean()) < 40
    assert crop.centres.sum() <= 1


def test_ignored_faces_are_neither_faces_nor_background() -> None:
    ignored = [draw_crop(photo(ignored=np.array([True])), np.random.default_rng(seed)) for seed in range(50)]
    assert not any(crop.heat.any() or crop.centres.any() for crop in ignored)
    assert sum(not crop.counted.all() for crop in ignored) > 10
    annotated = [draw_crop(photo(), np.random.default_rng(seed)) for seed in range(50)]
    assert all(crop.counted.all() for crop in annotated if crop.centres.any())


def test_a_mask_hides_mouth_and_nose_and_nothing_far_from_them() -> None:
    covered = 0
    for seed in range(20):
        masked = cover_by_mask(ASTRONAUT, BOX.tolist(), KEYPOINTS, np.random.default_rng(seed))
        changed = np.abs(masked.astype(int) - ASTRONAUT).max(axis=2) > 0
        covered += changed[135:150, 212:240].mean() > 0.9
        assert not changed[:80].any()
        assert not changed[220:].any()
        assert not changed[:, :140].any()
        assert not changed[:, 310:].any()
    assert covered == 20


def test_a_block_covers_a_part_of_the_face() -> None:
    changed = cover_by_block(ASTRONAUT, BOX.tolist(), np.random.default_rng(1)) != ASTRONAUT
    assert changed.any()
    assert changed.mean() < 0.1


def test_annotations_are_read_with_their_landmarks(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), ASTRONAUT[..., ::-1])
    (tmp_path / "annotations.jsonl").write_text(
        '{"file": "a.png", "faces": [{"box": [1, 2, 3, 4], "invalid": 1},'
        ' {"box": [5, 6, 7, 8], "invalid": 0, "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]}]}\n'
    )
    (read,) = load_photos(tmp_path / "annotations.jsonl")
    np.testing.assert_array_equal(read.pixels, ASTRONAUT)
    np.testing.assert_array_equal(read.boxes, [[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(read.ignored, [True, False])
    assert np.isnan(read.keypoints[0]).all()
    np.testing.assert_array_equal(read.keypoints[1], np.arange(1, 11).reshape(5, 2))


def test_a_few_steps_change_all_weights_a_little(capsys: pytest.CaptureFixture[str]) -> None:
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    start = read_weights(graph)
    trained = train(graph, [photo()], 3, seed=0)
    parts = [float(part) for part in capsys.readouterr().out.strip().strip("]").split("[")[1].split()]
    assert len(parts) == 5
    assert all(0 <= part < 10 for part in parts)
    assert trained.keys() == start.keys()
    for name, weights in trained.items():
        assert weights.shape == start[name].shape
        assert 0 < np.abs(weights - start[name]).max() < 0.1 * np.abs(start[name]).max() + 1e-3, name


def test_sharpened_weights_find_the_same_and_are_surer() -> None:
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    start = read_weights(graph)
    image = ASTRONAUT[None, :256, 128:384].astype(np.float32)
    before, after = (run_network(graph, image, weights, {}) for weights in (start, sharpen(graph, start)))
    for name in (LOG_SIZE, OFFSET, LANDMARKS):
        np.testing.assert_array_equal(after[name], before[name])
    logits = [np.log(maps[HEATMAP] / (1 - maps[HEATMAP])) for maps in (before, after)]
    np.testing.assert_allclose(logits[1], logits[0] * 1.3 + 0.25, atol=1e-3)


def test_the_shipped_weights_are_those_of_centerface_changed_a_little() -> None:
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    shipped_file = KNOWN_MODELS["centerface-covered"].trained_on
    assert shipped_file
    shipped, published = load_weights(shipped_file), sharpen(graph, read_weights(graph))
    assert shipped.keys() == published.keys()
    for name, weights in shipped.items():
        assert weights.shape == published[name].shape
        assert 0 < np.linalg.norm(weights - published[name]) < 0.1 * np.linalg.norm(published[name]), name


@pytest.mark.parametrize("model", ["centerface-covered", "centerface-covered-int8"])
def test_the_shipped_detectors_find_a_face_behind_a_mask(model: str) -> None:
    masked = cover_by_mask(ASTRONAUT, BOX.tolist(), KEYPOINTS, np.random.default_rng(0))
    detector = Detector(DetectorConfig((str(known_model(model)),), quality=QUALITIES["fast"]))
    (faces,) = detector.detect([detector.prepare(masked, 512, 512)])
    assert iou(faces.boxes[:1], BOX[None])[0, 0] > 0.5
