"""What files are, by their first bytes and, of tables, their footers."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.containers import look
from faceveil.transforms.formats.parquet_files import NO_IMAGES
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.storage.base import StoredFile
from tests.conftest import as_nobody, noise_image

RECORDS = frame(b"one") + frame(b"two")


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(16, 16)).save(buffer, image_format)
    return buffer.getvalue()


def looked_at(folder: Path, data: bytes, name: str = "file") -> tuple[str | None, str]:
    (folder / name).write_bytes(data)
    file = storage.stat(str(folder / name))
    assert file
    return look(file)


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "MPO", "PPM", "JPEG2000", "HEIF"]
)
def test_an_image_is_known_by_its_first_bytes(tmp_path: Path, image_format: str) -> None:
    if image_format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    assert looked_at(tmp_path, encoded(image_format)) == ("image", "")


@pytest.mark.parametrize("options", ["", "GZIP", "ZLIB"])
def test_tfrecords_are_known_by_the_checksum_of_their_first_length(tmp_path: Path, options: str) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "written"), options) as writer:
        writer.write(os.urandom(10_000))
    assert looked_at(tmp_path, (tmp_path / "written").read_bytes()) == ("tfrecord", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", kinds.EMPTY),
        (b"Some text.", kinds.BY_CONTENT),
        (RECORDS[1:], kinds.BY_CONTENT),
        (bytes(8) + bytes(4), kinds.BY_CONTENT),
        (gzip.compress(b"Some text, and not too short.", mtime=0), f"{kinds.BY_CONTENT} (gzip)"),
        (zlib.compress(b"Some text, and not too short, so that it is known."), f"{kinds.BY_CONTENT} (zlib)"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), f"{kinds.BY_CONTENT} (zstd)"),
        (b"%PDF-1.7", f"{kinds.BY_CONTENT} (pdf)"),
        (b"8BPS\0\1", f"{kinds.BY_CONTENT} (psd)"),
    ],
)
def test_anything_else_is_ignored_with_what_it_is(tmp_path: Path, data: bytes, reason: str) -> None:
    assert looked_at(tmp_path, data) == (None, reason)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert look(StoredFile(str(tmp_path / "pipe"), 0, "1.0")) == (None, kinds.NO_FILE)
    assert look(StoredFile("/dev/zero", 0, "0.0")) == (None, kinds.NO_FILE)
    assert look(StoredFile(str(tmp_path), 0, "0.0")) == (None, kinds.NO_FILE)


def test_a_link_to_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name, target in (("broken", "gone"), ("circle", "circle")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(AccessError, match=f"{name}: is a link to nothing"):
            look(StoredFile(str(tmp_path / name), 0, "0.0"))


def test_a_file_that_may_not_be_read_is_an_error_that_names_it(public_folder: Path) -> None:
    (public_folder / "private").touch(mode=0)
    with as_nobody(), pytest.raises(AccessError, match="private: cannot be read: Permission denied"):
        look(StoredFile(str(public_folder / "private"), 0, "0.0"))


def table(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["x.parquet", "part-00000"])
def test_tables_are_inputs_if_they_have_a_column_of_bytes(tmp_path: Path, name: str) -> None:
    images = [{"bytes": b"1", "path": None}]
    for column in (pa.array([b"1"]), pa.array([b"1"], pa.binary(1)), pa.array(images), pa.array([[b"1"]])):
        assert looked_at(tmp_path, table(label=[1], x=column), name) == ("parquet", "")
    labels = table(key=["a.jpg"], box=[[0.5]], label=["person"], day=pa.array([1], pa.date32()))
    assert looked_at(tmp_path, labels, name) == (None, NO_IMAGES)


def test_tables_that_are_damaged_are_inputs_so_that_they_are_told(tmp_path: Path) -> None:
    whole = table(x=[b"1"])
    for data in (whole[:-1], whole[: len(whole) // 2], whole[:5], b"PARE" + bytes(50)):
        assert looked_at(tmp_path, data) == ("parquet", "")
    for data in (bytes(100), b"Some text.", whole[1:]):
        assert looked_at(tmp_path, data, "x.parquet") == ("parquet", "")
    assert looked_at(tmp_path, b"", "x.parquet") == (None, kinds.EMPTY)
    assert looked_at(tmp_path, encoded("JPEG"), "x.parquet") == ("image", "")
    assert looked_at(tmp_path, RECORDS, "x.parquet") == ("tfrecord", "")


@pytest.mark.parametrize("text", [b"PAR1", b"PAR1S is a town", b"PARE", b"PAREIL A UN CHAT"])
def test_texts_that_begin_as_a_table_are_none(tmp_path: Path, text: bytes) -> None:
    assert looked_at(tmp_path, text) == (None, kinds.BY_CONTENT)
