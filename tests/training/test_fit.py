import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from faceveil.pipeline.cli import DONE, OUTPUT_TAKEN, WRONG_OPTIONS, main
from faceveil.training.anchors import make_anchors
from faceveil.training.export import export
from faceveil.training.fit import train
from faceveil.training.model import build_model
from faceveil.training.photos import find_photos, merge_labels
from faceveil.training.settings import TrainingFolder, TrainingSettings
from faceveil.training.validate import detect_photos, validate
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.errors import AccessError
from faceveil.transforms.models.engines import EngineName
from tests.conftest import ROOT, audit_of
from tests.training.conftest import TINY, cut

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def trained(portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingFolder:
    """A detector that knows four portraits by heart."""
    folder = TrainingFolder(tmp_path_factory.mktemp("trained") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules["faceveil.training.architectures"].ARCHITECTURES, "tiny", TINY)
        photos = merge_labels(find_photos([str(portraits / "annotations.jsonl")], None)[0], "FACE")
        settings = TrainingSettings("tiny", TINY.size, ("FACE",), 4, 8, 5e-3, seed=0, validate_every=4)
        with folder.locked():
            folder.claim(settings, {})
            train(settings, photos * 100, photos, folder, print)
        export(folder.best, settings, folder.saved_model)
    return folder


def rows(folder: TrainingFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def test_four_photos_are_learnt_by_heart(trained: TrainingFolder) -> None:
    told = rows(trained)
    assert [row["epoch"] for row in told] == [1, 2, 3, 4]
    assert told[-1]["average_precision"]["all"] >= 0.9
    assert told[-1]["loss"] < 0.5 * told[0]["loss"]


def test_tensorboard_gets_the_curves(trained: TrainingFolder) -> None:
    [events] = sorted(trained.tensorboard.glob("events*"))[:1]
    tags = set()
    for file in trained.tensorboard.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            tags |= {value.tag for value in event.summary.value}
    assert events
    assert {"loss", "learning_rate", "average_precision/all"} <= tags


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_the_export_finds_the_faces_on_both_engines(trained: TrainingFolder, engine: EngineName) -> None:
    detector = load_detector(str(trained.saved_model), engine, "float32")
    pixels, box = cut(0)
    tall = np.zeros((pixels.shape[0] + 90, pixels.shape[1], 3), np.uint8)
    tall[: pixels.shape[0]] = pixels
    for image in (pixels, tall):
        [found] = detector.run(image[None])
        best = found.boxes[found.scores.argmax()]
        y0, x0, y1, x1 = best * np.tile(image.shape[:2], 2)
        assert iou(np.array([[x0, y0, x1, y1]]), box[None])[0, 0] > 0.5


def test_batches_give_what_single_images_give(trained: TrainingFolder) -> None:
    serve = tf.saved_model.load(str(trained.saved_model)).signatures["serving_default"]
    images = np.stack([cut(0)[0][:290, :290], cut(1)[0][:290, :290]])
    together = serve(images=tf.constant(images))
    assert together["num_detections"].shape == (2,)
    for place in range(2):
        alone = serve(images=tf.constant(images[place : place + 1]))
        for name in ("detection_boxes", "detection_scores"):
            np.testing.assert_allclose(together[name][place], alone[name][0], atol=1e-4)


def test_a_job_with_the_detector_masks_the_faces(trained: TrainingFolder, portraits: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--model", str(trained.saved_model), "--quality", "fast", "--score_threshold", "0.3")
    assert main(["run", "--input", f"{portraits}/images/*.png", "--output", str(output), *options]) == DONE
    found = {row["key"]: row for row in pq.read_table(audit_of(output)).to_pylist()}
    assert len(found) == 4
    for number in range(4):
        faces = [[face[side] for side in ("x0", "y0", "x1", "y1")] for face in found[f"{number}.png"]["faces"]]
        assert iou(np.array(faces, np.float32).reshape(-1, 4), cut(number)[1][None]).max(initial=0) > 0.5
    assert json.loads((output / "manifest.json").read_text())["job"]["engine"] == "openvino"


def test_measures_are_in_pixels_of_the_photo(portraits: Path) -> None:
    photos, _ = find_photos([str(portraits / "annotations.jsonl")], None)
    model, anchors = build_model(TINY, 1), make_anchors(TINY)
    for photo, result in zip(photos, detect_photos(model, photos, anchors, TINY.size, 3), strict=True):
        np.testing.assert_allclose(result.faces, photo.annotated.boxes, atol=1e-3)
        assert (np.diff(result.scores) <= 0).all()
    assert set(validate(model, photos[:1], anchors, TINY.size, 1)) >= {"all", ">= 16"}


OPTIONS = ("--merge_labels", "FACE", "--config", "tiny", "--batch_size", "4", "--validation_share", "0.25")
SCRIPT = """
import sys
from faceveil.training.architectures import ARCHITECTURES
from tests.training.conftest import TINY
ARCHITECTURES["tiny"] = TINY
from faceveil.pipeline.cli import main
sys.exit(main())
"""


def test_a_killed_training_goes_on_and_refuses_others(
    portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = TrainingFolder(tmp_path / "out")
    arguments = ["train-detector", "--data", str(portraits / "annotations.jsonl"), "--output", str(folder.root)]
    arguments += [*OPTIONS, "--epochs", "4", "--validate_every", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=environment, cwd=ROOT) as process:
        while not folder.last.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = rows(folder)
    assert main(arguments) == DONE
    after = rows(folder)
    assert after[: len(before)] == before
    assert [row["epoch"] for row in after] == [1, 2, 3, 4]
    assert all(math.isfinite(row["loss"]) for row in after)
    assert (folder.saved_model / "saved_model.pb").is_file()
    assert "--model" in capsys.readouterr().out

    assert main([*arguments, "--learning_rate", "0.1"]) == OUTPUT_TAKEN
    assert "holds another training: learning_rate was 0.001, not 0.1" in capsys.readouterr().err
    assert main([*arguments, "--config", "small"]) == OUTPUT_TAKEN
    assert rows(folder) == after
    with folder.locked():
        assert main(arguments) == OUTPUT_TAKEN
    assert "another training is writing there" in capsys.readouterr().err
    assert main(arguments) == DONE  # all is there already
    assert rows(folder) == after


def test_a_photo_that_changes_ends_the_training(portraits: Path, tmp_path: Path) -> None:
    shutil.copytree(portraits, tmp_path / "data")
    photos, _ = find_photos([str(tmp_path / "data" / "annotations.jsonl")], None)
    shutil.copy(photos[0].path, photos[1].path)
    settings = TrainingSettings("tiny", TINY.size, ("with_mask", "without_mask"), 1, 2, 1e-3, 0, 1)
    with pytest.raises(AccessError, match=r"1\.png: has changed while the training ran"):
        train(settings, photos, [], TrainingFolder(tmp_path), print)


def test_a_training_begins_with_the_weights_of_another(
    trained: TrainingFolder, portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["train-detector", "--data", str(portraits / "annotations.jsonl"), "--epochs", "1"]
    output = tmp_path / "out"
    begun = [*base, *OPTIONS, "--init", str(trained.best), "--learning_rate", "1e-9", "--output", str(output)]
    assert main(begun) == DONE
    assert rows(TrainingFolder(output))[0]["average_precision"]["all"] == 1
    others = [*base, *OPTIONS, "--init", str(portraits / "annotations.jsonl"), "--output", str(tmp_path / "no")]
    assert main(others) != DONE
    assert "is no checkpoint of faceveil train-detector" in capsys.readouterr().err
    assert main([*base, "--init", "gone.npz", "--output", str(tmp_path / "no")]) == WRONG_OPTIONS
    assert not (tmp_path / "no").exists()
