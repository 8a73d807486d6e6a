"""Adding up what the inputs hold, before a job is laid out."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.kinds import holds_records
from faceveil.transforms.formats.layout import audit_directory_beside
from faceveil.transforms.inputs.ignored import IgnoredFile, IgnoredFiles
from faceveil.transforms.inputs.inventory import Repetitions
from faceveil.transforms.inputs.match import Input, InputFile, Inputs, add_digests
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.parts import MIN_SHARDS, PART_BYTES, count_parts, max_parts
from faceveil.transforms.inputs.selection import Exclusion

_LOOKED_AT_ONCE = 1024
_LOGGER = logging.getLogger(__name__)

MAX_SAMPLED = 4
"""Files of records of a split, of those whose names differ in numbers only, that are looked into before any work."""
_MAX_SERIES = 8
"""Series of such files that are looked into; of all but the first, one file each."""


@dataclass
class SplitSummary:
    """How much one split holds; all that planning needs to know before it sees a path."""

    images: int = 0
    image_bytes: int = 0
    """Files that are copied included."""
    record_files: int = 0
    """Files of records: TFRecords, and what else holds many."""
    record_bytes: int = 0
    largest_record_file: int = 0
    """Its bytes."""
    samples: dict[tuple[int, str], list[InputFile]] = field(default_factory=dict)
    """Of the first series of files of records, whose names differ in numbers only, the first files, by input."""
    more_parts: Counter[int] = field(default_factory=Counter)
    """By the bytes that fill a shard, how many more shards than files of records there are."""
    undivided: int = 0
    """Large files of records that are one shard each, since they cannot be divided."""
    largest_part: int = 0
    """The bytes of the largest part, whatever fills a shard, of a file that cannot be divided further."""
    first_undivided: str = ""
    """The first path of one of these."""
    others: int = 0
    """Files that are copied."""

    def add(self, file: InputFile, number: int = 0) -> None:
        """Adds a file of the split, of the input of this number; their order does not matter."""
        if not holds_records(file.kind):
            self.images += file.kind == "image"
            self.others += file.kind == "other"
            self.image_bytes += file.size
            return
        self.record_files += 1
        self.record_bytes += file.size
        self.largest_record_file = max(self.largest_record_file, file.size)
        series = number, series_of(file)
        alike = self.samples.get(series, [])
        if not alike and len(self.samples) == _MAX_SERIES:
            last = max(self.samples)
            if series > last:
                return
            del self.samples[last]
        self.samples[series] = sorted([*alike, file], key=lambda each: each.path)[:MAX_SAMPLED]

    @property
    def files(self) -> int:
        """What shards of images are made of."""
        return self.images + self.others

    @property
    def first_record_files(self) -> list[InputFile]:
        """For a look at what is in them: ``MAX_SAMPLED`` files of the first series, one of each other series."""
        in_order = sorted(self.samples.items())
        first = {name: files for (_, name), files in reversed(in_order)}
        names = list(dict.fromkeys(name for (_, name), _ in in_order))
        return [file for name in names for file in first[name][: MAX_SAMPLED if name == names[0] else 1]]

    def add_parts(self, file: InputFile, most: int, part_bytes: Sequence[int]) -> None:
        """Adds what a file of records makes more than one shard, of as many as it can be divided into at most."""
        self.more_parts.update({size: count_parts(file.size, size, most) - 1 for size in part_bytes})
        self.largest_part = max(self.largest_part, file.size // most)
        if most == 1 and file.size > part_bytes[0]:
            self.undivided += 1
            self.first_undivided = min(self.first_undivided or file.path, file.path)


def series_of(file: InputFile) -> str:
    """What the paths of files have in common whose names differ in numbers only.

    Example usage::

        >>> series_of(InputFile("data", "k", "a/train-00001-of-00009", 1, "1.0", "tfrecord"))
        'a/train-*-of-*'
    """
    folder, slash, name = file.path.rpartition("/")
    return folder + slash + re.sub(r"\d+", "*", name)


@dataclass
class InputSummary:
    """What all globs matched, in a size that does not grow with it.

    Attributes:
        splits: by name.
        ignored: files that are no images and hold no records.
        digest: identifies the set of files by key, size and version, whatever the order.
        ignored_files: more about those that are ignored, see ``IgnoredFiles.told``.
    """

    splits: dict[str, SplitSummary] = field(default_factory=dict)
    ignored: int = 0
    digest: str = ""
    ignored_files: dict[str, dict[str, Any]] = field(default_factory=dict)


def summarize_inputs(
    inputs: Sequence[Input],
    output: str,
    audit_directory: str = "",
    shard_bytes: int | None = None,
    ending: str = ".tfrecord",
    on_file: Callable[[InputFile], None] | None = None,
) -> InputSummary:
    """Lists every glob once and adds up what is there.

    Args:
        inputs: all globs of the job.
        output: where the job writes; no input may lie there, nor may what is written match a glob.
        audit_directory: where it writes the audit trail; empty for beside the output.
        shard_bytes: of files of records, that fill a shard; None for any of ``PART_BYTES``.
        ending: what the names of shards end with; empty where what is written mirrors the inputs.
        on_file: called with each file that is read.

    Raises:
        AccessError: a place cannot be listed, a file not be read, or a glob matches no image and no file of records.
        OwnOutputError: a glob matches the output.
    """
    summary = InputSummary()
    own = OwnOutput(
        output, audit_directory or audit_directory_beside(output), {given.split for given in inputs}, ending
    )
    some = Inputs(inputs, own)
    all_ignored = IgnoredFiles()
    ignored: defaultdict[int, IgnoredFiles] = defaultdict(IgnoredFiles)
    matched: set[int] = set()
    repetitions = Repetitions()
    digest = 0
    parts = _Parts(summary, (shard_bytes,) if shard_bytes else PART_BYTES)
    for given in inputs:
        summary.splits.setdefault(given.split, SplitSummary())
    for number, file in some.files():
        if isinstance(file, IgnoredFile):
            ignored[number].add(file)
            all_ignored.add(file)
            continue
        matched.add(number)
        summary.splits[file.split].add(file, number)
        digest += int(file.digest, 16)
        if on_file:
            on_file(file)
        if holds_records(file.kind):
            parts.add(file)
        if some.listings[number].inventory:
            repetitions.add(file.path)
    for number, given in enumerate(inputs):
        if number not in matched:
            raise AccessError(_nothing_matched(given, number, ignored[number], some.listings[number].exclusion))
    _check_repetitions(some, repetitions)
    parts.end()
    summary.ignored = all_ignored.files
    summary.ignored_files = all_ignored.told()
    summary.digest = add_digests([f"{digest:x}"])
    _tell_undivided([split for split in summary.splits.values() if split.undivided])
    exclusions = [listing.exclusion for listing in some.listings]
    used = {glob for exclusion in exclusions for glob in exclusion.used}
    unused = [glob for glob in inputs[0].exclude if glob not in used]
    _tell(all_ignored, sum(exclusion.count for exclusion in exclusions), unused)
    return summary


def _check_repetitions(some: Inputs, repetitions: Repetitions) -> None:
    inventories = [listing.inventory for listing in some.listings if listing.inventory]
    if inventories:
        again = (file.path for each in inventories for file in each.files(range(each.row_groups)))
        twice = repetitions.find(again)
        if twice:
            names = " and ".join(f"@{each.path}" for each in inventories)
            raise AccessError(f"--input {names}: list {twice} twice; give each object once, in its latest version")


class _Parts:
    """Looks into files of records that may be several shards, some at a time."""

    def __init__(self, summary: InputSummary, part_bytes: Sequence[int]) -> None:
        self._summary = summary
        self._part_bytes = part_bytes
        self._files = 0
        self._large: list[InputFile] = []

    def add(self, file: InputFile) -> None:
        """Adds a file."""
        self._files += 1
        # Of more files than that none is divided to have shards enough.
        smallest = self._part_bytes[-1 if self._files <= MIN_SHARDS else 0]
        if file.size > smallest:
            self._large.append(file)
        if len(self._large) == _LOOKED_AT_ONCE:
            self.end()

    def end(self) -> None:
        """Counts what was added."""
        for file, most in zip(self._large, max_parts(self._large), strict=True):
            self._summary.splits[file.split].add_parts(file, most, self._part_bytes)
        self._large.clear()


def _tell(ignored: IgnoredFiles, excluded: int, unused: Sequence[str]) -> None:
    if ignored.files:
        count = "1 file is" if ignored.files == 1 else f"{ignored.files} files are"
        _LOGGER.info("%s ignored: %s", count, ignored.in_words())
    if excluded:
        _LOGGER.info("--exclude leaves out %d files and folders", excluded)
    for glob in unused:
        _LOGGER.warning("--exclude %s: matches nothing that the inputs hold", glob)


def _tell_undivided(splits: Sequence[SplitSummary]) -> None:
    if splits:
        _LOGGER.warning(
            "%d large files cannot be divided, such as %s: each is one shard, made by one worker, and from its "
            "beginning when that is lost; TFRecords can be divided if they are not compressed, Parquet by row groups",
            *(sum(split.undivided for split in splits), splits[0].first_undivided),
        )


def _nothing_matched(given: Input, number: int, ignored: IgnoredFiles, exclusion: Exclusion) -> str:
    if ignored.files:
        return (
            f"{given.given}: matches {ignored.files} files, none with the ending of an image or a TFRecord file, or "
            f"that begins as one does, or as Parquet: {ignored.in_words()}"
        )
    if exclusion.count:
        return f"{given.given}: matches nothing but what --exclude leaves out"
    hint = " that no earlier --input has matched" if number else ""
    return f"{given.given}: matches no file{hint}; quote the glob, and use ** to include sub-folders{given.hint}"
