import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.listing import Portion
from faceveil.transforms.inputs.match import Input, InputFile, Inputs, list_inputs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        *("a.jpg", "B.JPG", "notes.txt", "odd[1].png", "sub/c.Jpeg", "sub/deep/d.webp"),
        *("x.tfrecord", "sub/y.TFRecord.gz", "train-00000-of-00002", "sub/photos.tfrecord-00000-of-00001"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


def keys(*patterns: str) -> list[str]:
    inputs = [Input("data", pattern) for pattern in patterns]
    return sorted(file.key for n in range(len(inputs)) for file in list_inputs(inputs, n) if file)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["B.JPG", "a.jpg"]),
        ("**/*.jp*g", ["B.JPG", "a.jpg", "sub/c.Jpeg"]),
        ("**/deep/*", ["sub/deep/d.webp"]),
        ("sub/**", ["c.Jpeg", "deep/d.webp", "photos.tfrecord-00000-of-00001", "y.TFRecord.gz"]),
        ("sub/", ["c.Jpeg", "deep/d.webp", "photos.tfrecord-00000-of-00001", "y.TFRecord.gz"]),
        ("sub", ["c.Jpeg", "deep/d.webp", "photos.tfrecord-00000-of-00001", "y.TFRecord.gz"]),
        ("[ab].jpg", ["B.JPG", "a.jpg"]),
        ("[!a].jpg", ["B.JPG"]),
        ("?.jpg", ["B.JPG", "a.jpg"]),
        (r"odd\[1\].*", ["odd[1].png"]),
        ("odd[[]1].*", ["odd[1].png"]),
        ("odd[1].png", ["odd[1].png"]),
        ("*.tfrecord", ["x.tfrecord"]),
        ("train-*", ["train-00000-of-00002"]),
        ("sub/c.Jpeg", ["c.Jpeg"]),
    ],
)
def test_globs(tree: Path, pattern: str, expected: list[str]) -> None:
    assert keys(f"{tree}/{pattern}") == expected


def test_globs_of_relative_paths(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert keys("*.jpg") == ["B.JPG", "a.jpg"]
    assert keys("./sub/*.jpeg") == ["c.Jpeg"]
    assert keys("sub/deep") == ["d.webp"]


def test_named_splits_are_part_of_the_key(tree: Path) -> None:
    [file, _] = sorted(list_inputs([Input("train", f"{tree}/*.jpg", named=True)], 0), key=lambda f: f.key)
    assert (file.split, file.key) == ("train", "train/B.JPG")


def test_a_file_belongs_to_the_first_glob_that_matches(tree: Path) -> None:
    assert keys(f"{tree}/a.jpg", f"{tree}/*.jpg", f"{tree}/**/*.jpeg") == ["B.JPG", "a.jpg", "sub/c.Jpeg"]


def test_what_is_left_out_of_one_input_may_be_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    inputs = [Input("all", f"{tmp_path}/**", exclude=("a",)), Input("some", f"{tmp_path}/a", exclude=("a",))]
    assert [(file.split, file.key) for file in list_inputs(inputs)] == [("all", "c.jpg"), ("some", "b.jpg")]


names = st.lists(st.sampled_from(["a", "b", "A.jpg", "b.jpg"]), min_size=1, max_size=3).map("/".join)
patterns = st.lists(
    st.sampled_from(["a", "b", "*", "**", "?", "[ab]*", "A.jpg", "b.jpg", "*.JPG"]), min_size=1, max_size=3
)


@settings(deadline=None)  # it makes folders and threads
@given(st.sets(names, min_size=1, max_size=8), patterns, st.sampled_from([(), ("a",)]))
def test_any_overlapping_inputs_give_each_file_to_the_first_that_matches_it(
    wanted: set[str], given_patterns: list[str], exclude: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(wanted, key=len):
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
                Path(f"{folder}/{name}").write_bytes(b"\xff\xd8\xff")
        inputs = [Input(f"s{n}", f"{folder}/{each}", exclude=exclude) for n, each in enumerate(given_patterns)]
        # One glob after the other, on its own; what is there already is no more given to the next.
        alone: list[tuple[str, str]] = []
        seen: set[str] = set()
        for each in inputs:
            try:
                found = {file.path for file in list_inputs([each])}
            except AccessError:  # it names a file that is not there
                return
            alone += [(each.split, path) for path in found - seen]
            seen |= found
        assert sorted((file.split, file.path) for file in list_inputs(inputs)) == sorted(alone)
        for number, each in enumerate(inputs):
            of_one = [(file.split, file.path) for file in list_inputs(inputs, number)]
            assert sorted(of_one) == sorted(pair for pair in alone if pair[0] == each.split)
        lines = Path(folder + ".list")
        try:
            lines.write_text("".join(f"{each.pattern}\n" for each in inputs))
            listed = [Input("data", str(lines), is_list=True, exclude=exclude)] if inputs else []
            in_list = Counter(file.path for file in list_inputs(listed))
            assert set(in_list.values()) <= {1}
            if not exclude:  # of a list, it counts from where all lines begin
                assert set(in_list) == seen
            portions = list(Inputs(listed).spread())
            assert Counter(file.path for p in portions for _, file in _read(Inputs(listed), p)) == in_list
        finally:
            lines.unlink()


def _read(some: Inputs, portion: Portion) -> list[tuple[int, InputFile]]:
    return [(number, file) for number, file in some.files([portion]) if isinstance(file, InputFile)]


def test_a_name_that_is_not_utf8_gets_a_key_that_is(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.jpg", os.O_CREAT | os.O_WRONLY))
    [file] = list_inputs([Input("data", str(tmp_path))], 0)
    assert file
    assert file.key == "\\xff.jpg"
    assert Path(file.path).exists()


@pytest.mark.parametrize(
    ("named", "hints"),
    [
        (Input("data", "photos/*.jpg"), []),
        (Input("data", "photos/é*.jpg"), ["letters with accents"]),
        (Input("data", "photos/[a]*.jpg"), ["[[] for a bracket"]),
        (Input("data", "[list]", is_list=True), []),
        (Input("train", "photos/*.jpg", named=True), ["./train="]),
        (Input("train", "./photos/*.jpg", named=True), []),
    ],
)
def test_what_may_be_meant_where_nothing_is_there(named: Input, hints: list[str]) -> None:
    assert named.hint.count("; ") == len(hints)
    assert all(hint in named.hint for hint in hints)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Input("data", "photos/**"), "--input photos/**"),
        (Input("train", "photos/**", named=True), "--input train=photos/**"),
        (Input("val", "list", named=True, is_list=True), "--input val=@list"),
    ],
)
def test_an_input_is_named_as_it_was_given(given: Input, told: str) -> None:
    assert given.given == told
