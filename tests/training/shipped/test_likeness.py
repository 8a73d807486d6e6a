from dataclasses import replace

import cv2
import numpy as np
import pytest

from faceveil.training.shipped.crops import Crops
from faceveil.training.shipped.exchange import exchanged
from faceveil.training.shipped.matchers import Matcher, match, middles
from tests.conftest import noise_image

SIDE = 128
POINTS = np.array([[50, 52], [78, 52], [64, 64], [54, 78], [74, 78]], np.float32)


@pytest.fixture
def crops() -> Crops:
    images = np.stack([noise_image(SIDE, SIDE, seed) for seed in range(160)]) / np.float32(127.5) - 1
    faces = np.zeros((len(images), SIDE, SIDE, 1), np.float32)
    faces[:, 40:90, 40:90] = 1
    return Crops(images.astype(np.float32), faces, faces, np.stack([POINTS] * len(images)))


def some(crops: Crops, which: slice) -> Crops:
    return Crops(*(array[which] for array in vars(crops).values()))


def test_an_exchanged_face_is_anothers_with_the_colours_of_the_place(crops: Crops) -> None:
    places, others = some(crops, slice(0, 4)), some(crops, slice(4, 8))
    pictures = exchanged(places, others)
    outside = np.broadcast_to(places.faces == 0, places.images.shape)
    assert np.array_equal(pictures.images[outside], places.images[outside])
    for picture, place, other in zip(pictures.images, places.images, others.images, strict=True):
        new, old, face = (image[40:90, 40:90].reshape(-1, 3) for image in (picture, place, other))
        np.testing.assert_allclose(new.mean(axis=0), old.mean(axis=0), atol=0.01)
        assert np.corrcoef(new[:, 0], face[:, 0])[0, 1] > 0.99


def test_keypoints_say_where_an_exchanged_face_goes(crops: Crops) -> None:
    places, others = some(crops, slice(0, 1)), some(crops, slice(1, 2))
    moved = Crops(
        np.roll(others.images, 7, axis=2), others.faces, others.unknown, others.keypoints + np.array([7, 0], np.float32)
    )
    there, back = exchanged(places, others).images, exchanged(places, moved).images
    np.testing.assert_allclose(there[0, 42:88, 42:88], back[0, 42:88, 42:88], atol=0.02)


def test_a_matcher_knows_faces_that_show_and_not_those_that_do_not(crops: Crops) -> None:
    coarse = np.stack([cv2.resize(image[:8, :8], (SIDE, SIDE)) for image in crops.images])
    crops = replace(crops, images=coarse)
    taught, tried, others = (some(crops, part) for part in (slice(0, 130), slice(130, 145), slice(145, 160)))
    alike = np.tile(np.arange(15), (15, 1))
    matcher = Matcher(taught.images, middles(taught.images), steps=40)
    of_two, of_alike, _ = match(matcher, tried.images, middles(tried.images), others.images, alike)
    assert min(of_two.mean(), of_alike.mean()) > 0.8
    hidden = middles(np.stack([tried.images[0]] * 15))
    assert match(matcher, tried.images, hidden, others.images, alike)[0].mean() == pytest.approx(0.5)
