import os
import subprocess
from pathlib import Path

import pytest

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "shard"
    with storage.atomic_write(str(path)) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    with pytest.raises(KeyError), storage.atomic_write(str(path)) as file:  # noqa: PT012
        file.write(b"half of it")
        raise KeyError
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["shard"]


def test_two_who_write_a_file_at_once_do_not_meet(tmp_path: Path) -> None:
    path = str(tmp_path / "shard")
    with storage.atomic_write(path) as taken_for_dead:
        taken_for_dead.write(b"the same")
        with storage.atomic_write(path) as retry:
            retry.write(b"the ")
            assert len(storage.partial_files(str(tmp_path))) == 2
            retry.write(b"same")
        assert Path(path).read_bytes() == b"the same"
    assert Path(path).read_bytes() == b"the same"
    assert os.listdir(tmp_path) == ["shard"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AccessError, match="file/below/shard: cannot be written"):
        storage.write_bytes(str(tmp_path / "file" / "below" / "shard"), b"")


def test_lists_every_file_below_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "a b/ü"):
        storage.write_bytes(str(tmp_path / name), b"12")
    found = list(storage.list_files(f"{tmp_path}/"))
    assert [file.path.removeprefix(f"{tmp_path}/") for file in found] == ["a/b/c", "a/z", "a b/ü", "b"]
    assert {file.size for file in found} == {2}


def test_a_loop_of_links_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "loop").symlink_to(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"1")
    (tmp_path / "link.jpg").symlink_to("photo.jpg")
    assert [(file.path.removeprefix(f"{tmp_path}/"), file.size) for file in storage.list_files(str(tmp_path))] == [
        ("folder/loop", 0),
        ("link.jpg", 1),
        ("photo.jpg", 1),
    ]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "elsewhere" / "a.jpg"), b"1")
    (tmp_path / "photos").mkdir()
    for name in ("one", "two"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere")
    found = [file.path.removeprefix(f"{tmp_path}/") for file in storage.list_files(str(tmp_path / "photos"))]
    assert found == ["photos/one/a.jpg", "photos/two/a.jpg"]


def test_what_is_no_file_is_listed_without_a_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("gone")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    found = [(Path(file.path).name, file.size) for file in storage.list_files(str(tmp_path))]
    assert found == [("broken.jpg", 0), ("circle.jpg", 0), ("pipe.jpg", 0), ("zero.jpg", 0)]


def test_folders_may_be_nested_more_deeply_than_calls(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        [file] = storage.list_files(str(tmp_path))
        assert file.path == f"{tmp_path}/{'d/' * 1200}a.jpg"
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # pytest would fail to: it calls itself


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="nowhere: cannot be listed"):
        list(storage.list_files(str(tmp_path / "nowhere")))


def test_deleting_what_is_gone_is_fine(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    storage.delete([str(tmp_path / "here"), str(tmp_path / "gone")])
    assert not list(tmp_path.iterdir())


def test_folders_are_copied_whole(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "model" / "variables" / "v"), b"weights")
    storage.write_bytes(str(tmp_path / "model" / "saved_model.pb"), b"graph")
    storage.copy_folder(str(tmp_path / "model"), str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "variables" / "v").read_bytes() == b"weights"
    assert (tmp_path / "copy" / "saved_model.pb").read_bytes() == b"graph"
