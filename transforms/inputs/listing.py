"""Listing the files that selections hold, and finding out what each of them is."""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OwnOutputError
from faceveil.transforms.formats.kinds import Kind, is_of_system, judge_name, kind_of, look, unreadable
from faceveil.transforms.inputs.globs import escape_glob
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.selection import Exclusion, Selection, Taken, common_folder, real_prefix
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE, StoredFile
from faceveil.transforms.storage.local import UNKNOWN_VERSION, Identity, Scope, may_access

_IN_TURN = 8
"""Files that a thread looks into one after the other: where storage is near, handing them over takes longer."""

_Item = TypeVar("_Item")


class FoundFile(NamedTuple):
    """One file and what it holds; of what is ignored None, and the reason."""

    stored: StoredFile
    kind: Kind | None
    reason: str = ""


@dataclass
class Listing:
    """The files of some selections, each once, whatever leads to it.

    Attributes:
        selections: what is listed, in this order.
        start: what all their prefixes begin with.
        taken: what belongs to earlier inputs.
        exclusion: what is left out.
        explicit: whether single files were named one by one, so that they are looked into whatever their names.
        own: where the job writes, if that must not be found here.
    """

    selections: Sequence[Selection]
    taken: Taken = field(default_factory=Taken)
    exclusion: Exclusion = field(default_factory=Exclusion)
    explicit: bool = False
    own: OwnOutput | None = None
    start: str = field(init=False)

    def __post_init__(self) -> None:
        self.start = common_folder([selection.prefix for selection in self.selections])

    def files(self) -> Iterator[FoundFile]:
        """Every file, always in the same order: those that have to be looked into some time after others.

        Raises:
            AccessError: a place cannot be listed, a file not be read, or there is none where one was named.
            OwnOutputError: the job's own output lies here, or will.
        """
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            unknown: list[StoredFile] = []
            for found in self._by_name(pool):
                if found.kind or found.reason:
                    yield found
                    continue
                unknown.append(found.stored)
                if len(unknown) == REQUESTS_AT_ONCE * _IN_TURN:
                    yield from _looked_into(unknown, pool)
                    unknown.clear()
            yield from _looked_into(unknown, pool)

    def _by_name(self, pool: ThreadPoolExecutor) -> Iterator[FoundFile]:
        """The files with what their names tell, neither kind nor reason where that is nothing."""
        resolve = lru_cache(maxsize=1024)(real_prefix)
        seen: set[str] = set()
        for selection, file in self._found(pool):
            below = file.path[len(selection.prefix) :]
            real = resolve(selection.prefix) + below
            if real in seen or self.taken.holds(real):
                continue
            if len(self.selections) > 1:
                seen.add(real)
            if self.own and (folder := self.own.holds(real)):
                raise _own_output(selection, file.path, folder, ", or narrow the glob")
            explicit = self.explicit and not selection.expression
            kind, reason = (kind_of(below), "") if explicit else judge_name(below)
            if kind and file.restricted:
                _check_readable(file)
            yield FoundFile(file, kind, reason)

    def _found(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Selection, StoredFile]]:
        """The files of all selections; a file that several of them hold comes several times."""
        for several, alike in itertools.groupby(self.selections, lambda selection: selection.expression is not None):
            if several:
                for selection in alike:
                    yield from self._below(selection)
                continue
            for some in _batches(alike, REQUESTS_AT_ONCE * _IN_TURN):
                for selection, file in zip(some, pool.map(_find, some), strict=True):
                    if not self._leaves_out(selection.path):
                        yield selection, file

    def _below(self, selection: Selection) -> Iterator[tuple[Selection, StoredFile]]:
        """The files of a glob or a folder."""
        prefix, expression, folders = selection.prefix, selection.expression, selection.folders
        assert expression
        assert folders
        closed: list[StoredFile] = []

        def enters(path: str, identity: Identity) -> bool:
            if path != prefix:
                below = path[len(prefix) :]
                if not folders.fullmatch(below) or self._leaves_out(path):
                    return False
                if is_of_system(os.path.basename(path)) and not may_access(path, os.R_OK | os.X_OK):
                    closed.append(StoredFile(path, 0, UNKNOWN_VERSION))  # nobody's data, so nobody misses it
                    return False
            self._check_own(selection, path, identity)
            return True

        scope = Scope(enters, lambda path: expression.fullmatch(path[len(prefix) :]) is not None)
        if not storage.is_local(prefix):
            self._check_own(selection, prefix, None)
        elif storage.stat(prefix or ".") is None:
            raise AccessError(f"{selection.given}: {prefix} does not exist{selection.hint}")
        for file in itertools.chain(storage.list_files(prefix, scope), closed):
            below = file.path[len(prefix) :]
            if expression.fullmatch(below):
                if not self._leaves_out(file.path):
                    yield selection, file
            elif file.version == UNKNOWN_VERSION and folders.fullmatch(below) and self._may_be_folder(file.path, below):
                raise unreadable(file.path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _leaves_out(self, path: str) -> bool:
        return bool(self.exclusion) and self.exclusion.leaves_out(self.start, path[len(self.start) :])

    def _may_be_folder(self, path: str, below: str) -> bool:
        """Whether a link to nothing may have led to a folder of inputs: its name is not that of a file."""
        return judge_name(below) == (None, "") and not self._leaves_out(path)

    def _check_own(self, selection: Selection, listed: str, identity: Identity | None) -> None:
        """Refuses a selection that would hold what the job is going to write."""
        assert selection.expression
        for path, folder in self.own.files_below(listed, identity) if self.own else ():
            matches = selection.expression.fullmatch(path[len(selection.prefix) :])
            if matches and not self.exclusion.would_leave_out(self.start, path[len(self.start) :]):
                place = os.path.dirname(path)
                is_below = len(place) > len(self.start.rstrip("/"))
                hint = f", or leave it out with --exclude {shlex.quote(escape_glob(place))}" if is_below else ""
                raise _own_output(selection, path, folder, hint)


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


def _looked_into(files: Sequence[StoredFile], pool: ThreadPoolExecutor) -> Iterator[FoundFile]:
    return itertools.chain.from_iterable(pool.map(_look_in_turn, _batches(files, _IN_TURN)))


def _look_in_turn(files: Sequence[StoredFile]) -> list[FoundFile]:
    return [FoundFile(file, *look(file)) for file in files]


def _check_readable(file: StoredFile) -> None:
    """Makes sure that a file on disk may be read; what is none is left to its reader."""
    if not may_access(file.path, os.R_OK) and os.path.exists(file.path):
        raise unreadable(file.path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
