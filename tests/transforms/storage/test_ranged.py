"""Files that are fetched in pieces."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage import ranged


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(0, 110), st.integers(-1, 60)), max_size=12))
def test_a_file_that_is_fetched_in_pieces_reads_as_one_on_disk(size: int, reads: list[tuple[int, int]]) -> None:
    data = bytes(range(size))
    with pytest.MonkeyPatch.context() as small:
        small.setattr(ranged, "READ_PIECE", 7)
        small.setattr(ranged, "_BUFFER", 5)
        with ranged.ranged_file(size, lambda start, end: data[start:end]) as file:
            for start, count in reads:
                assert file.seek(start) == start
                assert file.read(count) == data[start : start + count if count >= 0 else None]
                assert file.tell() == max(start, min(start + count, size) if count >= 0 else size)


def test_only_a_file_that_is_read_on_is_fetched_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "READ_PIECE", 10)
    monkeypatch.setattr(ranged, "_BUFFER", 10)
    fetched: Counter[tuple[int, int]] = Counter()

    def fetch(start: int, end: int) -> bytes:
        fetched[start, end] += 1
        return bytes(end - start)

    with ranged.ranged_file(95, fetch) as file:
        file.read(10)
    assert fetched == {(0, 10): 1}
    fetched.clear()
    with ranged.ranged_file(95, fetch) as file:
        assert len(file.read()) == 95
    assert fetched == {(start, min(start + 10, 95)): 1 for start in range(0, 95, 10)}
    fetched.clear()
    with ranged.ranged_file(95, fetch) as file:
        for start in (0, 30, 60, 90):
            file.seek(start)
            file.read(1)
    assert fetched == {(0, 10): 1, (30, 40): 1, (60, 70): 1, (90, 95): 1}


def test_what_is_known_to_be_read_is_fetched_ahead_from_the_start_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranged, "READ_PIECE", 10)
    monkeypatch.setattr(ranged, "_BUFFER", 10)
    fetched: set[int] = set()
    together = threading.Barrier(3)

    def fetch(start: int, end: int) -> bytes:
        fetched.add(start)
        if start <= 40:
            together.wait(60)  # which no piece passes alone
        return bytes(end - start)

    with ranged.ranged_file(95, fetch, until=51) as file:
        file.seek(25)
        file.read(1)
        assert fetched == {20, 30, 40}
        file.read(25)
    assert fetched == {20, 30, 40, 50}


def test_what_a_fetch_ahead_raises_is_raised_where_its_bytes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "READ_PIECE", 10)
    monkeypatch.setattr(ranged, "_BUFFER", 10)

    def fetch(start: int, end: int) -> bytes:
        if start >= 30:
            raise AccessError("gone")
        return bytes(end - start)

    with ranged.ranged_file(95, fetch) as file:
        assert [len(file.read(10)) for _ in range(3)] == [10, 10, 10]
        with pytest.raises(AccessError, match="gone"):
            file.read(10)
