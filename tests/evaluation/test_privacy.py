import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.pictures import FacePicture
from faceveil.evaluation.privacy import MIN_PERSONS, MIN_PHOTOS, divide, guessed, share_of_persons
from faceveil.transforms.faces import Faces


def pictures(count: int) -> list[FacePicture]:
    box = np.array([[0, 0, 4, 4]], np.float32)
    return [
        FacePicture(np.full((4, 4, 3), number, np.uint8), Faces(box, np.ones(1, np.float32))) for number in range(count)
    ]


@given(st.lists(st.integers(0, 9), min_size=MIN_PERSONS, max_size=20))
def test_every_person_has_photos_on_both_sides_and_none_on_both(counts: list[int]) -> None:
    photos = {f"{number:02d}": pictures(count) for number, count in enumerate(counts)}
    enough = [count for count in counts if count >= MIN_PHOTOS]
    if len(enough) < MIN_PERSONS:
        with pytest.raises(ValueError, match=f"{len(enough)} persons have 3 photos"):
            divide(photos)
        return
    experiment = divide(photos)
    assert experiment.persons == len(enough)
    for person, count in enumerate(enough):
        known = [p for p, of in zip(experiment.known, experiment.known_persons, strict=True) if of == person]
        probes = [p for p, of in zip(experiment.probes, experiment.probe_persons, strict=True) if of == person]
        assert [picture.image[0, 0, 0] for picture in known + probes] == list(range(count))
        assert len(probes) == count // 3
        assert len(known) >= 2


def test_persons_count_alike_whatever_their_photos() -> None:
    share, interval = share_of_persons(np.array([1.0, 1, 1, 0, 0]), np.array([7, 7, 7, 7, 9]))
    assert share == pytest.approx((3 / 4 + 0) / 2)
    assert interval.low < share < interval.high


@given(st.integers(2, 300), st.integers(1, 900), st.integers(1, 40))
def test_who_guesses_stays_below(persons: int, probes: int, tries: int) -> None:
    bound = guessed(persons, probes, tries)
    assert bound <= guessed(persons, probes, tries + 1)
    assert 0 <= bound <= 1
    random = np.random.default_rng(0)
    best = random.binomial(probes, 1 / persons, (400, tries)).max(axis=1) / probes
    assert (best > bound).mean() < 0.1
