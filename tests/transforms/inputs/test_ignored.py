"""Counting what is ignored."""

from __future__ import annotations

from faceveil.transforms.inputs.ignored import OTHER, IgnoredFile, IgnoredFiles


def told(files: list[IgnoredFile]) -> IgnoredFiles:
    ignored = IgnoredFiles()
    for file in files:
        ignored.add(file)
    return ignored


def test_the_order_does_not_matter_and_every_file_counts() -> None:
    files = [IgnoredFile(f"{number}.{number % 70}", f".{number % 70}", f"reason {number % 3}") for number in range(500)]
    in_order = told(files)
    assert told(files[::-1]).told() == in_order.told()
    assert told(files[::-1]).in_words() == in_order.in_words()
    endings = in_order.told()
    assert sum(ending["files"] for ending in endings.values()) == in_order.files == 500
    assert all(sum(ending["reasons"].values()) == ending["files"] for ending in endings.values())
    assert len(endings) == 51
    assert endings[OTHER]["files"] == 20 * 7


def test_it_does_not_grow_with_the_files() -> None:
    ignored = told([IgnoredFile(f"x.{number}", f".{number}", "reason") for number in range(5000)])
    assert len(ignored._endings) == 1001
    assert ignored.told()[OTHER]["files"] == 5000 - 50
    assert ignored.in_words().count("reason") == 10


def test_which_endings_are_told_does_not_depend_on_the_order_of_very_many() -> None:
    files = [IgnoredFile(f"x.{number}", f".{number}", "reason") for number in range(3000)]
    files += [IgnoredFile("x", ending, "reason") for ending in (".json", OTHER, ".txt", ".json")]
    in_order = told(files).told()
    assert in_order == told(files[::-1]).told() == told(files[1500:] + files[:1500]).told()
    assert in_order[".json"]["files"] == 2
    assert sum(ending["files"] for ending in in_order.values()) == 3004


def test_an_example_of_each_reason_is_told_in_one_line() -> None:
    words = told([IgnoredFile("a\nb", "no ending", "empty"), IgnoredFile("c", "no ending", "hidden")]).in_words()
    assert words == r"1 no ending (empty; such as a\nb), 1 no ending (hidden; such as c)"
