"""Which files a job reads: globs in, files with their split, key and kind out."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.inputs.ignored import OTHER, IgnoredFile
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


def list_inputs(inputs: Sequence[Input], number: int) -> Iterator[InputFile]:
    """The files of an input that are read.

    A file that an earlier input matches too belongs to that one, so that no file is read twice.

    Args:
        inputs: all inputs of the job.
        number: which of them to list.

    Raises:
        AccessError: a place cannot be listed, or a file not be read.
    """
    listing = listing_of(inputs, number)
    return (file for file in read_listing(listing, inputs[number]) if isinstance(file, InputFile))


def listing_of(inputs: Sequence[Input], number: int, own: OwnOutput | None = None) -> Listing:
    """What lists the files of an input, without those that earlier inputs match; takes what ``list_inputs`` does."""
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


def read_listing(listing: Listing, given: Input) -> Iterator[InputFile | IgnoredFile]:
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
