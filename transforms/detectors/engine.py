"""Running a detector: a SavedModel, with OpenVINO or TensorFlow, or an ONNX file (`onnx_load.py`).

A SavedModel has the contract of TensorFlow's Object Detection API: ``serving_default`` takes
uint8 ``[B, H, W, 3]`` RGB and returns ``detection_boxes``, ``detection_scores``, ``num_detections`` and
optionally ``detection_classes`` and ``detection_keypoints``.
https://github.com/tensorflow/models/blob/master/research/object_detection/exporter_lib_v2.py
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.agreement import have_counterparts, probe_images
from faceveil.transforms.detectors.candidates import OPTIONAL, REQUIRED, Candidates, read_candidates
from faceveil.transforms.detectors.contract import CONTRACT, senseless
from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import (
    Contract,
    ConversionError,
    Engine,
    EngineName,
    Precision,
    Signature,
    load_model,
)
from faceveil.transforms.models.onnx_file import is_onnx
from faceveil.transforms.models.saved_model import model_digest

if TYPE_CHECKING:
    from faceveil.transforms.detectors.onnx_detector import OnnxDetector

_BEST = 20
"""Candidates of each test image whose boxes are looked at when a model is loaded."""

_PROBE: RGB = np.zeros((1, 64, 64, 3), np.uint8)
"""The black image that every model sees once when it is loaded."""


class DetectorModel:
    """A loaded detector. ``run`` may be called from several threads at once.

    Attributes:
        engine: what runs it.
        takes_batches: whether more images per call are faster; if not, a batch runs image by image.
        side: None, as an ``OnnxDetector`` has it: it sees images of any size.
        stretches: never, likewise.
    """

    side: int | None = None
    stretches = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        [port] = engine.signature.inputs
        self._input = port.names[0]
        self.takes_batches = engine.on_gpu and (port.shape is None or port.shape[0] is None)

    def run(self, batch: RGB, min_score: float = 0.0) -> list[Candidates]:
        """The candidates of each image of a batch ``[B, H, W, 3]``, RGB, that have at least this score.

        Raises:
            ModelError: the outputs break the detector contract.
        """
        parts = [batch] if self.takes_batches else [image[None] for image in batch]
        return [candidates for part in parts for candidates in self._run(part, min_score)]

    def _run(self, batch: RGB, min_score: float) -> list[Candidates]:
        take = functools.partial(read_candidates, batch=len(batch), min_score=min_score)
        return self.engine.run({self._input: batch}, take)


def load_detector(
    path: str,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: int = 1,
    score_threshold: float = 0.21,
    classes: Sequence[int] | None = None,
) -> DetectorModel | OnnxDetector:
    """Loads a detector and tries it on test images.

    Args:
        path: a SavedModel's folder, or an ONNX file.
        engine: as `load_model` takes it.
        precision: likewise.
        threads: likewise.
        score_threshold: least score of what counts as found.
        classes: which classes count; None for all.

    Raises:
        ModelError: the model does not load, breaks the detector contract, or cannot run as asked.
    """
    if is_onnx(path):
        from faceveil.transforms.detectors.onnx_load import load_onnx_detector

        return load_onnx_detector(path, engine, precision, threads, score_threshold, classes)
    return load_saved_model(path, engine, precision, threads)


def load_saved_model(
    model_dir: str, engine: EngineName = "auto", precision: Precision = "auto", threads: int = 1
) -> DetectorModel:
    """Loads a SavedModel and tries it on a small black image.

    OpenVINO converts some models without complaint into ones that find nothing (a resize to a size that depends on the
    image's is one cause, as in exports of EfficientDet). So all but the known models, whose tests compare the engines,
    are also run by TensorFlow on two small images, and refused where the results differ.

    Args:
        model_dir: the SavedModel's folder.
        engine: as `load_model` takes it.
        precision: likewise.
        threads: likewise.

    Raises:
        ModelError: the model does not load, breaks the detector contract, or cannot run as asked.
    """
    known = model_digest(model_dir) in {model.digest for model in KNOWN_MODELS.values()}
    contract = Contract(_check, lambda engine: DetectorModel(engine).run(_PROBE), REQUIRED + OPTIONAL, one_by_one=True)
    compare = None if known else functools.partial(_compare, model_dir=model_dir)
    model = DetectorModel(load_model(model_dir, contract, compare, engine, precision, threads))
    if not known:
        _check_boxes(model, model_dir)
    return model


def _check(signature: Signature, model_dir: str) -> None:
    if len(signature.inputs) != 1:
        inputs = sorted(name for port in signature.inputs for name in port.names)
        raise ModelError(f"{model_dir} must have one input, a batch of images; it has {inputs}")
    [(_, kind, shape)] = signature.inputs
    if kind != "uint8" or shape is None or len(shape) != 4:
        raise ModelError(f"{model_dir} must take uint8 [B, H, W, 3]; it takes {kind} {shape}")
    if shape[1] is not None or shape[2] is not None or shape[3] not in (None, 3) or shape[0] not in (None, 1):
        raise ModelError(f"{model_dir} must take [B, H, W, 3] with any H and W, and any B or 1; it takes {shape}")
    names = {name for port in signature.outputs for name in port.names}
    if missing := [name for name in REQUIRED if name not in names]:
        raise ModelError(
            f"{model_dir} is no detector: its signature lacks {', '.join(missing)}; it has {', '.join(sorted(names))}"
        )


def _check_boxes(model: DetectorModel, model_dir: str) -> None:
    """Refuses a model whose boxes are no shares of the image, before any work, by what it finds in the test images."""
    found = [candidates for image in probe_images() for candidates in model.run(image[None])]
    best = [each.boxes[np.argsort(-each.scores, kind="stable")[:_BEST]] for each in found]
    boxes = np.concatenate(best)
    wrong = senseless(boxes)
    # Of test images, not of photos: a candidate with a low score may lie anywhere.
    if 2 * wrong.sum() > len(boxes):
        example = ", ".join(f"{side:g}" for side in boxes[wrong.argmax()])
        raise ModelError(f"{model_dir} returns boxes that are nowhere in the image, such as {example}; {CONTRACT}")


def _compare(converted: Engine, original: Engine, model_dir: str) -> None:
    """Raises ConversionError unless both engines find the same on images that are no photos."""
    compared = 0
    for image in probe_images():
        found, expected = (DetectorModel(engine).run(image[None])[0] for engine in (converted, original))
        if not (have_counterparts(found, expected) and have_counterparts(expected, found)):
            raise ConversionError(f"OpenVINO runs {model_dir} wrongly: it finds other boxes than TensorFlow")
        compared += len(expected.scores)
    if not compared:
        raise ConversionError(f"OpenVINO may run {model_dir} wrongly: it returns nothing to compare for a test image")
