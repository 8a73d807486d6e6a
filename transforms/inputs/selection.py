"""What a glob or a path selects, what ``--exclude`` leaves out of it, and what earlier inputs have taken already."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from faceveil.transforms import storage
from faceveil.transforms.inputs.globs import (
    fixed_prefix,
    folded,
    is_glob,
    literal_start,
    translate_folders,
    translate_glob,
    translate_wide_folders,
)
from faceveil.transforms.inputs.paths import as_path

_EVERYTHING = re.compile(".*", re.DOTALL)


@dataclass(frozen=True)
class Selection:
    """The files that one pattern selects.

    Attributes:
        given: the option and the pattern, for messages.
        hint: what to do where there is nothing, for messages.
        prefix: how the path of each begins, a slash at its end; empty for what lies in the working folder.
        expression: what stands behind the prefix; None where it is the one file ``name``.
        folders: the folders below the prefix in which files may lie, their paths behind it.
        wide: those, slashes at their ends, below which files may lie in any folder.
        literal: how what stands behind the prefix begins, but for its case.
        name: of the one file, behind the prefix.
    """

    given: str
    hint: str
    prefix: str
    expression: re.Pattern[str] | None = None
    folders: re.Pattern[str] | None = None
    wide: re.Pattern[str] | None = None
    literal: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        """Of the one file."""
        return self.prefix + self.name


def select(pattern: str, given: str, hint: str = "", *, one_of_many: bool = False) -> Selection:
    """What a pattern selects: a file or folder that is there as it stands, else what the glob matches.

    Args:
        pattern: a path or glob.
        given: for messages, as `hint` is.
        hint: what to do where there is nothing.
        one_of_many: whether it stands in a list, so that no object store is asked about it alone.

    Raises:
        AccessError: storage does not answer.
    """
    if _is_folder(pattern, one_of_many):
        return Selection(given, hint, pattern.rstrip("/") + "/", _EVERYTHING, _EVERYTHING, _EVERYTHING)
    if not is_glob(pattern) or _is_file(pattern, one_of_many):
        prefix = pattern[: pattern.rfind("/") + 1]
        return Selection(given, hint, prefix, name=pattern[len(prefix) :])
    prefix = fixed_prefix(pattern)
    below = pattern[len(prefix) :]
    expressions = translate_glob(below), translate_folders(below), translate_wide_folders(below)
    return Selection(given, hint, prefix, *expressions, literal_start(below))


def _is_folder(pattern: str, one_of_many: bool) -> bool:
    if storage.is_local(pattern):
        return os.path.isdir(pattern)
    if is_glob(pattern):
        return False
    if pattern.endswith("/") or pattern.count("/") == 2:  # or a bucket
        return True
    # Nothing but a request tells whether a name is an object's, or that of a folder of objects.
    return not one_of_many and storage.stat(pattern) is None and any(True for _ in storage.list_files(pattern))


def _is_file(pattern: str, one_of_many: bool) -> bool:
    if storage.is_local(pattern):
        return os.path.isfile(pattern)
    return not one_of_many and "*" not in pattern and storage.stat(pattern) is not None


def common_folder(prefixes: Sequence[str]) -> str:
    """How all prefixes begin, up to a slash.

    Example usage::

        >>> common_folder(["a/b/c/", "a/bd/"]), common_folder(["a/b/"]), common_folder(["a/", "/b/"])
        ('a/', 'a/b/', '')
    """
    first, last = min(prefixes), max(prefixes)  # whatever both begin with, so do all that are sorted between them
    common = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, common) + 1]


def real_prefix(prefix: str) -> str:
    """Another spelling of a prefix, the same for all that lead to one place: with links followed, from the root on."""
    return os.path.join(os.path.realpath(prefix or "."), "") if storage.is_local(prefix) else prefix


class Taken:
    """Which of some selections holds a file, however it is spelt; each belongs to the first.

    Files are looked up, and globs by the folders that they begin with and how they go on there, so that it does not
    matter how many there are. What is left out of a selection is not held by it, but may be by another.

    Attributes:
        resolve: ``real_prefix``; remembers some answers.
    """

    def __init__(self) -> None:
        self.resolve = lru_cache(maxsize=1024)(real_prefix)
        self._count = 0
        self._files: dict[str, int] = {}
        self._globs: dict[str, _Globs] = {}

    def add(self, selection: Selection, leaves_out: Callable[[str], bool] | None = None) -> None:
        """Takes what a selection holds.

        Args:
            selection: the selection.
            leaves_out: whether a path, as the selection spells it, is left out of it; None for none.
        """
        prefix = self.resolve(selection.prefix)
        if selection.expression:
            keeps = leaves_out and (lambda below: not leaves_out(selection.prefix + below))
            self._globs.setdefault(prefix, _Globs()).add(self._count, selection.literal, selection.expression, keeps)
        elif not leaves_out or not leaves_out(selection.path):
            self._files.setdefault(prefix + selection.name, self._count)
        self._count += 1

    def holds(self, path: str, number: int | None = None) -> bool:
        """Whether a selection holds a path, spelt as by ``real_prefix``.

        Args:
            path: of a file.
            number: of the selections that were added, how many count; None for all.
        """
        if number is None:
            number = self._count
        if self._files.get(path, number) < number:
            return True
        place = 0
        while place := path.find("/", place) + 1:
            globs = self._globs.get(path[:place])
            if globs and globs.match(path, place, number):
                return True
        return False


_Keeps = Callable[[str], bool]
"""Whether what a glob matches is not left out, by its path below the glob's fixed prefix."""


class _Globs:
    """Globs of one fixed prefix, by what follows it."""

    def __init__(self) -> None:
        self._by_start: dict[int, dict[str, dict[tuple[re.Pattern[str], _Keeps | None], int]]] = {}

    def add(self, number: int, literal: str, expression: re.Pattern[str], keeps: _Keeps | None) -> None:
        start = folded(literal)
        self._by_start.setdefault(len(start), {}).setdefault(start, {}).setdefault((expression, keeps), number)

    def match(self, path: str, place: int, number: int) -> bool:
        """Whether one of them, of a lower number, matches what stands in a path from a place on."""
        for length, globs in self._by_start.items():
            for (expression, keeps), its_number in globs.get(folded(path[place : place + length]), {}).items():
                if its_number >= number:
                    break
                if expression.fullmatch(path, place) and (keeps is None or keeps(path[place:])):
                    return True
        return False


class Exclusion:
    """What ``--exclude`` leaves out.

    A glob without a slash is compared with every name in a path below an input's fixed prefix, a file's or a folder's;
    any other with the whole path below the prefix, as it is listed, and as it is from the root on. What it matches goes
    with all that lies below. Of a list the prefix is what all its lines begin with.

    Attributes:
        used: the globs that have left something out.
        count: files and folders that were left out.

    Example usage::

        >>> exclusion = Exclusion(["*.png", "thumbs", "2023/*"])
        >>> paths = ("a/b.PNG", "thumbs/a.jpg", "2023/may/a.jpg", "2024/2023/a.jpg")
        >>> [exclusion.leaves_out("photos/", path) for path in paths], sorted(exclusion.used)
        ([True, True, True, False], ['*.png', '2023/*', 'thumbs'])
    """

    def __init__(self, globs: Iterable[str] = ()) -> None:
        self._expressions = [(glob, *_excluded(as_path(glob, glob=True))) for glob in globs]
        self.used: set[str] = set()
        self.count = 0
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._expressions)

    def leaves_out(self, prefix: str, below: str) -> bool:
        """Whether a file or folder is left out; counts it if it is."""
        is_left_out = self.would_leave_out(prefix, below)
        with self._lock:
            self.count += is_left_out
        return is_left_out

    def leaves_out_with_folder(self, prefix: str, below: str, top: int) -> bool:
        """The same where files are listed whatever their folder; of what goes with a folder, the folder counts once.

        Args:
            prefix: as for ``leaves_out``.
            below: the same.
            top: the length of the part of it above which no folder counts.
        """
        if not self.would_leave_out(prefix, below):
            return False
        place = top
        while (place := below.find("/", place) + 1) and not self.would_leave_out(prefix, below[: place - 1]):
            pass
        with self._lock:
            if place == 0:
                self.count += 1
            elif (folder := prefix + below[:place]) not in self._folders:
                self._folders.add(folder)
                self.count += 1
        return True

    def would_leave_out(self, prefix: str, below: str) -> bool:
        """The same for what is yet to be written."""
        spellings = (below, prefix + below, _from_root(prefix) + below)
        matching = {
            glob
            for glob, is_name, expression in self._expressions
            if any(expression.fullmatch(path) for path in (spellings[:1] if is_name else spellings))
        }
        self.used |= matching
        return bool(matching)


def _from_root(prefix: str) -> str:
    return os.path.join(os.path.abspath(prefix or "."), "") if storage.is_local(prefix) else prefix


@lru_cache(maxsize=1024)
def _excluded(glob: str) -> tuple[bool, re.Pattern[str]]:
    """Whether a glob is one of names, and the expression for what it leaves out."""
    is_name = "/" not in glob.rstrip("/")
    path = re.sub(r"(?<=.)(/\*\*)?/?\Z", "", glob.removeprefix("./"), flags=re.DOTALL)
    before = "(?:.*/)?" if is_name else ""
    return is_name, re.compile(f"{before}(?:{translate_glob(path).pattern})(?:/.*)?", re.DOTALL)
