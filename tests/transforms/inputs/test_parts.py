import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.tfrecord import frame, masked_crc32c
from faceveil.transforms.inputs.match import InputFile, add_digests
from faceveil.transforms.inputs.parts import count_parts, find_parts, max_parts, part_digest
from faceveil.transforms.inputs.plan import ShardPlan, plan_parts
from faceveil.transforms.shard.read import Source, read_sources
from faceveil.transforms.shard.record import Outcome

MAX_BYTES = 10**6
RECORDS = st.lists(st.integers(0, 300), max_size=40)


def input_file(path: Path) -> InputFile:
    stored = storage.stat(str(path))
    assert stored
    return InputFile("data", path.name, stored.path, stored.size, stored.version, "tfrecord")


def write(folder: Path, data: bytes) -> InputFile:
    path = folder / "a.tfrecord"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return input_file(path)


def plan_of(file: InputFile) -> ShardPlan:
    return ShardPlan("data", 3, 9, "tfrecord", (file,), file.digest)


def read(*plans: ShardPlan) -> list[Source | Outcome]:
    return [record for plan in plans for record in read_sources(plan, FeatureRoles(), MAX_BYTES)]


def split(file: InputFile, count: int) -> list[ShardPlan]:
    return list(plan_parts((plan_of(file), count)))


def keys_and_bytes(records: list[Source | Outcome]) -> Iterator[tuple[str, bytes | None]]:
    return ((record.key, record.serialized) for record in records)


def records_of(sizes: list[int]) -> list[bytes]:
    """Some of them hold a TFRecord file themselves, which a search for checksums would take for this one's."""
    chance = random.Random(repr(sizes))  # noqa: S311
    return [chance.randbytes(size) if size % 3 else b"".join(map(frame, [b"inner"] * (size // 21))) for size in sizes]


@given(RECORDS, st.integers(1, 12))
def test_parts_hold_every_record_once_where_it_starts(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], count: int
) -> None:
    data = [frame(record) for record in records_of(sizes)]
    file = write(tmp_path_factory.getbasetemp(), b"".join(data))
    plans = split(file, count)
    assert list(keys_and_bytes(read(*plans))) == list(keys_and_bytes(read(plan_of(file))))
    starts = [sum(map(len, data[:number])) for number in range(len(data))]
    for number, plan in enumerate(plans):
        part = plan.part
        assert part
        inside = [start for start in starts if file.size * number // count <= start < file.size * (number + 1) // count]
        assert part.records == len(inside)
        assert [(s.key, len(s.serialized or b"")) for s in read(plan) if isinstance(s, Source)] == [
            (f"a.tfrecord#{starts.index(start)}", len(data[starts.index(start)]) - 16) for start in inside
        ]
    assert [plan.index for plan in plans] == list(range(3, 3 + count))
    assert sum(plan.nbytes for plan in plans) == file.size
    assert add_digests(plan.inputs_digest for plan in plans) == add_digests([file.digest])
    assert len({plan.inputs_digest for plan in plans}) == count


@given(RECORDS.filter(bool), st.integers(1, 12), st.data())
def test_damage_is_told_once_and_costs_what_nobody_can_find(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], count: int, data: st.DataObject
) -> None:
    framed = [frame(record) for record in records_of(sizes)]
    place = data.draw(st.integers(0, len(framed) - 1), "record")
    byte = data.draw(st.integers(0, len(framed[place]) - 1), "byte")
    start = sum(map(len, framed[:place]))
    whole = bytearray(b"".join(framed))
    whole[start + byte] ^= 0xFF
    file = write(tmp_path_factory.getbasetemp(), bytes(whole))
    found = read(*split(file, count))
    [damage] = (record for record in found if isinstance(record, Outcome))
    assert damage.key == f"a.tfrecord#{place}"
    assert str(damage.row.detail).startswith(f"record {place} ")
    before = [record for record in found if int(record.key.split("#")[1]) < place]
    assert list(keys_and_bytes(before)) == list(keys_and_bytes(read(plan_of(file))[:-1]))
    # Where lengths lead on, the parts behind it are whole, and each record is found at most once, under its own number.
    behind = [record for record in found if int(record.key.split("#")[1]) > place]
    for record in behind:
        assert frame(record.serialized or b"") == framed[int(record.key.split("#")[1])]
    assert byte >= 12 or not behind


@pytest.mark.parametrize("cut", [1, 10, 500, 2_000])
def test_a_file_that_is_cut_off_gives_what_is_there(tmp_path: Path, cut: int) -> None:
    file = write(tmp_path, b"".join(frame(bytes(100)) for _ in range(100))[:-cut])
    plans = split(file, 7)
    found = read(*plans)
    assert [record.key for record in found] == [record.key for record in read(plan_of(file))]
    assert [isinstance(record, Outcome) for record in found] == [*[False] * (len(found) - 1), True]
    assert [plan.part.records for plan in plans if plan.part].count(None) == 1


def test_damaged_content_costs_the_rest_of_its_part_alone(tmp_path: Path) -> None:
    data = bytearray(b"".join(frame(bytes(84)) for _ in range(100)))
    data[20 * 100 + 50] ^= 1
    found = read(*split(write(tmp_path, bytes(data)), 4))
    assert [record.key for record in found] == [f"a.tfrecord#{n}" for n in (*range(21), *range(25, 100))]
    assert isinstance(found[20], Outcome)
    assert str(found[20].row.detail).startswith("record 20 up to record 24: the record at byte 2000 does not match")


def test_a_length_that_leads_behind_the_end_is_damage(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**62)
    header = length + struct.pack("<I", masked_crc32c(length))
    found = read(*split(write(tmp_path, frame(b"a") + header + bytes(50)), 3))
    assert [record.key for record in found] == ["a.tfrecord#0", "a.tfrecord#1"]


def test_a_file_that_is_gone_is_quarantined_once(tmp_path: Path) -> None:
    file = write(tmp_path, frame(bytes(100)) * 10)
    Path(file.path).unlink()
    found = read(*split(file, 3))
    assert [(record.key, type(record)) for record in found] == [("a.tfrecord#0", Outcome)]


def test_a_file_that_was_changed_ends_the_job(tmp_path: Path) -> None:
    file = write(tmp_path, frame(bytes(100)) * 10)
    with pytest.raises(AccessError, match="was changed"):
        find_parts(replace(file, version="1.0"), 3)


def test_only_files_that_begin_as_plain_tfrecords_can_be_divided(tmp_path: Path) -> None:
    contents = [frame(b"a"), b"", b"\x1f\x8b" + bytes(20), bytes(50)]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    files = [input_file(tmp_path / str(number)) for number in range(len(contents))]
    assert [parts > 1 for parts in max_parts(files)] == [True, False, False, False]


@given(st.integers(0, 10**12), st.integers(1, 10**9), st.integers(1, 100))
def test_no_part_is_larger_than_it_may_be(size: int, part_bytes: int, most: int) -> None:
    assert count_parts(size, part_bytes, most) == min(most, count_parts(size, part_bytes, 10**12))
    count = count_parts(size, part_bytes, 10**12)
    assert (count - 1) * part_bytes < max(size, 1) <= max(count * part_bytes, 1)


def test_the_digest_of_a_part_tells_file_number_and_count() -> None:
    digests = {part_digest(f"{file:064x}", n, count) for file in (1, 2) for count in (2, 3) for n in range(count)}
    assert len(digests) == 10
