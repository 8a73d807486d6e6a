"""Damaged Parquet files: what is lost is told, by row group or as a whole, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.formats.parquet_files import PARQUET_FILES
from faceveil.transforms.inputs.plan import plan_parts
from faceveil.transforms.storage.base import StoredFile
from tests.transforms.formats.test_parquet_files import (
    COMPRESSIONS,
    plan_of,
    read,
    read_plans,
    refusals,
    stored,
    write,
)


def damaged(folder: Path, change: Callable[[bytes], bytes], **options: Any) -> StoredFile:
    file = write(folder, pa.table({"image": [bytes([n]) * 100 for n in range(30)]}), row_group_size=10, **options)
    Path(file.path).write_bytes(change(Path(file.path).read_bytes()))
    return stored(Path(file.path))


WITHOUT_FOOTER: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[:-1], "does not end as a Parquet file does"),
    "half": (lambda data: data[: len(data) // 2], "does not end as a Parquet file does"),
    "a footer of 2 GiB": (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "does not end as a Parquet file does"),
    "a footer of nothing": (lambda data: data[:-8] + bytes(4) + b"PAR1", "does not end as a Parquet file does"),
    "a footer of zeros": (lambda data: data[:-300] + bytes(292) + data[-8:], "hrift"),
    "a name that is no text": (lambda data: data.replace(b"image", b"\xffmage"), "utf-8"),
    "encrypted": (lambda data: data[:-4] + b"PARE", "the file is encrypted"),
    "all footer": (lambda _: bytes(2**27) + (2**27).to_bytes(4, "little") + b"PAR1", "does not end as"),
    "a huge footer": (
        lambda _: bytes(2**27) + (2**26 + 1).to_bytes(4, "little") + b"PAR1",
        "footer has 67108865 bytes",
    ),
    "nothing": (lambda _: b"", "does not end as"),
    "a text": (lambda _: b"Some text.", "does not end as"),
}


@pytest.mark.parametrize("name", WITHOUT_FOOTER)
def test_a_file_without_a_footer_is_one_quarantined_record(tmp_path: Path, name: str) -> None:
    change, said = WITHOUT_FOOTER[name]
    file = damaged(tmp_path, change)
    [(number, reason, detail)] = refusals(read(file))
    assert (number, reason) == (0, "corrupt_record")
    assert detail.startswith("record 0 and what follows: ")
    assert said in detail
    assert PARQUET_FILES.max_parts(file) == 1
    assert PARQUET_FILES.declared(file) == ()
    assert [key for key, _ in read_plans(*plan_parts((plan_of(file), 3)))] == ["x.parquet#0"]


def test_an_encrypted_footer_is_told(tmp_path: Path) -> None:
    file = damaged(tmp_path, lambda data: b"PARE" + data[4:-4] + b"PARE")
    assert refusals(read(file))[0][2] == "record 0 and what follows: the file is encrypted"


def test_damage_costs_its_row_group_alone_however_the_file_is_divided(tmp_path: Path) -> None:
    def change(data: bytes) -> bytes:
        place = data.index(bytes([15]) * 100)
        return data[: place - 200] + b"\xff" * 100 + data[place - 100 :]

    file = damaged(tmp_path, change, compression="NONE", use_dictionary=False, write_page_checksum=True)
    found = read(file)
    numbers = [number for number, _ in found]
    [(lost, reason, detail)] = refusals(found)
    assert reason == "corrupt_record"
    assert numbers == [*range(lost + 1), *range(20, 30)]
    assert 10 <= lost < 20
    assert detail.startswith(f"record {lost} up to record 19, in row group 1: ")
    whole = read_plans(plan_of(file))
    for count in (2, 3, 5):
        assert read_plans(*plan_parts((plan_of(file), count))) == whole


def thrift_integer(value: int) -> bytes:
    """As a footer holds an i64: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md."""
    rest, out = (value << 1 ^ value >> 63) & 2**64 - 1, b""
    while rest >= 0x80:
        out += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return b"\x16" + out + bytes([rest])


@pytest.mark.parametrize("claimed", [9, 11, 2**40, -1])
def test_a_footer_that_lies_about_its_rows_is_damage(tmp_path: Path, claimed: int) -> None:
    """One of one row group with ten rows says another number wherever it says ten."""
    file = write(tmp_path, pa.table({"image": [b"1"] * 10}), store_schema=False)
    data = Path(file.path).read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    changed = footer.replace(thrift_integer(10), thrift_integer(claimed))
    assert changed != footer
    Path(file.path).write_bytes(data[: -8 - length] + changed + len(changed).to_bytes(4, "little") + b"PAR1")
    found = read(stored(Path(file.path)))
    told = refusals(found)
    assert len(found) <= 11
    if claimed == 9:  # nobody can know of the tenth
        assert len(found) - len(told) <= 9
    else:
        assert [reason for _, reason, _ in told] == ["corrupt_record"]


@settings(deadline=None)
@given(st.data())
def test_any_damage_is_told_or_does_not_matter(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    chance = random.Random(1)  # noqa: S311
    table = pa.table({"image": [chance.randbytes(50) for _ in range(30)], "x": [[n, n] for n in range(30)]})
    compression = data.draw(COMPRESSIONS)
    file = write(
        tmp_path_factory.getbasetemp(), table, row_group_size=10, compression=compression, write_page_checksum=True
    )
    whole = bytearray(Path(file.path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(4, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    Path(file.path).write_bytes(bytes(whole))
    found = read(stored(Path(file.path)))
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(record, bytes) or record.detail for _, record in found)
