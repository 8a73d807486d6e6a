"""Trying again what was quarantined, as users do it; the result must be that of a run on the repaired inputs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.conftest import audit_of, copy_output
from tests.test_end_to_end import FAST, examples, faceveil, files, rows

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.fixture(scope="module")
def inputs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos, of which three are damaged, and a TFRecord file whose last record is cut off."""
    folder = tmp_path_factory.mktemp("retry")
    originals = sorted(photos.rglob("*.*"))
    for number in range(12):
        original = originals[number % len(originals)]
        data = original.read_bytes()
        damaged = number in (0, 5, 9)
        (folder / f"{number:02d}{original.suffix}").write_bytes(data[: len(data) // 2] if damaged else data)
    with tf.io.TFRecordWriter(str(folder / "whole")) as writer:
        for original in originals[:2]:
            values = tf.train.BytesList(value=[original.read_bytes()])
            features = tf.train.Features(feature={"image/encoded": tf.train.Feature(bytes_list=values)})
            writer.write(tf.train.Example(features=features).SerializeToString())
    (folder / "x.tfrecord").write_bytes((folder / "whole").read_bytes()[:-10])
    return folder


def job(inputs: Path, output: Path, *more: object) -> int:
    given = ("run", "--input", f"{inputs}/*", "--output", output, "--num_shards", 4, "--max_quarantined", 1)
    return faceveil(*given, *FAST, *more)


def leave_lock(output: Path) -> None:
    """Leaves a lock instead of the manifest, as a job does that was killed."""
    manifest = json.loads((output / "manifest.json").read_text())
    owner = {"job": manifest["job"] | {"engine": "auto", "precision": "auto"}, "model": manifest["model"]}
    (output / ".faceveil-lock.json").write_text(json.dumps({"host": "h", "pid": None, "time": 0, "job": owner}))
    (output / "manifest.json").unlink()


@pytest.fixture(scope="module")
def broken(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the damaged inputs."""
    output = tmp_path_factory.mktemp("broken") / "out"
    assert job(inputs, output) == 0
    return output


@pytest.fixture
def repaired(inputs: Path, broken: Path, photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of inputs and output, the inputs repaired but for one."""
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(inputs, folder)
    copy_output(broken, output)
    originals = sorted(photos.rglob("*.*"))
    for number in (0, 5):
        original = originals[number % len(originals)]
        shutil.copy(original, folder / f"{number:02d}{original.suffix}")
    shutil.copy(folder / "whole", folder / "x.tfrecord")
    return folder, output


def test_the_result_is_that_of_a_run_on_the_repaired_inputs(repaired: tuple[Path, Path], tmp_path: Path) -> None:
    folder, output = repaired
    assert job(folder, tmp_path / "fresh") == 0
    made = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    before = rows(output)
    assert job(folder, output, "--retry_quarantined") == 0
    assert files(output) == files(tmp_path / "fresh")
    # A shard without quarantined records is not touched.
    concerned = {key for key, row in before.items() if row["reason"]}
    for path, written in made.items():
        trail = {row["key"] for row in pq.read_table(audit_of(output) / f"{path.stem}.parquet").to_pylist()}
        assert bool(trail & concerned) == (path.stat().st_mtime_ns != written)
    assert json.loads((output / "manifest.json").read_text())["totals"]["quarantined"] == 1


def test_unchanged_records_are_copied_and_not_made_again(repaired: tuple[Path, Path]) -> None:
    folder, output = repaired
    # A photo's pixels are replaced behind the job's back: size and time stay, so its record must stay too.
    [victim] = folder.glob("01.*")
    status = victim.stat()
    victim.write_bytes(bytes(status.st_size))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = examples(output)
    assert job(folder, output, "--retry_quarantined") == 0
    after = examples(output)
    assert {key: after[key] for key in before if "tfrecord" not in key} == {
        key: value for key, value in before.items() if "tfrecord" not in key
    }
    assert len(after) == len(before) + 3


@pytest.mark.parametrize("more", [(), ("--retry_quarantined",)])
def test_a_retry_that_was_killed_goes_on_with_or_without_the_flag(
    repaired: tuple[Path, Path], broken: Path, more: tuple[str, ...]
) -> None:
    folder, output = repaired
    assert job(folder, output, "--retry_quarantined") == 0
    fresh = files(output)
    # As a kill leaves it at its worst moments: no manifest, and in two shards an old records file, in one of these an
    # old shard too.
    retried = [path for path in output.glob("*.tfrecord") if path.read_bytes() != (broken / path.name).read_bytes()]
    assert len(retried) >= 2
    for path in retried[:2]:
        shutil.copy(audit_of(broken) / f"{path.stem}.parquet", audit_of(output))
    shutil.copy(broken / retried[0].name, output)
    leave_lock(output)
    assert job(folder, output, *more) == 0
    assert files(output) == fresh


def test_other_changes_of_the_inputs_are_refused_by_name(
    repaired: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = repaired
    before = files(output)
    assert job(folder, output) == 4
    said = capsys.readouterr().err
    assert "inputs: files were added, removed or changed" in said
    assert "x.tfrecord: was changed, it had" in said
    assert "use --retry_quarantined to try again what was quarantined" in said
    assert "--overwrite" not in said
    changed, removed, other = (next(folder.glob(f"{number}.*")) for number in ("03", "04", "01"))
    changed.write_bytes(changed.read_bytes() + b"more")
    removed.unlink()
    shutil.copy(other, folder / "new.png")
    assert job(folder, output, "--retry_quarantined") == 4
    said = capsys.readouterr().err
    assert "new.png: was added" in said
    assert f"{changed.name}: was changed, it had" in said
    assert f"{removed.name}: was removed" in said
    assert "00." not in said
    assert "use --update to take in what has changed, --overwrite or another --output" in said
    assert job(folder, output) == 4
    assert "use --update to take in what has changed, --overwrite or another --output" in capsys.readouterr().err
    assert files(output) == before


def test_a_repaired_file_that_would_make_more_shards_is_tried_again_in_as_many(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo = (photos / "people" / "astronaut.JPG").read_bytes()
    (folder / "good.jpg").write_bytes(photo)
    (folder / "broken.jpg").touch()
    given = ("run", "--input", f"{folder}/*", "--output", tmp_path / "out", "--shard_bytes", len(photo), *FAST)
    assert faceveil(*given) == 3
    (folder / "broken.jpg").write_bytes(photo)
    capsys.readouterr()
    assert faceveil(*given) == 4
    said = capsys.readouterr().err
    assert "use --retry_quarantined" in said
    assert "num_shards: {'data': 1} there, {'data': 2} here" in said
    assert faceveil(*given, "--retry_quarantined") == 0
    assert len(list((tmp_path / "out").glob("*.tfrecord"))) == 1


def test_limits_may_be_raised(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("run", "--input", f"{photos}/**", "--max_quarantined", 1, *FAST, "--output")
    assert faceveil(*given, tmp_path / "fresh") == 0
    assert faceveil(*given, tmp_path / "out", "--max_pixels", 200_000, "--max_image_bytes", "400kB") == 0
    reasons = {row["reason"] for row in rows(tmp_path / "out").values()}
    assert reasons == {None, "too_large"}
    assert faceveil(*given, tmp_path / "out", "--max_pixels", 100_000, "--retry_quarantined") == 4
    assert "max_pixels: 200000 there, less here" in capsys.readouterr().err
    assert faceveil(*given, tmp_path / "out", "--retry_quarantined") == 0
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    assert faceveil(*given, tmp_path / "out", "--retry_quarantined") == 0
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_there_must_be_something_to_retry(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("run", "--input", f"{photos}/**", "--output", tmp_path / "out", "--retry_quarantined")
    assert faceveil(*given) == 4
    assert "needs the output of an earlier run" in capsys.readouterr().err
    assert faceveil(*given, "--overwrite") == 2
