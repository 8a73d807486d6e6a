import cv2
import numpy as np
import pytest

from faceveil.evaluation.attackers import ATTACKS, VIEW_SIDE, Views, attempts, view
from faceveil.evaluation.pictures import FacePicture
from faceveil.transforms.faces import Faces

PERSONS, PHOTOS = 30, 4


def photos(seed: int, noise: float) -> Views:
    """Pictures of thirty coarse patterns, each a little different."""
    patterns = np.random.default_rng(0).random((PERSONS, 8, 8, 3)).astype(np.float32)
    large = np.stack([cv2.resize(pattern, (VIEW_SIDE, VIEW_SIDE)) for pattern in patterns])
    persons = np.repeat(np.arange(PERSONS), PHOTOS)
    random = np.random.default_rng(seed)
    seen = large[persons] + noise * random.standard_normal((len(persons), VIEW_SIDE, VIEW_SIDE, 3))
    return Views(seen.clip(0, 1).astype(np.float32), persons)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_recognises_what_is_plain(name: str) -> None:
    known, unknown = photos(1, 0.05), photos(2, 0.05)
    found = attempts(ATTACKS[name](known), known, unknown)
    assert max(recognised.mean() for recognised in found.values()) > 0.95


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_recognises_more_than_chance_where_nothing_is_left(name: str) -> None:
    known, unknown = photos(1, 0), photos(2, 0)
    blank = Views(np.zeros_like(known.images), known.persons)
    for recognised in attempts(ATTACKS[name](blank), blank, Views(blank.images, unknown.persons)).values():
        assert recognised.mean() == pytest.approx(1 / PERSONS)


def test_learning_beats_comparing_where_something_else_varies_more() -> None:
    """A corner tells persons apart; a strong light that has nothing to do with them falls on all the rest."""
    random = np.random.default_rng(0)
    persons = np.repeat(np.arange(PERSONS), PHOTOS)
    corners = np.stack([cv2.resize(corner, (12, 12)) for corner in random.random((PERSONS, 3, 3, 3))])

    def lit() -> Views:
        light = random.random((len(persons), 3, 3, 3)).astype(np.float32)
        images = np.stack([cv2.resize(patch, (VIEW_SIDE, VIEW_SIDE)) for patch in light])
        images[:, :12, :12] = corners[persons]
        return Views(images.astype(np.float32), persons)

    known, unknown = lit(), lit()
    shares = {
        name: max(found.mean() for found in attempts(ATTACKS[name](known), known, unknown).values())
        for name in ("correlation", "5 x 5 averages", "discriminants")
    }
    assert shares["discriminants"] > 0.9
    assert shares["discriminants"] > shares["correlation"] + 0.3


def test_a_view_is_the_face_and_as_much_around_it_as_wanted() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:40, 20:40] = 255
    picture = FacePicture(image, Faces(np.array([[20, 20, 40, 40]], np.float32), np.ones(1, np.float32)))
    assert view(picture).min() == 1
    assert view(picture, around=0.5).mean() == pytest.approx(1 / 4)
    assert view(picture).shape == (VIEW_SIDE, VIEW_SIDE, 3)


@pytest.mark.parametrize("box", [[-50, -50, -10, -10], [59.7, 10, 90, 30], [10, 10, 10, 10], [0, 0, 60, 60]])
def test_a_box_anywhere_has_a_view(box: list[float]) -> None:
    picture = FacePicture(np.zeros((60, 60, 3), np.uint8), Faces(np.array([box], np.float32), np.ones(1, np.float32)))
    assert np.isfinite(view(picture)).all()
