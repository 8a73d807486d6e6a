import os
from pathlib import Path

import pytest

from faceveil.transforms.inputs.match import Input, list_inputs


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


def test_a_name_that_is_not_utf8_gets_a_key_that_is(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.jpg", os.O_CREAT | os.O_WRONLY))
    [file] = list_inputs([Input("data", str(tmp_path))], 0)
    assert file
    assert file.key == "\\xff.jpg"
    assert Path(file.path).exists()


@pytest.mark.parametrize(
    ("given", "hints"),
    [
        (Input("data", "photos/*.jpg"), []),
        (Input("data", "photos/é*.jpg"), ["letters with accents"]),
        (Input("data", "photos/[a]*.jpg"), ["[[] for a bracket"]),
        (Input("data", "[list]", is_list=True), []),
        (Input("train", "photos/*.jpg", named=True), ["./train="]),
        (Input("train", "./photos/*.jpg", named=True), []),
    ],
)
def test_what_may_be_meant_where_nothing_is_there(given: Input, hints: list[str]) -> None:
    assert given.hint.count("; ") == len(hints)
    assert all(hint in given.hint for hint in hints)
