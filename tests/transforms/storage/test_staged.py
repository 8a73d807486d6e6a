"""Files that appear whole, one by one, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.staged import delete_below, staged_files
from tests.object_stores import Server

FILES = {"a.jpg": b"a", "deep/er/b.jpg": b"bb", "deep/c": b"", "x" * 255: b"long", "caf\u00e9/\u00e9.jpg": bytes(10**6)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_has_a_name_before_all_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with staged_files(str(folder)) as files:
        for name, data in FILES.items():
            files.add(name, data)
        assert not content(folder).keys() & FILES.keys()
        assert sorted(storage.partial_files(str(folder))) == sorted(map(str, folder.iterdir()))
    assert content(folder) == FILES


def test_files_that_are_there_are_replaced_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"old")
    (tmp_path / "b.jpg").write_bytes(b"other")
    with staged_files(str(tmp_path)) as files:
        files.add("a.jpg", b"new")
    assert content(tmp_path) == {"a.jpg": b"new", "b.jpg": b"other"}


def stage(folder: Path, *names: str, fail: bool = False) -> None:
    with staged_files(str(folder)) as files:
        for name in names:
            files.add(name, name.encode())
        if fail:
            raise ZeroDivisionError


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        stage(tmp_path, "a.jpg", fail=True)
    assert content(tmp_path) == {}


def test_none_make_no_folder(tmp_path: Path) -> None:
    with staged_files(str(tmp_path / "out")):
        pass
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_is_needed_is_told_and_the_rest_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "deep").write_bytes(b"in the way")
    with pytest.raises(AccessError, match=f"{tmp_path}: cannot be written: .*deep"):
        stage(tmp_path, "deep/a.jpg", "later.jpg")
    assert content(tmp_path) == {"deep": b"in the way"}


def test_two_that_write_the_same_do_not_mix(tmp_path: Path) -> None:
    with staged_files(str(tmp_path)) as one, staged_files(str(tmp_path)) as other:
        one.add("a.jpg", b"one")
        other.add("a.jpg", b"other")
    assert content(tmp_path) == {"a.jpg": b"one"}


def test_in_a_bucket_too(object_store: Server, connect: object) -> None:
    assert callable(connect)
    connect(share=0.1)
    with staged_files(f"{object_store.scheme}://outputs/staged/") as files:
        for name, data in FILES.items():
            files.add(name, data)
        assert not [name for name in object_store.sizes("outputs") if name.startswith("staged")]
    names = {f"staged/{name}" for name in FILES}
    assert names <= set(object_store.sizes("outputs"))
    assert all(object_store.get("outputs", f"staged/{name}") == data for name, data in FILES.items())
    delete_below(f"{object_store.scheme}://outputs/staged", [*FILES, "none.jpg"])
    assert not names & set(object_store.sizes("outputs"))


def test_folders_that_are_empty_go_with_their_files(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    delete_below(str(tmp_path), ["deep/er/b.jpg", "caf\u00e9/\u00e9.jpg", "gone/too/x.jpg"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "deep", "x" * 255]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["c"]
    delete_below(str(tmp_path), list(FILES))
    assert list(tmp_path.iterdir()) == []
