"""Which files a job reads: globs in, files with their split, key and kind out."""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.inputs.ignored import OTHER, IgnoredFile, IgnoredFiles
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.listing import Listing
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.paths import read_path_list
from faceveil.transforms.inputs.selection import Exclusion, Selection, Taken, select

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """One glob of a split, or a list of globs.

    Attributes:
        split: the split's name; ``data`` when none was given.
        pattern: ``*`` and ``?`` match within a name, ``**`` any folders, none included, ``[…]`` one of several
            characters; ``\\[`` or ``[[]`` is a bracket itself. Case is ignored after the first of these. A path
            that exists as it stands is taken as it stands; of a folder, everything below it.
        named: whether the user named the split, which then is part of every key.
        key_hash: what hides the names of files in their keys; None where they may be seen.
        is_list: whether the pattern is the path of a file that lists patterns, one in each line.
        exclude: globs of what is left out, see ``Exclusion``.
    """

    split: str
    pattern: str
    named: bool = False
    key_hash: KeyHash | None = None
    is_list: bool = False
    exclude: tuple[str, ...] = ()

    @property
    def given(self) -> str:
        """As it stood on the command line."""
        return f"--input {self.split + '=' if self.named else ''}{'@' if self.is_list else ''}{self.pattern}"

    @property
    def hint(self) -> str:
        """What may be meant where nothing is there."""
        hints = []
        if "[" in self.pattern and not self.is_list:
            hints.append("[ ] stand for one of the characters between them, [[] for a bracket")
        if unicodedata.normalize("NFC", self.pattern) != unicodedata.normalize("NFD", self.pattern):
            hints.append("letters with accents may be spelt another way there (NFC or NFD), * matches both")
        if self.named and not self.pattern.startswith(("/", "./")):
            hints.append(f"it is read as the split {self.split}, a path would begin with ./{self.split}=")
        return "".join(f"; {hint}" for hint in hints)

    def shown(self, key: str) -> str:
        """The key of a file as it is shown."""
        # A name that is not UTF-8 cannot be a key in JSON or Parquet: its odd bytes are spelt out, such as \\xff.
        key = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        shown = self.key_hash.hashed(key) if self.key_hash else key
        return f"{self.split}/{shown}" if self.named else shown


@dataclass(frozen=True)
class InputFile:
    """One matched file.

    Attributes:
        split: the split it belongs to.
        key: its path below its glob's fixed prefix, or the hash of that; behind ``<split>/`` where splits are named.
        path: where it is.
        size: in bytes.
        version: of its content, see ``StoredFile``.
        kind: what it holds, by its ending, or else by its first bytes.
        place: where it belongs in its split, from 0 to 2**64 - 1. It follows from the key as it is shown: were it that
            of a name that is hidden, the number of a shard would refute most guessed names.
    """

    split: str
    key: str
    path: str
    size: int
    version: str
    kind: Kind
    place: int = 0

    @property
    def digest(self) -> str:
        """Identifies this version of the file, wherever it lies; 64 hexadecimal digits."""
        identity = f"{self.split}\0{self.key}\0{self.size}\0{self.version}"
        return hashlib.sha256(identity.encode()).hexdigest()


def add_digests(digests: Iterable[str]) -> str:
    """One digest for several files or sets of files: a sum, so neither order nor grouping matters.

    Example usage::

        >>> parts = ["ff", add_digests(["01", "02"])]
        >>> add_digests(parts) == add_digests(["01", "02", "ff"]), int(add_digests(parts), 16)
        (True, 258)
    """
    return f"{sum(int(digest or '0', 16) for digest in digests) % 2**256:064x}"


def hash_position(key: str) -> int:
    """A number from 0 to 2**64 - 1 for a key: a hash, so that places are even and mixed, and the same everywhere.

    Example usage::

        >>> hash_position("a.jpg") >> 56
        80
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])


MAX_SAMPLED = 4
"""TFRecord files of a split, of those whose names differ in numbers only, that are looked into before a job begins."""
_MAX_SERIES = 8
"""Series of such files that are looked into; of all but the first, one file each."""


@dataclass
class SplitSummary:
    """How much one split holds; all that planning needs to know before it sees a path."""

    images: int = 0
    image_bytes: int = 0
    tfrecords: int = 0
    tfrecord_bytes: int = 0
    first_tfrecords: list[InputFile] = field(default_factory=list)
    """For a look at what is in them: ``MAX_SAMPLED`` files whose names differ in numbers only, one of each other
    series of such files."""

    def add(self, file: InputFile) -> None:
        """Adds a file of the split."""
        if file.kind == "image":
            self.images += 1
            self.image_bytes += file.size
            return
        self.tfrecords += 1
        self.tfrecord_bytes += file.size
        sampled = [series_of(known) for known in self.first_tfrecords]
        series = series_of(file)
        most = MAX_SAMPLED if not sampled or series == sampled[0] else 1
        if sampled.count(series) < most and len({*sampled, series}) <= _MAX_SERIES:
            self.first_tfrecords.append(file)


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
        ignored: files that are no images and no TFRecords.
        digest: identifies the set of files by key, size and version, whatever the order.
        ignored_files: more about those that are ignored, see ``IgnoredFiles.told``.
    """

    splits: dict[str, SplitSummary] = field(default_factory=dict)
    ignored: int = 0
    digest: str = ""
    ignored_files: dict[str, dict[str, Any]] = field(default_factory=dict)


def list_inputs(inputs: Sequence[Input], number: int) -> Iterator[InputFile]:
    """The files of an input that are read.

    A file that an earlier input matches too belongs to that one, so that no file is read twice.

    Args:
        inputs: all inputs of the job.
        number: which of them to list.

    Raises:
        AccessError: a place cannot be listed, or a file not be read.
    """
    listing = _listing(inputs, number)
    return (file for file in _files(listing, inputs[number]) if isinstance(file, InputFile))


def _listing(inputs: Sequence[Input], number: int, own: OwnOutput | None = None) -> Listing:
    given = inputs[number]
    taken = Taken()
    for earlier in inputs[:number]:
        for selection in _selections(earlier):
            taken.add(selection)
    exclusion = Exclusion(given.exclude)
    return Listing(_selections(given), taken, exclusion, explicit=not given.is_list, own=own)


def _selections(given: Input) -> list[Selection]:
    if not given.is_list:
        return [select(given.pattern, given.given, given.hint)]
    lines = enumerate(read_path_list(given.pattern), start=1)
    return [select(line, f"{given.given}, line {number}: {line}", one_of_many=True) for number, line in lines if line]


def _files(listing: Listing, given: Input) -> Iterator[InputFile | IgnoredFile]:
    """The files of a listing by their keys: what is behind the folder that all selections have in common."""
    start = len(listing.start)
    for found in listing.files():
        file = found.stored
        key = given.shown(file.path[start:])
        if found.kind is None:
            ending = kinds.ending_of(file.path)
            # Of a name that is hidden its last part may be the surname.
            ending = OTHER if given.key_hash and not kinds.is_known_ending(ending) else ending
            yield IgnoredFile(key, ending, found.reason)
        else:
            yield InputFile(given.split, key, file.path, file.size, file.version, found.kind, hash_position(key))


def summarize_inputs(inputs: Sequence[Input], output: str, audit_directory: str | None = None) -> InputSummary:
    """Lists every glob once and adds up what is there.

    Args:
        inputs: all globs of the job.
        output: where the job writes; no input may lie there, nor may what is written match a glob.
        audit_directory: where it writes the audit trail, if elsewhere than in the output.

    Raises:
        AccessError: a place cannot be listed, a file not be read, or a glob matches no image and no TFRecord file.
        OwnOutputError: a glob matches the output.
    """
    summary = InputSummary()
    own = OwnOutput(output, audit_directory or storage.join(output, "records"), {given.split for given in inputs})
    all_ignored = IgnoredFiles()
    digest = 0
    excluded, used = 0, set[str]()
    for number, given in enumerate(inputs):
        split = summary.splits.setdefault(given.split, SplitSummary())
        ignored = IgnoredFiles()
        listing = _listing(inputs, number, own)
        matched = False
        for file in _files(listing, given):
            if isinstance(file, IgnoredFile):
                ignored.add(file)
                all_ignored.add(file)
                continue
            matched = True
            split.add(file)
            digest += int(file.digest, 16)
        if not matched:
            raise AccessError(_nothing_matched(given, number, ignored, listing.exclusion))
        excluded += listing.exclusion.count
        used |= listing.exclusion.used
    summary.ignored = all_ignored.files
    summary.ignored_files = all_ignored.told()
    summary.digest = add_digests([f"{digest:x}"])
    _tell(all_ignored, excluded, [glob for glob in inputs[0].exclude if glob not in used])
    return summary


def _tell(ignored: IgnoredFiles, excluded: int, unused: Sequence[str]) -> None:
    if ignored.files:
        _LOGGER.info("%d files are ignored: %s", ignored.files, ignored.in_words())
    if excluded:
        _LOGGER.info("--exclude leaves out %d files and folders", excluded)
    for glob in unused:
        _LOGGER.warning("--exclude %s: matches nothing that the inputs hold", glob)


def _nothing_matched(given: Input, number: int, ignored: IgnoredFiles, exclusion: Exclusion) -> str:
    if ignored.files:
        return (
            f"{given.given}: matches {ignored.files} files, none with the ending of an image or a TFRecord file, or "
            f"that begins as one does: {ignored.in_words()}"
        )
    if exclusion.count:
        return f"{given.given}: matches nothing but what --exclude leaves out"
    hint = " that no earlier --input has matched" if number else ""
    return f"{given.given}: matches no file{hint}; quote the glob, and use ** to include sub-folders{given.hint}"
