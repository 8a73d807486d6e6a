"""What an ``--input`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceveil.pipeline.input_paths import named_input, parse_input
from faceveil.transforms.inputs.match import Input


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos/**", Input("data", "photos/**")),
        ("train=photos/**", Input("train", "photos/**", True)),
        ("train=./photos/a=1/**", Input("train", "./photos/a=1/**", True)),
        ("train=/a=b/**", Input("train", "/a=b/**", True)),
        ("train=gs://b/date=1/**", Input("train", "gs://b/date=1/**", True)),
        ("./train=1/**", Input("data", "./train=1/**")),
        ("gs://b/date=1/**", Input("data", "gs://b/date=1/**")),
        ("a/b=c/**", Input("data", "a/b=c/**")),
        ("=a", Input("data", "=a")),
        ("@list.txt", Input("data", "list.txt", is_list=True)),
        ("val=@gs://b/list", Input("val", "gs://b/list", True, is_list=True)),
        ("./@list.txt", Input("data", "./@list.txt")),
        ("val=", Input("val", "", True)),
    ],
)
def test_splits_paths_and_lists(text: str, expected: Input) -> None:
    assert parse_input(text) == expected


def test_what_is_there_as_a_path_is_one(folder: Path) -> None:
    assert parse_input("date=2024-01-01/**").split == "date"
    (folder / "date=2024-01-01").mkdir()
    for pattern in ("date=2024-01-01/**", "date=2024-*/**", "date=*/a.jpg"):
        assert parse_input(pattern) == Input("data", pattern)
    assert parse_input("date=./2024-01-01/**") == Input("date", "./2024-01-01/**", True)
    assert parse_input("date=2023-*/**").split == "date"
    (folder / "a=b.jpg").touch()
    assert parse_input("a=b.jpg") == Input("data", "a=b.jpg")


def test_a_split_that_is_named_as_such_is_one(folder: Path) -> None:
    (folder / "date=2024").mkdir()
    assert parse_input(named_input("date", "2024/**")) == Input("date", "./2024/**", True)
    assert named_input("date", "2025/**") == "date=2025/**"


def test_home_and_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_input("~/photos/**").pattern == "/home/somebody/photos/**"
    assert parse_input("train=~/photos/**") == Input("train", "/home/somebody/photos/**", True)
    assert parse_input("@~/list").pattern == "/home/somebody/list"
    assert parse_input("val=file:///a%20b/%5B1%5D/*") == Input("val", "/a b/[[]1]/*", True)
    assert parse_input("a", exclude=["b"]).exclude == ("b",)
