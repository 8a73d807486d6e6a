import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.evaluation.fairness import MEASURES, Comparison, compare_groups, outcomes
from faceveil.evaluation.groups import Grouping
from faceveil.evaluation.measures import Band, ImageResult, measure

ALL = Band(0, math.inf)
NOWHERE = 500.0


def image(faces: list[tuple[float, float | None]], false: list[float] = ()) -> ImageResult:  # type: ignore[assignment]
    """Square faces side by side, by their sides and the scores they are found with, and boxes on nothing."""
    boxes = np.array([[100 * place, 0, 100 * place + side, side] for place, (side, _) in enumerate(faces)], np.float32)
    found = [(box, score) for box, (_, score) in zip(boxes, faces, strict=True) if score is not None]
    found += [(np.array([NOWHERE, 300, NOWHERE + 20, 320], np.float32), score) for score in false]
    found.sort(key=lambda one: -one[1])
    return ImageResult(
        boxes.reshape(-1, 4),
        np.zeros(len(faces), bool),
        np.array([box for box, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score in found], np.float32),
    )


def grouped(*members: list[int], groups: tuple[str, ...] = ("a", "b")) -> Grouping:
    return Grouping("skin", groups, tuple(np.array(of_image, np.intp) for of_image in members))


def compare(results: list[ImageResult], grouping: Grouping, threshold: float = 0.5) -> Comparison:
    return compare_groups(results, grouping, threshold)[0]


def test_known_answers() -> None:
    results = [image([(20, 0.9), (20, 0.4), (20, None)], [0.6]), image([(20, 0.8), (40, 0.7)]), image([], [0.3])]
    comparison = compare(results, grouped([0, 0, 1], [1, -1], []))
    first, second = comparison.groups
    assert (first.group, first.faces, first.images, first.median_height) == ("a", 2, 1, 20)
    assert (second.group, second.faces, second.images) == ("b", 2, 2)
    assert (comparison.rest.faces, comparison.rest.median_height) == (1, 40)
    assert first.measures["recall"].value == second.measures["recall"].value == 0.5
    assert first.measures["covered"].value == 0.5
    # Half of the five faces are found at precision 1, all at 5 of 5 and one false box.
    assert first.measures["average_precision"].value == pytest.approx((1 + 5 / 6) / 2)
    assert second.measures["average_precision"].value == pytest.approx(1 / 2)
    assert comparison.false_positives_per_image.value == pytest.approx(1 / 3)
    [difference] = comparison.differences["average_precision"]
    assert (difference.larger, difference.smaller) == (0, 1)
    assert difference.difference == pytest.approx((1 + 5 / 6) / 2 - 1 / 2)


def test_small_groups_do_not_pay_for_false_boxes_more_than_large_ones() -> None:
    results = [image([(20, 0.9)] * 10, [0.95, 0.95]) for _ in range(10)]
    comparison = compare(results, grouped(*[[0] * 9 + [1]] * 10))
    common, rare = (group.measures["average_precision"].value for group in comparison.groups)
    assert common == rare == pytest.approx(100 / 120)


def test_groups_without_faces_in_a_band_take_no_part() -> None:
    results = [image([(10, 0.9), (30, 0.9)])]
    low, high = compare_groups(results, grouped([0, 1]), 0.5)
    assert [group.faces for group in low.groups] == [1, 1]
    assert [group.faces for group in high.groups] == [0, 1]
    assert high.groups[0].measures == {}
    assert high.differences == {name: [] for name in MEASURES}


def test_no_face() -> None:
    comparison = compare([image([])], grouped([]))
    assert [group.faces for group in comparison.groups] == [0, 0]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[ImageResult], Grouping]:
    score = st.one_of(st.none(), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]))
    face = st.tuples(st.sampled_from([8.0, 20.0, 60.0]), score)
    false = st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.8]), max_size=3)
    results = [
        image(*one) for one in draw(st.lists(st.tuples(st.lists(face, max_size=5), false), min_size=1, max_size=6))
    ]
    members = [draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)) for n in (len(r.faces) for r in results)]
    return results, grouped(*members, groups=("a", "b", "c"))


@settings(max_examples=25, deadline=None)
@given(cases())
def test_groups_add_up_to_all_faces_and_intervals_contain_the_estimates(
    case: tuple[list[ImageResult], Grouping],
) -> None:
    results, grouping = case
    for comparison in compare_groups(results, grouping, 0.5):
        whole = measure(results, comparison.band)
        groups = [*comparison.groups, comparison.rest]
        assert sum(group.faces for group in groups) == whole.faces
        for name in ("recall", "covered"):
            found = sum(group.faces * group.measures[name].value for group in groups if group.faces)
            assert found == pytest.approx((getattr(whole.at(0.5), name) or 0) * whole.faces)
        assert comparison.false_positives_per_image.value == whole.at(0.5).false_positives_per_image
        estimates = [estimate for group in groups for estimate in group.measures.values()]
        for estimate in (*estimates, comparison.false_positives_per_image):
            assert estimate.interval.low <= estimate.value <= estimate.interval.high
        for differences in comparison.differences.values():
            assert all(each.interval.low < each.difference < each.interval.high for each in differences)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_one_group_of_all_faces_has_the_measures_of_all(case: tuple[list[ImageResult], Grouping]) -> None:
    results, grouping = case
    everyone = Grouping("all", ("all",), tuple(np.zeros(len(members), np.intp) for members in grouping.members))
    for comparison in compare_groups(results, everyone, 0.5):
        whole = measure(results, comparison.band)
        measures = comparison.groups[0].measures
        assert bool(measures) == bool(whole.faces)
        if measures:
            assert measures["average_precision"].value == pytest.approx(whole.average_precision())
            assert measures["recall"].value == whole.at(0.5).recall


def test_a_planted_difference_is_found_and_none_where_there_is_none() -> None:
    random = np.random.default_rng(0)
    results, members = [], []
    for _ in range(200):
        of_image = random.integers(0, 3, 4)
        chances = np.array([0.95, 0.75, 0.95])[of_image]
        results.append(image([(30, 0.8 if random.random() < chance else None) for chance in chances], [0.3]))
        members.append(of_image.tolist())
    comparison = compare(results, grouped(*members, groups=("a", "b", "c")))
    for name in ("recall", "covered", "average_precision"):
        sure = [each for each in comparison.differences[name] if each.is_sure]
        assert {(each.larger, each.smaller) for each in sure} == {(0, 1), (2, 1)}
        assert all(each.interval.low < 0.2 < each.interval.high for each in sure)


def test_photos_are_resampled_and_not_faces() -> None:
    """Faces of one photo share their fate, so twenty of them tell little more than one."""
    random = np.random.default_rng(0)
    fates = random.random(40) < 0.7
    results = [image([(30, 0.8 if found else None)] * 20) for found in fates]
    [group] = compare(results, grouped(*[[0] * 20] * 40, groups=("a",))).groups
    low, high = group.measures["recall"].interval
    assert high - low > 0.2  # 800 independent faces would have 0.06


def test_outcomes_follow_the_order_of_faces_and_not_of_detections() -> None:
    found = outcomes([image([(20, 0.3), (20, None), (20, 0.9)], [0.5])], ALL)
    np.testing.assert_allclose(found.found, [0.3, -1, 0.9], rtol=1e-6)
    assert (found.false.tolist(), found.unmatched.tolist()) == ([0.5], [0.5])
    assert found.place.tolist() == [0, 1, 2]
