"""What flows through a shard: records on their way, outcomes at its end, batches of both.

A step takes records and yields records, or outcomes for those that are quarantined. Outcomes pass through all steps
that follow, so one bad image costs one record and never its batch or its shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.formats.example import Example
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.pool import Sized

MAX_HELD_BYTES = 32 * 2**20
"""Of decoded pixels that wait. A larger image is decoded again if a face was found, so that memory stays bounded
whatever the images' sizes."""

_MAX_DETAIL = 500

_Image = TypeVar("_Image", bound=Sized, covariant=True)
_Item = TypeVar("_Item", bound=Sized, covariant=True)


class Keyed(Sized, Protocol):
    """What a step works on has a key, by which it is quarantined, and tells how much memory it holds."""

    @property
    def key(self) -> str:
        """The record's key."""


_In = TypeVar("_In", bound=Keyed)
_Out = TypeVar("_Out", bound=Sized)


@dataclass(frozen=True)
class Record(Generic[_Image]):
    """One record at a stage of its way.

    Attributes:
        key: the record's key.
        images: what the stage knows of each image, the main one first; one alone of an image file.
        example: what they came in; None for an image file.
    """

    key: str
    images: tuple[_Image, ...]
    example: Example | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(image.nbytes for image in self.images)


@dataclass(frozen=True)
class Outcome:
    """What becomes of a record: its row of the audit trail, and what is written of it unless it is quarantined.

    Attributes:
        row: its row.
        serialized: what is written of it; None if it is quarantined.
        content: identifies what was in its file, see ``content_digest``; empty where nothing does.
        is_kept: whether an earlier run has made it.
    """

    row: Row
    serialized: bytes | None
    content: str = ""
    is_kept: bool = False

    @property
    def key(self) -> str:
        """The record's key."""
        return self.row.key

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.serialized or b"")


def quarantined(key: str, error: Quarantine) -> Outcome:
    """The outcome of a record that is quarantined: only its name and the reason are written."""
    # Details may quote an image's own bytes, and must fit into UTF-8.
    detail = error.detail[:_MAX_DETAIL].encode("utf-8", "backslashreplace").decode() or None
    return Outcome(Row(key, Status.QUARANTINED, error.reason, None, None, Faces.none(), detail=detail), None)


def quarantine_of(row: Row) -> Quarantine:
    """Why a record is quarantined, by its row, as an error to raise."""
    assert row.reason is not None
    return Quarantine(Reason(row.reason), row.detail or "")


@dataclass(frozen=True)
class Batch(Generic[_Item]):
    """Records that a step takes together, with their places in the stream."""

    items: Sequence[_Item]
    places: Sequence[int]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in self.items)


def in_order(batches: Iterable[Batch[_Item]]) -> Iterator[_Item]:
    """The items of the batches in the order they had before batching."""
    early: dict[int, _Item] = {}
    place = 0
    for batch in batches:
        early.update(zip(batch.places, batch.items, strict=True))
        while place in early:
            yield early.pop(place)
            place += 1


def guarded(step: Callable[[_In], _Out], reason: Reason) -> Callable[[_In | Outcome], _Out | Outcome]:
    """A step on one record that quarantines it where it fails.

    Args:
        step: the step.
        reason: what an error that is no Quarantine is called; an AccessError and an OutOfMemoryError are raised, for
            they are not this record's fault.
    """

    def guarded_step(item: _In | Outcome) -> _Out | Outcome:
        if isinstance(item, Outcome):
            return item
        try:
            return step(item)
        except Exception as error:  # noqa: BLE001  whatever goes wrong, nothing of this record may be written
            return _outcome_of(item, error, reason)

    return guarded_step


def one_by_one_on_failure(
    step: Callable[[Sequence[_In]], Iterable[_Out]], reason: Reason
) -> Callable[[Sequence[_In | Outcome]], list[_Out | Outcome]]:
    """A step on several records that is done again for each alone where it fails, so that only the culprit is
    quarantined.

    Args:
        step: gives one result for each record, in their order.
        reason: as for ``guarded``.
    """

    def guarded_step(items: Sequence[_In | Outcome]) -> list[_Out | Outcome]:
        records = [item for item in items if not isinstance(item, Outcome)]
        try:
            results = iter(step(records) if records else ())
            return [item if isinstance(item, Outcome) else next(results) for item in items]
        except Exception as error:  # noqa: BLE001
            if len(records) > 1:
                return [guarded_step([item])[0] for item in items]
            return [item if isinstance(item, Outcome) else _outcome_of(item, error, reason) for item in items]

    return guarded_step


def _outcome_of(item: Keyed, error: Exception, reason: Reason) -> Outcome:
    if isinstance(error, AccessError):
        raise error
    if isinstance(error, OutOfMemoryError):
        raise OutOfMemoryError(f"{item.key}: {error}") from error
    if not isinstance(error, Quarantine):
        error = Quarantine(reason, f"{type(error).__name__}: {error}")
    return quarantined(item.key, error)
