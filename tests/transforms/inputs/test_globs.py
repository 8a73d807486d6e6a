import re

from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.inputs.globs import (
    escape_glob,
    fixed_prefix,
    folded,
    translate_folders,
    translate_glob,
    translate_wide_folders,
)

names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(names, min_size=1, max_size=4))
def test_any_path_matches_itself_escaped(parts: list[str]) -> None:
    path = "/".join(parts)
    escaped = re.sub(r"([*?\[\\])", r"\\\1", path)
    assert translate_glob(escaped).fullmatch(path)
    assert translate_glob("**").fullmatch(path)
    assert path.startswith(re.sub(r"\\(.)", r"\1", fixed_prefix(escaped)))


@given(st.text(st.sampled_from("ab/*?[]!^-\\."), max_size=12))
def test_every_glob_compiles(pattern: str) -> None:
    translate_glob(pattern)


@given(st.text(st.sampled_from("ab/*?[]!^-\\."), max_size=12), st.text(st.sampled_from("ab/-."), max_size=8))
def test_every_folder_of_a_match_may_hold_matches(pattern: str, below: str) -> None:
    prefix = fixed_prefix(pattern)
    path = prefix + below
    if translate_glob(pattern).fullmatch(path):
        for place, letter in enumerate(below):
            if letter == "/":
                assert translate_folders(pattern).fullmatch(prefix + below[:place])


def test_folders_that_hold_no_match_are_told() -> None:
    folders = translate_folders("a/*.jpg")
    assert not folders.fullmatch("a/b")
    folders = translate_folders("a/[bc]/x*/*.jpg")
    assert [path for path in ("a/b", "a/d", "a/b/xy", "a/b/y", "a/B/X") if folders.fullmatch(path)] == [
        *("a/b", "a/b/xy", "a/B/X")
    ]


@given(st.lists(names, min_size=1, max_size=3))
def test_an_escaped_path_is_matched_by_itself_alone(parts: list[str]) -> None:
    path = "/".join(parts)
    assert translate_glob(escape_glob(path)).fullmatch(path)
    assert not translate_glob(escape_glob(path)).fullmatch(path + "x")


def test_letters_that_expressions_take_for_ascii_are_folded_to_the_same() -> None:
    letters = re.compile("[a-z]", re.IGNORECASE)
    for letter in map(chr, range(0x110000)):
        if letters.fullmatch(letter):
            assert re.fullmatch(folded(letter), letter, re.IGNORECASE)
            assert folded(letter).isascii()
        assert len(folded(letter)) == 1


@given(st.text("ab*?/[]"), st.text("ab/", max_size=6))
def test_below_wide_folders_any_folder_may_hold_matches(glob: str, folder: str) -> None:
    folders, wide = translate_folders(glob), translate_wide_folders(glob)
    if wide.fullmatch(folder + "/"):
        assert folders.fullmatch(folder + "/x")
        assert folders.fullmatch(folder + "/x/y")
