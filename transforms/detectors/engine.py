"""Running a detector's SavedModel, with OpenVINO or TensorFlow.

A detector is a SavedModel with the contract of TensorFlow's Object Detection API: ``serving_default`` takes
uint8 ``[B, H, W, 3]`` RGB and returns ``detection_boxes``, ``detection_scores``, ``num_detections`` and
optionally ``detection_classes`` and ``detection_keypoints``.
https://github.com/tensorflow/models/blob/master/research/object_detection/exporter_lib_v2.py
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.detectors.agreement import have_counterparts, probe_images
from faceveil.transforms.detectors.contract import CONTRACT, senseless
from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.engines import (
    ConversionError,
    EngineName,
    OpenVinoModel,
    Precision,
    TensorFlowModel,
    choose_engine,
    first_line,
)
from faceveil.transforms.errors import ModelError
from faceveil.transforms.faces import FloatArray
from faceveil.transforms.memory import is_out_of_memory
from faceveil.transforms.models.saved_model import model_digest

UInt8Array = NDArray[np.uint8]

_REQUIRED = ("detection_boxes", "detection_scores", "num_detections")
_OPTIONAL = ("detection_classes", "detection_keypoints")
_BEST = 20
"""Candidates of each test image whose boxes are looked at when a model is loaded."""

_PROBE_SIDE = 64
"""Side of the black image that every model sees once when it is loaded, in pixels."""


@dataclass(frozen=True)
class Candidates:
    """What a model returns for one image: boxes that may overlap, in any order.

    Attributes:
        boxes: float32 ``[N, 4]``: ymin, xmin, ymax, xmax, 0 to 1.
        scores: float32 ``[N]``.
        classes: int64 ``[N]``, or None where the model has none.
        keypoints: float32 ``[N, K, 2]``: y, x, 0 to 1, or None where the model has none.
    """

    boxes: FloatArray
    scores: FloatArray
    classes: NDArray[np.int64] | None = None
    keypoints: FloatArray | None = None


class Engine(Protocol):
    """A loaded model. ``run`` may be called from several threads at once.

    Attributes:
        name: ``openvino`` or ``tensorflow``.
        precision: ``float32`` or ``bfloat16``, of the arithmetic; ``int8 and …`` for a quantised model.
        device: the kind of processor, by its full name: results are equal to the bit only on equal kinds.
        takes_batches: whether more images per call are faster; if not, a batch runs image by image.
    """

    name: str
    precision: str
    device: str
    takes_batches: bool

    def run(self, batch: UInt8Array, least_score: float = 0.0) -> list[Candidates]:
        """The candidates of each image of a batch ``[B, H, W, 3]``, RGB, that have at least this score.

        Raises:
            ModelError: the outputs break the detector contract.
        """


def load_engine(model_dir: str, engine: EngineName = "auto", precision: Precision = "auto", threads: int = 1) -> Engine:
    """Loads a SavedModel and tries it on a small black image.

    OpenVINO converts some models without complaint into ones that find nothing (a resize to a size that depends on the
    image's is one cause, as in exports of EfficientDet). So all but the known models, whose tests compare the engines,
    are also run by TensorFlow on two small images, and refused where the results differ.

    Args:
        model_dir: the SavedModel's folder.
        engine: ``auto`` takes OpenVINO, or TensorFlow (with a warning) where OpenVINO does not run the model as
            TensorFlow does.
        precision: ``auto`` is bfloat16 with OpenVINO on a CPU that has it, else float32; TensorFlow takes
            float32 only.
        threads: how many threads will call ``run`` at once; each call computes on one core (or on the GPU).

    Raises:
        ModelError: the model does not load, breaks the detector contract, or cannot run as asked.
    """
    known = model_digest(model_dir) in {model.digest for model in KNOWN_MODELS.values()}
    chosen: Engine = choose_engine(
        model_dir,
        engine,
        precision,
        converted=lambda: _OpenVinoEngine(model_dir, precision, threads),
        original=lambda: _TensorFlowEngine(model_dir, "float32" if engine != "tensorflow" else precision, threads),
        compare=None if known else functools.partial(_compare, model_dir=model_dir),
    )
    if not known:
        _check_boxes(chosen, model_dir)
    return chosen


def _check_boxes(engine: Engine, model_dir: str) -> None:
    """Refuses a model whose boxes are no shares of the image, before any work, by what it finds in the test images."""
    found = [candidates for image in probe_images() for candidates in engine.run(image[None])]
    best = [each.boxes[np.argsort(-each.scores, kind="stable")[:_BEST]] for each in found]
    boxes = np.concatenate(best)
    wrong = senseless(boxes)
    # Of test images, not of photos: a candidate that nobody would take for a face may lie anywhere.
    if 2 * wrong.sum() > len(boxes):
        example = ", ".join(f"{side:g}" for side in boxes[wrong.argmax()])
        raise ModelError(f"{model_dir} returns boxes that are nowhere in the image, such as {example}; {CONTRACT}")


def _compare(converted: Engine, original: Engine, model_dir: str) -> None:
    """Raises ConversionError unless both engines find the same on images that are no photos."""
    # In float32, as the original: what bfloat16 rounds says nothing of the conversion.
    exact = converted if converted.precision == "float32" else _OpenVinoEngine(model_dir, "float32", threads=1)
    compared = 0
    for image in probe_images():
        found, expected = (engine.run(image[None])[0] for engine in (exact, original))
        if not (have_counterparts(found, expected) and have_counterparts(expected, found)):
            raise ConversionError(f"OpenVINO runs {model_dir} wrongly: it finds other boxes than TensorFlow")
        compared += len(expected.scores)
    if not compared:
        raise ConversionError(f"OpenVINO may run {model_dir} wrongly: it returns nothing to compare for a test image")


class _OpenVinoEngine:
    """Runs a model on the CPU, one core per call.

    Shapes stay dynamic: a model compiled for one shape is 5 to 10 % faster, but takes 0.7 s and 100 MB for each
    of the dozens of shapes that photos of many aspect ratios have. Batches gain nothing on a CPU.
    """

    name = "openvino"
    takes_batches = False

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        def prepare(model: Any) -> None:
            shape = [d.get_length() if d.is_static else None for d in _only_input(model, model_dir)]
            _check_input_shape(shape, model_dir)
            _check_outputs({name for output in model.outputs for name in output.names}, model_dir)
            model.reshape([1, *(-1 if side is None else side for side in shape[1:])])

        self._model = OpenVinoModel(model_dir, precision, threads, prepare)
        self.device, self.precision = self._model.device, self._model.precision
        self._outputs = [name for name in _REQUIRED + _OPTIONAL if name in self._model.output_names]
        try:
            self.run(_PROBE)
        except (RuntimeError, ModelError) as error:
            if is_out_of_memory(error):
                raise
            # OpenVINO can convert a model wrongly, too; if the model is at fault, TensorFlow will say so.
            raise ConversionError(f"OpenVINO cannot run {model_dir}: {first_line(error)}") from error

    def run(self, batch: UInt8Array, least_score: float = 0.0) -> list[Candidates]:
        """See ``Engine.run``."""
        with self._model.request() as request:
            return [self._run_one(request, image, least_score) for image in batch]

    def _run_one(self, request: Any, image: UInt8Array, least_score: float) -> Candidates:
        # The outputs are not copied but seen where the request has them: the few candidates are taken out before it
        # serves others. Copying all of them took 5 of 97 ms at 1024 px.
        results = request.infer([image[None]], share_outputs=True)
        outputs = {name: results[name] for name in self._outputs}
        return _candidates(outputs, 1, least_score)[0]


class _TensorFlowEngine:
    """Runs a model as it is, on a GPU if TensorFlow sees one, otherwise on one core per call."""

    name = "tensorflow"
    precision = "float32"

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        self._model = TensorFlowModel(model_dir, precision, threads)
        self.device = self._model.device
        self._serve = self._model.serve
        import tensorflow as tf

        inputs = self._serve.structured_input_signature[1]
        if len(inputs) != 1:
            raise ModelError(f"{model_dir} must have one input, a batch of images; it has {sorted(inputs)}")
        ((self._input, spec),) = inputs.items()
        if spec.dtype != tf.uint8 or spec.shape.rank != 4:
            raise ModelError(f"{model_dir} must take uint8 [B, H, W, 3]; it takes {spec.dtype.name} {spec.shape}")
        shape = spec.shape.as_list()
        _check_input_shape(shape, model_dir)
        _check_outputs(set(self._serve.structured_outputs), model_dir)
        self._fixed_batch = shape[0] == 1
        self.takes_batches = self._model.on_gpu and not self._fixed_batch
        self.run(_PROBE)

    def run(self, batch: UInt8Array, least_score: float = 0.0) -> list[Candidates]:
        """See ``Engine.run``."""
        if self._fixed_batch and len(batch) > 1:
            return [candidates for image in batch for candidates in self.run(image[None], least_score)]
        import tensorflow as tf

        results = self._serve(**{self._input: tf.constant(batch)})
        wanted = [name for name in _REQUIRED + _OPTIONAL if name in results]
        return _candidates({name: results[name].numpy() for name in wanted}, len(batch), least_score)


_PROBE: UInt8Array = np.zeros((1, _PROBE_SIDE, _PROBE_SIDE, 3), np.uint8)


def _only_input(model: Any, model_dir: str) -> Any:
    """The shape of the one input of an OpenVINO model."""
    if len(model.inputs) != 1:
        names = sorted(name for port in model.inputs for name in port.names)
        raise ModelError(f"{model_dir} must have one input, a batch of images; it has {names}")
    (port,) = model.inputs
    shape, kind = port.get_partial_shape(), port.get_element_type().get_type_name()
    if kind != "u8" or shape.rank.is_dynamic or shape.rank.get_length() != 4:
        raise ModelError(f"{model_dir} must take uint8 [B, H, W, 3]; it takes {kind} {shape}")
    return shape


def _check_input_shape(shape: list[int | None], model_dir: str) -> None:
    if shape[1] is not None or shape[2] is not None or shape[3] not in (None, 3) or shape[0] not in (None, 1):
        raise ModelError(f"{model_dir} must take [B, H, W, 3] with any H and W, and any B or 1; it takes {shape}")


def _check_outputs(names: set[str], model_dir: str) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise ModelError(
            f"{model_dir} is no detector: its signature lacks {', '.join(missing)}; it has {', '.join(sorted(names))}"
        )


def _candidates(outputs: Mapping[str, NDArray[Any]], batch: int, least_score: float) -> list[Candidates]:
    """Copies the candidates of each image out of the outputs, less those beyond its ``num_detections``."""
    boxes, scores = outputs["detection_boxes"], outputs["detection_scores"]
    classes, keypoints = outputs.get("detection_classes"), outputs.get("detection_keypoints")
    counts = np.atleast_1d(outputs["num_detections"])
    fits = (
        counts.shape == (batch,)
        and scores.ndim == 2
        and boxes.shape == (*scores.shape, 4)
        and len(scores) == batch
        and (classes is None or classes.shape == scores.shape)
        and (keypoints is None or (keypoints.ndim == 4 and keypoints.shape[:2] == scores.shape))
    )
    if not fits:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise ModelError(f"the model's outputs break the detector contract for a batch of {batch}: {shapes}")
    if not all(np.issubdtype(value.dtype, np.number) for value in outputs.values()):
        kinds = ", ".join(f"{name} {value.dtype}" for name, value in outputs.items())
        raise ModelError(f"the model's outputs must be numbers: {kinds}")
    if not ((counts >= 0) & (counts <= scores.shape[1]) & (counts == np.rint(counts))).all():
        raise ModelError(f"num_detections must be counts up to {scores.shape[1]}; the model returned {counts}")
    if np.isnan(scores).any():
        raise ModelError("the model returned scores that are no numbers")
    return [
        _chosen(np.flatnonzero(scores[i, : int(counts[i])] >= least_score), i, boxes, scores, classes, keypoints)
        for i in range(batch)
    ]


def _chosen(
    chosen: NDArray[np.intp],
    image: int,
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any] | None,
    keypoints: NDArray[Any] | None,
) -> Candidates:
    return Candidates(
        boxes=boxes[image][chosen].astype(np.float32, copy=False),
        scores=scores[image][chosen].astype(np.float32, copy=False),
        classes=None if classes is None else classes[image][chosen].astype(np.int64),
        keypoints=None if keypoints is None else keypoints[image][chosen].astype(np.float32, copy=False),
    )
