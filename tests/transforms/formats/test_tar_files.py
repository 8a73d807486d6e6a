"""Samples of WebDataset's tars as Examples: tars by `tarfile`, by GNU tar where it is there, and crafted ones."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.formats.container import NumberedRecord
from faceveil.transforms.formats.containers import look
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.tar_files import TAR_FILES
from faceveil.transforms.inputs.match import InputFile, add_digests
from faceveil.transforms.inputs.plan import ShardPlan, plan_parts
from faceveil.transforms.shard.read import read_sources
from faceveil.transforms.storage.base import StoredFile
from tests.conftest import missing
from tests.transforms.formats.test_parquet_files import features, refusals, stored

MAX_BYTES = 10**6
ROLES = FeatureRoles()


def packed(*members: tuple[str, bytes] | tarfile.TarInfo, layout: int = tarfile.PAX_FORMAT, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout, **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def write(folder: Path, data: bytes, name: str = "x.tar") -> StoredFile:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(data)
    return stored(folder / name)


def read(file: StoredFile, roles: FeatureRoles = ROLES, max_bytes: int = MAX_BYTES) -> list[NumberedRecord]:
    return list(TAR_FILES.read(file, None, max_bytes, roles))


def samples(found: list[NumberedRecord]) -> list[dict[str, bytes]]:
    return [{name: values[0] for name, (_, values) in features(record).items()} for _, record in found]


def of_kind(name: str, kind: bytes, **attributes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_samples_are_what_lies_together_up_to_the_first_dot(
    tmp_path: Path, layout: int, compress: Callable[[bytes], bytes]
) -> None:
    deep = "/".join(["folder"] * 15)
    data = packed(
        *(("a/000.jpg", b"1"), ("a/000.CLS", b"7"), ("a/000.seg.txt", b"text")),
        *(("a/001.png", b"2"), (f"{deep}/002.webp", b"3"), (f"{deep}/002.json", b"{}")),
        *(("a.b/000.jpg", b"4"), ("a/000.jpg", b"5")),
        layout=layout,
    )
    file = write(tmp_path, compress(data))
    assert look(file) == ("tar", "")
    assert samples(read(file)) == [
        {"__key__": b"a/000", "image/encoded": b"1", "cls": b"7", "seg.txt": b"text"},
        {"__key__": b"a/001", "image/encoded": b"2"},
        {"__key__": f"{deep}/002".encode(), "image/encoded": b"3", "json": b"{}"},
        {"__key__": b"a.b/000", "image/encoded": b"4"},
        {"__key__": b"a/000", "image/encoded": b"5"},
    ]
    assert (TAR_FILES.max_parts(file) > 1) == (compress is bytes)


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_names_that_are_no_ascii(tmp_path: Path, layout: int) -> None:
    long = "é" * 200
    data = packed((f"{long}/ünï.jpg", b"1"), (f"{long}/ünï.cls", b"2"), layout=layout)
    [sample] = samples(read(write(tmp_path, data)))
    assert sample == {"__key__": f"{long}/ünï".encode(), "image/encoded": b"1", "cls": b"2"}


@pytest.mark.parametrize("layout", ["gnu", "pax", "ustar", "v7"])
def test_tars_of_gnu_tar(tmp_path: Path, layout: str) -> None:
    command = shutil.which("tar") or missing("needs tar")
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / f"{number}.jpg").write_bytes(bytes([number]) * 1000)
        (tmp_path / "data" / f"{number}.txt").write_text(str(number))
    given = (command, f"--format={layout}", "--sort=name", "-cf", tmp_path / "x.tar", "-C", tmp_path, "./data")
    subprocess.run(given, check=True)
    for n, sample in enumerate(samples(read(stored(tmp_path / "x.tar")))):
        assert sample == {"__key__": b"./data/%d" % n, "image/encoded": bytes([n]) * 1000, "txt": b"%d" % n}


def test_several_images_keep_their_names_for_options_to_name(tmp_path: Path) -> None:
    file = write(tmp_path, packed(("0.left.jpg", b"1"), ("0.right.jpg", b"2"), ("1.jpg", b"3")))
    both = {"__key__": b"0", "left.jpg": b"1", "right.jpg": b"2"}
    assert samples(read(file)) == [both, {"__key__": b"1", "image/encoded": b"3"}]
    assert samples(read(file, FeatureRoles(("left.jpg",))))[0] == both
    for roles in (FeatureRoles(allowed=("right.jpg",)), FeatureRoles(("image/encoded", "right.jpg"))):
        assert samples(read(file, roles))[0] == {"__key__": b"0", "image/encoded": b"1", "right.jpg": b"2"}
    # What is left out is there, so that its name is known, but was not read.
    dropped = FeatureRoles(dropped=("right.jpg",))
    assert samples(read(file, dropped))[0] == {"__key__": b"0", "image/encoded": b"1", "right.jpg": b""}
    assert samples(read(file, FeatureRoles(strict=True)))[1] == {"__key__": b"1", "image/encoded": b"3"}
    assert samples(read(file, FeatureRoles(("jpg",))))[1] == {"__key__": b"1", "jpg": b"3"}


def test_with_hidden_names_there_is_no_key(tmp_path: Path) -> None:
    file = write(tmp_path, packed(("anna.jpg", b"1"), ("anna.txt", b"2")))
    assert samples(read(file, FeatureRoles(hides_names=True))) == [{"image/encoded": b"1", "txt": b"2"}]


def test_folders_and_what_systems_leave_behind_are_no_samples(tmp_path: Path) -> None:
    folders = [of_kind(name, tarfile.DIRTYPE) for name in ("a", "b")]
    first, second = [("a/0.jpg", b"1"), ("a/._0.jpg", b"x")], [("a/0.txt", b"2"), ("a/.DS_Store", b"x")]
    file = write(tmp_path, packed(folders[0], *first, folders[1], *second))
    assert samples(read(file)) == [{"__key__": b"a/0", "image/encoded": b"1", "txt": b"2"}]


REFUSED: dict[str, tuple[list[tuple[str, bytes] | tarfile.TarInfo], str]] = {
    "a link": ([of_kind("0.txt", tarfile.SYMTYPE, linkname="/etc/passwd")], "is a link, a device"),
    "a hard link": ([of_kind("0.txt", tarfile.LNKTYPE, linkname="0.jpg")], "is a link, a device"),
    "a device": ([of_kind("0.txt", tarfile.CHRTYPE, devmajor=1, devminor=5)], "is a link, a device"),
    "a pipe": ([of_kind("0.txt", tarfile.FIFOTYPE)], "is a link, a device"),
    "an unknown type": ([of_kind("0.txt", b"Z")], "is a link, a device"),
    "sparse of pax": ([of_kind("0.txt", tarfile.REGTYPE, pax_headers={"GNU.sparse.major": "1"})], "sparse"),
    "the same name twice": ([("0.JPG", b"2")], "has the name of another one of its sample"),
    "the key's own name": ([("0.__key__", b"2")], "has the name of another one of its sample"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_sample_that_is_refused_costs_no_other(tmp_path: Path, name: str) -> None:
    members, said = REFUSED[name]
    file = write(tmp_path, packed(("0.jpg", b"1"), *members, ("0.cls", b"3"), ("1.jpg", b"4")))
    found = read(file)
    [(number, reason, detail)] = refusals(found)
    assert (number, reason) == (0, "invalid_example")
    assert detail.startswith("the member at byte 1024 ")
    assert said in detail
    assert samples(found[1:]) == [{"__key__": b"1", "image/encoded": b"4"}]


@pytest.mark.parametrize("odd", ["README", "a/README", ".hidden", "a.b/c", "x."])
def test_a_member_without_an_ending_is_quarantined(tmp_path: Path, odd: str) -> None:
    found = read(write(tmp_path, packed(("0.jpg", b"1"), (odd, b"x"), (odd, b"y"), ("1.jpg", b"2"))))
    assert [number for number, *_ in refusals(found)] == [1, 2]
    assert "belongs to no sample" in refusals(found)[0][2]
    assert samples([found[0], found[3]]) == [
        {"__key__": b"0", "image/encoded": b"1"},
        {"__key__": b"1", "image/encoded": b"2"},
    ]


def test_names_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    before = sorted(tmp_path.rglob("*"))
    names = ["../../evil", "/etc/evil", "a/../../b", "\0x", "C:\\evil"]
    found = read(write(tmp_path / "in", packed(*[(f"{name}.jpg", b"1") for name in names])))
    assert [sample["__key__"] for sample in samples(found[:3])] == [name.encode() for name in names[:3]]
    assert len(found) == len(names)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "x.tar"] == before


def test_samples_over_the_limit_are_skipped(tmp_path: Path) -> None:
    data = packed(
        ("0.jpg", b"1"), ("1.jpg", bytes(5000)), ("1.txt", b"x"), ("2.jpg", b"3"), *[(f"3.{n}", b"") for n in range(9)]
    )
    found = read(write(tmp_path, data), max_bytes=4000)
    assert [(n, reason) for n, reason, _ in refusals(found)] == [(1, "too_large"), (3, "too_large")]
    assert refusals(found)[0][2].startswith("record 1, at byte 1024, has more than 4000 bytes")
    assert samples([found[0], found[2]]) == [
        {"__key__": b"0", "image/encoded": b"1"},
        {"__key__": b"2", "image/encoded": b"3"},
    ]
    # What is left out is not read, and so of any size.
    file = write(tmp_path, packed(("0.jpg", b"1"), ("0.raw", bytes(5000))))
    dropped = FeatureRoles(dropped=("raw",))
    assert samples(read(file, dropped, 4000)) == [{"__key__": b"0", "image/encoded": b"1", "raw": b""}]


def test_long_headers_take_no_longer_than_their_length(tmp_path: Path) -> None:
    """A name of a million slashes, and a header of two hundred thousand records."""
    long = of_kind("/" * 2**20 + "x.jpg", tarfile.REGTYPE)
    many = b"5 a=\n" * 200_000
    head = of_kind("x", tarfile.XHDTYPE, size=len(many)).tobuf()
    data = packed(long, layout=tarfile.GNU_FORMAT)[: -tarfile.RECORDSIZE]
    again = head + many + bytes(-len(many) % 512) + packed(("1.jpg", b"2"))
    assert samples(read(write(tmp_path, again))) == [{"__key__": b"1", "image/encoded": b"2"}]
    [(_, reason, detail)] = refusals(read(write(tmp_path, data)))
    assert reason == "corrupt_record"
    assert "extended header at byte 512 has 104858" in detail


def test_a_tar_of_nothing_has_no_records(tmp_path: Path) -> None:
    file = write(tmp_path, packed())
    assert look(file) == ("tar", "")
    assert read(file) == []


# Dividing a file.


def plan_of(file: StoredFile) -> ShardPlan:
    listed = InputFile("data", "x.tar", file.path, file.size, file.version, "tar")
    return ShardPlan("data", 3, 9, "tar", (listed,), listed.digest)


def read_plans(*plans: ShardPlan) -> list[tuple[str, bytes | None]]:
    return [(r.key, r.serialized) for plan in plans for r in read_sources(plan, ROLES, MAX_BYTES)]


NAMES = st.sampled_from(["0.jpg", "0.txt", "1.jpg", "1.txt", "2.jpg", "README", "d", "._x.jpg", f"{'n' * 120}/3.jpg"])


@settings(deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.integers(0, 1500)), max_size=25),
    st.integers(1, 12),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_division_gives_the_same_keys_and_records(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int]], count: int, layout: int
) -> None:
    members = [
        of_kind(name, tarfile.DIRTYPE) if name == "d" else (name, bytes([place]) * size)
        for place, (name, size) in enumerate(drawn)
    ]
    file = write(tmp_path_factory.getbasetemp(), packed(*members, layout=layout))
    whole = read_plans(plan_of(file))
    plans = list(plan_parts((plan_of(file), count)))
    assert read_plans(*plans) == whole
    assert [key for key, _ in whole] == [f"x.tar#{number}" for number in range(len(whole))]
    assert [plan.part.records for plan in plans if plan.part] == [len(read_plans(plan)) for plan in plans]
    assert sum(plan.nbytes for plan in plans) == file.size
    assert add_digests(plan.inputs_digest for plan in plans) == add_digests([plan_of(file).inputs_digest])


# Damage.

WHOLE = packed(*[(f"{number}.{ending}", bytes([number]) * 700) for number in range(20) for ending in ("jpg", "txt")])


@pytest.mark.parametrize("cut", [1, 512, 1024, 5000, 20_000])
def test_a_file_that_is_cut_off_gives_the_samples_before(tmp_path: Path, cut: int) -> None:
    end = len(WHOLE.rstrip(b"\0")) // 512 * 512 + 512
    file = write(tmp_path, WHOLE[: end - cut + 512])
    found = read(file)
    [(number, reason, detail)] = refusals(found)
    assert (number, reason) == (len(found) - 1, "corrupt_record")
    assert detail.startswith(f"record {number} and what follows: the file ends behind byte")
    assert found[:-1] == read(write(tmp_path, WHOLE))[: len(found) - 1]
    again = read_plans(*plan_parts((plan_of(write(tmp_path, WHOLE[: end - cut + 512])), 5)))
    assert [key for key, _ in again] == [f"x.tar#{number}" for number, _ in found]


def test_what_follows_the_end_of_an_archive_is_told(tmp_path: Path) -> None:
    [*_, last] = read(write(tmp_path, WHOLE + packed(("hidden.jpg", b"1"))))
    [(number, reason, detail)] = refusals([last])
    assert (number, reason) == (19, "corrupt_record")
    assert "the archive ends at byte" in detail


def header(name: str = "0.jpg", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    return of_kind(name, kind, size=size).tobuf(tarfile.GNU_FORMAT)


CRAFTED = {
    "a size of 8 GiB": (header(size=2**33), "ends behind byte"),
    "a size that is negative": (header(size=-5), "the size is -5"),
    "a size of 2**80": (header(size=2**80), "the size is"),
    "a long name of 1 GiB": (header("././@LongLink", 2**30, tarfile.GNUTYPE_LONGNAME), "has 1073741824 bytes"),
    "pax records of 1 GiB": (header("x", 2**30, tarfile.XHDTYPE), "has 1073741824 bytes"),
    "pax records without a length": (header("x", 512, tarfile.XHDTYPE) + b"a" * 512, "is damaged"),
    "a pax record that is too long": (header("x", 512, tarfile.XHDTYPE) + b"999 a=b\n".ljust(512, b"\0"), "is damaged"),
    "a pax size that is no number": (
        header("x", 512, tarfile.XHDTYPE) + b"12 size=-1x\n".ljust(512, b"\0") + header(),
        "the size of the member at byte",
    ),
    "a pax size of 19 digits": (
        header("x", 512, tarfile.XHDTYPE) + b"28 size=9999999999999999999\n".ljust(512, b"\0") + header(),
        "the size of the member at byte",
    ),
    "a name for all members": (
        header("x", 512, tarfile.XGLTYPE) + b"14 path=a.jpg\n".ljust(512, b"\0") + header(),
        "changes the names or sizes of all members",
    ),
    "a wrong checksum": (b"?" + header()[1:], "bad checksum"),
    "no header": (b"text" * 128, "header"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_headers_are_damage(tmp_path: Path, name: str) -> None:
    data, said = CRAFTED[name]
    file = write(tmp_path, packed(("a.jpg", b"1"))[:1024] + data + bytes(1024))
    found = read(file)
    [(number, reason, detail)] = refusals(found)
    # What is wrong may have been of the first sample.
    assert (number, reason) == (1 if "8 GiB" in name else 0, "corrupt_record")
    assert said in detail
    assert [key for key, _ in read_plans(*plan_parts((plan_of(file), 3)))] == [f"x.tar#{n}" for n, _ in found]


def test_compressed_data_that_are_damaged(tmp_path: Path) -> None:
    chance = random.Random(3)  # noqa: S311
    data = gzip.compress(packed(*[(f"{n}.jpg", chance.randbytes(3000)) for n in range(20)]), mtime=0)
    middle = len(data) // 2
    for bad in (data[:middle], data[:middle] + bytes(50) + data[middle + 50 :], data[:-4] + b"????"):
        found = read(write(tmp_path, bad, "x.tar.gz"))
        [(number, reason, _)] = refusals(found)
        assert (number, reason) == (len(found) - 1, "corrupt_record")
    assert len(read(write(tmp_path, data, "x.tar.gz"))) == 20


@settings(deadline=None)
@given(st.data())
def test_any_damage_is_told_or_does_not_matter(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = read(write(tmp_path_factory.getbasetemp(), bytes(whole)))
    assert [number for number, _ in found] == list(range(len(found)))
