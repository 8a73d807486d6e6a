"""Shards of one file: each format written, recognised and read back, whatever becomes of it."""

from __future__ import annotations

import gc
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.columns import row_of
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.layout import COMPRESSIONS, OutputFormat, OutputLayout
from faceveil.transforms.formats.samples import sample_of
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.write import write_shard
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

FORMATS: tuple[OutputFormat, ...] = ("tfrecord", "parquet", "webdataset")
WAYS = [(name, how) for name in FORMATS for how in COMPRESSIONS[name]]
COLUMNS = {"image": "image", "n": "int64", "views": "list<image>", "xs": "list<float>"}
PLAN = ShardPlan("data", 0, 1, "tfrecord", (InputFile("data", "x", "x", 1, "1.0", "tfrecord"),))


def layout(folder: Path, way: tuple[OutputFormat, str]) -> OutputLayout:
    return OutputLayout(str(folder), str(folder / "trail"), "digest", *way, COLUMNS)


def record(number: int, output_format: OutputFormat) -> Outcome:
    features: dict[str, Any] = {
        "image/encoded": b"\x89PNG\r\n\x1a\n%d" % number * 50,
        "n": [number],
        "xs": [0.5] * number,
        "views": [b"P5", b"P6"],
    }
    example = Example.empty().with_features(features)
    if output_format == "parquet":
        example = row_of(Example.parse(example), COLUMNS)
    elif output_format == "webdataset":
        name = f"anna/{number % 2}" if number < 3 else None
        example = sample_of(Example.parse(example), ("image/encoded", "views"), {}, name)
    return Outcome(Row(f"x#{number}", Status.NO_FACES, None, 1, 1, Faces.none()), example)


def write(output: OutputLayout, records: Iterable[Outcome]) -> ShardResult:
    return write_shard(PLAN, records, output, ShardResult(PLAN.name, "data"), "blur", lambda _: None)()


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_shard_comes_back_and_makes_the_same_bytes_again(tmp_path: Path, way: tuple[OutputFormat, str]) -> None:
    records = [record(number, way[0]) for number in range(8)]
    result = write(layout(tmp_path, way), records)
    output, shards = layout(tmp_path, way), SHARD_FORMATS[way[0]]
    path = Path(output.shard_path(PLAN.name))
    assert path.stat().st_size == result.bytes
    assert shards.is_whole(PLAN.name, output, result)
    kept = [Outcome(row, data) for row, data in shards.read_back(PLAN.name, output, result)]
    assert [outcome.key for outcome in kept] == [outcome.key for outcome in records]
    again = layout(tmp_path / "again", way)
    assert write(again, kept) == result
    # As a retry has it: some are made anew, among others that are kept.
    mixed = layout(tmp_path / "mixed", way)
    assert write(mixed, [*kept[:2], *records[2:5], *kept[5:]]).sha256 == result.sha256
    assert Path(mixed.shard_path(PLAN.name)).read_bytes() == path.read_bytes()
    path.write_bytes(path.read_bytes()[:-1])
    assert not shards.is_whole(PLAN.name, output, result)
    assert list(shards.read_back(PLAN.name, output, result)) == []


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_shard_that_is_given_up_leaves_nothing(tmp_path: Path, way: tuple[OutputFormat, str]) -> None:
    output = layout(tmp_path, way)

    def records() -> Iterator[Outcome]:
        yield record(0, way[0])
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(output, records())
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_shard_without_records_can_be_read(tmp_path: Path, way: tuple[OutputFormat, str]) -> None:
    output = layout(tmp_path, way)
    write(output, [])
    path = output.shard_path(PLAN.name)
    if way[0] == "parquet":
        assert pq.read_table(path).num_rows == 0
    elif way[0] == "webdataset":
        with tarfile.open(path) as tar:
            assert tar.getnames() == []
    else:
        kind = "GZIP" if way[1] == "gzip" else ""
        assert list(tf.data.TFRecordDataset([path], compression_type=kind)) == []


def test_a_disk_that_is_full_is_the_outputs_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in FORMATS:
        with pytest.raises(AccessError, match="cannot be written"):
            write(OutputLayout(str(tmp_path / "file"), str(tmp_path / "t"), "", name, "none", COLUMNS), [])


def test_a_table_says_nothing_twice_and_ends_row_groups_by_bytes(tmp_path: Path) -> None:
    output = layout(tmp_path, ("parquet", "zstd"))
    large = Example.empty().with_features({"image": bytes(6 * 2**20)})
    rows = [Outcome(record(n, "parquet").row, row_of(Example.parse(large), COLUMNS)) for n in range(4)]
    write(output, rows)
    with pq.ParquetFile(output.shard_path(PLAN.name), page_checksum_verification=True) as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [3, 1]
        column = file.metadata.row_group(0).column(0)
        assert (column.path_in_schema, column.statistics, column.has_dictionary_page) == ("image.bytes", None, False)
        assert file.read().num_rows == 4


def test_samples_that_follow_each_other_never_have_one_key(tmp_path: Path) -> None:
    output = layout(tmp_path, ("webdataset", "none"))
    write(output, [record(number, "webdataset") for number in range(5)])
    with tarfile.open(output.shard_path(PLAN.name)) as tar:
        keys = list(dict.fromkeys(name.partition(".")[0] for name in tar.getnames()))
        headers = {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in tar}
    assert keys == ["anna/0", "anna/1", "anna/0~2", "00000-000003", "00000-000004"]
    assert headers == {(0, 0, 0, "", "", 0o644)}


def test_gzip_tells_neither_time_nor_name(tmp_path: Path) -> None:
    for name in ("tfrecord", "webdataset"):
        output = layout(tmp_path, (name, "gzip"))
        write(output, [record(0, name)])
        start = Path(output.shard_path(PLAN.name)).read_bytes()[:10]
        assert start == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_tensorflow_reads_what_gzip_has_made(tmp_path: Path) -> None:
    output = layout(tmp_path, ("tfrecord", "gzip"))
    write(output, [record(number, "tfrecord") for number in range(3)])
    found = tf.data.TFRecordDataset([output.shard_path(PLAN.name)], compression_type="GZIP").as_numpy_iterator()
    assert list(found) == [record(number, "tfrecord").serialized for number in range(3)]


def test_shards_in_buckets_come_back(connect: Callable[..., FaultyProxy], object_store: Server, tmp_path: Path) -> None:
    connect(share=0.05)
    for way in WAYS:
        records = [record(number, way[0]) for number in range(4)]
        folder = f"{object_store.scheme}://outputs/{way[0]}-{way[1]}"
        output = OutputLayout(folder, f"{folder}.audit", "digest", *way, COLUMNS)
        result = write(output, records)
        kept = [Outcome(*each) for each in SHARD_FORMATS[way[0]].read_back(PLAN.name, output, result)]
        again = write(layout(tmp_path / "-".join(way), way), kept)
        assert (again.sha256, again.bytes) == (result.sha256, result.bytes)
