"""Planning: which file goes into which output shard, before any pixel is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.inputs import Input, InputFile, InputSummary, Kind, add_digests, list_inputs


@dataclass(frozen=True)
class SplitLayout:
    """How many shards of each kind a split has; those of images come first."""

    image_shards: int
    tfrecord_shards: int

    @property
    def shards(self) -> int:
        """All shards of the split."""
        return self.image_shards + self.tfrecord_shards


Layout = Mapping[str, SplitLayout]


@dataclass(frozen=True)
class ShardPlan:
    """One output shard and the files it is made of: the unit of work.

    Attributes:
        split: the split's name.
        index: the shard's number in its split.
        count: the number of shards in its split.
        kind: what the files hold.
        files: sorted by key, and keys are distinct; exactly one where they are TFRecord files.
        inputs_digest: identifies the versions of these files.
    """

    split: str
    index: int
    count: int
    kind: Kind
    files: tuple[InputFile, ...]
    inputs_digest: str = ""

    @property
    def name(self) -> str:
        """The shard's name without an ending, as TFDS and TensorFlow number shards."""
        return shard_name(self.split, self.index, self.count)


def shard_name(split: str, index: int, count: int) -> str:
    """The name of a shard without an ending.

    Example usage::

        >>> shard_name("train", 0, 12)
        'train-00000-of-00012'
    """
    return f"{split}-{index:05d}-of-{count:05d}"


def lay_out(summary: InputSummary, shard_bytes: int, num_shards: int | None) -> dict[str, SplitLayout]:
    """Fixes the number of shards of every split.

    Images are spread over as many shards as their bytes fill, or over ``num_shards``, but never over more shards
    than there are images. A TFRecord file becomes one shard, for it cannot be read from the middle.

    Example usage::

        >>> from transforms.inputs import SplitSummary
        >>> lay_out(InputSummary({"data": SplitSummary(images=10, image_bytes=5000)}), 2000, None)
        {'data': SplitLayout(image_shards=3, tfrecord_shards=0)}
    """
    layout = {}
    for name, split in summary.splits.items():
        wanted = num_shards or -(-split.image_bytes // shard_bytes)
        layout[name] = SplitLayout(min(max(1, wanted), split.images), split.tfrecords)
    return layout


def lay_out_as_before(summary: InputSummary, num_shards: Mapping[str, int]) -> dict[str, SplitLayout]:
    """The layout of an earlier job on the same inputs, whatever their sizes are now.

    Args:
        summary: what the inputs hold.
        num_shards: of each split, from the job's manifest.

    Example usage::

        >>> from transforms.inputs import SplitSummary
        >>> lay_out_as_before(InputSummary({"data": SplitSummary(images=10, tfrecords=2)}), {"data": 5})
        {'data': SplitLayout(image_shards=3, tfrecord_shards=2)}
    """
    return {
        name: SplitLayout(max(0, num_shards.get(name, 0) - split.tfrecords), split.tfrecords)
        for name, split in summary.splits.items()
    }


def shard_of(place: int, shards: int) -> int:
    """The shard that a place in a split belongs to.

    Example usage::

        >>> from transforms.inputs import stable_place
        >>> [shard_of(stable_place(key), 4) for key in ("a.jpg", "b.jpg", "c.jpg")]
        [1, 1, 2]
    """
    return place * shards >> 64


def plan_images(grouped: tuple[tuple[str, int], Iterable[InputFile | None]], layout: Layout) -> ShardPlan:
    """The plan of a shard of images.

    Args:
        grouped: split and index of the shard, and its files in any order.
        layout: all shards.
    """
    (split, index), grouped_files = grouped
    files = [file for file in grouped_files if file]
    digest = add_digests(file.digest for file in files)
    return ShardPlan(split, index, layout[split].shards, "image", sorted_and_distinct(files), digest)


def plan_tfrecords(grouped: tuple[str, Iterable[InputFile]], layout: Layout) -> Iterator[ShardPlan]:
    """The plans of all TFRecord files of a split, one shard each, in the order of their keys.

    Args:
        grouped: the split and its TFRecord files in any order.
        layout: all shards.
    """
    split, grouped_files = grouped
    files = list(grouped_files)
    digests = {file.path: file.digest for file in files}
    sizes = layout[split]
    for index, file in enumerate(sorted_and_distinct(files), start=sizes.image_shards):
        yield ShardPlan(split, index, sizes.shards, "tfrecord", (file,), digests[file.path])


def sorted_and_distinct(files: Iterable[InputFile]) -> tuple[InputFile, ...]:
    """The files by key; several of the same key, from different globs, get ``~2``, ``~3``, … behind it."""
    distinct: list[InputFile] = []
    taken: set[str] = set()
    for file in sorted(files, key=lambda f: (f.key, f.path)):
        unique, repetition = file.key, 1
        while unique in taken:
            repetition += 1
            unique = f"{file.key}~{repetition}"
        taken.add(unique)
        distinct.append(replace(file, key=unique))
    return tuple(sorted(distinct, key=lambda file: file.key))


@dataclass
class PlanShards(beam.PTransform):  # type: ignore[misc]
    """Matches the inputs and groups them into shards; nothing but paths is shuffled.

    Takes a pipeline's start and yields one ``ShardPlan`` for every shard of the layout, also for those that stay
    empty, since readers expect all numbers to be there.
    """

    inputs: Sequence[Input]
    layout: Layout

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[ShardPlan]:
        """Builds the graph."""
        files = (
            begin
            | "Inputs" >> beam.Create(list(range(len(self.inputs))), reshuffle=False)
            | "Match" >> beam.FlatMap(_matched, self.inputs)
        )
        every_shard = begin | "NumberShards" >> beam.Create(
            [((split, index), None) for split, sizes in self.layout.items() for index in range(sizes.image_shards)],
            reshuffle=False,
        )
        images = (
            (files | "HashImages" >> beam.FlatMap(_by_shard, self.layout), every_shard)
            | "WithEmptyShards" >> beam.Flatten()
            | "GroupImages" >> beam.GroupByKey()
            | "PlanImages" >> beam.Map(plan_images, self.layout)
        )
        tfrecords = (
            files
            | "SplitTFRecords" >> beam.FlatMap(_by_split)
            | "GroupTFRecords" >> beam.GroupByKey()
            | "PlanTFRecords" >> beam.FlatMap(plan_tfrecords, self.layout)
        )
        return (images, tfrecords) | "AllShards" >> beam.Flatten()


def _matched(number: int, inputs: Sequence[Input]) -> Iterator[InputFile]:
    return (file for file in list_inputs(inputs, number) if file)


def _by_shard(file: InputFile, layout: Layout) -> Iterator[tuple[tuple[str, int], InputFile]]:
    if file.kind == "image":
        yield (file.split, shard_of(file.place, layout[file.split].image_shards)), file


def _by_split(file: InputFile) -> Iterator[tuple[str, InputFile]]:
    if file.kind == "tfrecord":
        yield file.split, file
