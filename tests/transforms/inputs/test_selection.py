"""What is selected, taken and left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faceveil.transforms.inputs.globs import escape_glob
from faceveil.transforms.inputs.selection import Exclusion, Selection, Taken, real_prefix, select

CASES = [
    ("*.png", "a.png b/c.PNG", "a.jpg png"),
    ("thumbs", "thumbs/a.jpg a/thumbs/b/c.jpg thumbs", "thumbs2/a.jpg a/thumbs.jpg"),
    ("thumbs/", "thumbs/a.jpg a/thumbs/b.jpg", "a.jpg"),
    ("a/thumbs", "a/thumbs/b.jpg", "thumbs/b.jpg b/a/thumbs/c.jpg"),
    ("a/**", "a a/b.jpg a/b/c.jpg", "b/a/c.jpg ab.jpg"),
    ("a/*.jpg", "a/b.jpg", "a/b.png a/b/c.jpg a"),
    ("**/private/*", "private/a a/private/b/c.jpg", "private a/private"),
    ("./a", "a/b/c.jpg", "b/a/c.jpg"),
    ("./a/b", "a/b/c.jpg", "b/c.jpg"),
    ("photos/a", "a/b.jpg", "b/a/b.jpg"),
    ("[ab]?.jpg", "a1.jpg c/b2.jpg", "a.jpg"),
]


@pytest.mark.parametrize(("glob", "left_out", "kept"), CASES)
def test_what_is_left_out(glob: str, left_out: str, kept: str) -> None:
    exclusion = Exclusion([glob])
    assert [path for path in left_out.split() if not exclusion.leaves_out("photos/", path)] == []
    assert [path for path in kept.split() if exclusion.leaves_out("photos/", path)] == []
    assert exclusion.count == len(left_out.split())
    assert exclusion.used == {glob}


def test_paths_from_the_root_and_of_buckets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for prefix in ("photos/", "./photos/", f"{tmp_path}/photos/", "../" + tmp_path.name + "/photos/"):
        assert Exclusion([f"{tmp_path}/photos/a"]).leaves_out(prefix, "a/b.jpg")
    assert Exclusion(["gs://b/photos/a/**"]).leaves_out("gs://b/photos/", "a/b.jpg")
    assert not Exclusion(["gs://b/photos/a/**"]).leaves_out("gs://c/photos/", "a/b.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Exclusion(["~/photos/a"]).leaves_out("photos/", "a/b.jpg")


def test_what_would_be_left_out_is_not_counted() -> None:
    exclusion = Exclusion(["a"])
    assert exclusion.would_leave_out("", "a/b")
    assert (exclusion.count, exclusion.used) == (0, {"a"})
    assert not Exclusion([]).leaves_out("", "a")


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


@example(["~"])
@example(["~root", "a"])
@given(st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3))
def test_any_path_is_left_out_by_its_own_name_escaped(parts: list[str]) -> None:
    path = "/".join(parts)
    assert Exclusion([escape_glob(path)]).leaves_out("p/", path)
    assert Exclusion([escape_glob(parts[0])]).leaves_out("p/", path)


def test_a_file_is_taken_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "b.jpg").touch()
    (tmp_path / "link").symlink_to("photos")
    for pattern in ("photos/**", "photos", "./photos/a/", f"{tmp_path}/**/*.jpg", "link/a/b.jpg", "photos/a/../a/*"):
        taken = Taken()
        taken.add(select(pattern, pattern))
        for prefix, below in (("photos/a/", "b.jpg"), ("link/", "a/b.jpg"), (f"{tmp_path}/link/../", "photos/a/b.jpg")):
            assert taken.holds(real_prefix(prefix) + below), (pattern, prefix)
        assert not taken.holds(f"{tmp_path}2/photos/a/b.jpg")


globs = st.lists(
    st.sampled_from(["a", "B", "\u0130", "k", "*", "?", "**", "/", "[ab]", ".jpg"]), min_size=1, max_size=6
)


@given(st.lists(globs.map("".join), max_size=8), st.lists(st.text("aBk\u212aiI\u0130./", max_size=8), max_size=8))
def test_what_is_taken_is_what_one_of_the_earlier_selections_matches(patterns: list[str], names: list[str]) -> None:
    selections = [select(f"gs://b/{pattern}", "", one_of_many=True) for pattern in patterns]
    taken = Taken()
    for selection in selections:
        taken.add(selection)
    for path in [f"gs://b/{name}" for name in names]:
        matching = [number for number, each in enumerate(selections) if _holds(each, path)]
        for number in range(len(selections) + 1):
            assert taken.holds(path, number) == (min(matching, default=number) < number), (path, number)
        assert taken.holds(path) == bool(matching)


def _holds(selection: Selection, path: str) -> bool:
    if not selection.expression:
        return path == selection.path
    start = len(selection.prefix)
    return path.startswith(selection.prefix) and selection.expression.fullmatch(path, start) is not None


def test_a_glob_without_an_expression_is_the_file_itself() -> None:
    taken = Taken()
    taken.add(select("gs://b/a.jpg", "", one_of_many=True))
    assert taken.holds("gs://b/a.jpg")
    assert not taken.holds("gs://b/a.jpg", 0)
    assert not taken.holds("gs://b/A.jpg")


def test_a_folder_that_is_left_out_counts_once_however_it_is_met() -> None:
    exclusion = Exclusion(["thumbs", "*.png"])
    for path in ("a/thumbs/", "a/thumbs/1.jpg", "a/thumbs/b/2.jpg", "a/1.png", "a/2.png", "thumbs/a/thumbs/3.jpg"):
        assert exclusion.leaves_out_with_folder("gs://b/", path, 0)
    assert exclusion.count == 4
    assert not exclusion.leaves_out_with_folder("gs://b/", "a/1.jpg", 0)
    assert exclusion.leaves_out_with_folder("gs://b/thumbs/", "thumbs/x/1.jpg", len("thumbs/"))
    assert exclusion.count == 5
