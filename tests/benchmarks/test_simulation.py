from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation import Costs, Work, simulate, table

PLAIN = Costs(
    *(0.0, 0.0, 0.0),
    machine_start=0.0,
    rate=10.0,
    shard=0.0,
    shards_at_once=1,
    shard_sum=0.0,
    speed_spread=0.0,
    shard_spread=0.0,
)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 30))
def test_even_shards_take_what_the_busiest_machine_does(shards: int, images: int, machines: int) -> None:
    found = simulate(Work(shards * images, shards=shards), machines, PLAIN)
    assert found.seconds == pytest.approx(-(-shards // machines) * images / 10)
    assert found.redone == 0
    assert found.waiting == pytest.approx(1 - shards / (machines * -(-shards // machines)))


@given(st.integers(1, 4), st.integers(1, 20))
def test_shards_that_are_made_at_once_share_a_machine(at_once: int, machines: int) -> None:
    found = simulate(Work(12_000, shards=240), machines, replace(PLAIN, shards_at_once=at_once))
    assert 1200 / machines - 1e-6 <= found.seconds <= 1200 / machines + 5 * at_once


def test_what_a_shard_takes_beside_its_images_counts_for_each() -> None:
    with_costs = replace(PLAIN, shard=3.0, launch=7.0, machine_start=11.0, shard_sum=0.5)
    assert simulate(Work(100, shards=10), 1, with_costs).seconds == pytest.approx(7 + 11 + 10 + 30 + 5)


def test_files_are_listed_twice_and_page_by_page() -> None:
    found = simulate(Work(10_000, shards=1), 1, replace(PLAIN, file=0.001, request=2.0, listers=4))
    assert found.listing == pytest.approx(2 * (10 + 10 * 2 / 4))
    assert found.seconds == pytest.approx(1000 + found.listing)


def test_machines_that_are_taken_away_cost_what_they_held() -> None:
    work = Work(1_000_000, shards=2000)
    calm = simulate(work, 20, PLAIN)
    rough = simulate(work, 20, replace(PLAIN, preemptions=1.0, machine_start=60.0), seed=3)
    assert calm.redone == 0 < rough.redone < 0.05
    assert rough.seconds > calm.seconds + 60
    finer = simulate(Work(1_000_000, shards=20_000), 20, replace(PLAIN, preemptions=1.0, machine_start=60.0), seed=3)
    assert finer.redone < rough.redone / 3


def test_a_bucket_that_answers_no_faster_bounds_all_machines() -> None:
    work = Work(100_000, shards=1000)
    bound = simulate(work, 1000, replace(PLAIN, storage_rate=1000.0))
    assert bound.seconds == pytest.approx(100_000 / (1000 / 1.12), rel=0.02)


def test_the_default_layout_is_the_job_s() -> None:
    assert Work(1_000_000, 110_000, files=1_000_000).shard_count == 1640
    assert Work(1_000_000, 1_000, files=1_000_000).shard_count == 400
    assert Work(1_000_000, 1_000, files=100).shard_count == 16
    assert Work(10, 1_000, files=10).shard_count == 5


def test_the_table_has_a_line_for_each_number_of_images_and_machines() -> None:
    lines = table([10_000, 20_000], [1, 10], Costs(), price=1.0, records_in_file=1000).splitlines()
    assert len(lines) == 2 + 2 * 2 * 2
    assert lines[2].startswith("| 10,000 | files | 1 |")
