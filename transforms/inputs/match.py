"""Which files a job reads: globs in, files with their split, key and kind out."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.inputs.ignored import OTHER, IgnoredFile
from faceveil.transforms.inputs.inventory import Inventory, is_inventory
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.listing import FoundFile, Listing, Portion, list_portions
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.paths import read_path_list
from faceveil.transforms.inputs.selection import Exclusion, Selection, Taken, select
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE, StoredFile
from faceveil.transforms.storage.walk import split

_PORTIONS = 256
"""Parts of a folder of an object store that are wanted for workers to list."""
_MAX_SPLIT = 64
"""Folders of object stores in a job above which there is enough to spread."""
_LINES = 1000
"""Of a list, that are looked up by one worker."""


@dataclass(frozen=True)
class Input:
    """One glob of a split, or a list of globs or files.

    Attributes:
        split: the split's name; ``data`` when none was given.
        pattern: ``*`` and ``?`` match within a name, ``**`` any folders, none included, ``[…]`` one of several
            characters; ``\\[`` or ``[[]`` is a bracket itself. Case is ignored after the first of these. A path
            that exists as it stands is taken as it stands; of a folder, everything below it.
        named: whether the user named the split, which then is part of every key.
        key_hash: what hides the names of files in their keys; None where they may be seen.
        is_list: whether the pattern is the path of a file that lists patterns, one in each line, or of an inventory.
        exclude: globs of what is left out, see ``Exclusion``.
        copy_others: whether files of labels are read too, to be copied.
    """

    split: str
    pattern: str
    named: bool = False
    key_hash: KeyHash | None = None
    is_list: bool = False
    exclude: tuple[str, ...] = ()
    copy_others: bool = False

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
    def stored(self) -> StoredFile:
        """As storage knows it."""
        return StoredFile(self.path, self.size, self.version)

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


class Inputs:
    """All inputs of a job. What they select is found out once, when this is made; listing does not change it.

    A file that several inputs hold belongs to the first, so that no file is read twice.

    Args:
        given: the inputs.
        own: where the job writes, if that must not be found among them.

    Raises:
        AccessError: a list or an inventory cannot be read, storage does not answer, or an inventory comes before an
            input that may hold the same objects.
    """

    def __init__(self, given: Sequence[Input], own: OwnOutput | None = None) -> None:
        self.given = given
        self.listings: list[Listing] = []
        taken = Taken()
        first = 0
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            for each, selected in zip(given, pool.map(_select, given), strict=True):
                inventory = selected if isinstance(selected, Inventory) else None
                selections = selected if isinstance(selected, list) else [Selection(each.given, "", selected.start)]
                listing = Listing(selections, taken, first, Exclusion(each.exclude), not each.is_list, own, inventory)
                self.listings.append(listing)
                if inventory is None:
                    for selection in selections:
                        taken.add(selection, listing.would_leave_out if each.exclude else None)
                    first += len(selections)
        _check_order(given, self.listings)

    def portions(self) -> list[Portion]:
        """What is to be listed: a portion for each input."""
        return [listing.portion(number) for number, listing in enumerate(self.listings)]

    def spread(self) -> Iterator[Portion]:
        """What is to be listed, in portions for many workers.

        Raises:
            AccessError: an object store does not answer.
        """
        trees = sum(listing.is_tree(place) for listing in self.listings for place in range(len(listing.selections)))
        for number, listing in enumerate(self.listings):
            if trees <= _MAX_SPLIT and len(listing.selections) == 1 and listing.is_tree(0):
                for stretch in split(storage.list_pages, listing.tree(0), _PORTIONS):
                    yield Portion(number, 0, 1, stretch)
                continue
            whole = listing.portion(number)
            step = 1 if listing.inventory else _LINES
            for start in range(0, whole.stop, step):
                yield Portion(number, start, min(start + step, whole.stop))

    def files(self, portions: Sequence[Portion] | None = None) -> Iterator[tuple[int, InputFile | IgnoredFile]]:
        """The files of all inputs or of some portions, each with the number of its input, in any order.

        Raises:
            AccessError: a place cannot be listed, or a file not be read.
            OwnOutputError: the job's own output lies here, or will.
        """
        for number, found in list_portions(self.listings, self.portions() if portions is None else portions):
            yield number, _as_input(self.given[number], self.listings[number].start, found)


def list_inputs(inputs: Sequence[Input], number: int | None = None) -> Iterator[InputFile]:
    """The files of one input that are read, or of all.

    Args:
        inputs: all inputs of the job.
        number: which of them to list; None for all.

    Raises:
        AccessError: a place cannot be listed, or a file not be read.
    """
    some = Inputs(inputs if number is None else inputs[: number + 1])
    portions = some.portions() if number is None else some.portions()[number:]
    return (file for _, file in some.files(portions) if isinstance(file, InputFile))


def _select(given: Input) -> list[Selection] | Inventory:
    if not given.is_list:
        return [select(given.pattern, given.given, given.hint)]
    if is_inventory(given.pattern):
        return Inventory(given.pattern)
    lines = enumerate(read_path_list(given.pattern), start=1)
    return [select(line, f"{given.given}, line {number}: {line}", one_of_many=True) for number, line in lines if line]


def _check_order(given: Sequence[Input], listings: Sequence[Listing]) -> None:
    """Refuses inputs behind an inventory whose files it may list: it is never held, to see whether it does."""
    inventories: dict[str, Input] = {}
    for each, listing in zip(given, listings, strict=True):
        if listing.inventory:
            inventories.setdefault(listing.start, each)
            continue
        for selection in listing.selections if inventories else ():
            for start, earlier in inventories.items():
                if selection.prefix.startswith(start):
                    raise AccessError(f"{selection.given}: may hold files of {earlier.given}; give the inventory last")


def _as_input(given: Input, start: str, found: FoundFile) -> InputFile | IgnoredFile:
    """A file by its key: what is behind the folder that all selections have in common."""
    file = found.stored
    key = given.shown(file.path[len(start) :])
    kind = found.kind
    if kind is None and given.copy_others and kinds.may_hold_labels(file.path[len(start) :]):
        kind = "other"
    if kind is None:
        ending = kinds.ending_of(file.path)
        # Of a name that is hidden its last part may be the surname.
        ending = OTHER if given.key_hash and not kinds.is_known_ending(ending) else ending
        return IgnoredFile(key, ending, found.reason)
    return InputFile(given.split, key, file.path, file.size, file.version, kind, hash_position(key))
