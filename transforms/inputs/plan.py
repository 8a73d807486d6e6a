"""Planning: which file goes into which output shard, before any pixel is read."""

from __future__ import annotations

import os
import pickle
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints import with_output_types

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.container import FilePart
from faceveil.transforms.formats.kinds import Kind, holds_records
from faceveil.transforms.inputs.listing import Portion
from faceveil.transforms.inputs.match import Input, InputFile, Inputs, add_digests
from faceveil.transforms.inputs.parts import (
    MIN_SHARDS,
    PART_BYTES,
    count_parts,
    find_parts,
    max_parts,
    part_digest,
)
from faceveil.transforms.inputs.shard_layout import Layout, SplitLayout, series_name, shard_name
from faceveil.transforms.inputs.summary import InputSummary

MAX_IMAGES = 2_500
"""In a shard: however small they are, they are spread over workers, and no more work is lost with one of them."""

SHARD_BYTES = PART_BYTES[0]
"""Of images, that fill a shard."""

# Of hashed keys, some shards get twice their share: with fewer images to a shard, more of them would stay empty.
_IMAGES_PER_SHARD = 2
# Files that travel together, and that wait for others to travel with.
_PACK_FILES = 1000
_WAITING_FILES = 50_000

_WHOLE, _IN_PARTS = "whole", "in_parts"

ShardKey = tuple[str, bool, int]
"""Files that are planned together: of a split, either the images of a shard or all files of records (number 0)."""


@dataclass(frozen=True)
class ShardPlan:
    """One output shard and the files it is made of: the unit of work.

    Attributes:
        split: the split's name.
        index: the shard's number in its split.
        count: the number of shards in its split, or in the addition to it.
        kind: what the files hold; among images there may be others.
        files: sorted by key, and keys are distinct; exactly one where it is a file of records.
        inputs_digest: identifies the versions of these files.
        part: which part of the file the shard is made of, where it is not the whole.
        addition: which update has added it; 0 for none.
        unchanged: keys of the files whose records stay; None where their versions tell.
        finished: whether it was found finished as it is; its files are left out then.
    """

    split: str
    index: int
    count: int
    kind: Kind
    files: tuple[InputFile, ...]
    inputs_digest: str = ""
    part: FilePart | None = None
    addition: int = 0
    unchanged: frozenset[str] | None = None
    finished: bool = False

    @property
    def nbytes(self) -> int:
        """Of its files, or its part of one."""
        return self.part.stop - self.part.start if self.part else sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """The shard's name without an ending, as TFDS and TensorFlow number shards."""
        return shard_name(series_name(self.split, self.addition), self.index, self.count)


def lay_out(summary: InputSummary, shard_bytes: int | None, num_shards: int | None) -> dict[str, SplitLayout]:
    """Fixes the number of shards of every split.

    Images are spread over as many shards as their bytes or ``MAX_IMAGES`` of each fill, but in a small job over
    ``MIN_SHARDS`` in all, as long as each gets a few; or over ``num_shards``, but never over more shards than there
    are images. A file of records becomes as many shards as its bytes fill, of a small job smaller ones.

    Args:
        summary: what the inputs hold.
        shard_bytes: of images, or of a file of records, that fill a shard; None for as many as are usual.
        num_shards: of images in each split.

    Example usage::

        >>> from faceveil.transforms.inputs.summary import SplitSummary
        >>> def shards_of(summary, shard_bytes):
        ...     return lay_out(InputSummary({"data": summary}), shard_bytes, None)["data"].image_shards
        >>> shards_of(SplitSummary(images=10, image_bytes=5000), 2000)
        3
        >>> shards_of(SplitSummary(images=10, image_bytes=5000), None)
        5
    """
    images = sum(split.files for split in summary.splits.values())
    least = min(MIN_SHARDS, images // _IMAGES_PER_SHARD) if shard_bytes is None else 0
    image_shards = {}
    for name, split in summary.splits.items():
        filled = -(-split.image_bytes // (shard_bytes or SHARD_BYTES)), -(-split.files // MAX_IMAGES)
        share = -(-least * split.files // images) if images else 0  # so that all splits together have about as many
        wanted = num_shards or max(*filled, share)
        image_shards[name] = min(max(1, wanted), split.files)
    part_bytes: int | None
    for part_bytes in (shard_bytes,) if shard_bytes else PART_BYTES:
        tfrecord_shards = {
            name: split.record_files + split.more_parts[part_bytes] for name, split in summary.splits.items()
        }
        if sum(image_shards.values()) + sum(tfrecord_shards.values()) >= MIN_SHARDS:
            break
    if sum(tfrecord_shards.values()) == sum(split.record_files for split in summary.splits.values()):
        part_bytes = None
    return {name: SplitLayout(image_shards[name], tfrecord_shards[name], part_bytes) for name in summary.splits}


def lay_out_as_before(
    summary: InputSummary, job: Mapping[str, Any], parts: Mapping[str, int] | None = None
) -> dict[str, SplitLayout]:
    """The layout of an earlier job on the same inputs, whatever their sizes are now.

    Args:
        summary: what the inputs hold.
        job: the earlier job, from its manifest.
        parts: of the files of records whose sizes have changed, see ``SplitLayout``.

    Example usage::

        >>> from faceveil.transforms.inputs.summary import SplitSummary
        >>> summary = InputSummary({"data": SplitSummary(images=10, record_files=2)})
        >>> lay_out_as_before(summary, {"num_shards": {"data": 5}})["data"].image_shards
        3
    """
    part_bytes, in_parts = job.get("part_bytes"), job.get("tfrecord_shards", {})
    layout = {}
    for name, split in summary.splits.items():
        tfrecord_shards = in_parts.get(name, split.record_files)
        image_shards = max(0, job["num_shards"].get(name, 0) - tfrecord_shards)
        layout[name] = SplitLayout(image_shards, tfrecord_shards, part_bytes, parts or {})
    return layout


def shard_of(place: int, shards: int) -> int:
    """The shard that a place in a split belongs to.

    Example usage::

        >>> from faceveil.transforms.inputs.match import hash_position
        >>> [shard_of(hash_position(key), 4) for key in ("a.jpg", "b.jpg", "c.jpg")]
        [1, 1, 2]
    """
    return place * shards >> 64


def pack_files(files: Iterable[InputFile], layout: Layout) -> Iterator[tuple[ShardKey, bytes]]:
    """The files in packs of those that are planned together, in any order.

    A pack costs a shuffle and its memory a tenth of what its files would cost one by one.

    Args:
        files: of any splits and kinds.
        layout: all shards.
    """
    waiting: defaultdict[ShardKey, list[InputFile]] = defaultdict(list)
    count = 0
    for file in files:
        is_single = not holds_records(file.kind)  # others lie among images
        shard = shard_of(file.place, layout[file.split].image_shards) if is_single else 0
        group = file.split, is_single, shard
        waiting[group].append(file)
        count += 1
        if len(waiting[group]) == _PACK_FILES:
            count -= _PACK_FILES
            yield group, _pack(waiting.pop(group))
        elif count == _WAITING_FILES:  # of more shards than packs could be filled for
            count = 0
            yield from ((each, _pack(alike)) for each, alike in waiting.items())
            waiting.clear()
    yield from ((each, _pack(alike)) for each, alike in waiting.items())


def _pack(files: list[InputFile]) -> bytes:
    return zlib.compress(pickle.dumps(files), 1)


def plan_group(grouped: tuple[ShardKey, Iterable[bytes]], layout: Layout) -> Iterator[ShardPlan | TaggedOutput]:
    """The plan of a shard of images, or those of all files of records of a split, sorted by key.

    Those of large files, which ``plan_parts`` divides, have a tag.

    Args:
        grouped: the group and its packs, in any order.
        layout: all shards.

    Raises:
        AccessError: a file of records cannot be read, or they have other sizes than when the job was laid out.
    """
    (split, of_images, index), packs = grouped
    files = [file for pack in packs for file in pickle.loads(zlib.decompress(pack))]  # noqa: S301  our own
    sizes = layout[split]
    if of_images:
        digest = add_digests(file.digest for file in files)
        yield ShardPlan(split, index, sizes.shards, "image", sorted_and_distinct(files), digest)
        return
    digests = {file.path: file.digest for file in files}
    number = sizes.image_shards
    in_order = sorted_and_distinct(files)
    large = [file for file in in_order if sizes.part_bytes and file.size > sizes.part_bytes]
    most = {file.key: parts for file, parts in zip(large, max_parts(large), strict=True)}
    for file in in_order:
        parts = count_parts(file.size, sizes.part_bytes, most.get(file.key, 1)) if sizes.part_bytes else 1
        parts = sizes.parts.get(file.key, parts)
        plan = ShardPlan(split, number, sizes.shards, file.kind, (file,), digests[file.path])
        yield plan if parts == 1 else TaggedOutput(_IN_PARTS, (plan, parts))
        number += parts
    if number != sizes.shards:
        raise AccessError(
            f"split {split}: its files of records are {number - sizes.image_shards} shards by their sizes now and "
            f"{sizes.tfrecord_shards} by those that the job began with; use --overwrite to begin anew"
        )


def plan_parts(whole: tuple[ShardPlan, int]) -> Iterator[ShardPlan]:
    """The plans of the parts of a file of records.

    Args:
        whole: the plan of its first shard, as if the whole file were in it, and the number of parts.

    Raises:
        AccessError: as ``find_parts``.
    """
    plan, count = whole
    for part in find_parts(plan.files[0], count):
        digest = part_digest(plan.inputs_digest, part.number, count)
        yield replace(plan, index=plan.index + part.number, inputs_digest=digest, part=part)


def sorted_and_distinct(files: Iterable[InputFile]) -> tuple[InputFile, ...]:
    """The files by key; of several of the same key, from different globs, all but the first are numbered.

    Example usage::

        >>> files = [InputFile("data", "a.jpg", path, 1, "0.0", "image") for path in ("x/a.jpg", "y/a.jpg", "z/a.jpg")]
        >>> [file.key for file in sorted_and_distinct(files)]
        ['a.jpg', 'a~2.jpg', 'a~3.jpg']
    """
    distinct: list[InputFile] = []
    taken: set[str] = set()
    for file in sorted(files, key=lambda f: (f.key, f.path)):
        unique, repetition = file.key, 1
        name, ending = os.path.splitext(file.key)
        while unique in taken:
            repetition += 1
            unique = f"{name}~{repetition}{ending}"
        taken.add(unique)
        distinct.append(replace(file, key=unique) if repetition > 1 else file)
    return tuple(sorted(distinct, key=lambda file: file.key))


_PACKED = tuple[tuple[str, bool, int], bytes]
"""What Beam is told of a pack and its group: annotations it reads only where they are no text."""


@with_output_types(ShardPlan)
@dataclass(eq=False)
class PlanShards(beam.PTransform):  # type: ignore[misc]
    """Matches the inputs and groups them into shards; nothing but paths is shuffled.

    Takes a pipeline's start and yields one ``ShardPlan`` for every shard of the layout, also for those that stay
    empty, since readers expect all numbers to be there.
    """

    inputs: Sequence[Input]
    layout: Layout

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[ShardPlan]:
        """Builds the graph."""
        packs = (
            begin
            | "Inputs" >> beam.Create([None], reshuffle=False)
            | "Portions" >> beam.FlatMap(_portions, self.inputs)
            | "SpreadPortions" >> beam.Reshuffle()
            | "Match" >> beam.ParDo(_Match(self.inputs, self.layout)).with_output_types(_PACKED)
        )
        every_shard = (
            begin
            | "Splits" >> beam.Create(list(self.layout), reshuffle=False)
            | "NumberShards" >> beam.FlatMap(_numbered, self.layout).with_output_types(_PACKED)
        )
        # Without a type, since Beam's runtime checks would hold both outputs to that of the main one.
        plan = beam.FlatMap(plan_group, self.layout).with_outputs(_IN_PARTS, main=_WHOLE)
        planned = (
            (packs, every_shard) | "WithEmptyShards" >> beam.Flatten() | "Group" >> beam.GroupByKey() | "Plan" >> plan
        )
        index = beam.FlatMap(plan_parts).with_output_types(ShardPlan)
        parts = planned[_IN_PARTS] | "SpreadFiles" >> beam.Reshuffle() | "Index" >> index
        return (planned[_WHOLE], parts) | "WithParts" >> beam.Flatten()


def _portions(_: None, inputs: Sequence[Input]) -> Iterator[Portion]:
    return Inputs(inputs).spread()


class _Match(beam.DoFn):  # type: ignore[misc]
    """Lists portions."""

    def __init__(self, inputs: Sequence[Input], layout: Layout) -> None:
        self._inputs = inputs
        self._layout = layout

    def setup(self) -> None:
        """Makes the inputs ready. Not by Beam's Shared: it would let go of a model that waits for its first use."""
        self._made = Inputs(self._inputs)

    def process(self, portion: Portion) -> Iterator[tuple[ShardKey, bytes]]:
        """The packs of a portion's files."""
        files = (file for _, file in self._made.files([portion]) if isinstance(file, InputFile))
        return pack_files(files, self._layout)


def _numbered(split: str, layout: Layout) -> Iterator[tuple[ShardKey, bytes]]:
    nothing = _pack([])
    return (((split, True, index), nothing) for index in range(layout[split].image_shards))
