import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from faceveil.evaluation.bootstrap import (
    REPLICATES,
    differences_of_shares,
    interval_of_share,
    percentiles,
    resampled_counts,
    wilson,
)

shares = st.floats(0, 1)
replicates = st_numpy.arrays(np.float64, st.integers(0, 20), elements=st.one_of(shares, st.just(np.nan)))


@given(shares, st.integers(1, 10**6), replicates)
def test_intervals_contain_the_estimate(share: float, samples: int, resampled: np.ndarray) -> None:
    for low, high in (interval_of_share(share, samples, resampled), wilson(share, samples)):
        assert 0 <= low <= share <= high <= 1
    low, high = percentiles(share, resampled)
    assert low <= share <= high


@given(st.lists(st.tuples(shares, st.integers(1, 99)), max_size=5), st.data())
def test_intervals_of_differences_contain_them(groups: list[tuple[float, int]], data: st.DataObject) -> None:
    resampled = data.draw(st_numpy.arrays(np.float64, (data.draw(st.integers(0, 9)), len(groups)), elements=shares))
    found = differences_of_shares([share for share, _ in groups], [count for _, count in groups], resampled)
    assert len(found) == len(groups) * (len(groups) - 1) // 2
    assert [each.difference for each in found] == sorted((each.difference for each in found), reverse=True)
    for each in found:
        assert each.difference == pytest.approx(groups[each.larger][0] - groups[each.smaller][0])
        assert each.interval.low < each.difference < each.interval.high


def test_few_samples_are_never_sure() -> None:
    assert interval_of_share(1, 5, np.ones(REPLICATES)).low < 0.6
    [difference] = differences_of_shares([1, 0.6], [5, 5], np.tile([1, 0.6], (REPLICATES, 1)))
    assert not difference.is_sure
    [difference] = differences_of_shares([1, 0.6], [500, 500], np.tile([1, 0.6], (REPLICATES, 1)))
    assert difference.is_sure


def test_resampling_is_the_same_every_time_and_as_wide_as_the_theory_has_it() -> None:
    counts = resampled_counts(400)
    np.testing.assert_array_equal(counts, resampled_counts(400))
    values = np.random.default_rng(0).random(400) < 0.3
    spread = (counts @ values / 400).std()
    assert spread == pytest.approx(np.sqrt(values.var() / 400), rel=0.1)


def test_equal_groups_seldom_differ_and_many_pairs_are_paid_for() -> None:
    random = np.random.default_rng(1)
    sure = 0
    for _ in range(100):
        hits = random.random((6, 80)) < 0.8
        counts = random.multinomial(80, np.full(80, 1 / 80), size=200)
        resampled = np.stack([counts @ group / 80 for group in hits], axis=1)
        sure += any(each.is_sure for each in differences_of_shares(hits.mean(axis=1).tolist(), [80] * 6, resampled))
    assert sure <= 10  # of 15 pairs, each tested by itself at 95 %, a third or more would have one
