"""Listing the files that selections hold, and finding out what each of them is."""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OwnOutputError
from faceveil.transforms.formats.kinds import Kind, is_of_system, judge_name, kind_of, unreadable
from faceveil.transforms.inputs.globs import escape_glob
from faceveil.transforms.inputs.inventory import Inventory
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.selection import Exclusion, Selection, Taken, common_folder
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE, StoredFile
from faceveil.transforms.storage.local import UNKNOWN_VERSION, Identity, Scope, may_access
from faceveil.transforms.storage.walk import Stretch, Tree, walk, whole_tree

_IN_TURN = 8
"""Files that a thread looks into one after the other: where storage is near, handing them over takes longer."""

_Item = TypeVar("_Item")


class FoundFile(NamedTuple):
    """One file and what it holds; of what is ignored None, and the reason."""

    stored: StoredFile
    kind: Kind | None
    reason: str = ""


class Portion(NamedTuple):
    """What is listed at a time.

    Attributes:
        number: of the listing.
        first: of its selections, or of the row groups of its inventory.
        stop: the one after the last.
        stretch: of the one selection, in an object store; None for all that it holds.
    """

    number: int
    first: int
    stop: int
    stretch: Stretch | None = None


@dataclass
class Listing:
    """The files of some selections, each once, whatever leads to it.

    Attributes:
        selections: what is listed.
        start: what all their prefixes begin with.
        taken: what belongs to other selections of the job, if they come first.
        first: the number of the first selection among those.
        exclusion: what is left out.
        explicit: whether single files were named one by one, so that they are looked into whatever their names.
        own: where the job writes, if that must not be found here.
        inventory: what holds the files of the one selection, if they are not looked for.
    """

    selections: Sequence[Selection]
    taken: Taken = field(default_factory=Taken)
    first: int = 0
    exclusion: Exclusion = field(default_factory=Exclusion)
    explicit: bool = False
    own: OwnOutput | None = None
    inventory: Inventory | None = None
    start: str = field(init=False)

    def __post_init__(self) -> None:
        self.start = common_folder([selection.prefix for selection in self.selections])

    def portion(self, number: int) -> Portion:
        """All of it, where this is its number."""
        return Portion(number, 0, self.inventory.row_groups if self.inventory else len(self.selections))

    def is_tree(self, place: int) -> bool:
        """Whether a selection is a glob or a folder in an object store."""
        selection = self.selections[place]
        return selection.expression is not None and not storage.is_local(selection.prefix) and not self.inventory

    def tree(self, place: int) -> Tree:
        """What a selection needs of an object store."""
        selection = self.selections[place]
        prefix, folders, wide = selection.prefix, selection.folders, selection.wide
        assert folders
        assert wide

        def enters(folder: str) -> bool:
            return folders.fullmatch(folder[len(prefix) : -1]) is not None and not self._leaves_out(folder, len(prefix))

        return Tree(prefix, enters, lambda folder: wide.fullmatch(folder[len(prefix) :]) is not None)

    def by_name(self, place: int, file: StoredFile) -> FoundFile | None:
        """A file of a selection with what its name tells, neither kind nor reason where that is nothing.

        Of what belongs to another selection, or is left out, there is nothing.

        Raises:
            AccessError: the file cannot be read.
            OwnOutputError: the job writes here.
        """
        selection = self.selections[place]
        below = file.path[len(selection.prefix) :]
        real = self.taken.resolve(selection.prefix) + below
        if self.taken.holds(real, self.first + place):
            return None
        if self.own and self.own.is_audit(real):
            return None
        if self.own and (folder := self.own.holds(real)):
            raise _own_output(selection, file.path, folder, ", or narrow the glob")
        explicit = self.explicit and not selection.expression
        kind, reason = (kind_of(below), "") if explicit else judge_name(below)
        if kind and file.restricted:
            _check_readable(file)
        return FoundFile(file, kind, reason)

    def matches(self, place: int, file: StoredFile) -> bool:
        """Whether a file below a glob's prefix in an object store is one of its files."""
        selection = self.selections[place]
        assert selection.expression
        top = len(selection.prefix)
        return bool(selection.expression.fullmatch(file.path, top)) and not self._leaves_out(file.path, top)

    def of_folder(self, place: int) -> Iterator[StoredFile]:
        """The files of a glob or a folder on disk."""
        selection = self.selections[place]
        prefix, expression, folders = selection.prefix, selection.expression, selection.folders
        assert expression
        assert folders
        closed: list[StoredFile] = []

        def enters(path: str, identity: Identity) -> bool:
            if path != prefix:
                below = path[len(prefix) :]
                if not folders.fullmatch(below) or self.leaves_out(path):
                    return False
                if is_of_system(os.path.basename(path)) and not may_access(path, os.R_OK | os.X_OK):
                    closed.append(StoredFile(path, 0, UNKNOWN_VERSION))  # nobody's data, so nobody misses it
                    return False
            self.check_own(selection, path, identity)
            return True

        scope = Scope(enters, lambda path: expression.fullmatch(path[len(prefix) :]) is not None)
        if storage.stat(prefix or ".") is None:
            raise AccessError(f"{selection.given}: {prefix} does not exist{selection.hint}")
        for file in itertools.chain(storage.list_files(prefix, scope), closed):
            below = file.path[len(prefix) :]
            if expression.fullmatch(below):
                if not self.leaves_out(file.path):
                    yield file
            elif file.version == UNKNOWN_VERSION and folders.fullmatch(below) and self._may_be_folder(file.path, below):
                raise unreadable(file.path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def leaves_out(self, path: str) -> bool:
        """Whether ``--exclude`` leaves out a path, as it is listed; counts it if it does."""
        return bool(self.exclusion) and self.exclusion.leaves_out(self.start, path[len(self.start) :])

    def would_leave_out(self, path: str) -> bool:
        """The same without counting it."""
        return self.exclusion.would_leave_out(self.start, path[len(self.start) :])

    def _leaves_out(self, path: str, top: int) -> bool:
        start = len(self.start)
        return bool(self.exclusion) and self.exclusion.leaves_out_with_folder(self.start, path[start:], top - start)

    def _may_be_folder(self, path: str, below: str) -> bool:
        """Whether a link to nothing may have led to a folder of inputs: its name is not that of a file."""
        return judge_name(below) == (None, "") and not self.leaves_out(path)

    def check_own(self, selection: Selection, listed: str, identity: Identity | None) -> None:
        """Refuses a selection that would hold what the job is going to write."""
        assert selection.expression
        assert selection.folders
        place = self.own.place_below(listed, identity) if self.own else None
        if self.own is None or place is None:
            return
        top = len(selection.prefix)
        paths = [place + name for name in self.own.names if selection.expression.fullmatch(place[top:] + name)]
        folder = place.rstrip("/")
        if self.own.mirrors and (not folder[top:] or selection.folders.fullmatch(folder[top:])):
            paths.append(place + "*")
        for path in paths:
            if not self.would_leave_out(path):
                is_below = len(folder) > len(self.start.rstrip("/"))
                hint = f", or leave it out with --exclude {shlex.quote(escape_glob(folder))}" if is_below else ""
                raise _own_output(selection, path, self.own.output, hint)


def list_portions(listings: Sequence[Listing], portions: Sequence[Portion]) -> Iterator[tuple[int, FoundFile]]:
    """Every file of some listings, with the number of the listing, in any order.

    Raises:
        AccessError: a place cannot be listed, a file not be read, or there is none where one was named.
        OwnOutputError: the job's own output lies here, or will.
    """
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        unknown: list[tuple[int, StoredFile]] = []
        for number, place, stored in _stored(listings, portions, pool):
            found = listings[number].by_name(place, stored)
            if found is None:
                continue
            if found.kind or found.reason:
                yield number, found
                continue
            unknown.append((number, stored))
            if len(unknown) == REQUESTS_AT_ONCE * _IN_TURN:
                yield from _looked_into(unknown, pool)
                unknown.clear()
        yield from _looked_into(unknown, pool)


_Selected = tuple[int, int, Stretch | None]
"""The number of a listing, that of one of its selections, and the part of it that is meant."""


def _stored(
    listings: Sequence[Listing], portions: Sequence[Portion], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, StoredFile]]:
    """The files of all portions, with their listing and selection; what several selections hold comes several times."""

    def way(selected: _Selected) -> Callable[..., Iterator[tuple[int, int, StoredFile]]]:
        number, place, _ = selected
        listing = listings[number]
        if listing.is_tree(place):
            return _from_stores
        return _from_disk if listing.selections[place].expression else _one_by_one

    inventories = [portion for portion in portions if listings[portion.number].inventory]
    selected = (
        (portion.number, place, portion.stretch)
        for portion in portions
        if not listings[portion.number].inventory
        for place in range(portion.first, portion.stop)
    )
    for list_them, alike in itertools.groupby(selected, way):
        yield from list_them(listings, alike, pool)
    for portion in inventories:
        listing = listings[portion.number]
        assert listing.inventory
        for file in listing.inventory.files(range(portion.first, portion.stop)):
            if not listing.leaves_out(file.path):
                yield portion.number, 0, file


def _from_stores(
    listings: Sequence[Listing], selected: Iterable[_Selected], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, StoredFile]]:
    """Those of globs and folders in object stores."""
    del pool  # its threads look into files, and must not wait for those that are to be looked into
    trees = []
    places = []
    for number, place, stretch in selected:
        listing = listings[number]
        tree = listing.tree(place)
        listing.check_own(listing.selections[place], tree.prefix, None)
        trees.append((tree, stretch or whole_tree(tree)))
        places.append((number, place))
    for which, files in walk(storage.list_pages, trees):
        number, place = places[which]
        for file in files:
            if listings[number].matches(place, file):
                yield number, place, file


def _from_disk(
    listings: Sequence[Listing], selected: Iterable[_Selected], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, StoredFile]]:
    """Those of globs and folders on disk."""
    del pool
    for number, place, _ in selected:
        for file in listings[number].of_folder(place):
            yield number, place, file


def _one_by_one(
    listings: Sequence[Listing], selected: Iterable[_Selected], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, StoredFile]]:
    """Those that were named."""
    for some in _batches(selected, REQUESTS_AT_ONCE * _IN_TURN):
        selections = [listings[number].selections[place] for number, place, _ in some]
        for (number, place, _), file in zip(some, pool.map(_find, selections), strict=True):
            if not listings[number].leaves_out(file.path):
                yield number, place, file


def _own_output(selection: Selection, path: str, folder: str, hint: str) -> OwnOutputError:
    return OwnOutputError(
        f"{selection.given}: matches {path} in {folder}, where the job writes, so it would anonymize its own output; "
        f"write elsewhere{hint}"
    )


def _find(selection: Selection) -> StoredFile:
    file = storage.stat(selection.path)
    if file is None:
        raise AccessError(f"{selection.given}: does not exist{selection.hint}")
    return file


def _looked_into(files: Sequence[tuple[int, StoredFile]], pool: ThreadPoolExecutor) -> Iterator[tuple[int, FoundFile]]:
    return itertools.chain.from_iterable(pool.map(_look_in_turn, _batches(files, _IN_TURN)))


def _look_in_turn(files: Sequence[tuple[int, StoredFile]]) -> list[tuple[int, FoundFile]]:
    # What tells kinds of files apart is loaded here, for options need names alone.
    from faceveil.transforms.formats.containers import look

    return [(number, FoundFile(file, *look(file))) for number, file in files]


def _check_readable(file: StoredFile) -> None:
    """Makes sure that a file on disk may be read; what is none is left to its reader."""
    if not may_access(file.path, os.R_OK) and os.path.exists(file.path):
        raise unreadable(file.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
