from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.formats.audit import Status
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.record import (
    Batch,
    Outcome,
    Record,
    guarded,
    in_order,
    one_by_one_on_failure,
    quarantined,
)

EMPTY = quarantined("e", Quarantine(Reason.EMPTY))


def record(key: str) -> Record[Outcome]:
    return Record(key, (), None)


def told(item: Record[Outcome] | Outcome) -> str:
    return why(item) if isinstance(item, Outcome) else item.key


def why(item: Record[Outcome] | Outcome) -> str:
    assert isinstance(item, Outcome)
    assert (item.serialized, item.row.status) == (None, Status.QUARANTINED)
    return f"{item.key}: {item.row.reason}: {item.row.detail}"


def divide(item: Record[Outcome]) -> Record[Outcome]:
    if item.key == "lost":
        raise AccessError("gs://photos: cannot be reached")
    if item.key == "short":
        raise Quarantine(Reason.TRUNCATED, "half of it")
    if item.key == "memory":
        raise OutOfMemoryError("memory ran out")
    return record(f"{item.key}{1 // len(item.key)}")


def test_whatever_a_step_raises_becomes_an_outcome_and_outcomes_pass() -> None:
    step = guarded(divide, Reason.CORRUPT_IMAGE)
    assert step(record("a")) == record("a1")
    assert why(step(record("short"))) == "short: truncated: half of it"
    said = ": corrupt_image: ZeroDivisionError: integer division or modulo by zero"
    assert why(step(record(""))) == said
    assert step(EMPTY) is EMPTY


def test_lost_access_and_a_lack_of_memory_are_no_fault_of_a_record() -> None:
    step = guarded(divide, Reason.CORRUPT_IMAGE)
    with pytest.raises(AccessError, match="cannot be reached"):
        step(record("lost"))
    with pytest.raises(OutOfMemoryError, match=r"^memory: memory ran out"):
        step(record("memory"))


@given(st.lists(st.sampled_from(["a", "b", "", "short", "e"])))
def test_of_a_batch_that_fails_only_the_culprits_are_quarantined(keys: list[str]) -> None:
    calls: list[int] = []

    def step(records: list[Record[Outcome]]) -> list[Record[Outcome]]:
        calls.append(len(records))
        return [divide(item) for item in records]

    items = [EMPTY if key == "e" else record(key) for key in keys]
    made = one_by_one_on_failure(step, Reason.DETECTION_FAILED)(items)  # type: ignore[arg-type]
    one = guarded(divide, Reason.DETECTION_FAILED)
    assert list(map(told, made)) == [told(one(item)) for item in items]
    records = sum(key != "e" for key in keys)
    failed = records > 1 and not {"", "short"}.isdisjoint(keys)
    assert calls == ([records] if records else []) + [1] * (records if failed else 0)


def test_a_lack_of_memory_in_a_batch_names_the_record() -> None:
    def divided(items: Sequence[Record[Outcome]]) -> list[Record[Outcome]]:
        return [divide(item) for item in items]

    step = one_by_one_on_failure(divided, Reason.DETECTION_FAILED)
    with pytest.raises(OutOfMemoryError, match=r"^memory: memory ran out"):
        step([record("a"), record("memory")])


@given(st.permutations(range(9)), st.integers(1, 4))
def test_batches_come_back_in_the_order_of_places(places: list[int], size: int) -> None:
    # As batches are formed: places within one rise.
    cut = [sorted(places[start : start + size]) for start in range(0, 9, size)]
    batches = [Batch([record(str(place)) for place in part], part) for part in cut]
    assert [item.key for item in in_order(batches)] == [str(place) for place in range(9)]


@pytest.mark.parametrize("detail", ["x" * 600, "\udcff", ""])
def test_a_quarantined_record_is_written_by_name_and_reason_alone(detail: str) -> None:
    outcome = quarantined("a.jpg", Quarantine(Reason.EMPTY, detail))
    assert (outcome.key, outcome.row.status, outcome.row.reason) == ("a.jpg", Status.QUARANTINED, "empty")
    assert outcome.row.detail == {"x" * 600: "x" * 500, "\udcff": "\\udcff", "": None}[detail]
    assert (outcome.serialized, len(outcome.row.faces), outcome.nbytes) == (None, 0, 0)
