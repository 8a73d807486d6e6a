"""Samples are fair and the same everywhere; intervals are Wilson's; totals add up in any order."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.verification.findings import ShardFindings
from faceveil.transforms.verification.reading import WrittenShard
from faceveil.transforms.verification.summary import choose_records, sum_findings, wilson_interval

SAID = {"problems": {"unaccounted_file": 2}, "looks_for_faces": True, "sample": None, "not_checked": []}


def shards_of(*records: int) -> list[WrittenShard]:
    return [WrittenShard(f"data-{number:05}", "data", count, 0, 0, "") for number, count in enumerate(records)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 60), st.integers(0, 5))
def test_a_sample_has_as_many_distinct_records_as_asked_for(records: list[int], count: int, seed: int) -> None:
    shards = shards_of(*records)
    chosen = choose_records(shards, count, seed)
    assert sum(map(len, chosen.values())) == min(count, sum(records))
    sizes = {shard.name: shard.records for shard in shards}
    for name, places in chosen.items():
        assert list(places) == sorted(set(places))
        assert 0 <= places[0] <= places[-1] < sizes[name]
    assert chosen == choose_records(shards, count, seed)


def test_every_record_is_as_likely_to_be_chosen() -> None:
    shards = shards_of(3, 0, 5, 2)
    times = dict.fromkeys([(shard.name, place) for shard in shards for place in range(shard.records)], 0)
    for seed in range(2000):
        for name, places in choose_records(shards, 3, seed).items():
            for place in places:
                times[name, place] += 1
    assert all(520 < count < 680 for count in times.values())  # 600, with a standard deviation of 20


def test_a_sample_does_not_change_with_versions() -> None:
    assert choose_records(shards_of(1000, 1000), 4, 0) == {"data-00000": (40, 402, 993), "data-00001": (973,)}


@pytest.mark.parametrize(("found", "of"), [(0, 1), (0, 400), (1, 1), (3, 50), (400, 400), (17, 1000)])
def test_the_bounds_are_where_the_share_is_as_far_off_as_chance_allows(found: int, of: int) -> None:
    """Wilson's bounds are the shares p at which (found/of - p)² is z² p (1 - p) / of."""
    for bound in wilson_interval(found, of):
        assert (found / of - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / of, abs=1e-6)
    low, high = wilson_interval(found, of)
    assert 0 <= low <= found / of <= high <= 1
    assert low < high
    assert wilson_interval(0, 0) == (0, 1)


def test_totals_do_not_depend_on_the_order_of_shards() -> None:
    shards = [
        ShardFindings("b", "data", 10, 12, 1, 3, {"metadata": 2}, 1, "openvino"),
        ShardFindings("a", "data", 5, 5, 0, 0, {"unaccounted_file": 1}, 0, "tensorflow"),
    ]
    content = sum_findings(shards, SAID)
    assert json.dumps(content) == json.dumps(sum_findings(shards[::-1], SAID))
    assert content["totals"]["records"] == 15
    assert content["residual_share"] == 1 / 15
    assert content["problems"] == {"metadata": 2, "unaccounted_file": 3}
    assert content["engine"] == "openvino, tensorflow"
    assert "residual_interval" not in content


def test_where_nobody_looked_for_faces_there_is_no_share() -> None:
    content = sum_findings([], {**SAID, "looks_for_faces": False, "sample": {"records": 3, "of": 9, "seed": 0}})
    assert content["residual_share"] is None
    assert content["residual_interval"] is None
