"""Listing folders that are not as they should be, and files that change."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.local import (
    UNKNOWN_VERSION,
    Scope,
    check_unchanged_local,
    identity_of,
    list_local,
    open_local,
    read_local,
    stat_local,
)
from tests.conftest import as_nobody


def listed(folder: Path, scope: Scope | None = None) -> list[str]:
    found = list_local(str(folder), scope or Scope())
    return [file.path.removeprefix(f"{folder}/") for file in found]


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    return folder


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o444, "may be listed but not entered"), (0o111, "cannot be listed"), (0o000, "cannot be listed")],
)
def test_a_folder_that_may_not_be_listed_or_entered_is_an_error_that_names_it(
    public_folder: Path, mode: int, said: str
) -> None:
    private = made(public_folder, "a.jpg", "private/b.jpg") / "private"
    private.chmod(mode)
    message = f"{re.escape(str(private))}: {said}: Permission denied; give access to it, or leave it out with --exclude"
    try:
        with as_nobody(), pytest.raises(AccessError, match=message):
            listed(public_folder)
    finally:
        private.chmod(0o755)


def test_a_folder_that_does_not_matter_may_be_out_of_reach(public_folder: Path) -> None:
    private = made(public_folder, "a.jpg", "private/b.jpg") / "private"
    private.chmod(0)
    (public_folder / "link").symlink_to(private / "b.jpg")
    try:
        with as_nobody():
            assert listed(public_folder, Scope(lambda path, _: path == str(public_folder), lambda _: False)) == [
                "a.jpg"
            ]
            with pytest.raises(AccessError, match="link: cannot be reached: Permission denied"):
                listed(public_folder, Scope(lambda path, _: path == str(public_folder), lambda _: True))
    finally:
        private.chmod(0o755)


def test_a_folder_is_known_by_its_identity_whatever_leads_there(tmp_path: Path) -> None:
    made(tmp_path, "there/a.jpg")
    (tmp_path / "link").symlink_to("there")
    seen = []

    def enters(path: str, identity: tuple[int, int]) -> bool:
        seen.append((path.removeprefix(str(tmp_path)), identity))
        return True

    assert listed(tmp_path, Scope(enters)) == ["link/a.jpg", "there/a.jpg"]
    there = identity_of(str(tmp_path / "there"))
    assert seen == [("", identity_of(str(tmp_path))), ("/link", there), ("/there", there)]


def test_what_vanishes_while_it_is_listed_is_left_out(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "b.jpg")
    files = list_local(str(tmp_path), Scope())
    assert next(files).path.endswith("a.jpg")
    (tmp_path / "b.jpg").unlink()
    assert list(files) == []


def test_a_path_that_is_too_long_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        with pytest.raises(AccessError, match=r"d/d+: cannot be reached: File name too long"):
            listed(tmp_path)
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / ("d" * 250))], check=True)  # pytest would fail to


def replaced(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"another content")
    path.with_suffix(".new").replace(path)


def rewritten(path: Path) -> None:
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 4_000_000))


def grown_at_the_same_time(path: Path) -> None:
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, rewritten, grown_at_the_same_time])
def test_a_file_that_was_changed_is_not_read(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = made(tmp_path, "a.jpg") / "a.jpg"
    [file] = list_local(str(tmp_path), Scope())
    assert file == stat_local(str(path))
    assert read_local(file.path, -1, file.version, file.size) == b"content"
    opened = open_local(file.path, file.version, file.size)
    change(path)
    with opened, pytest.raises(AccessError, match=r"a\.jpg: was changed while the job ran"):
        check_unchanged_local(file.path, file.version, file.size)  # as after it was read
    for read in (open_local, lambda *given: read_local(given[0], -1, *given[1:])):
        with pytest.raises(AccessError, match=r"a\.jpg: was changed while the job ran"):
            read(file.path, file.version, file.size)
    assert read_local(file.path, 3)  # whatever is there


def test_a_file_that_is_gone_after_it_was_read_was_read(tmp_path: Path) -> None:
    path = made(tmp_path, "a.jpg") / "a.jpg"
    [file] = list_local(str(tmp_path), Scope())
    path.unlink()
    check_unchanged_local(file.path, file.version, file.size)
    with pytest.raises(FileNotFoundError):
        read_local(file.path, -1, file.version, file.size)


def test_what_has_no_time_is_not_compared(tmp_path: Path) -> None:
    path = made(tmp_path, "a.jpg") / "a.jpg"
    assert read_local(str(path), -1, UNKNOWN_VERSION, 7) == b"content"
