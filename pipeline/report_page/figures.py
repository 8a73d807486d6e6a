"""What the page tells in numbers: histograms, what was quarantined, and which images are worth a look."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceveil.pipeline.written_output import WrittenOutput
from faceveil.transforms.formats.audit import Status
from faceveil.transforms.formats.audit_columns import AuditColumns, read_columns

HEIGHTS = (0, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
"""Of faces, in pixels: where each bin of the histogram begins; the last one is open."""
SCORES = tuple(step / 20 for step in range(20))
SIDES = (0, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""The longer sides of images, in pixels."""

_NAMED_PER_REASON = 25
_CANDIDATES = 24
"""Of a kind, from which samples are chosen by what it costs to read them."""


@dataclass(frozen=True)
class SampleKind:
    """A kind of image that is worth a look.

    Attributes:
        title: what they have in common.
        closely: whether one face of it is shown with what surrounds it, instead of the whole image.
    """

    title: str
    closely: bool


KINDS = (
    SampleKind("Most faces", closely=False),
    SampleKind("Lowest score", closely=True),
    SampleKind("Smallest face", closely=True),
    SampleKind("Largest mask", closely=False),
)


class Candidate(NamedTuple):
    """An image that may be shown; the telling ones come first, whatever shard they are in.

    Attributes:
        rank: less is more telling.
        key: the record's.
        shard: its shard's name.
        face: which of the main image's faces makes it telling.
    """

    rank: float
    key: str
    shard: str
    face: int


class QuarantinedInput(NamedTuple):
    """An input by name, and why it was quarantined."""

    reason: str
    key: str
    detail: str


@dataclass
class Figures:
    """Adds up the rows of many shards, in a size that does not grow with them.

    Attributes:
        heights: how many faces are in each bin of ``HEIGHTS``.
        scores: the same of ``SCORES``; faces of ``--boxes`` have a score of 1.
        sides: how many written images are in each bin of ``SIDES``.
        quarantined: some of each reason, by reason.
        candidates: of each of ``KINDS``, the most telling first.
    """

    heights: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(HEIGHTS), np.int64))
    scores: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SCORES), np.int64))
    sides: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(SIDES), np.int64))
    quarantined: dict[str, list[QuarantinedInput]] = field(default_factory=dict)
    candidates: tuple[list[Candidate], ...] = tuple([] for _ in KINDS)

    def add(self, other: Figures) -> None:
        """Adds the figures of another shard, which comes later."""
        self.heights = self.heights + other.heights
        self.scores = self.scores + other.scores
        self.sides = self.sides + other.sides
        for reason, inputs in other.quarantined.items():
            mine = self.quarantined.setdefault(reason, [])
            mine += inputs[: _NAMED_PER_REASON - len(mine)]
        self.candidates = tuple(
            heapq.nsmallest(_CANDIDATES, [*mine, *more])
            for mine, more in zip(self.candidates, other.candidates, strict=True)
        )


def gather_figures(output: WrittenOutput) -> Figures:
    """The figures of all shards of an output.

    Raises:
        AccessError: the audit trail cannot be read.
        OSError: the same.
        ValueError: a file of it is damaged.
    """
    total = Figures()
    for _, figures in output.for_each_shard(lambda name: _figures(name, read_columns(output.layout.audit_path(name)))):
        total.add(figures)
    return total


def _figures(shard: str, columns: AuditColumns) -> Figures:
    statuses = np.array(columns.statuses, object)
    is_image = np.isin(statuses, (Status.ANONYMIZED, Status.NO_FACES))
    both = columns.faces, columns.other_faces
    return Figures(
        count_in_bins(np.concatenate([faces.heights for faces in both]), HEIGHTS),
        count_in_bins(np.concatenate([faces.scores for faces in both]), SCORES),
        count_in_bins(columns.sizes[is_image].max(axis=1, initial=0), SIDES),
        _quarantined(columns, np.flatnonzero(statuses == Status.QUARANTINED)),
        _candidates(shard, columns),
    )


def count_in_bins(values: ArrayLike, starts: Sequence[float]) -> NDArray[np.int64]:
    """How many values are in each bin, of which the last one is open.

    Example usage::

        >>> count_in_bins([0, 7.5, 8, 2000], (0, 8, 16))
        array([2, 1, 1])
    """
    # A score of 0.35 in 32 bits is a little less than 0.35.
    places = np.searchsorted(np.asarray(starts, np.float32), np.asarray(values, np.float32), side="right") - 1
    return np.bincount(np.maximum(places, 0), minlength=len(starts))


def _quarantined(columns: AuditColumns, places: Iterable[int]) -> dict[str, list[QuarantinedInput]]:
    found: dict[str, list[QuarantinedInput]] = {}
    for place in places:
        inputs = found.setdefault(columns.reasons[place] or "", [])
        if len(inputs) < _NAMED_PER_REASON:
            reason, detail = columns.reasons[place] or "", columns.details[place] or ""
            inputs.append(QuarantinedInput(reason, columns.keys[place], detail))
    return found


def _candidates(shard: str, columns: AuditColumns) -> tuple[list[Candidate], ...]:
    """Of each of ``KINDS`` the most telling images of a shard."""
    faces = columns.faces
    if not len(faces.rows):
        return tuple([] for _ in KINDS)
    first = np.searchsorted(faces.rows, faces.rows)  # the number of the first face of each face's image
    per_image = np.bincount(faces.rows, minlength=len(columns.keys))[faces.rows]
    pixels = np.maximum(columns.sizes.prod(axis=1), 1)[faces.rows]
    ranks = (-per_image, faces.scores, faces.heights, -faces.areas / pixels)
    return tuple(_most_telling(shard, columns, np.asarray(rank, np.float64), first) for rank in ranks)


def _most_telling(
    shard: str, columns: AuditColumns, ranks: NDArray[np.float64], first: NDArray[np.int64]
) -> list[Candidate]:
    rows = columns.faces.rows
    # Each image once, by its most telling face; ties go by key, so that nothing depends on the order of files.
    best = np.lexsort((ranks, rows))
    best = best[np.unique(rows[best], return_index=True)[1]]
    if len(best) > _CANDIDATES:
        best = best[ranks[best] <= np.partition(ranks[best], _CANDIDATES - 1)[_CANDIDATES - 1]]
    made = [Candidate(float(ranks[i]), columns.keys[rows[i]], shard, int(i - first[i])) for i in best]
    return heapq.nsmallest(_CANDIDATES, made)
