"""What files are, by their names and by their first bytes."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import kinds
from faceveil.transforms.formats.kinds import ending_of, judge_name, kind_of, look
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.storage.base import StoredFile
from tests.conftest import as_nobody, noise_image

RECORDS = frame(b"one") + frame(b"two")


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(16, 16)).save(buffer, image_format)
    return buffer.getvalue()


def looked_at(folder: Path, data: bytes) -> tuple[str | None, str]:
    (folder / "file").write_bytes(data)
    file = storage.stat(str(folder / "file"))
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


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("a.jpg B.JPG a/b.webp .a.jpg .hidden/a.jpg _a.jpg x.tfrecord x.tfrecords.gz train-00000-of-01024", ""),
        (
            "train train.record x.records x.tf_record x.tfr part-r-00000 train-0-of-8 img a.jpg.1 a.JPG~ a.bin a.gz",
            "",
        ),
        (
            ".DS_Store @eaDir/a.jpg/b.jpg Thumbs.db thumbs.DB desktop.ini ._a.jpg ._a .#a.jpg a/__MACOSX/b/a.jpg",
            kinds.SYSTEM,
        ),
        (
            "_SUCCESS events.out.tfevents.16.host _temporary/0/part-r-00000 .Trash-1000/files/a.jpg $RECYCLE.BIN/a.jpg",
            kinds.SYSTEM,
        ),
        ("a.json a.TXT a/b.csv a.tfrecord.json .part-00000.crc a.mp4 a.npy README.md", kinds.BY_ENDING),
        ("a.jpg.part a.crdownload .a.jpg.swp x.tfrecord.tmp", kinds.UNFINISHED),
        (".part-00000 .gitignore .git/objects/ab/cdef .a.jpg.Xy12Za .nfs000000001", kinds.HIDDEN),
        ("a.dng a.CR2 a/b.nef", kinds.RAW),
    ],
)
def test_names_that_tell(names: str, reason: str) -> None:
    told = {name: judge_name(name) for name in names.split()}
    assert {name: why for name, (_, why) in told.items()} == dict.fromkeys(names.split(), reason)
    assert all(kind is None or not why for kind, why in told.values())


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(lambda stem: stem.strip(".")))
def test_a_name_that_is_read_by_its_ending_is_not_ignored_by_it(stem: str) -> None:
    for ending in (*kinds.IMAGE_ENDINGS, ".tfrecord"):
        assert kind_of(stem + ending)
        assert judge_name(stem + ending) in ((kind_of(stem + ending), ""), (None, kinds.SYSTEM))


@given(st.text(max_size=10).filter(lambda name: "/" not in name))
def test_an_ending_is_the_system_s(name: str) -> None:
    assert kinds._ending(name) == os.path.splitext(name)[1].lower()


@given(st.text(max_size=40))
def test_endings_are_short_and_harmless(name: str) -> None:
    ending = ending_of(name)
    assert ending == "no ending" or (len(ending) < 20 and ending.isprintable() and " " not in ending)
