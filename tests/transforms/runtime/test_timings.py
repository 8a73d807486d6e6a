from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from faceveil.transforms.runtime.timings import Timings


def test_each_measurement_of_many_threads_is_taken_once() -> None:
    timings = Timings()

    def measure(number: int) -> list[str]:
        with timings.measuring(f"step {number % 4}", 3):
            pass
        return [step for step, _ in timings.take()]

    with ThreadPoolExecutor(8) as pool:
        taken = [step for steps in pool.map(measure, range(400)) for step in steps]
    assert Counter(taken) == {f"step {number}": 300 for number in range(4)}


def test_what_fails_is_measured_and_no_images_are_not() -> None:
    timings = Timings()
    with pytest.raises(KeyError), timings.measuring("decode"):
        raise KeyError
    with timings.measuring("detect", 0):
        pass
    assert [step for step, _ in timings.take()] == ["decode"]
