"""Tars of samples, read back: what was written comes, and all that is there beside it, or instead of it, is told."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from faceveil.transforms.formats.container import CorruptRecordError
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.sample_tars import end_of_tar, read_samples, write_member
from faceveil.transforms.formats.samples import numbered_name, sample_of
from faceveil.transforms.quarantine import Quarantine
from tests.transforms.formats.test_samples import members

NAMES = ("a/b", None, "x" * 300, "caf\u00e9", None)


def samples() -> list[bytes]:
    made = []
    for number, name in enumerate(NAMES):
        features = {"image/encoded": b"P5%d" % number * 300, "t": [number]}
        made.append(sample_of(Example.parse(Example.empty().with_features(features)), ("image/encoded",), {}, name))
    return made


def written(more: bytes = b"") -> bytes:
    tar = b""
    for number, sample in enumerate(samples()):
        parts = members(sample)
        name = parts.pop("__key__", numbered_name(0, number).encode()).decode()
        tar += b"".join(write_member(f"{name}.{member}", content) for member, content in parts.items())
    tar += more
    return tar + end_of_tar(len(tar))


def read(tar: bytes, max_bytes: int = 10_000, chosen: set[int] | None = None) -> tuple[dict[int, object], list[str]]:
    notes: list[str] = []
    return dict(read_samples(io.BytesIO(tar), max_bytes, notes.append, chosen)), notes


def test_samples_come_back_from_their_tar() -> None:
    assert len(written()) % tarfile.RECORDSIZE == 0
    assert read(written()) == (dict(enumerate(samples())), [])
    assert read(written(), chosen={1, 3}) == ({1: samples()[1], 3: samples()[3]}, [])
    assert read(end_of_tar(0)) == ({}, [])
    few, notes = read(written(), max_bytes=100)
    assert all(isinstance(found, Quarantine) and found.reason == "too_large" for found in few.values())
    assert (len(few), notes) == (5, [])


def test_a_stream_that_cannot_seek_gives_the_same() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert dict(read_samples(Stream(written()), 10_000, print, {4})) == {4: samples()[4]}


@pytest.mark.parametrize("end", [*range(0, 512, 73), *range(512, 6000, 211)])
def test_one_that_is_cut_off_is_told_and_gives_no_sample_that_may_lack_something(end: int) -> None:
    found: list[object] = []
    with pytest.raises(CorruptRecordError):
        found.extend(data for _, data in read_samples(io.BytesIO(written()[:end]), 10_000, print))
    assert found == samples()[: len(found)]


def header(name: str, size: int = 0, tar_format: Any = tarfile.GNU_FORMAT, **more: int | str | bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    for attribute, value in more.items():
        setattr(info, attribute, value)
    return info.tobuf(tar_format)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (header("n.jpg", mtime=1_700_000_000), "says more than a name and a size"),
        (header("n.jpg", uname="anna"), "says more than a name and a size"),
        (header("n.jpg", tar_format=tarfile.PAX_FORMAT, uname="caf\u00e9"), "says more than a name and a size"),
        (header("n.jpg", 3) + b"abc" + b"hidden".ljust(509, b"\0"), "or what is before it, says more"),
        (header("folder", type=tarfile.DIRTYPE), "belongs to no sample"),
        (header("n.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "belongs to no sample"),
        (write_member("README", b"x"), "belongs to no sample"),
        (write_member(".hidden", b"x"), "belongs to no sample"),
        (write_member("n.jpg", b"x") * 2, "has the name of another one"),
    ],
    ids=map(str, range(9)),
)
def test_what_is_no_samples_is_told(more: bytes, said: str) -> None:
    found, notes = read(written(more + write_member("z.jpg", b"")))
    assert [found[number] for number in range(5)] == samples()
    assert any(said in note for note in notes)


def test_what_lies_behind_the_end_is_told_and_no_sample_is_lost() -> None:
    found, notes = read(written() + bytes(512) + b"hidden")
    assert found == dict(enumerate(samples()))
    assert ["something follows" in note for note in notes] == [True]
    assert read(written() + bytes(5120)) == (found, [])


def test_damage_is_told() -> None:
    tar = bytearray(written())
    tar[tar.index(b"caf")] ^= 1
    with pytest.raises(CorruptRecordError, match="the header at byte"):
        read(bytes(tar))
