"""Listing side by side gives what listing one after the other does, whatever the folders and the pages are like."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import LISTINGS_AT_ONCE, Page, StoredFile
from faceveil.transforms.storage.walk import Pages, Stretch, Tree, pieces, split, walk, whole_tree

TOP = "gs://b/"


class Bucket:
    """What a store answers, from memory; counts requests, and keeps those for one level."""

    def __init__(self, names: list[str], page_size: int) -> None:
        self.paths = sorted(TOP + name for name in names)
        self.page_size = page_size
        self.requests = 0
        self.asked: list[str] = []

    def pages(self, prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        entries: dict[str, bool] = {}
        for path in self.paths:
            if path.startswith(prefix) and path > after and (not before or path < before):
                end = path.find("/", len(prefix)) + 1 if one_level else 0
                entries[path[:end] if end else path] = end > 0
        for number in itertools.count():
            some = list(entries.items())[number * self.page_size : (number + 1) * self.page_size]
            self.requests += 1
            self.asked.append(prefix)
            is_last = (number + 1) * self.page_size >= len(entries)
            files = [StoredFile(path, 1, "1") for path, is_folder in some if not is_folder and path[-1] != "/"]
            yield Page(files, [path for path, is_folder in some if is_folder], is_last)
            if is_last:
                return


def listed(pages: Pages, tree: Tree, stretches: list[Stretch] | None = None) -> list[str]:
    trees = [(tree, stretch) for stretch in stretches or [whole_tree(tree)]]
    return sorted(file.path.removeprefix(TOP) for _, files in walk(pages, trees) for file in files)


names = st.lists(st.sampled_from(["a", "b", "b-", "c", "c0", "\u00e9", "\U0001f600"]), min_size=1, max_size=4)
buckets = st.lists(names.map("/".join), max_size=40, unique=True)
left_out = st.sets(names.map(lambda parts: "/".join(parts) + "/"), max_size=4)


def is_in(name: str, folders: set[str]) -> bool:
    return any(name.startswith(folder) for folder in folders)


@settings(deadline=None)  # it starts threads
@given(buckets, left_out, st.integers(1, 5), st.integers(1, 20))
def test_every_object_comes_once_but_those_left_out(
    names: list[str], left_out: set[str], page_size: int, parts: int
) -> None:
    bucket = Bucket(names, page_size)
    tree = Tree(TOP, lambda folder: folder.removeprefix(TOP) not in left_out)
    chosen = sorted(name for name in names if not is_in(name, left_out))
    for stretches in (None, split(bucket.pages, tree, parts)):
        if stretches == []:
            assert chosen == []
            continue
        found = listed(bucket.pages, tree, stretches)
        assert [name for name in found if not is_in(name, left_out)] == chosen
        assert len(set(found)) == len(found)


@settings(deadline=None)  # it starts threads
@given(buckets, st.integers(1, 5), st.integers(1, 20), st.integers(0, 3))
def test_where_folders_are_chosen_one_by_one_no_other_is_listed(
    names: list[str], page_size: int, parts: int, depth: int
) -> None:
    def is_wide(folder: str) -> bool:
        return folder.removeprefix(TOP).startswith("b/c/")

    def enters(folder: str) -> bool:
        return is_wide(folder) or folder.removeprefix(TOP).count("/") <= depth

    bucket = Bucket(names, page_size)
    tree = Tree(TOP, enters, is_wide)
    expected = sorted(
        name for name in names if all(enters(TOP + name[: i + 1]) for i, letter in enumerate(name) if letter == "/")
    )
    assert listed(bucket.pages, tree) == expected
    stretches = split(bucket.pages, tree, parts)
    if stretches:
        assert listed(bucket.pages, tree, stretches) == expected
    assert all(folder == TOP or enters(folder) for folder in bucket.asked)


marks = st.sets(st.sampled_from([f"{TOP}{letter}/" for letter in "abcdefgh"]))


@given(marks, marks, st.integers(1, 4), st.sampled_from(["", f"{TOP}c/x", f"{TOP}h/x"]))
def test_pieces_hold_all_that_a_stretch_does(cuts: set[str], gaps: set[str], size: int, after: str) -> None:
    stretch = Stretch(TOP, after, cuts=tuple(sorted(cuts - gaps)))
    made = list(pieces(stretch, [(gap, gap) for gap in gaps], size))
    for path in (f"{TOP}{letter}{more}" for letter in "abcdefghi" for more in ("/x", "/y", "0", "")):
        holding = [p for p in made if path > p.after and (not p.before or path < p.before)]
        assert len(holding) == (path > after and not any(path.startswith(gap) for gap in gaps)), path
    assert all(piece.after < cut < (piece.before or "h") for piece in made for cut in piece.cuts)


def test_files_in_one_folder_take_no_more_requests_than_pages() -> None:
    bucket = Bucket([f"a/{number:03}" for number in range(100)], 10)
    assert len(listed(bucket.pages, Tree(TOP))) == 100
    assert bucket.requests <= 10 + 2  # and a look at what else there is


def test_folders_are_listed_side_by_side() -> None:
    bucket = Bucket([f"{folder:02}/{number:02}" for folder in range(40) for number in range(20)], 10)
    together = threading.Barrier(LISTINGS_AT_ONCE // 2, timeout=30)
    first = threading.Semaphore(LISTINGS_AT_ONCE // 2)

    def pages(prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        if not one_level and after and first.acquire(blocking=False):
            together.wait()  # for others that ask, or this fails
        return bucket.pages(prefix, after, before, one_level=one_level)

    assert len(listed(pages, Tree(TOP))) == 800
    assert not together.broken


def test_many_small_folders_take_few_requests() -> None:
    bucket = Bucket([f"{folder:04}/x" for folder in range(1000)], 100)
    assert len(listed(bucket.pages, Tree(TOP))) == 1000
    assert bucket.requests < 100  # ten pages of folders, ten of files, and where these are cut


def test_an_unsorted_store_is_listed_from_its_beginning_to_its_end() -> None:
    top = "s3://b--usw2-az1--x-s3/"
    paths = [f"{top}{name}" for name in ("b/1", "a/2", "c/3", "a/1", "b/2")]

    def pages(prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        assert (prefix, after, before, one_level) == (top, "", "", False)
        for path in paths:
            yield Page([StoredFile(path, 1, "1")], [], path == paths[-1])

    tree = Tree(top)
    assert split(pages, tree, 10) == [whole_tree(tree)]
    assert sorted(file.path for _, files in walk(pages, [(tree, whole_tree(tree))]) for file in files) == sorted(paths)


def test_what_goes_wrong_in_a_thread_is_raised_and_ends_the_others() -> None:
    bucket = Bucket([f"{folder:02}/{number:02}" for folder in range(40) for number in range(20)], 10)

    def pages(prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        if after >= f"{TOP}20/":
            raise AccessError("out of reach")
        return bucket.pages(prefix, after, before, one_level=one_level)

    before = threading.active_count()
    with pytest.raises(AccessError, match="out of reach"):
        listed(pages, Tree(TOP))
    assert threading.active_count() <= before
    some = walk(bucket.pages, [(Tree(TOP), whole_tree(Tree(TOP)))])
    next(some)
    some.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before
