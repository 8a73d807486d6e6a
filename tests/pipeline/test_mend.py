"""Mending: masks for faces that were left bare, or an output without them; killed at any moment, it goes on."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from tests.conftest import audit_of, copy_output, files_of_output
from tests.left_out import faces_left_out, kill_after, one_worker
from tests.pipeline.test_verify import FAST, faceveil, findings, image_of, result, verify
from tests.test_formats import image, read

__all__ = ["one_worker"]
pytestmark = pytest.mark.usefixtures("centerface_int8")


def _bare(photos: Path, folder: Path, written: str, *more: str) -> Path:
    """An output in which one or two faces were overlooked on purpose."""
    job = ["run", "--input", f"{photos}/**", "--output", folder / "out", "--method", "solid"]
    with faces_left_out(one_in=2) as overlooked:
        assert faceveil(*job, "--format", written, *more, *FAST) == 0
    assert 0 < sum(map(len, overlooked)) < 3
    return folder / "out"


@pytest.fixture(scope="module")
def bare(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives an output in a format, in which faces were overlooked on purpose; each is made once."""
    return functools.cache(lambda written: _bare(photos, tmp_path_factory.mktemp("mend"), written))


@pytest.fixture
def copied(request: pytest.FixtureRequest, bare: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of such an output, of TFRecords unless a test names another format."""
    copy_output(bare(getattr(request, "param", "tfrecord")), tmp_path / "out")
    return tmp_path / "out"


in_formats = functools.partial(pytest.mark.parametrize, "copied", indirect=True)


def manifest_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return content


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in pq.read_table(audit_of(output)).to_pylist()}


def images_of(output: Path) -> dict[str, bytes]:
    """The images of an output by their keys."""
    images = {}
    for key, row in rows_of(output).items():
        if row["shard"] is None:
            continue
        path = output / row["shard"]
        if path.suffix == ".tfrecord":
            records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
            images[key] = image_of(tf.train.Example.FromString(records[row["index"]]))
        elif path.suffix == ".tar":
            images[key] = image(read(path)[row["index"]])
        else:
            images[key] = path.read_bytes()
    return images


def check_accounts(output: Path) -> None:
    """Everything that the manifest says is true."""
    manifest, rows = manifest_of(output), rows_of(output)
    totals = manifest["totals"]
    assert totals["records"] == totals["anonymized"] + totals["no_faces"] + totals["quarantined"] == len(rows) == 6
    assert totals["faces"] == sum(len(row["faces"]) for row in rows.values())
    for shard in manifest["shards"]:
        if "file" in shard:
            data = (output / shard["file"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    for row in rows.values():
        if row.get("sha256"):
            assert hashlib.sha256((output / row["shard"]).read_bytes()).hexdigest() == row["sha256"]
    assert not [name for name in files_of_output(output) if "partial" in name or ".before" in name or ".after" in name]
    assert not list(output.rglob(".*"))


@in_formats(argvalues=["tfrecord", "images"])
def test_after_a_fix_the_second_look_finds_nothing_and_all_is_accounted_for(copied: Path) -> None:
    before, pixels, rows = manifest_of(copied), images_of(copied), rows_of(copied)
    assert verify(copied, "--fix") == 0
    found = {row["key"]: row["faces"] for row in findings(copied)}
    missed = sum(map(len, found.values()))
    assert result(copied)["mended"] == {"action": "fix", "records": len(found), "faces": missed, "failed": 0}
    check_accounts(copied)
    after = manifest_of(copied)
    assert after["totals"]["faces"] == before["totals"]["faces"] + missed == 3
    assert {name: after[name] for name in ("job", "model", "ignored")} == {
        name: before[name] for name in ("job", "model", "ignored")
    }
    for key, data in images_of(copied).items():
        if key not in found:
            assert (data, rows_of(copied)[key]) == (pixels[key], rows[key])
            continue
        assert rows_of(copied)[key]["faces"] == rows[key]["faces"] + found[key]
        with Image.open(io.BytesIO(data)) as opened:
            values = np.asarray(opened.convert("RGB"))
        for face in found[key]:
            box = np.array([face[side] for side in ("x0", "y0", "x1", "y1")], np.float32)
            rectangle, mask = face_mask(box, MaskGeometry(), *values.shape[:2])
            assert np.median(values[rectangle][mask]) < 4  # black
    assert verify(copied) == 0
    assert result(copied)["totals"]["residual_faces"] == 0


@in_formats(argvalues=["tfrecord", "webdataset"])
def test_what_is_dropped_is_quarantined_and_a_retry_brings_it_back(
    copied: Path, photos: Path, bare: Callable[[str], Path]
) -> None:
    assert verify(copied, "--drop") == 0
    dropped = {row["key"] for row in findings(copied)}
    check_accounts(copied)
    assert {key for key, row in rows_of(copied).items() if row["reason"] == "residual_face"} == dropped
    assert manifest_of(copied)["quarantined_for"] == {"residual_face": len(dropped)}
    assert not dropped & images_of(copied).keys()
    assert verify(copied) == 0
    written = manifest_of(copied)["job"].get("format", "tfrecord")
    again = ["run", "--input", f"{photos}/**", "--output", copied, "--method", "solid", "--format", written]
    again += [*FAST, "--max_quarantined", "1"]
    assert faceveil(*again) == 0  # it is complete
    with faces_left_out(one_in=2):
        assert faceveil(*again, "--retry_quarantined") == 0
    assert files_of_output(copied).keys() >= files_of_output(bare(written)).keys()
    for path in bare(written).iterdir():
        assert path.suffix == ".json" or (copied / path.name).read_bytes() == path.read_bytes()


def test_shards_in_gzip_are_looked_at_and_mended_too(photos: Path, tmp_path: Path) -> None:
    output = _bare(photos, tmp_path, "tfrecord", "--compression", "gzip")
    shards = list(output.glob("*.tfrecord.gz"))
    (audit_of(output) / "_report.html").write_text("<!DOCTYPE html>\n<!-- written by faceveil -->")
    assert verify(output, "--sample", 6) == 3
    assert verify(output) == 3
    assert result(output)["problems"] == {}
    assert result(output)["totals"]["records"] == result(output, "_verify_sample")["totals"]["records"] == 6
    assert verify(output, "--fix") == 0
    check_accounts(output)
    assert not (audit_of(output) / "_report.html").exists()
    assert list(output.glob("*.tfrecord*")) == shards
    for shard in shards:
        assert shard.read_bytes()[:2] == b"\x1f\x8b"
    assert verify(output) == 0
    assert result(output)["totals"]["residual_faces"] == 0
    max(shards).write_bytes(max(shards).read_bytes()[:-9])
    assert verify(output) == 3
    assert result(output)["problems"].keys() >= {"corrupt_record", "changed_file"}


def test_a_data_set_of_tfds_tells_of_what_is_left(photos: Path, tmp_path: Path) -> None:
    output = _bare(photos, tmp_path, "tfrecord", "--tfds")
    declared = (output / "features.json").read_bytes()
    assert verify(output, "--drop") == 0
    assert verify(output) == 0
    assert result(output)["problems"] == {}
    assert (output / "features.json").read_bytes() == declared
    shards = manifest_of(output)["shards"]
    [split] = json.loads((output / "dataset_info.json").read_text())["splits"]
    assert split["shardLengths"] == [str(shard["records"]) for shard in shards]
    assert split["numBytes"] == str(sum(shard["bytes"] for shard in shards))
    assert sum(map(int, split["shardLengths"])) == len(images_of(output)) < 6


@in_formats(argvalues=["images"])
def test_killed_it_goes_on_and_is_refused_to_others_meanwhile(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, 4, str(copied / "manifest.json"))
        with pytest.raises(Exception, match="KilledError"):
            verify(copied, "--fix")
    assert not (copied / "manifest.json").exists()
    assert verify(copied) == 2
    assert verify(copied, "--fix") == 0
    check_accounts(copied)
    assert manifest_of(copied)["totals"]["faces"] == 3
