"""Where a detector's files lie: on disk, in buckets, and where workers on other machines find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.detection import resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import prepare_images
from faceveil.pipeline.runners.staging import staged_models
from faceveil.transforms import storage
from faceveil.transforms.detectors.detector_files import copy_detector, detector_digest, local_detector
from faceveil.transforms.errors import AccessError, ModelError
from tests import onnx_exports
from tests.object_stores import Server


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """A detector with all that may belong to one, and with what does not."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "plates.onnx"
    onnx_exports.export(path, "yolo", names="{0: 'face'}", kpt_shape="[5, 3]")
    model = onnx.load(str(path))
    (folder / "weights").mkdir()
    onnx.save(model, str(path), save_as_external_data=True, location="weights/all.bin", size_threshold=0)
    (folder / "tests").mkdir()
    (folder / "tests" / "sky.png").write_bytes(b"a picture")
    (folder / "plates.yaml").write_text("tests: [{image: tests/sky.png, boxes: []}]")
    (folder / "secret.txt").write_text("is none of the detector's")
    return path


FILES = {"plates.onnx", "plates.yaml", "tests/sky.png", "weights/all.bin"}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_belongs_to_a_detector_is_copied(plates: Path, tmp_path: Path) -> None:
    copied = copy_detector(str(plates), str(tmp_path / "copy"))
    assert copied == str(tmp_path / "copy" / "plates.onnx")
    assert files_below(tmp_path / "copy") == FILES
    assert detector_digest(copied) == detector_digest(str(plates))


def test_what_is_missing_is_told(plates: Path, tmp_path: Path) -> None:
    (plates.parent / "tests" / "sky.png").unlink()
    with pytest.raises(AccessError, match=r"tests/sky\.png: cannot be read"):
        copy_detector(str(plates), str(tmp_path / "copy"))
    with pytest.raises(AccessError, match=r"gone\.onnx: cannot be read"):
        copy_detector(str(tmp_path / "gone.onnx"), str(tmp_path / "copy"))
    (plates.parent / "plates.yaml").rename(plates.parent / "plates.yml")
    with pytest.raises(ModelError, match=r"plates\.yml: must be called .*plates\.yaml"):
        copy_detector(str(plates), str(tmp_path / "copy"))


@pytest.mark.usefixtures("object_store")
def test_a_detector_in_a_bucket_is_fetched_once(
    plates: Path, object_store: Server, connect: Callable[..., Any]
) -> None:
    connect()
    folder = f"{object_store.scheme}://inputs/models"
    there = copy_detector(str(plates), folder)
    assert there == f"{folder}/plates.onnx"
    here = local_detector(there)
    assert files_below(Path(here).parent) == FILES
    assert detector_digest(here) == detector_digest(str(plates))
    assert local_detector(there) is here
    [model] = resolve_models([there])
    assert (model.name, model.directory, model.sha256) == ("plates.onnx", there, detector_digest(here))
    with pytest.raises(AccessError, match=r"gone\.onnx"):
        local_detector(f"{folder}/gone.onnx")


def test_workers_elsewhere_find_it_in_the_temporary_folder(plates: Path, tmp_path: Path) -> None:
    elsewhere = PipelineOptions(
        ["--runner=FlinkRunner", "--flink_master=nowhere:1", f"--temp_location={tmp_path}/temp"]
    )
    config = prepare_images(JobOptions(model=(str(plates), "yunet-s"), verifier=str(plates)), elsewhere)
    staged = staged_models(config, elsewhere).detector.model_dirs
    assert all(path.startswith(f"{tmp_path}/temp/faceveil-models/") for path in staged)
    assert (
        staged[0]
        == staged[2]
        == storage.join(f"{tmp_path}/temp/faceveil-models", detector_digest(str(plates)), "plates.onnx")
    )
    assert files_below(Path(staged[0]).parent) == FILES
    assert (Path(staged[1]) / "saved_model.pb").is_file()
