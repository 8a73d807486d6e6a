from pathlib import Path

import pytest

from benchmarks.measure import Measurement
from benchmarks.report import draw, format_table, ratios


def _run(name: str, rate: float) -> Measurement:
    return Measurement(name, 100, 5.0, rate, 0.1, 10**9, 20.0)


ROUNDS = [
    [_run("640 px: job, 8 shards", 20), _run("640 px: ceiling", 20)],
    [_run("640 px: job, 8 shards", 9), _run("640 px: ceiling", 10)],  # the machine was busy with something else
    [_run("640 px: job, 8 shards", 19), _run("640 px: ceiling", 20)],
    [_run("2 workers of one core each", 18), _run("1 worker of one core", 10)],
]


def test_ratios_are_taken_within_a_round() -> None:
    found = ratios(ROUNDS)
    assert found == {
        "640 px: job, 8 shards / ceiling": pytest.approx(0.95),
        "2 workers / 1 worker": pytest.approx(1.8),
    }


def test_the_table_and_the_plot_have_every_contender(tmp_path: Path) -> None:
    table = format_table(ROUNDS).splitlines()
    assert table[2] == "| 640 px: job, 8 shards | 19.0 | 9.0–20.0 | 5.0 | 100 | 1000 |"
    assert len(table) == 2 + 4
    draw(ROUNDS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
