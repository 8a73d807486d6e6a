"""How many shards a job has, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Addition:
    """How many shards of each kind an update has added to a split; those of images come first.

    Attributes:
        image_shards: of images.
        tfrecord_shards: of TFRecord and other files of records, of which each has one or several.
    """

    image_shards: int
    tfrecord_shards: int

    @property
    def shards(self) -> int:
        """All of them."""
        return self.image_shards + self.tfrecord_shards


@dataclass(frozen=True)
class SplitLayout(Addition):
    """How many shards of each kind a split has; those of images come first.

    Attributes:
        part_bytes: of files of records, that fill a shard; None where each is one whole.
        parts: by key, how many shards the files of records have that are not divided by their size now, but by the one
            that they had when an earlier job was planned.
        added: the shards of each update that has brought new files; what is said above is without these.
    """

    part_bytes: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    added: tuple[Addition, ...] = ()

    def names(self, split: str) -> Iterator[tuple[str, bool]]:
        """The names of all shards, and whether they are of images."""
        for addition, sizes in enumerate((self, *self.added)):
            for index in range(sizes.shards):
                yield shard_name(series_name(split, addition), index, sizes.shards), index < sizes.image_shards


Layout = Mapping[str, SplitLayout]
_ADDED = "-added"


def series_name(split: str, addition: int) -> str:
    """What the names of the shards of a split begin with, or of those that an update has added to it.

    No split has a name with a hyphen, so neither is taken for another's.

    Example usage::

        >>> series_name("train", 0), series_name("train", 12)
        ('train', 'train-added012')
    """
    return f"{split}{_ADDED}{addition:03d}" if addition else split


def split_series(series: str) -> tuple[str, int]:
    """The split and the addition of which ``series_name`` has made what names of shards begin with.

    Example usage::

        >>> split_series("train"), split_series("train-added012")
        (('train', 0), ('train', 12))
    """
    split, _, addition = series.partition(_ADDED)
    return split, int(addition or 0)


def shard_name(split: str, index: int, count: int) -> str:
    """The name of a shard without an ending; in the order of names, shards are in the order of their numbers.

    Example usage::

        >>> shard_name("train", 0, 12), shard_name("train", 12, 300_000)
        ('train-00000-of-00012', 'train-000012-of-300000')
    """
    digits = max(5, len(str(count)))
    return f"{split}-{index:0{digits}d}-of-{count:0{digits}d}"


def layout_of(job: Mapping[str, Any]) -> dict[str, SplitLayout]:
    """The layout of an earlier job, whatever its inputs are now; takes its description.

    Example usage::

        >>> layout_of({"num_shards": {"a": 5}, "added_shards": {"a": [[1, 0]], "b": [[2, 1]]}})["b"].added
        (Addition(image_shards=2, tfrecord_shards=1),)
    """
    shards, of_records, added = job.get("num_shards", {}), job.get("tfrecord_shards", {}), job.get("added_shards", {})
    layout = {}
    for name in dict.fromkeys((*shards, *added)):
        count, tfrecord_shards = shards.get(name, 0), of_records.get(name, 0)
        additions = tuple(Addition(*sizes) for sizes in added.get(name, ()))
        layout[name] = SplitLayout(count - tfrecord_shards, tfrecord_shards, job.get("part_bytes"), {}, additions)
    return layout
