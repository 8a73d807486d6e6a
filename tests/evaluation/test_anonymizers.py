"""Comparing anonymizers on constructed results, where it is known what there is to find."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.anonymizers import NONE, compare_methods, mean_over_seeds, student_quantile
from faceveil.evaluation.measures import BANDS, ImageResult, measure

IMAGES, SEEDS = 120, 3


def results(share: float, seed: int, height: float = 40) -> list[ImageResult]:
    """Images of one face each, of which a share is found, and of a false box in every second one."""
    random = np.random.default_rng(seed)
    face = np.array([[10, 10, 10 + height, 10 + height]], np.float32)
    made = []
    for _ in range(IMAGES):
        boxes = [face[0]] if random.random() < share else []
        boxes += [face[0] + 200] if random.random() < 0.5 else []
        scores = np.sort(random.uniform(0.1, 1, len(boxes)).astype(np.float32))[::-1]
        found = np.array(boxes, np.float32).reshape(-1, 4)
        made.append(ImageResult(face, np.zeros(1, bool), found, scores))
    return made


def trained(share: float, first: int) -> list[list[ImageResult]]:
    return [results(share, first + seed) for seed in range(SEEDS)]


def test_a_planted_difference_is_found_and_equal_ones_are_not() -> None:
    made = {NONE: trained(0.9, 0), "solid": trained(0.3, 10), "blur": trained(0.9, 20)}
    compared = {str(each.band): each for each in compare_methods(made)}
    whole = compared["all"]
    assert whole.faces == IMAGES
    assert whole.loss["solid"].is_sure
    assert whole.loss["solid"].interval.low > 0.2
    assert not whole.loss["blur"].is_sure
    assert abs(whole.loss["blur"].value) < 0.1
    assert set(whole.loss) == {"solid", "blur"}
    assert compared["16-32"].precision == {}
    assert compared["32-64"].precision["blur"] == whole.precision["blur"]


def test_a_gain_is_a_loss_below_nothing() -> None:
    [whole, *_] = compare_methods({NONE: trained(0.3, 0), "blur": trained(0.9, 10)})
    assert whole.loss["blur"].interval.high < -0.2
    assert whole.loss["blur"].is_sure


def test_the_same_results_have_no_loss_at_all() -> None:
    same = trained(0.7, 0)
    [whole, *_] = compare_methods({NONE: same, "blur": same})
    assert whole.loss["blur"].interval == (0, 0)
    assert not whole.loss["blur"].is_sure


def test_what_all_seeds_share_is_paired_away() -> None:
    # Seeds that differ by much, each of them a little worse than without anonymization.
    shares = (0.3, 0.6, 0.9)
    plain = [results(share, place) for place, share in enumerate(shares)]
    worse = [[*some[: IMAGES - 12], *_without_boxes(some[IMAGES - 12 :])] for some in plain]
    [whole, *_] = compare_methods({NONE: plain, "blur": worse})
    spread = whole.precision["blur"].over_seeds
    paired = whole.loss["blur"].over_seeds
    assert paired.high - paired.low < 0.2 * (spread.high - spread.low)


def _without_boxes(some: list[ImageResult]) -> list[ImageResult]:
    return [ImageResult(each.faces, each.ignored, each.boxes[:0], each.scores[:0]) for each in some]


def test_values_are_those_of_the_evaluation() -> None:
    made = {NONE: trained(0.6, 0), "blur": trained(0.5, 10)}
    for compared, band in zip(compare_methods(made), BANDS, strict=True):
        for method, found in compared.precision.items():
            wanted = [measure(training, band).average_precision() for training in made[method]]
            np.testing.assert_allclose(found.values, wanted, atol=1e-6)  # type: ignore[arg-type]


def test_intervals_of_seeds_hold_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = [
        found.over_seeds.low <= 0.5 <= found.over_seeds.high
        for values in random.normal(0.5, 0.1, (2000, SEEDS))
        for found in [mean_over_seeds(values, values)]
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_both_errors_are_in_the_interval(values: list[float], replicates: list[float]) -> None:
    found = mean_over_seeds(np.array(values), np.array(replicates), share=True)
    for part in (found.over_seeds, found.over_images):
        assert found.interval.low <= part.low + 1e-9
        assert part.high - 1e-9 <= found.interval.high
    assert 0 <= found.interval.low <= found.value <= found.interval.high <= 1


def test_resamplings_without_a_face_do_not_count() -> None:
    found = mean_over_seeds(np.array([0.4, 0.4]), np.array([0.3, math.nan, 0.5]))
    assert np.isfinite(found.interval).all()


@pytest.mark.parametrize(("degrees", "wanted"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (99, 1.9842)])
def test_students_quantiles_are_those_of_the_tables(degrees: int, wanted: float) -> None:
    assert student_quantile(degrees) == pytest.approx(wanted, abs=1e-3)
