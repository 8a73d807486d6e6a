"""The command as users run it, its outputs reopened with the tools that users have."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image, JpegImagePlugin

from faceveil.pipeline.cli import main
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from tests.conftest import ROOT, audit_of, copy_output, files_of_output

pytestmark = pytest.mark.usefixtures("centerface")
FAST = ["--model", "yunet-s", "--score_threshold", "0.6", "--detect_size", "320"]
"""For jobs that need not detect well: loading the default detector is a third of a small job's time."""


def faceveil(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "faceveil", *map(str, arguments)]


def files(output: Path) -> dict[str, str]:
    """Every file of an output and of its audit trail with its checksum."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of_output(output).items()}


def examples(output: Path) -> dict[str, Any]:
    """Every Example of an output by its key, read with tf.data in the order of the manifest."""
    manifest = json.loads((output / "manifest.json").read_text())
    found = {}
    for shard in manifest["shards"]:
        rows = pq.read_table(audit_of(output) / shard["file"].replace(".tfrecord", ".parquet")).to_pylist()
        keys = {row["index"]: row["key"] for row in rows if row["index"] is not None}
        serialized = list(tf.data.TFRecordDataset(str(output / shard["file"])).as_numpy_iterator())
        assert len(serialized) == len(keys) == shard["records"]
        for index, record in enumerate(serialized):
            found[keys[index]] = tf.train.Example.FromString(record).features.feature
    return found


def rows(output: Path) -> dict[str, Any]:
    """Every row of the audit trail by its key, read with pyarrow."""
    return {row["key"]: row for row in pq.read_table(audit_of(output)).to_pylist()}


def image_of(feature: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(feature["image/encoded"].bytes_list.value[0])))


@pytest.fixture(scope="module")
def solid(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos with black masks and default options otherwise."""
    output = tmp_path_factory.mktemp("solid") / "out"
    assert faceveil("run", "--input", f"{photos}/**", "--output", output, "--method", "solid") == 0
    return output


def test_every_photo_comes_out_once(solid: Path, photos: Path) -> None:
    expected = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.*"))
    assert sorted(examples(solid)) == sorted(rows(solid)) == expected


def test_the_manifest_agrees_with_the_files(solid: Path) -> None:
    manifest = json.loads((solid / "manifest.json").read_text())
    found, trail = examples(solid), rows(solid)
    totals = manifest["totals"]
    assert totals["records"] == totals["anonymized"] + totals["no_faces"] + totals["quarantined"] == 6
    assert totals["faces"] == sum(f["image/face/count"].int64_list.value[0] for f in found.values())
    assert totals["faces"] == sum(len(row["faces"]) for row in trail.values()) >= 3
    assert sum(int(n) * images for n, images in manifest["faces_per_image"].items()) == totals["faces"]
    for shard in manifest["shards"]:
        data = (solid / shard["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert manifest["job"]["method"] == "solid"
    assert re.fullmatch(r"[0-9a-f]{64}\+[0-9a-f]{64}", manifest["model"]["sha256"])
    assert not [name for name in files(solid) if "lock" in name or "partial" in name]


def test_inside_the_masks_nothing_is_left_and_outside_nothing_changed(solid: Path, photos: Path) -> None:
    for key, feature in examples(solid).items():
        before = np.asarray(Image.open(photos / key).convert("RGB"), int)
        after = image_of(feature).astype(int)
        height, width = before.shape[:2]
        masked = np.zeros((height, width), bool)
        for face in rows(solid)[key]["faces"]:
            box = np.array([face[side] for side in ("x0", "y0", "x1", "y1")], np.float32)
            rectangle, mask = face_mask(box, MaskGeometry(), height, width)
            masked[rectangle] |= mask
        if not masked.any():
            assert (before == after).all()
        elif key.endswith(".png"):
            assert (after[masked] == 0).all()
            assert (before == after)[~masked].all()
        else:
            # JPEG's blocks blur the edge between black and what is beside it.
            inside = np.pad(masked, 16)
            for shift in (16, -16):
                inside &= np.roll(inside, shift, 0) & np.roll(inside, shift, 1)
            assert after[inside[16:-16, 16:-16]].max() < 12
            outside = ~np.pad(masked, 16)
            for shift in (16, -16):
                outside &= np.roll(outside, shift, 0) & np.roll(outside, shift, 1)
            assert np.abs(before - after)[outside[16:-16, 16:-16]].mean() < 2


def test_an_image_without_faces_keeps_its_compressed_data(solid: Path, photos: Path) -> None:
    feature = examples(solid)["things/coffee.jpg"]
    assert feature["image/face/count"].int64_list.value == [0]
    assert feature["image/encoded"].bytes_list.value[0] == (photos / "things" / "coffee.jpg").read_bytes()


def test_a_jpeg_keeps_its_tables_and_subsampling(solid: Path, photos: Path) -> None:
    for key in ("people/astronaut.JPG", "people/portrait.jpeg"):
        before = JpegImagePlugin.JpegImageFile(photos / key)
        after = JpegImagePlugin.JpegImageFile(io.BytesIO(examples(solid)[key]["image/encoded"].bytes_list.value[0]))
        assert after.quantization == before.quantization
        assert after.layer == before.layer


def test_running_again_does_nothing(solid: Path, photos: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in solid.rglob("*")}
    assert faceveil("run", "--input", f"{photos}/**", "--output", solid, "--method", "solid") == 0
    assert {path: path.stat().st_mtime_ns for path in solid.rglob("*")} == before


def test_another_job_on_the_same_output_is_refused_unless_it_overwrites(
    solid: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    copy_output(solid, output)
    before = files(output)
    job = ("run", "--input", f"{photos}/people/*", "--output", output, "--method", "bar", *FAST)
    assert faceveil(*job) == 4
    said = capsys.readouterr().err
    assert "method: solid there, bar here" in said
    assert "inputs: files were added, removed or changed" in said
    assert files(output) == before
    assert faceveil(*job, "--overwrite", "--num_shards", 2) == 0
    assert sorted(examples(output)) == ["astronaut.JPG", "portrait.jpeg"]
    assert len(files(output)) == 6


@pytest.fixture(scope="module")
def many(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos, and as many again in a TFRecord file."""
    folder = tmp_path_factory.mktemp("many")
    originals = sorted(photos.rglob("*.*"))
    with tf.io.TFRecordWriter(str(folder / "more.tfrecord.gz"), "GZIP") as writer:
        for number in range(60):
            original = originals[number % len(originals)]
            data = original.read_bytes()
            (folder / f"{number:02d}{original.suffix}").write_bytes(data)
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
                "image/object/bbox/xmin": tf.train.Feature(float_list=tf.train.FloatList(value=[number / 60])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return folder


def many_job(many: Path, output: Path) -> tuple[object, ...]:
    return ("run", "--input", f"{many}/*", "--output", output, "--num_shards", 5, *FAST)


@pytest.fixture(scope="module")
def unbroken(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one worker, run without a break."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    assert faceveil(*many_job(many, output)) == 0
    return output


def test_features_of_the_user_pass_through(unbroken: Path) -> None:
    found = examples(unbroken)
    assert len(found) == 120
    for number in range(60):
        feature = found[f"more.tfrecord.gz#{number}"]
        assert feature["image/object/bbox/xmin"].float_list.value == [np.float32(number / 60)]
        assert feature["image/face/count"].int64_list.value


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_other_workers_write_the_same_bytes(many: Path, unbroken: Path, tmp_path: Path, mode: str) -> None:
    beam_options = ("--direct_num_workers=2", f"--direct_running_mode={mode}")
    # In a process of its own: worker processes must find everything by themselves.
    subprocess.run(command(*many_job(many, tmp_path / "out"), *beam_options), check=True, cwd=ROOT)
    assert files(tmp_path / "out") == files(unbroken)


def test_a_killed_job_goes_on_and_writes_the_same_bytes(many: Path, unbroken: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(command(*many_job(many, output)), cwd=ROOT, start_new_session=True)
    while len(list(audit_of(output).glob("data*"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "manifest.json").exists()
    finished = {
        path: path.stat().st_mtime_ns
        for name in audit_of(output).glob("data*")
        for path in (name, output / f"{name.stem}.tfrecord")
    }
    assert 4 <= len(finished) < 12
    assert faceveil(*many_job(many, output)) == 0
    assert files(output) == files(unbroken)
    for path, written in finished.items():
        assert path.stat().st_mtime_ns == written


def test_a_killed_job_does_not_mix_with_another(many: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(command(*many_job(many, output)), cwd=ROOT, start_new_session=True)
    while not list(audit_of(output).glob("data*")):
        assert process.poll() is None
        time.sleep(0.01)
    # While it is alive even the same job is refused. It is stopped meanwhile, lest it ends before.
    os.killpg(process.pid, signal.SIGSTOP)
    assert faceveil(*many_job(many, output)) == 4
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert faceveil(*many_job(many, output), "--coverage", "0.7") == 4


def test_an_interrupted_job_stops_at_once_and_can_go_on(many: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(command(*many_job(many, output)), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(audit_of(output).glob("data*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the same command resumes" in said
    assert "Traceback" not in said
    assert not list(output.rglob("*.partial"))
    assert faceveil(*many_job(many, output)) == 0
    assert len(examples(output)) == 120


@pytest.fixture(scope="module")
def hostile(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good photos among files that are none, and Examples with and without images."""
    folder = tmp_path_factory.mktemp("hostile")
    good = (photos / "people" / "astronaut.JPG").read_bytes()
    (folder / "good.jpg").write_bytes(good)
    (folder / "text.jpg").write_text("This is no picture.")
    (folder / "empty.jpg").touch()
    (folder / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (folder / "notes.txt").write_text("ignored")
    (folder / "png.jpg").write_bytes((photos / "people" / "space" / "astronaut.png").read_bytes())
    (folder / "large.png").write_bytes((photos / "people" / "space" / "astronaut.png").read_bytes() + bytes(10**6))
    Image.new("1", (40_000, 30_000)).save(folder / "bomb.png")
    Image.new("RGB", (1, 20_000)).save(folder / "thin.png")
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.tfrecord")
    (folder / "broken.jpg").symlink_to("gone")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "good.jpg").symlink_to(folder / "good.jpg")
    (folder / "folder.jpg" / "up").symlink_to(folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(good)
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for name in ("image/encoded", "image/other"):
            feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[good]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        writer.write(b"\xff no Example")
    whole = (folder / "x.tfrecord").read_bytes()
    (folder / "cut.tfrecord").write_bytes(whole[:-1000] if len(whole) < 1000 else whole[: len(whole) // 4])
    return folder


def test_bad_inputs_are_quarantined_and_the_rest_comes_out(
    hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = ("--max_image_bytes", "1MB", "--max_pixels", 10**8)
    job = ("run", "--input", f"{hostile}/**", "--output", tmp_path / "out", *FAST, *limits)
    assert faceveil(*job) == 3
    assert "quarantined, more than --max_quarantined 0.01 allows" in capsys.readouterr().err
    assert {key: row["reason"] for key, row in rows(tmp_path / "out").items()} == {
        "good.jpg": None,
        "text.jpg": "not_an_image",
        "empty.jpg": "empty",
        "truncated.jpg": "truncated",
        "png.jpg": None,
        "large.png": "too_large",
        "bomb.png": "too_large",
        "thin.png": None,
        "pipe.jpg": "unreadable_file",
        "pipe.tfrecord#0": "unreadable_file",
        "broken.jpg": "unreadable_file",
        "circle.jpg": "unreadable_file",
        "zero.jpg": "unreadable_file",
        "folder.jpg/good.jpg": None,
        "\\xff.jpg": None,
        "x.tfrecord#0": None,
        "x.tfrecord#1": "embedded_image",
        "x.tfrecord#2": "invalid_example",
        "cut.tfrecord#0": "corrupt_record",
    }
    written = ["\\xff.jpg", "folder.jpg/good.jpg", "good.jpg", "png.jpg", "thin.png", "x.tfrecord#0"]
    assert sorted(examples(tmp_path / "out")) == written
    details = {key: row["detail"] for key, row in rows(tmp_path / "out").items()}
    assert details["cut.tfrecord#0"] == "record 0 and what follows: the file ends inside the record at byte 0"
    assert details["bomb.png"] == "40000 x 30000 px are more than 100000000 (--max_pixels allows more)"
    assert not [detail for detail in details.values() if str(hostile) in str(detail)]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    totals = manifest["totals"]
    assert (totals["records"], totals["anonymized"], totals["quarantined"], totals["ignored"]) == (19, 5, 13, 2)
    assert sum(manifest["quarantined_for"].values()) == 13
    assert faceveil(*job, "--max_quarantined", 1) == 0


def test_several_models_and_other_qualities(photos: Path, centerface: str, tmp_path: Path) -> None:
    shutil.copytree(centerface, tmp_path / "copy")
    job = ("run", "--input", f"{photos}/people/*.jpeg", "--method", "pixelate")
    models = ("--model", "centerface", tmp_path / "copy")
    assert faceveil(*job, "--output", tmp_path / "two", *models, "--quality", "fast") == 0
    assert faceveil(*job, "--output", tmp_path / "one", "--quality", "fast") == 0
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert two["model"]["name"] == "centerface+copy"
    assert two["job"]["quality"] == "fast"
    assert two["totals"] == one["totals"]
    assert examples(tmp_path / "two").keys() == {"portrait.jpeg"}


def test_orientation_tags_are_honoured(photos: Path, tmp_path: Path) -> None:
    upright = Image.open(photos / "people" / "portrait.jpeg")
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in" / "turned.jpg", exif=exif, quality=95)
    assert faceveil("run", "--input", tmp_path / "in", "--output", tmp_path / "out", "--method", "solid") == 0
    [feature] = examples(tmp_path / "out").values()
    [row] = rows(tmp_path / "out").values()
    assert (row["width"], row["height"]) == upright.size
    assert feature["image/width"].int64_list.value == [upright.height]
    stored = Image.open(io.BytesIO(feature["image/encoded"].bytes_list.value[0]))
    assert stored.getexif()[0x0112] == 6
    face = max(row["faces"], key=lambda face: face["score"])
    turned_back = np.asarray(stored.transpose(Image.Transpose.ROTATE_270).convert("L"))
    x, y = int((face["x0"] + face["x1"]) / 2), int((face["y0"] + face["y1"]) / 2)
    assert turned_back[y - 20 : y + 20, x - 20 : x + 20].max() < 12
    assert 0.2 < face["score"] <= 1
    assert len(face["keypoints"]) == 10


def test_dates_are_kept_where_they_are_asked_for_and_the_manifest_says_so(photos: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.update({0x0132: "2024:05:06 07:08:09", 0x010F: "Maker"})
    for name, photo in (("face", "people/portrait.jpeg"), ("thing", "things/coffee.jpg")):
        Image.open(photos / photo).save(tmp_path / f"{name}.jpg", exif=exif)
    options = ["--input", str(tmp_path / "*.jpg"), "--output", str(tmp_path / "out"), *FAST]
    assert faceveil("run", *options, "--keep_metadata", "dates") == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["job"]["keep_metadata"] == ["dates"]
    for feature in examples(tmp_path / "out").values():
        image = Image.open(io.BytesIO(feature["image/encoded"].bytes_list.value[0]))
        assert dict(image.getexif()) == {0x0132: "2024:05:06 07:08:09"}
    assert faceveil("run", *options) == 4
