"""Jobs on files of every name: each is read, or named as ignored with the reason; what cannot work stops at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from tests.conftest import SKIMAGE_DATA, as_nobody, audit_of
from tests.test_end_to_end import FAST, examples, faceveil, rows

pytestmark = pytest.mark.usefixtures("centerface")
FACE = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB").crop((150, 0, 310, 200))


def encoded(image_format: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    FACE.convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


JPEG, PNG = encoded("JPEG", quality=90), encoded("PNG")
RECORD = frame(Example.empty().with_features({"image/encoded": JPEG, "label": [7]}))
IMAGES = {
    **dict.fromkeys(
        ["img", "a.jpg", "a.JPE", "b.jpg_large", "b.jpg.1", "b.insp", "b.jps", "c.JPG~", "c.jpg.bak", "d.tfrecord"],
        JPEG,
    ),
    **dict.fromkeys(["0123456789abcdef", "e.dat", ".hidden.png", "_e.png", "f.jpeg?width=1"], PNG),
    **{"a b.jpg": JPEG, "a\nb": JPEG, "😀": PNG, "caf\u00e9.jpg": JPEG, "cafe\u0301.jpg": JPEG, "[1].jpg": JPEG},
    **{"x" * 255: JPEG, "C:\\photos\\a": JPEG, "date=1/a.jpg": JPEG, "\udcff": JPEG, "-.jpg": JPEG},
    **{"p.ppm": encoded("PPM"), "p.pgm": encoded("PPM", "L"), "p.pbm": encoded("PPM", "1"), "p.pnm": encoded("PPM")},
    **{"g.tif": encoded("TIFF"), "g.gif": encoded("GIF"), "g.bmp": encoded("BMP"), "g": encoded("WEBP")},
}
RECORDS = {
    **dict.fromkeys(
        ["train.record", "a.records", "a.tf_record", "a.tfr", "part-r-00000", "train-0-of-8", "train"], RECORD * 2
    ),
    **dict.fromkeys(["b.tfrecord", "b.tfrecord-00000-of-00001", "photo.jpg"], RECORD * 2),
    **{name: gzip.compress(RECORD * 2) for name in ("train.record.gz", "c.tfrecord.gz", "c.gz", "photo.png")},
    **{name: zlib.compress(RECORD * 2) for name in ("train.zlib", "d.tfrecord.z", "z")},
}
QUARANTINED = {"empty.jpg": b"", "text.jpg": b"Some text.", "bz.tfrecord": b"BZh91AY&SY" + bytes(50)}
IGNORED = {
    "left behind by a system or program": "._a.jpg .DS_Store Thumbs.db desktop.ini _SUCCESS __MACOSX/a.jpg",
    "no image or TFRecord by its ending": "labels.json notes.txt a.csv a.xml .part-r-00000.crc",
    "no image or TFRecord by its first bytes": "LICENSE a.md5sum",
    "empty": "part-r-00001 empty.bin",
    "hidden": ".gitignore .git/index",
    "unfinished or temporary by its ending": "a.jpg.part",
    "a camera's raw file, which cannot be written back": "a.nef",
}


@pytest.fixture(scope="module")
def every_name(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    files = {**IMAGES, **RECORDS, **QUARANTINED, "empty.tfrecord": b""}
    files |= {
        name: b"" if reason == "empty" else b"Some text." for reason, names in IGNORED.items() for name in names.split()
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def shown(name: str) -> str:
    return "\\xff" if name == "\udcff" else name


def test_every_file_is_read_or_named_as_ignored_with_the_reason(
    every_name: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    job = ("run", "--input", f"{every_name}/**", "--output", output, *FAST, "--max_quarantined", 1)
    assert faceveil(*job) == 0
    found = rows(output)
    assert set(found) == {
        *map(shown, IMAGES),
        *(f"{name}#{number}" for name in RECORDS for number in range(2)),
        *("empty.jpg", "text.jpg", "bz.tfrecord#0"),
    }
    assert {key: row["reason"] for key, row in found.items() if row["reason"]} == {
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
        "bz.tfrecord#0": "corrupt_record",
    }
    for key, row in found.items():
        if key not in ("p.pbm", "g.gif") and not row["reason"]:
            assert row["faces"], key
    manifest = json.loads((output / "manifest.json").read_text())
    ignored = manifest["ignored"]
    assert manifest["totals"]["ignored"] == sum(len(names.split()) for names in IGNORED.values())
    for reason, names in IGNORED.items():
        assert sum(ending["reasons"].get(reason, 0) for ending in ignored.values()) == len(names.split())
    raw = {"files": 1, "reasons": {"a camera's raw file, which cannot be written back": 1}}
    assert ignored[".nef"] == raw
    # The manifest is for publication, so it tells no names.
    told = json.loads((audit_of(output) / "_ignored.json").read_text())
    assert told[".nef"] == {**raw, "examples": ["a.nef"]}
    examples = {name for ending in told.values() for name in ending["examples"]}
    assert examples < {name for names in IGNORED.values() for name in names.split()}
    assert "1 .csv (no image or TFRecord by its ending; such as a.csv)" in capsys.readouterr().err
    # Nothing is lost or doubled by going on, or by trying again.
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert faceveil(*job) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert faceveil(*job, "--retry_quarantined") == 0
    assert rows(output) == found


def test_netpbm_keeps_its_kind_and_every_pixel_outside_the_masks(every_name: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert faceveil("run", "--input", f"{every_name}/p.p[gpn]m", "--output", output, *FAST, "--method", "solid") == 0
    for key, feature in examples(output).items():
        before, after = (every_name / key).read_bytes(), feature["image/encoded"].bytes_list.value[0]
        assert feature["image/format"].bytes_list.value == [b"netpbm"]
        assert (before[:2], len(before)) == (after[:2], len(after))
        was, now = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (before, after))
        [face] = rows(output)[key]["faces"]
        box = np.array([face[side] for side in ("x0", "y0", "x1", "y1")], np.float32)
        masked = np.zeros(was.shape[:2], bool)
        rectangle, mask = face_mask(box, MaskGeometry(), *was.shape[:2])
        masked[rectangle] = mask
        assert (now[masked] == 0).all()
        np.testing.assert_array_equal(now[~masked], was[~masked])


def test_a_list_and_globs_that_leave_out(every_name: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(every_name)
    for number, names in enumerate(("a.jpg\nphoto.jpg\n", "date=1/**\n[[]1].jpg\ng*\n")):
        (tmp_path / f"list{number}").write_text(names)
    lists = [f"train=@{tmp_path}/list0", f"val=@{tmp_path}/list1"]
    assert faceveil("run", "--input", *lists, "--exclude", "*.gif", "g", "--output", tmp_path / "out", *FAST) == 0
    assert sorted(rows(tmp_path / "out")) == [
        *("train/a.jpg", "train/photo.jpg#0", "train/photo.jpg#1"),
        *("val/[1].jpg", "val/date=1/a.jpg", "val/g.bmp", "val/g.tif"),
    ]


def refused(status: int, said: str, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
    assert faceveil("run", *arguments, *FAST) == status
    error = capsys.readouterr().err
    assert said in error[error.index("faceveil: ") :]


def test_an_output_within_the_inputs_is_refused_at_once_unless_it_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(JPEG)
    job = ("--input", f"{tmp_path}/photos/**", "--output", tmp_path / "photos" / "out")
    refused(2, "it would anonymize its own output", capsys, *job)
    assert os.listdir(tmp_path / "photos") == ["a.jpg"]
    for _ in range(2):
        assert faceveil("run", *job, "--exclude", "out", *FAST) == 0
    assert list(rows(tmp_path / "photos" / "out")) == ["a.jpg"]


@pytest.mark.parametrize("mode", [0o744, 0o000])
def test_a_folder_that_may_not_be_entered_ends_the_job_before_any_work(
    public_folder: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    for name in ("a.jpg", "private/b.jpg"):
        (public_folder / name).parent.mkdir(exist_ok=True)
        (public_folder / name).write_bytes(JPEG)
    (public_folder / "private").chmod(mode if os.geteuid() == 0 else 0)
    try:
        with as_nobody():
            job = ("--input", f"{public_folder}/**", "--output", public_folder / "out", "--exclude", "out")
            refused(5, f"{public_folder}/private", capsys, *job)
    finally:
        (public_folder / "private").chmod(0o755)
    assert not (public_folder / "out").exists()


def test_a_photo_that_is_replaced_while_the_job_runs_ends_it_and_another_run_takes_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / "in" / f"{number:02}.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number:02}.jpg").write_bytes(JPEG)
    read, last = storage.read_bytes, tmp_path / "in" / "19.jpg"

    def replace_the_last(path: str, *more: Any) -> bytes:
        if path.endswith("00.jpg"):
            (tmp_path / "new").write_bytes(JPEG[:-2] + b"\xff\xd9")
            os.utime(tmp_path / "new", ns=(0, time.time_ns() + 10**9))
            (tmp_path / "new").replace(last)
        return read(path, *more)

    job = ("--input", f"{tmp_path}/in/**", "--output", tmp_path / "out", "--num_shards", 1)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_bytes", replace_the_last)
        refused(5, f"{last}: was changed while the job ran", capsys, *job)
    assert not (tmp_path / "out" / "manifest.json").exists()
    refused(4, "inputs: files were added, removed or changed", capsys, *job)
    assert faceveil("run", *job, *FAST, "--retry_quarantined") == 0
    assert len(rows(tmp_path / "out")) == 20


def test_a_wrong_name_of_a_feature_stops_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = frame(Example.empty().with_features({"image": JPEG, "label": [1]}))
    (tmp_path / "train").write_bytes(zlib.compress(record * 30))
    job = ("--input", f"{tmp_path}/train", "--output", tmp_path / "out")
    refused(2, "Images are in image (jpeg): name those that are to be anonymized with --image_feature", capsys, *job)
    assert not (tmp_path / "out").exists()
    assert faceveil("run", *job, "--image_feature", "image", *FAST) == 0
    assert len(rows(tmp_path / "out")) == 30
