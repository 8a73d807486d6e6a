"""A shard is mended whole or not at all, whenever the process ends; by plain functions, without a detector."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.cli import main
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import read_stamp
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout, shard_ending
from faceveil.transforms.manifest import read_manifest
from faceveil.transforms.shard.worker import Anonymization, Worker
from faceveil.transforms.verification import Action
from faceveil.transforms.verification.mend import is_as_told, mend_shard, settle
from faceveil.transforms.verification.mend_record import Mending
from faceveil.transforms.verification.reading import WrittenShard
from faceveil.transforms.verification.records import Expected
from tests.conftest import audit_of, copy_output, files_of_output
from tests.left_out import KilledError, kill_after

OUTSIDE = {
    "people/portrait.jpeg": {0: Faces(np.array([[10, 20, 60, 80]], np.float32), np.ones(1, np.float32))},
    "things/rocket.jpg": {0: Faces(np.array([[0, 0, 30, 30]], np.float32), np.ones(1, np.float32))},
}


@pytest.fixture(scope="module", params=["tfrecord", "parquet", "webdataset", "images"])
def output(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of one shard; no detector has looked, and of two photos a box was masked."""
    folder = tmp_path_factory.mktemp(f"shard-{request.param}")
    boxes = folder / "boxes.csv"
    keys = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.*"))
    given = {"people/portrait.jpeg": "100,100,150,150", "things/coffee.jpg": "5,5,40,40"}
    boxes.write_text("key,xmin,ymin,xmax,ymax\n" + "".join(f"{key},{given.get(key, ',,,')}\n" for key in keys))
    job = ["run", "--input", f"{photos}/**", "--output", folder / "out", "--boxes", boxes, "--boxes_mode", "replace"]
    assert main([str(a) for a in [*job, "--format", request.param, "--num_shards", 1, "--method", "solid"]]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def worker() -> Worker:
    style = Style(JobOptions().geometry)
    return Worker(Anonymization(DetectorConfig(()), "solid", style, FeatureRoles()), threads=1)


def mending_of(output: Path, action: Action) -> tuple[WrittenShard, Mending]:
    manifest = read_manifest(str(output))
    assert manifest
    [told] = manifest["shards"]
    job = manifest["job"]
    written_as = job.get("format", "tfrecord"), job.get("compression", "none"), job.get("columns", {})
    layout = OutputLayout(str(output), str(audit_of(output)), "", *written_as)
    name = told.get("name") or told["file"].removesuffix(shard_ending(*written_as[:2]))
    shard = WrittenShard(name, *(told[field] for field in ("split", "records", "faces", "bytes", "sha256")))
    findings = replace(layout, audit_directory=str(audit_of(output) / "_verify"))
    expected = Expected(FeatureRoles(), JobOptions().geometry, looks=True, has_rows=True)
    return shard, Mending(action, layout, findings, "solid", False, True, expected)


def contents(output: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_of_output(output).items()}


@pytest.mark.parametrize("action", ["fix", "drop"])
def test_killed_at_any_moment_it_is_mended_whole_or_not_at_all(
    output: Path, worker: Worker, action: Action, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(output)
    whole = tmp_path / "whole"
    copy_output(output, whole)
    mended = mend_shard(mending_of(whole, action)[0], OUTSIDE, mending_of(whole, action)[1], worker)
    assert (mended.records, mended.faces, mended.failed) == (2, 2, 0)
    states = set()
    for kills in range(50):
        again = tmp_path / "again"
        copy_output(output, again)
        shard, mending = mending_of(again, action)
        with monkeypatch.context() as patch:
            kill_after(patch, kills)
            try:
                mend_shard(shard, OUTSIDE, mending, worker)
                break
            except KilledError:
                pass
        settle(shard.name, mending)
        now = contents(again)
        states.add("whole" if now == contents(whole) else "before" if now == before else "some")
        if is_as_told(shard, mending):
            assert now == before
        # Of images, some may have been made again, and their rows tell so.
        mend_shard(shard, OUTSIDE, mending, worker)
        settle(shard.name, mending)
        shutil.rmtree(again)
        shutil.rmtree(audit_of(again))
    assert {"whole", "before"} <= states
    assert kills > 4


def test_rows_and_totals_tell_what_was_added(output: Path, worker: Worker, tmp_path: Path) -> None:
    copy_output(output, tmp_path / "out")
    shard, mending = mending_of(tmp_path / "out", "fix")
    mend_shard(shard, OUTSIDE, mending, worker)
    audit = audit_of(tmp_path / "out") / f"{shard.name}.parquet"
    rows = {row["key"]: row for row in pq.read_table(audit).to_pylist()}
    assert [len(rows[key]["faces"]) for key in ("people/portrait.jpeg", "things/coffee.jpg", "things/rocket.jpg")] == [
        *(2, 1, 1)
    ]
    assert rows["people/portrait.jpeg"]["given_faces"] == 1
    assert rows["things/rocket.jpg"]["status"] == "anonymized"
    stamp = read_stamp(str(audit))
    assert stamp
    totals = stamp.result
    assert (totals.records, totals.anonymized, totals.faces, totals.given_faces) == (6, 3, 4, 2)
    assert stamp.files
    assert not is_as_told(shard, mending)


@pytest.mark.parametrize("action", ["fix", "drop"])
def test_a_shard_that_is_not_what_was_written_is_left_as_it_is(
    output: Path, worker: Worker, action: Action, tmp_path: Path
) -> None:
    copy_output(output, tmp_path / "out")
    shard, mending = mending_of(tmp_path / "out", action)
    if mending.output.format == "images":
        path = tmp_path / "out" / "things" / "rocket.jpg"
    else:
        path = Path(mending.output.shard_path(shard.name))
    path.write_bytes(path.read_bytes() + b"more")
    before = contents(tmp_path / "out")
    mended = mend_shard(shard, OUTSIDE, mending, worker)
    if mending.output.format != "images":
        assert (mended.records, mended.failed) == (0, 2)
        assert contents(tmp_path / "out") == before
    else:  # of which each is its own file
        assert (mended.records, mended.failed) == ((1, 1) if action == "fix" else (2, 0))
        assert (path.read_bytes() == before["things/rocket.jpg"]) if action == "fix" else not path.exists()
