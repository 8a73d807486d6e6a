import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.training.augment import TrainingImage, cut_window, draw_image, fit_into, mirror, recolour
from faceveil.training.batches import training_batches

GREEN = np.array([0, 255, 0])


def photo(width: int, height: int, box: tuple[int, int, int, int]) -> TrainingImage:
    """A grey photo with a green face."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = GREEN
    return TrainingImage(pixels, np.array([box], np.float32), np.ones(1, np.int64), np.zeros(1, bool))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 400), st.integers(20, 400))
def test_a_face_stays_where_its_pixels_are(seed: int, width: int, height: int) -> None:
    face = (width // 4, height // 4, width // 4 + width // 2, height // 4 + height // 2)
    cut = cut_window(photo(width, height, face), 160, 120, np.random.default_rng(seed))
    assert cut.pixels.shape == (120, 160, 3)
    green = (np.abs(cut.pixels.astype(int) - GREEN).max(axis=2) < 64).nonzero()
    if not len(cut.boxes):
        assert len(green[0]) <= 4
        return
    x0, y0, x1, y1 = cut.boxes[0]
    assert 0 <= x0 < x1 <= 160
    assert 0 <= y0 < y1 <= 120
    if len(green[0]) and min(x1 - x0, y1 - y0) > 8:
        shown = np.array([green[1].min(), green[0].min(), green[1].max() + 1, green[0].max() + 1])
        np.testing.assert_allclose(cut.boxes[0], shown, atol=2.5)


@pytest.mark.parametrize("seed", range(30))
def test_images_of_one_or_four_photos_have_their_faces(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = draw_image(lambda: photo(200, 150, (80, 50, 120, 100)), 128, random)
    assert image.pixels.shape == (128, 128, 3)
    assert len(image.boxes) == len(image.labels) == len(image.ignored) <= 4
    assert (image.boxes[:, 2:] > image.boxes[:, :2]).all()
    assert image.boxes.min(initial=0) >= 0
    assert image.boxes.max(initial=0) <= 128


def test_what_is_cut_off_counts_neither_way() -> None:
    random, seen = np.random.default_rng(0), []
    for _ in range(200):
        cut = cut_window(photo(300, 300, (0, 100, 60, 160)), 100, 100, random)
        whole = 60 * 100 / 300
        for box, ignored in zip(cut.boxes, cut.ignored, strict=True):
            sides = box[2:] - box[:2]
            if sides.min() / sides.max() < 0.3:
                assert ignored, (box, whole)
            seen.append(ignored)
    assert 0 < np.mean(seen) < 0.5


def test_mirrored_twice_is_as_before() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    boxes = np.array([[1, 2, 5, 9]], np.float32)
    again, boxes_again = mirror(*mirror(pixels, boxes))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(boxes_again, boxes)


def test_colours_change_and_places_do_not() -> None:
    image = photo(60, 60, (20, 20, 40, 40)).pixels
    changed = [recolour(image, np.random.default_rng(seed)) for seed in range(20)]
    assert len({each.tobytes() for each in changed}) == 20
    for each in changed:
        assert len(np.unique(each[20:40, 20:40].reshape(-1, 3), axis=0)) == 1


def test_a_photo_fits_into_the_upper_left() -> None:
    square, scale = fit_into(np.full((50, 100, 3), 200, np.uint8), 64)
    assert scale == 0.64
    assert (square[:32] == 200).all()
    assert not square[32:].any()


def test_the_same_epoch_has_the_same_batches_and_another_has_others(portraits: object) -> None:
    from faceveil.training.anchors import make_anchors
    from faceveil.training.photos import find_photos
    from tests.training.conftest import TINY

    photos, _ = find_photos([f"{portraits}/annotations.jsonl"], None)
    anchors, labels = make_anchors(TINY), ["with_mask", "without_mask"]

    def epoch(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        batches = training_batches(photos, labels, anchors, TINY.size, 3, 0, number)
        return [(images.numpy(), target["boxes"].numpy()) for images, target in batches]

    first, again, second = epoch(0), epoch(0), epoch(1)
    assert [images.shape for images, _ in first] == [(3, 128, 128, 3)] * 2
    for (images, target), (images_again, target_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(target, target_again)
    assert not np.array_equal(first[0][0], second[0][0])
    assert {int(label) for _, target in first + second for label in np.unique(target[..., 0])} <= {-1, 0, 1, 2}
