"""Updating an output, as users do it; the result must hold what a run on the inputs as they are now makes of them."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms.formats.audit import read_stamp
from tests.conftest import audit_of, copy_output
from tests.test_end_to_end import examples, faceveil, files, rows
from tests.test_retry import leave_lock

SALT = "a salt that is long and random enough"
FASTEST = ("--model", "yunet-s", "--detect_size", 128, "--quality", "fast", "--max_quarantined", 1)
PLACE = ("shard", "index")


@pytest.fixture(scope="module")
def crops(photos: Path) -> list[bytes]:
    """Forty small photographs, half of them with a face."""
    made = []
    astronaut, coffee = (Image.open(next(photos.rglob(name))) for name in ("astronaut.png", "coffee.jpg"))
    for number in range(40):
        picture = astronaut if number % 2 else coffee
        file = io.BytesIO()
        left, top = (120, 0) if number % 2 else (60, 80)
        picture.crop((left + number, top + number // 2, left + number + 200, top + number // 2 + 200)).convert(
            "RGB"
        ).resize((120, 120)).save(file, "JPEG", quality=80)
        made.append(file.getvalue())
    return made


@pytest.fixture(scope="module")
def album(crops: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen photos in two folders, one of them damaged."""
    folder = tmp_path_factory.mktemp("update") / "in"
    for number in range(14):
        path = folder / "ab"[number % 2] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(crops[number] if number != 7 else crops[number][:500])
    return folder


def job(inputs: Path, output: Path, *more: object) -> int:
    return faceveil("run", "--input", f"{inputs}/**", "--output", output, *FASTEST, *more)


@pytest.fixture(scope="module")
def done(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the album."""
    output = tmp_path_factory.mktemp("done") / "out"
    assert job(album, output, "--num_shards", 4) == 0
    return output


@pytest.fixture
def given(album: Path, done: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the album and its output."""
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    copy_output(done, output)
    return folder, output


def change(folder: Path, crops: list[bytes]) -> None:
    """Two photos are new, one is another one, one is renamed, two are gone, one is touched."""
    for number in (30, 31):
        (folder / "b" / f"{number}.jpg").write_bytes(crops[number])
    (folder / "a" / "04.jpg").write_bytes(crops[33])
    (folder / "b" / "05.jpg").rename(folder / "a" / "renamed.jpg")
    for name in ("a/08.jpg", "b/11.jpg"):
        (folder / name).unlink()
    os.utime(folder / "a" / "10.jpg")


def held(output: Path) -> dict[str, Any]:
    """All records and their rows, wherever they are."""
    written = {key: {name: str(value) for name, value in found.items()} for key, found in examples(output).items()}
    trail = {key: {k: v for k, v in row.items() if k not in PLACE} for key, row in rows(output).items()}
    return {key: (row, written.get(key)) for key, row in trail.items()}


def manifest_of(output: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return manifest


def totals(output: Path) -> dict[str, Any]:
    manifest = manifest_of(output)
    return {name: manifest[name] for name in ("totals", "splits", "faces_per_image", "quarantined_for", "ignored")}


def made(said: str) -> str:
    """How many records the last run says that it has made."""
    return said.rpartition(" made in ")[0].split("\n")[-1]


def test_the_output_holds_what_a_fresh_one_would(
    given: tuple[Path, Path], crops: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = given
    change(folder, crops)
    assert job(folder, tmp_path / "fresh", "--num_shards", 4) == 0
    written = {path.name: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    before = rows(output)
    assert job(folder, output) == 4
    assert "use --update to take in what has changed, --overwrite or another --output" in capsys.readouterr().err
    assert job(folder, output, "--update") == 0
    assert held(output) == held(tmp_path / "fresh")
    assert totals(output) == totals(tmp_path / "fresh")
    said = capsys.readouterr()
    assert "inputs: 3 added, 1 changed, 3 removed, 1 touched" in said.err
    assert made(said.out) == "4 records"
    # New photos are in shards of their own; of the others only those are rewritten that lose or change one.
    assert {row["shard"] for key, row in rows(output).items() if key not in before} == {
        "data-added001-00000-of-00001.tfrecord"
    }
    concerned = {before[key]["shard"] for key in ("a/04.jpg", "b/05.jpg", "a/08.jpg", "b/11.jpg")}
    for name, time in written.items():
        assert (name in concerned) == ((output / name).stat().st_mtime_ns != time)
    after = files(output)
    for more in ((), ("--update",)):
        assert job(folder, output, *more) == 0
        assert "is complete already" in capsys.readouterr().err
    assert files(output) == after
    assert not list(audit_of(output).glob(".*"))


def test_of_a_withdrawn_photo_nothing_is_left(given: tuple[Path, Path]) -> None:
    folder, output = given
    key = "a/08.jpg"
    record = examples(output)[key]["image/encoded"].bytes_list.value[0]
    content = [
        file.content
        for path in audit_of(output).glob("*.parquet")
        if (stamp := read_stamp(str(path)))
        for file in stamp.files
        if file.key == key
    ]
    assert len(content[0]) == 32

    def traces() -> int:
        found = [path.read_bytes() for top in (output, audit_of(output)) for path in top.rglob("*") if path.is_file()]
        return sum(data.count(mark) for data in found for mark in (key.encode(), record, content[0].encode()))

    assert traces() >= 3
    # What a killed attempt has left of it goes as well.
    shutil.copy(next(output.glob("*-00001-*.tfrecord")), output / ".data-00001-of-00004.tfrecord.0123abcd.partial")
    (folder / key).unlink()
    assert job(folder, output, "--update") == 0
    assert traces() == 0
    assert not list(output.glob(".*"))


def test_an_update_that_was_killed_goes_on(given: tuple[Path, Path], done: Path, crops: list[bytes]) -> None:
    folder, output = given
    change(folder, crops)
    assert job(folder, output, "--update") == 0
    whole = files(output)
    # As a kill leaves it at its worst moments: no manifest, shards as they were before, a new shard with an old file of
    # the audit trail, and new shards that are not there yet.
    rewritten = [
        path for path in sorted(done.glob("*.tfrecord")) if (output / path.name).read_bytes() != path.read_bytes()
    ]
    assert len(rewritten) >= 2
    for path in rewritten[:2]:
        shutil.copy(audit_of(done) / f"{path.stem}.parquet", audit_of(output))
    shutil.copy(rewritten[0], output)
    (audit_of(output) / "data-added001-00000-of-00001.parquet").unlink()
    leave_lock(output)
    assert job(folder, output) == 0
    assert files(output) == whole


def test_other_settings_are_refused_and_nothing_is_touched(
    given: tuple[Path, Path], crops: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = given
    change(folder, crops)
    before = files(output)
    for more, told in (
        (("--method", "bar"), "method: blur there, bar here"),
        (("--max_pixels", 10**6), "max_pixels: 150000000 there, 1000000 here"),
        (("--drop_features", "image/filename"), "drop_features: [] there, ['image/filename'] here"),
    ):
        assert job(folder, output, "--update", *more) == 4
        said = capsys.readouterr().err
        assert "use --overwrite or another --output" in said
        assert told in said
        assert "inputs" not in said
    shutil.move(audit_of(output), output.with_name("moved"))
    assert job(folder, output, "--update") == 4
    assert "lacks what the audit trail says of 4 of its shards" in capsys.readouterr().err
    shutil.move(output.with_name("moved"), audit_of(output))
    assert files(output) == before
    for other in ("--overwrite", "--retry_quarantined"):
        assert job(folder, output, "--update", other) == 2


def test_a_touch_rewrites_no_shard(given: tuple[Path, Path], done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = given
    for path in folder.rglob("*.jpg"):
        os.utime(path)
    assert job(folder, output) == 4
    capsys.readouterr()
    written = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    assert job(folder, output, "--update") == 0
    # What was quarantined before it could be read whole has no digest, and is looked at again.
    assert made(capsys.readouterr().out) == "1 record"
    concerned = rows(output)["b/07.jpg"], rows(done)["b/07.jpg"]
    assert concerned[0] == concerned[1]
    rewritten = [path for path, time in written.items() if path.stat().st_mtime_ns != time]
    assert len(rewritten) == 1
    assert all(path.read_bytes() == (done / path.name).read_bytes() for path in written)
    assert job(folder, output) == 0
    assert "is complete already" in capsys.readouterr().err


def test_what_is_quarantined_stays_so_until_it_is_repaired_or_tried_again(
    given: tuple[Path, Path], crops: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = given
    change(folder, crops)
    (folder / "b" / "13.jpg").write_bytes(b"no longer an image")
    assert job(folder, output, "--update") == 0
    assert made(capsys.readouterr().out) == "5 records"
    reasons = {key: row["reason"] for key, row in rows(output).items() if row["reason"]}
    assert reasons == {"b/07.jpg": "truncated", "b/13.jpg": "not_an_image"}
    (folder / "b" / "07.jpg").write_bytes(crops[7])
    assert job(folder, output) == 4
    assert "use --retry_quarantined to try again what was quarantined, or --update" in capsys.readouterr().err
    assert job(folder, output, "--retry_quarantined") == 0
    assert {key: row["reason"] for key, row in rows(output).items() if row["reason"]} == {"b/13.jpg": "not_an_image"}
    assert "b/31.jpg" in held(output)


def test_hidden_names_stay_hidden(
    album: Path, crops: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    assert job(folder, output, "--hash_keys") == 0
    change(folder, crops)
    assert job(folder, output, "--hash_keys", "--update") == 0
    hashed = [
        hmac.new(SALT.encode(), str(path.relative_to(folder)).encode(), "sha256") for path in folder.rglob("*.jpg")
    ]
    assert sorted(held(output)) == sorted(each.hexdigest()[:32] for each in hashed)
    stamps = [read_stamp(str(path)) for path in audit_of(output).glob("*.parquet")]
    contents = {file.content for stamp in stamps if stamp for file in stamp.files}
    assert contents
    for data in crops:  # nobody can test whether a photo was among the inputs
        assert not contents & {hashlib.blake2b(data, digest_size=16).hexdigest(), hashlib.md5(data).hexdigest()}  # noqa: S324
    for path in [*output.iterdir(), *audit_of(output).iterdir()]:
        assert b"renamed" not in path.read_bytes()


def test_splits_may_come_and_go_and_all_is_made_where_there_is_no_output(crops: list[bytes], tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for number in range(2):
            (tmp_path / split / f"{number}.jpg").write_bytes(crops[number])

    def run(output: str, *splits: str) -> Path:
        inputs = [f"{split}={tmp_path}/{split}/*" for split in splits]
        assert faceveil("run", "--input", *inputs, "--output", tmp_path / output, *FASTEST, "--update") == 0
        return tmp_path / output

    output = run("out", "train", "val")
    assert "added_shards" not in manifest_of(output)["job"]
    run("out", "val", "test")
    assert held(output) == held(run("fresh", "val", "test"))
    told = totals(output)["splits"]
    assert told.pop("train")["records"] == 0
    assert told == totals(tmp_path / "fresh")["splits"]
    assert [path.name for path in output.glob("test*")] == ["test-added001-00000-of-00001.tfrecord"]
    assert {path.stat().st_size for path in output.glob("train*")} == {0}


def write_records(path: Path, images: list[bytes]) -> None:
    """A file of records by its ending."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"image/encoded": images, "n": list(range(len(images)))}), path, row_group_size=2)
        return
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
            features = tf.train.Features(feature={"image/encoded": feature})
            writer.write(tf.train.Example(features=features).SerializeToString())


def test_files_of_records_are_made_again_as_a_whole_or_not_at_all(
    crops: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(crops[0])
    for number, name in enumerate(("a.tfrecord", "b.parquet", "c.tfrecord", "d.parquet")):
        write_records(folder / name, crops[4 * number : 4 * number + 4])
    divided = ("--shard_bytes", 9000)
    assert job(folder, output, *divided) == 0
    shards = len(list(output.glob("*.tfrecord")))
    assert shards > 6
    for name in ("b.parquet", "c.tfrecord"):
        os.utime(folder / name)
    write_records(folder / "a.tfrecord", crops[20:25])
    (folder / "d.parquet").unlink()
    write_records(folder / "e.tfrecord", crops[30:33])
    capsys.readouterr()
    assert job(folder, output, *divided, "--update") == 0
    said = capsys.readouterr()
    assert "1 added, 1 changed, 1 removed, 2 touched" in said.err
    assert made(said.out) == "8 records"
    assert job(folder, tmp_path / "fresh", *divided) == 0
    assert held(output) == held(tmp_path / "fresh")
    assert totals(output) == totals(tmp_path / "fresh")
    assert job(folder, output, *divided) == 0
    assert "is complete already" in capsys.readouterr().err


def test_a_folder_of_images_follows_its_inputs(
    album: Path, crops: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    (folder / "b" / "labels.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    images = ("--format", "images", "--copy_others")
    assert job(folder, output, *images, "--num_shards", 4) == 0
    before = {name: (output / name).read_bytes() for name in rows(output) if name != "b/07.jpg"}
    change(folder, crops)
    for path in folder.glob("a/1*.jpg"):  # the last of a folder
        path.unlink()
    (folder / "b" / "labels.txt").write_text("2 0.5 0.5 0.1 0.1\n")
    capsys.readouterr()
    assert job(folder, output, *images, "--update") == 0
    assert made(capsys.readouterr().out) == "4 records"

    def published(folder: Path) -> dict[str, bytes]:
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if name != "manifest.json"}

    after = published(output)
    assert sorted(after) == sorted(name for name in published(folder) if name != "b/07.jpg")
    for name, row in rows(output).items():
        assert row["sha256"] == (hashlib.sha256(after[name]).hexdigest() if name in after else None)
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == {
        "a/04.jpg",
        "b/labels.txt",
    }
    assert totals(output)["totals"]["copied"] == 1
    # As a kill leaves it: of a shard that was being published some files, its journal, and no file of the audit trail.
    shard = next(path for path in audit_of(output).glob("data-00*.parquet") if len(pq.read_table(path)) > 1)
    names = [row["key"] for row in pq.read_table(shard).to_pylist()]
    (audit_of(output) / f".{shard.stem}.files").write_text(json.dumps([*names, "a/withdrawn.jpg"]))
    shutil.copy(output / "b" / "03.jpg", output / "a" / "withdrawn.jpg")
    shard.unlink()
    leave_lock(output)
    (folder / "b" / "36.jpg").write_bytes(crops[36])
    assert job(folder, output, *images, "--update") == 0
    assert set(published(output)) == {*after, "b/36.jpg"}
    assert not list(audit_of(output).glob(".*"))
