from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from faceveil.transforms.anonymize_shard import Anonymization, AnonymizeShards, Worker, anonymize_shard
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.features import FeatureRoles
from faceveil.transforms.inputs import Input, list_inputs
from faceveil.transforms.plan import ShardPlan
from faceveil.transforms.progress import Progress, read_progress
from faceveil.transforms.records import Row, ShardResult
from faceveil.transforms.write import Output, finished_shard


def config(centerface: str) -> Anonymization:
    detector = DetectorConfig((centerface,), quality=Quality(320), threads=2)
    return Anonymization(detector, "blur", Style(), FeatureRoles())


def output(folder: Path) -> Output:
    return Output(str(folder), str(folder / "records"), "digest")


def plan(photos: Path, index: int = 0, count: int = 1) -> ShardPlan:
    matched = [file for file in list_inputs([Input("data", str(photos))], 0) if file]
    return ShardPlan("data", index, count, "image", tuple(sorted(matched, key=lambda file: file.key)[index::count]))


def test_a_shard_is_made_whole(photos: Path, centerface: str, tmp_path: Path) -> None:
    seen: list[Row] = []
    result = anonymize_shard(plan(photos), output(tmp_path), Worker(config(centerface)), seen.append)
    assert (result.records, result.quarantined, len(seen)) == (6, 0, 6)
    assert result.engine in ("openvino", "tensorflow")
    assert finished_shard(plan(photos), output(tmp_path)) == result
    records = tf.data.TFRecordDataset(str(tmp_path / "data-00000-of-00001.tfrecord"))
    assert sum(1 for _ in records) == result.anonymized + result.no_faces


def test_a_shard_counts_as_finished_only_for_its_job_and_with_its_file(
    photos: Path, centerface: str, tmp_path: Path
) -> None:
    anonymize_shard(plan(photos), output(tmp_path), Worker(config(centerface)), lambda _: None)
    assert finished_shard(plan(photos), Output(str(tmp_path), str(tmp_path / "records"), "another")) is None
    shard = tmp_path / "data-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert finished_shard(plan(photos), output(tmp_path)) is None
    shard.unlink()
    assert finished_shard(plan(photos), output(tmp_path)) is None
    (tmp_path / "records" / "data-00000-of-00001.parquet").write_bytes(b"damaged")
    assert finished_shard(plan(photos), output(tmp_path)) is None


def test_as_a_transform_it_gives_one_result_a_shard(photos: Path, centerface: str, tmp_path: Path) -> None:
    plans = [plan(photos, index, 3) for index in range(3)]
    empty = ShardPlan("none", 0, 1, "image", ())
    progress = tmp_path / "progress"
    progress.mkdir()

    def check(results: list[ShardResult]) -> None:
        assert sorted((result.name, result.records) for result in results) == [
            *((f"data-{index:05d}-of-00003", 2) for index in range(3)),
            ("none-00000-of-00001", 0),
        ]

    for resumed in (0, 6):
        transform = AnonymizeShards(config(centerface), output(tmp_path / "out"), progress_directory=str(progress))
        with TestPipeline() as pipeline:
            assert_that(pipeline | beam.Create([*plans, empty]) | transform, check)
        told: Progress = read_progress(str(progress))
        assert (told.records, told.resumed) == (6 + resumed, resumed)
        assert told.faces >= 3
