import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam import coders
from apache_beam.metrics.monitoring_infos import WORK_COMPLETED_URN, WORK_REMAINING_URN
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from apache_beam.transforms import environments

from faceveil.transforms.anonymize_shards import AnonymizeShards
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.formats.audit import ShardResult
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.progress import Progress, read_progress
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.resume import finished_shard
from faceveil.transforms.shard.worker import STEPS, Anonymization, Worker, anonymize_shard
from faceveil.transforms.storage import write_bytes


def config(centerface: str) -> Anonymization:
    detector = DetectorConfig((centerface,), quality=Quality(320), threads=2)
    return Anonymization(detector, "blur", Style(), FeatureRoles())


def output(folder: Path) -> OutputLayout:
    return OutputLayout(str(folder), str(folder / "records"), "digest")


def plan(photos: Path, index: int = 0, count: int = 1) -> ShardPlan:
    matched = list_inputs([Input("data", str(photos))], 0)
    return ShardPlan("data", index, count, "image", tuple(sorted(matched, key=lambda file: file.key)[index::count]))


def test_a_shard_is_made_whole(photos: Path, centerface: str, tmp_path: Path) -> None:
    seen: list[Outcome] = []
    result = anonymize_shard(plan(photos), output(tmp_path), Worker(config(centerface)), seen.append)()
    assert (result.records, result.quarantined, len(seen)) == (6, 0, 6)
    assert result.engine in ("openvino", "tensorflow")
    assert finished_shard(plan(photos), output(tmp_path)) == result
    records = tf.data.TFRecordDataset(str(tmp_path / "data-00000-of-00001.tfrecord"))
    assert sum(1 for _ in records) == result.anonymized + result.no_faces


def test_a_shard_counts_as_finished_only_for_its_job_and_with_its_file(
    photos: Path, centerface: str, tmp_path: Path
) -> None:
    anonymize_shard(plan(photos), output(tmp_path), Worker(config(centerface)), lambda _: None)()
    assert finished_shard(plan(photos), OutputLayout(str(tmp_path), str(tmp_path / "records"), "another")) is None
    shard = tmp_path / "data-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert finished_shard(plan(photos), output(tmp_path)) is None
    shard.unlink()
    assert finished_shard(plan(photos), output(tmp_path)) is None
    (tmp_path / "records" / "data-00000-of-00001.parquet").write_bytes(b"damaged")
    assert finished_shard(plan(photos), output(tmp_path)) is None


def test_records_of_a_file_that_was_taken_for_an_image_come_in_its_place_with_care_and_without(
    photos: Path, centerface: str, tmp_path: Path
) -> None:
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(photo)
    (tmp_path / "in" / "b.jpg").write_bytes(frame(Example.empty().with_features({"image/encoded": photo})) * 3)
    made = {}
    for careful in (False, True):
        there = output(tmp_path / str(careful))
        if careful:
            write_bytes(there.attempt_path("data-00000-of-00001"), b"")
        seen: list[Outcome] = []
        result = anonymize_shard(plan(tmp_path / "in"), there, Worker(config(centerface)), seen.append)()
        assert [row.key for row in seen] == ["a.jpg", "b.jpg#0", "b.jpg#1", "b.jpg#2", "c.jpg"]
        assert (result.records, result.quarantined) == (5, 0)
        made[careful] = result.sha256
    assert made[True] == made[False]


def test_a_runner_sees_how_much_of_a_shard_is_done(
    photos: Path, centerface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what a worker answers when it is asked, which is all that a runner knows of it."""
    told: list[float] = []

    class Listening(fn_runner.ProgressRequester):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, callback=lambda progress: told.extend(fractions(progress.monitoring_infos)))

    monkeypatch.setattr(fn_runner, "ProgressRequester", Listening)
    many = tmp_path / "in"
    many.mkdir()
    for number in range(60):
        shutil.copy(photos / "people" / "portrait.jpeg", many / f"{number}.jpeg")
    transform = AnonymizeShards(config(centerface), output(tmp_path / "out"))
    environment = environments.EmbeddedPythonGrpcEnvironment.default()
    runner = fn_runner.FnApiRunner(default_environment=environment, progress_request_frequency=0.01)
    with beam.Pipeline(runner=runner) as pipeline:
        _ = pipeline | beam.Create([plan(many)]) | transform
    assert told == sorted(told)
    assert len(set(told)) > 5
    assert any(0.3 < fraction < 0.7 for fraction in told)


def fractions(infos: list[Any]) -> Iterator[float]:
    work = {
        info.urn: next(iter(coders.IterableCoder(coders.FloatCoder()).decode(info.payload)))
        for info in infos
        if info.urn in (WORK_COMPLETED_URN, WORK_REMAINING_URN)
    }
    if work:
        yield work[WORK_COMPLETED_URN] / sum(work.values())


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
        measured = pipeline.result.metrics().query()["distributions"]
        counts = {each.key.metric.name: each.committed.count for each in measured}
        steps = {f"{step}_milliseconds": 6 for step in STEPS}
        assert counts == ({} if resumed else {**steps, "shard_seconds": 4})
        told: Progress = read_progress(str(progress))
        assert (told.records, told.resumed) == (6 + resumed, resumed)
        assert told.faces >= 3
