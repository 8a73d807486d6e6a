import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.runtime.pool import OrderedPool, usable_cores


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.sampled_from([1, 100, 10_000]))
def test_chains_keep_the_order_whatever_takes_long(delays: list[int], threads: int, budget: int) -> None:
    def wait(item: np.ndarray) -> np.ndarray:
        time.sleep(item[1] / 1000)
        return item

    items = [np.array([n, delay]) for n, delay in enumerate(delays)]
    with OrderedPool(threads, budget) as pool:
        results = [int(item[0]) for item in pool.map(wait, pool.map(wait, iter(items)))]
    assert results == list(range(len(delays)))


@pytest.mark.parametrize("budget", [1, 10**6])
def test_what_is_done_keeps_its_place_and_wakes_no_thread(budget: int) -> None:
    threads = set()

    def negative(item: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread().name)
        return -item

    def is_done(item: np.ndarray) -> bool:
        return int(item) % 3 != 0

    with OrderedPool(2, budget) as pool:
        for _ in range(2):  # nothing is held when the first stream has ended
            once = pool.map(negative, map(np.array, range(1, 12)), is_done=is_done)
            twice = pool.map(negative, once, is_done=is_done)
            assert [int(item) for item in twice] == list(range(1, 12))
        assert threads
        results = pool.map(negative, map(np.array, [1, 2, 4, 5]), is_done=is_done)
        threads.clear()
        assert int(next(results)) == 1
        assert isinstance(results, Generator)
        results.close()
        assert (threads, pool._held_bytes) == (set(), 0)


def test_an_error_comes_out_where_its_item_would() -> None:
    def reciprocal(item: np.ndarray) -> np.ndarray:
        return np.array(1 // int(item))

    with OrderedPool(2, 1 << 20) as pool:
        results = pool.map(reciprocal, map(np.array, [1, 1, 0, 1]))
        assert [int(next(results)), int(next(results))] == [1, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_works_ahead_but_not_beyond_the_budget() -> None:
    taken = 0

    def items() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield np.zeros(1000, np.uint8)

    def same(item: np.ndarray) -> np.ndarray:
        return item

    for budget, most in ((1, 1), (3000, 3), (10**9, 6)):
        taken = 0
        with OrderedPool(2, budget) as pool:
            results = pool.map(same, items())
            next(results)
            assert taken == most
            next(results)
            assert isinstance(results, Generator)
            results.close()
            # What was given up no longer counts.
            assert len(list(pool.map(same, items()))) == 100


def test_uses_all_threads_for_one_stream() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def meet(item: np.ndarray) -> np.ndarray:
        meeting.wait()
        return item

    with OrderedPool(3, 1 << 20) as pool:
        assert len(list(pool.map(meet, [np.zeros(1)] * 9))) == 9


def test_the_budget_counts_what_results_hold() -> None:
    taken = 0

    def items() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield np.zeros(1, np.uint8)

    def decode(item: np.ndarray) -> np.ndarray:
        return np.zeros(1000 * len(item), np.uint8)

    with OrderedPool(1, 1500) as pool:
        results = pool.map(decode, items())
        for number, _ in enumerate(results):
            while pool._executor._work_queue.qsize():
                time.sleep(0.001)
            assert taken <= number + 4
    assert taken == 20


def test_what_runs_out_of_memory_is_done_again_when_nothing_else_is() -> None:
    working = 0
    most = 0
    failures = [0] * 16
    counting = threading.Lock()

    def work(item: np.ndarray) -> np.ndarray:
        nonlocal working, most
        with counting:
            working += 1
            most = max(most, working)
            beside = working
        time.sleep(0.002)
        with counting:
            working -= 1
        number = int(item)
        if number % 3 == 0 and not failures[number]:
            failures[number] = 1
            raise MemoryError
        if failures[number]:
            assert beside == 1
        return item

    with OrderedPool(4, 1 << 20) as pool:
        results = pool.map(work, pool.map(np.negative, map(np.array, range(0, -16, -1))))
        assert [int(item) for item in results] == list(range(16))
        assert most > 1
        # Since that has helped, less is done at once.
        most = 0
        assert len(list(pool.map(work, map(np.array, [1] * 20)))) == 20
        assert most == 1


def test_what_runs_out_of_memory_twice_says_so() -> None:
    def work(item: np.ndarray) -> np.ndarray:
        if int(item) == 3:
            raise OSError(errno.ENOMEM, "no memory")
        return item

    with OrderedPool(2, 1 << 20) as pool:
        results = pool.map(work, map(np.array, range(5)))
        assert [int(next(results)) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="no memory"):
            next(results)


def test_alone_nothing_else_is_done_nor_ahead() -> None:
    working = 0

    def work(item: np.ndarray) -> np.ndarray:
        nonlocal working
        working += 1
        time.sleep(0.001)
        assert working == 1
        working -= 1
        return item

    taken = iter(map(np.array, range(10)))
    with OrderedPool(3, 1 << 20) as pool:
        chain = pool.map(work, pool.map(work, taken, alone=True), alone=True)
        for number in range(5):
            assert int(next(chain)) == number
        assert int(next(taken)) == 5


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, len(os.sched_getaffinity(0))),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, len(os.sched_getaffinity(0))),
        ({}, len(os.sched_getaffinity(0))),
    ],
)
def test_a_container_uses_no_more_cores_than_its_quota(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == cores


def test_a_process_uses_only_the_cores_it_is_held_to() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {0}); "
        "from faceveil.transforms.runtime.pool import usable_cores; print(usable_cores())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "1\n"
