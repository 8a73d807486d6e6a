"""Shards that a job has written, read again in each format: what comes, what is told, whatever became of the file."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.formats.columns import row_of
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputFormat, OutputLayout
from faceveil.transforms.formats.samples import sample_of
from faceveil.transforms.limits import Limits
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Anonymization, Worker
from faceveil.transforms.verification.reading import READERS, ShardReading, WrittenShard, file_sha256
from faceveil.transforms.verification.records import UncheckedRecord
from tests.transforms.shard.test_file_shard import COLUMNS, PLAN, WAYS, layout, record, write

IMAGES = ("image/encoded", "views")
COUNT = 40


def features(number: int) -> dict[str, Any]:
    return {
        "image/encoded": [b"\x89PNG\r\n\x1a\n%d" % number * 50],
        "n": [number],
        "xs": [0.5] * (number % 4),
        "views": [b"P5 1 %d" % (number + 1), b"P6 1 1"],
    }


def outcome(number: int, output_format: OutputFormat) -> Outcome:
    example = Example.parse(Example.empty().with_features(features(number)))
    data = example.with_features({})
    if output_format == "parquet":
        data = row_of(example, COLUMNS)
    elif output_format == "webdataset":
        data = sample_of(example, IMAGES, {}, None if number % 3 else f"anna/{number}")
    return replace(record(number, "tfrecord"), serialized=data)


@pytest.fixture(scope="module")
def worker() -> Worker:
    roles = FeatureRoles(IMAGES)
    config = Anonymization(DetectorConfig(()), "solid", Style(JobOptions().geometry), roles)
    return Worker(config, threads=1)


@pytest.fixture(params=WAYS, ids="-".join)
def output(request: pytest.FixtureRequest, tmp_path: Path) -> OutputLayout:
    return layout(tmp_path, request.param)


@pytest.fixture
def shard(output: OutputLayout) -> WrittenShard:
    result = write(output, [outcome(number, output.format) for number in range(COUNT)])
    return WrittenShard(PLAN.name, "data", result.records, 0, result.bytes, result.sha256)


def read(
    shard: WrittenShard, output: OutputLayout, worker: Worker, chosen: Sequence[int] | None = None
) -> tuple[list[UncheckedRecord], ShardReading]:
    reading = ShardReading()
    some = replace(shard, chosen=None if chosen is None else tuple(chosen))
    return list(READERS[output.format](some, output, True, reading, worker)), reading


def check(found: UncheckedRecord, number: int) -> None:
    example = Example.parse(found.data)
    told = features(number)
    assert set(told) <= set(example.names()) <= {*told, "__key__"}
    for name, values in told.items():
        np.testing.assert_array_equal(np.array(example.values(name)), np.array(values))
    assert found.row is not None
    assert (found.key, found.index) == (found.row.key, number) == (f"x#{number}", number)


def test_records_come_with_their_rows_as_the_examples_that_they_were_made_of(
    shard: WrittenShard, output: OutputLayout, worker: Worker
) -> None:
    found, reading = read(shard, output, worker)
    assert len(found) == reading.records == COUNT
    assert (reading.sha256, reading.bytes, reading.problems) == (shard.sha256, shard.bytes, [])
    for number, each in enumerate(found):
        check(each, number)
    chosen = [0, 7, 8, 39]
    some, reading = read(shard, output, worker, chosen)
    assert ([each.data for each in some], reading.problems) == ([found[number].data for number in chosen], [])
    for number, each in zip(chosen, some, strict=True):
        check(each, number)
    assert read(shard, output, worker, ())[0] == []


def test_whatever_happens_to_a_file_is_told_and_never_an_error(
    shard: WrittenShard, output: OutputLayout, worker: Worker
) -> None:
    path = Path(output.shard_path(shard.name))
    whole = path.read_bytes()
    rng = random.Random(0)  # noqa: S311  no secret
    places = {0, 3, 4, 9, len(whole) - 1, len(whole) - 6, *(rng.randrange(len(whole)) for _ in range(12))}
    changed = [whole[:place] for place in sorted(places)]
    changed += [whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :] for place in places]
    changed += [b"", b"PAR1", bytes(10_240), whole[:1000] * 3, whole[1000:], whole + whole, whole + b"\0"]
    for data in changed:
        path.write_bytes(data)
        found, reading = read(shard, output, worker)
        assert (reading.sha256, reading.bytes) == (file_sha256(str(path)), len(data))
        assert reading.sha256 != shard.sha256
        # What comes is looked at with the row of the same place.
        assert all(each.row is None or each.key == f"x#{each.index}" for each in found)
        read(shard, output, worker, (0, 20, 39))
    path.unlink()
    assert [finding.problem for finding in read(shard, output, worker)[1].problems] == ["missing_file"]


def test_records_that_are_too_large_are_told(shard: WrittenShard, output: OutputLayout, worker: Worker) -> None:
    small = Worker(replace(worker.config, limits=Limits(max_image_bytes=300)), threads=1)
    found, reading = read(shard, output, small)
    assert found == []
    assert {finding.problem for finding in reading.problems} == {"too_large"}
    assert [finding.key for finding in reading.problems] == [f"x#{number}" for number in range(COUNT)]


@pytest.mark.parametrize("output", [way for way in WAYS if way[1] == "gzip" and way[0] != "parquet"], indirect=True)
def test_what_gzip_says_or_holds_beside_is_told(shard: WrittenShard, output: OutputLayout, worker: Worker) -> None:
    path = Path(output.shard_path(shard.name))
    whole = path.read_bytes()
    named = io.BytesIO()
    with gzip.GzipFile("anna.txt", "wb", fileobj=named, mtime=0) as file:
        file.write(gzip.decompress(whole))
    for data, problem in (
        (named.getvalue(), "hidden_data"),
        (gzip.compress(gzip.decompress(whole), mtime=1), "hidden_data"),
        (whole + gzip.compress(b""), "corrupt_record"),
        (whole + b"hidden", "corrupt_record"),
    ):
        path.write_bytes(data)
        found, reading = read(shard, output, worker)
        assert problem in {finding.problem for finding in reading.problems}
        assert len(found) == COUNT or problem == "corrupt_record"


@pytest.mark.parametrize("output", [("parquet", "zstd")], indirect=True)
def test_columns_that_no_job_has_written_are_told_and_looked_into(
    shard: WrittenShard, output: OutputLayout, worker: Worker
) -> None:
    path = output.shard_path(shard.name)
    table = pq.read_table(path)
    more = table.append_column("thumb", table["image"]).append_column("when", [[1.5] * COUNT])
    pq.write_table(more, path, use_dictionary=False, write_statistics=False)
    found, reading = read(shard, output, worker)
    assert [(each.problem, each.detail) for each in reading.problems] == [("left_out_feature", "columns thumb, when")]
    assert all("thumb" in Example.parse(each.data).names() for each in found)
    pq.write_table(table.drop_columns(["xs"]), path, use_dictionary=False, write_statistics=False)
    assert [each.problem for each in read(shard, output, worker)[1].problems] == ["changed_file"]
    pq.write_table(table, path, use_dictionary=False)
    [told] = read(shard, output, worker)[1].problems
    assert told.problem == "hidden_data"
    assert "holds values once more" in str(told.detail)


@pytest.mark.parametrize("output", [("parquet", "none")], indirect=True)
def test_of_a_table_only_the_row_group_that_is_damaged_is_lost(output: OutputLayout, worker: Worker) -> None:
    result = write(output, [outcome(number, "parquet") for number in range(2100)])
    shard = WrittenShard(PLAN.name, "data", 2100, 0, result.bytes, result.sha256)
    path = Path(output.shard_path(PLAN.name))
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset + 1000
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    found, reading = read(shard, output, worker)
    assert {each.index for each in found} == {*range(1000), *range(2000, 2100)}
    check(found[-1], 2099)
    assert [each.problem for each in reading.problems] == ["corrupt_record"]
    assert reading.records == 1100
    assert [each.index for each in read(shard, output, worker, (5, 2050))[0]] == [5, 2050]


@pytest.mark.parametrize("output", [("webdataset", "none")], indirect=True)
def test_a_tar_of_another_program_is_told_once(shard: WrittenShard, output: OutputLayout, worker: Worker) -> None:
    path = Path(output.shard_path(shard.name))
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.mtime, info.uname = 1_700_000_000, "anna"
            tar.addfile(info, io.BytesIO(content))
    found, reading = read(shard, output, worker)
    assert len(found) == COUNT
    [told] = reading.problems
    assert told.problem == "hidden_data"
    assert str(told.detail).endswith(f"; and {len(members) - 1} more of the kind")
