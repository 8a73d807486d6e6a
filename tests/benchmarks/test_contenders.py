"""The contenders that need no environment of their own do what they are measured for."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from benchmarks import ceiling, no_faces, prototype
from benchmarks.measure import counted
from benchmarks.photos import prepare
from faceveil.pipeline.launch import run_job
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import read_records


def test_all_make_the_same_photos(
    photos: Path, tmp_path: Path, centerface: str, default_detector: tuple[str, ...]
) -> None:
    del centerface, default_detector  # fetched
    given = prepare(photos / "things", 3, tmp_path / "given")
    shutil.copy(photos / "people" / "portrait.jpeg", given.folder / "zz.jpg")
    options = JobOptions(input=(f"{given.folder}/*",), output=str(tmp_path / "job"), quality="fast", num_shards=1)
    run_job(options, [])
    ceiling.main(str(given.folder), str(tmp_path / "ceiling"), "fast")
    job, bare = (_images(path) for path in (tmp_path / "job/data-00000-of-00001.tfrecord", tmp_path / "ceiling"))
    assert sorted(job) == sorted(bare)
    prototype.main(str(given.folder), str(tmp_path / "prototype"), 640)
    with (tmp_path / "prototype").open("rb") as file:
        blurred = list(read_records(file))
    assert len(blurred) == 4
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None for data in blurred)


def test_photos_are_repeated_until_there_are_enough(photos: Path, tmp_path: Path) -> None:
    given = prepare(photos / "things", 7, tmp_path / "given")
    with given.tfrecord.open("rb") as file:
        assert len(list(read_records(file))) == len(list(given.folder.iterdir())) == given.count == 7
    assert counted(tmp_path) == 0


def test_an_image_without_faces_costs_hardly_more_than_looking(photos: Path, default_detector: tuple[str, ...]) -> None:
    del default_detector
    assert 0 < no_faces.cost_ratio(photos / "things", 2) < 10  # how much is for `make bench`, on a quiet machine


def _images(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [(Example.parse(record).bytes_values("image/encoded") or [])[0] for record in read_records(file)]
