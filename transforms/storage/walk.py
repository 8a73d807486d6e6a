"""Listing object stores side by side: their names, which are sorted, in stretches that end where folders begin.

A stretch is listed page by page, folders and all, as one request gives a thousand objects however they are nested.
While threads have nothing to do, the folders ahead are asked for, and what lies from some of them on is handed over.
"""

from __future__ import annotations

import queue
import threading
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from faceveil.transforms.storage.base import LISTINGS_AT_ONCE, Page, StoredFile, is_sorted

_WAITING_PAGES = 4 * LISTINGS_AT_ONCE
_LAST = "\U000ffffd"
"""Sorts behind all that names begin with."""

Span = tuple[str, str]
"""The first and the last of some folders with nothing else in between."""


@dataclass(frozen=True)
class Tree:
    """Objects below a prefix.

    Attributes:
        prefix: a whole path, a slash at its end.
        enters: whether a folder is listed, by its path with a slash at its end. Where its surroundings are listed as
            well, what lies in one that is not may come nevertheless.
        is_wide: whether all folders below one are listed, but for those that ``enters`` leaves out.
    """

    prefix: str
    enters: Callable[[str], bool] = lambda folder: True  # noqa: ARG005
    is_wide: Callable[[str], bool] = lambda folder: True  # noqa: ARG005


@dataclass(frozen=True)
class Stretch:
    """Objects of a store that follow one another.

    Attributes:
        prefix: how their paths begin.
        after: a path that they come behind.
        before: a path that they come ahead of; empty for none.
        cuts: folders in between, in order, at which it may be cut.
        levels: ``all``, or ``one`` where only what lies in no folder below the prefix is meant, or ``each`` where the
            folders below are chosen one by one.
        known: folders that have been asked for what lies in them.
    """

    prefix: str
    after: str = ""
    before: str = ""
    cuts: tuple[str, ...] = ()
    levels: str = "all"
    known: frozenset[str] = frozenset()


class Pages(Protocol):
    """Asks a store, as ``ObjectStore.pages``."""

    def __call__(self, prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        """See there."""


def whole_tree(tree: Tree, folder: str = "") -> Stretch:
    """All that a tree holds in a folder, at its top if none is given."""
    folder = folder or tree.prefix
    return Stretch(folder, levels="all" if tree.is_wide(folder) else "each")


def walk(pages: Pages, trees: Sequence[tuple[Tree, Stretch]]) -> Iterator[tuple[int, list[StoredFile]]]:
    """The objects of some stretches, several listed at a time, in any order.

    Args:
        pages: asks the store.
        trees: stretches, and the tree that each belongs to.

    Returns:
        Some objects at a time, with the place of their stretch among those given.

    Raises:
        AccessError: the store does not answer.
    """
    walked = _Walk(pages, trees)
    threads = [threading.Thread(target=walked.work, daemon=True) for _ in range(LISTINGS_AT_ONCE)]
    for thread in threads:
        thread.start()
    working = len(threads)
    try:
        while working:
            found = walked.found.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                working -= 1
            else:
                yield found
    finally:
        walked.stop()
        while working:
            working -= walked.found.get() is None
        for thread in threads:
            thread.join()


class _Walk:
    def __init__(self, pages: Pages, trees: Sequence[tuple[Tree, Stretch]]) -> None:
        self.found: queue.Queue[tuple[int, list[StoredFile]] | BaseException | None] = queue.Queue(_WAITING_PAGES)
        self._pages = pages
        self._trees = [tree for tree, _ in trees]
        self._waiting = deque((number, stretch) for number, (_, stretch) in enumerate(trees))
        self._unfinished = len(self._waiting)
        self._changed = threading.Condition()
        self._stopped = False

    def stop(self) -> None:
        """Lets the threads end when they next have an answer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def work(self) -> None:
        """Lists one stretch after the other until all are done."""
        while (task := self._next()) is not None:
            try:
                self._list(*task)
            except BaseException as error:  # noqa: BLE001  raised where the files are taken
                self.found.put(error)
                self.stop()
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()
        self.found.put(None)

    def _next(self) -> tuple[int, Stretch] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped or not self._unfinished)
            return self._waiting.popleft() if self._waiting and not self._stopped else None

    def _hand_over(self, number: int, stretch: Stretch) -> None:
        with self._changed:
            self._waiting.append((number, stretch))
            self._unfinished += 1
            self._changed.notify()

    def _wants_more(self) -> bool:
        """Whether threads have nothing to do, or soon will."""
        return self._unfinished < 2 * LISTINGS_AT_ONCE

    def _list(self, number: int, stretch: Stretch) -> None:
        if stretch.levels == "all":
            self._list_all(number, stretch)
            return
        tree = self._trees[number]
        for page in self._pages(stretch.prefix, one_level=True):
            self.found.put((number, page.files))
            if self._stopped:
                return
            for folder in page.folders if stretch.levels == "each" else ():
                if tree.enters(folder):
                    self._hand_over(number, whole_tree(tree, folder))

    def _list_all(self, number: int, stretch: Stretch) -> None:
        for page in self._pages(stretch.prefix, stretch.after, stretch.before):
            # Its end may have been handed over since.
            files = [file for file in page.files if not stretch.before or file.path < stretch.before]
            self.found.put((number, files))
            if page.is_last or len(files) < len(page.files) or self._stopped:
                return
            if files:
                after = files[-1].path
                stretch = replace(stretch, after=after, cuts=tuple(cut for cut in stretch.cuts if cut > after))
                if self._wants_more() and is_sorted(after):
                    left = self._divide(number, stretch, files[0].path)
                    if left is None:
                        return
                    stretch = left

    def _divide(self, number: int, stretch: Stretch, first: str) -> Stretch | None:
        """Hands over what can be listed by others; gives what is left, if it begins where the stretch does."""
        folder = None if stretch.cuts else _folder_ahead(stretch, first)
        left, rest = None, stretch
        left_out: list[Span] = []
        if folder:
            rest = replace(rest, known=rest.known | {folder})
            for page in self._pages(folder, one_level=True):
                cuts, refused = _choose(self._trees[number], page)
                ahead = tuple(cut for cut in cuts if cut > rest.after and _is_ahead(cut, rest))
                left_out += refused
                if ahead:  # what comes before the last of them is known now
                    known = replace(rest, before=ahead[-1], cuts=ahead[:-1])
                    left = self._keep_first(number, stretch, known, left_out) or left
                    rest = replace(rest, after=ahead[-1])
                    left_out = [span for span in left_out if span[0] > ahead[-1]]
                if not page.folders or self._stopped:  # files, perhaps very many
                    break
        return self._keep_first(number, stretch, rest, left_out) or left

    def _keep_first(self, number: int, stretch: Stretch, known: Stretch, left_out: list[Span]) -> Stretch | None:
        """Hands over the pieces of a part of a stretch, but for that at its beginning."""
        kept = None
        wanted = max(1, 2 * LISTINGS_AT_ONCE - self._unfinished)
        for piece in pieces(known, left_out, -(-len(known.cuts) // wanted)):
            if piece.after == stretch.after:
                kept = piece
            else:
                self._hand_over(number, piece)
        return kept


def _folder_ahead(stretch: Stretch, first: str) -> str | None:
    """The uppermost folder not asked for yet that a whole page was in, if there are folders in it."""
    place = len(stretch.prefix)
    while place:
        folder = stretch.after[:place]
        following = stretch.after.find("/", place) + 1
        if not first.startswith(folder) or not following:
            return None
        if folder not in stretch.known:
            return folder
        place = following
    return None


def _choose(tree: Tree, page: Page) -> tuple[list[str], list[Span]]:
    """Which folders of a page are entered, and from where to where there is nothing but others."""
    entered: list[str] = []
    refused: list[Span] = []
    last = ""
    for folder in page.folders:
        if tree.enters(folder):
            entered.append(folder)
            last = ""
        elif last and bisect(page.files, folder, key=_path) == bisect(page.files, last, key=_path):
            refused[-1] = (refused[-1][0], folder)
            last = folder
        else:
            refused.append((folder, folder))
            last = folder
    return entered, refused


def _path(file: StoredFile) -> str:
    return file.path


def _is_ahead(path: str, stretch: Stretch) -> bool:
    return not stretch.before or path < stretch.before


def pieces(stretch: Stretch, left_out: Sequence[Span], size: int) -> Iterator[Stretch]:
    """Cuts a stretch.

    Args:
        stretch: with the folders at which it may be cut.
        left_out: what is in no piece.
        size: the folders in a piece; the first has none, what lies before the first folder.

    Example usage::

        >>> stretch = Stretch("gs://b/", "gs://b/a/1", cuts=("gs://b/c/", "gs://b/d/", "gs://b/f/"))
        >>> [(piece.after, piece.before, piece.cuts) for piece in pieces(stretch, [], 2)]
        [('gs://b/a/1', 'gs://b/c/', ()), ('gs://b/c/', 'gs://b/f/', ('gs://b/d/',)), ('gs://b/f/', '', ())]
    """
    ends = dict(left_out)
    after = stretch.after
    inner: list[str] = []
    in_piece = size
    for mark in sorted({*stretch.cuts, *ends}):
        if not _is_ahead(mark, stretch):
            break
        if mark > after and (mark in ends or in_piece >= size):
            yield _piece(stretch, after, mark, inner)
            after, inner, in_piece = mark, [], 1
        elif mark > after:
            inner.append(mark)
            in_piece += 1
        if mark in ends:
            after, inner, in_piece = max(after, ends[mark] + _LAST), [], 0
    if _is_ahead(after, stretch):
        yield _piece(stretch, after, stretch.before, inner)


def _piece(stretch: Stretch, after: str, before: str, cuts: Sequence[str]) -> Stretch:
    known = frozenset(folder for folder in stretch.known if after.startswith(folder))
    return replace(stretch, after=after, before=before, cuts=tuple(cuts), known=known)


def split(pages: Pages, tree: Tree, parts: int) -> list[Stretch]:
    """Stretches that together hold what a tree does, for several machines to list.

    Args:
        pages: asks the store.
        tree: what to divide.
        parts: how many are wanted; there may be more or, where there are few folders, fewer.

    Raises:
        AccessError: the store does not answer.
    """
    top = whole_tree(tree)
    if top.levels == "each":
        stretches: list[Stretch] = []
        has_files = False
        for page in pages(tree.prefix, one_level=True):
            has_files |= bool(page.files)
            stretches += [whole_tree(tree, folder) for folder in _choose(tree, page)[0]]
        return [*([replace(top, levels="one")] if has_files else []), *stretches]
    if next(pages(tree.prefix)).is_last or not is_sorted(tree.prefix):
        return [top]
    cuts: list[str] = []
    left_out: list[Span] = []
    known: set[str] = set()
    level = [tree.prefix]
    while level and len(cuts) < parts:
        below: list[str] = []
        for folder in level[:parts]:
            known.add(folder)
            for page in pages(folder, one_level=True):
                entered, refused = _choose(tree, page)
                below += entered
                left_out += refused
                if not page.folders:  # files, perhaps very many
                    break
        cuts += below
        level = below
    cut = replace(top, cuts=tuple(sorted(cuts)), known=frozenset(known))
    return list(pieces(cut, left_out, max(1, len(cuts) // parts)))
