import gzip
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats.container import CorruptRecordError
from faceveil.transforms.formats.tfrecord import (
    OversizedRecord,
    begins_as_tfrecords,
    frame,
    read_limited_records,
    read_records,
)

RECORDS = [b"", b"a", b"face" * 5000]


def test_tensorflow_reads_what_is_framed(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    path.write_bytes(b"".join(map(frame, RECORDS)))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_reads_what_tensorflow_writes(tmp_path: Path, compression: str) -> None:
    path = str(tmp_path / "no-ending")
    with tf.io.TFRecordWriter(path, compression) as writer:
        for record in RECORDS:
            writer.write(record)
    with open(path, "rb") as file:
        assert list(read_records(file)) == RECORDS


@pytest.mark.parametrize("sizes", [[2**16 - 16] * 40, [2**16] * 40, [1] * 9000, [300_000, 0, 300_000]])
def test_zlib_is_read_across_the_borders_of_its_pieces(sizes: list[int]) -> None:
    records = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for level in (0, 1, 9):
        packed = zlib.compress(b"".join(map(frame, records)), level)
        assert list(read_records(io.BytesIO(packed))) == records
        with pytest.raises(CorruptRecordError, match="there is something behind its end"):
            list(read_records(io.BytesIO(packed + b"!")))


def test_a_plain_file_that_begins_like_zlib() -> None:
    record = bytes(0x9C78)
    assert frame(record).startswith(b"\x78\x9c")
    assert list(read_records(io.BytesIO(frame(record)))) == [record]
    damaged = b"\x78\x9c" + struct.pack("<QI", 1, 2)
    with pytest.raises(CorruptRecordError):
        list(read_records(io.BytesIO(damaged)))


@given(st.binary(max_size=40), st.integers(0, 64))
def test_only_what_begins_as_tfrecords_is_taken_for_them(noise: bytes, length: int) -> None:
    framed = frame(noise) + frame(b"more")
    for whole in (framed, gzip.compress(framed), zlib.compress(framed)):
        assert begins_as_tfrecords(whole)
        assert not begins_as_tfrecords(b"!" + whole)
    assert not begins_as_tfrecords(noise)
    assert begins_as_tfrecords(framed[:length]) == (length >= 12)


def test_a_plain_file_that_begins_like_gzip() -> None:
    record = bytes(0x088B1F)  # its length is gzip's magic number and method
    assert frame(record).startswith(b"\x1f\x8b\x08")
    assert list(read_records(io.BytesIO(frame(record)))) == [record]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_round_trip(records: list[bytes]) -> None:
    framed = b"".join(map(frame, records))
    assert list(read_records(io.BytesIO(framed))) == records
    assert list(read_records(io.BytesIO(gzip.compress(framed)))) == records
    assert list(read_records(io.BytesIO(zlib.compress(framed)))) == records


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress])
def test_cut_off_at_every_length_gives_the_whole_records_before(compress: object) -> None:
    framed = b"".join(map(frame, [b"first", b"second"]))
    packed = compress(framed)  # type: ignore[operator]
    for length in range(1, len(packed)):
        found = []
        try:
            for record in read_records(io.BytesIO(packed[:length])):
                found.append(record)  # noqa: PERF402  those before the error count
        except CorruptRecordError:
            pass
        else:
            # Only a plain file that ends between two records cannot be told from a whole one.
            assert compress is bytes
            assert length == len(frame(b"first"))
        assert found == [b"first", b"second"][: len(found)]


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 40))
def test_longer_records_are_left_out(records: list[bytes], longest: int) -> None:
    framed = b"".join(map(frame, records))
    found = list(read_limited_records(io.BytesIO(framed), longest))
    assert [r.length if isinstance(r, OversizedRecord) else r for r in found] == [
        r if len(r) <= longest else len(r) for r in records
    ]
    for record in found:
        if isinstance(record, OversizedRecord):
            assert framed[record.offset :].startswith(frame(bytes(record.length))[:12])


def test_a_long_record_is_checked_all_the_same() -> None:
    framed = bytearray(frame(bytes(3 * 2**20)) + frame(b"next"))
    assert list(read_limited_records(io.BytesIO(framed), 10)) == [OversizedRecord(0, 3 * 2**20), b"next"]
    framed[2 * 2**20] = 1
    with pytest.raises(CorruptRecordError, match="byte 0 does not match"):
        list(read_limited_records(io.BytesIO(framed), 10))


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x1f\x8b\x08\0", frame(b"whole")]))
def test_any_bytes_give_records_or_say_that_they_are_none(data: bytes, start: bytes) -> None:
    with suppress(CorruptRecordError):
        list(read_records(io.BytesIO(start + data)))


@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    framed = bytearray(frame(b"face" * 10) + frame(b"other"))
    bit = data.draw(st.integers(0, len(framed) * 8 - 1))
    framed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptRecordError, match=r"byte \d+"):
        list(read_records(io.BytesIO(framed)))
