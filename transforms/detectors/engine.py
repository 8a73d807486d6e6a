"""Engines: what runs a detector's SavedModel, OpenVINO or TensorFlow.

A detector is a SavedModel with the contract of TensorFlow's Object Detection API: ``serving_default`` takes
uint8 ``[B, H, W, 3]`` RGB and returns ``detection_boxes``, ``detection_scores``, ``num_detections`` and
optionally ``detection_classes`` and ``detection_keypoints``.
https://github.com/tensorflow/models/blob/master/research/object_detection/exporter_lib_v2.py
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from transforms.detectors.agreement import have_counterparts, probe_images
from transforms.detectors.models import KNOWN_MODELS, ModelError, model_digest
from transforms.faces import FloatArray

EngineName = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "bfloat16"]
UInt8Array = NDArray[np.uint8]

_log = logging.getLogger(__name__)

_REQUIRED = ("detection_boxes", "detection_scores", "num_detections")
_OPTIONAL = ("detection_classes", "detection_keypoints")
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
    if not (Path(model_dir) / "saved_model.pb").is_file():
        raise ModelError(f"{model_dir} is no SavedModel: it holds no saved_model.pb")
    if engine == "tensorflow":
        return _TensorFlowEngine(model_dir, precision, threads)
    known = model_digest(model_dir) in {model.digest for model in KNOWN_MODELS.values()}
    original = None if known else _TensorFlowEngine(model_dir, "float32", threads)
    try:
        converted = _OpenVinoEngine(model_dir, precision, threads)
        if original is not None:
            _compare(converted, original, model_dir)
        return converted
    except _ConversionError as error:
        if engine == "openvino":
            raise ModelError(f"{error}; --engine tensorflow may run it") from error
        if precision == "bfloat16":
            raise ModelError(f"{error}; TensorFlow may, but not with --precision bfloat16") from error
        _log.warning("%s; TensorFlow runs it instead, more slowly on a CPU", error)
        return original or _TensorFlowEngine(model_dir, "float32", threads)


class _ConversionError(Exception):
    """OpenVINO cannot run this model, or not as TensorFlow does."""


def _compare(converted: _OpenVinoEngine, original: _TensorFlowEngine, model_dir: str) -> None:
    """Raises _ConversionError unless both engines find the same on images that are no photos."""
    # In float32, as the original: what bfloat16 rounds says nothing of the conversion.
    exact = converted if converted.precision == "float32" else _OpenVinoEngine(model_dir, "float32", threads=1)
    compared = 0
    for image in probe_images():
        found, expected = (engine.run(image[None])[0] for engine in (exact, original))
        if not (have_counterparts(found, expected) and have_counterparts(expected, found)):
            raise _ConversionError(f"OpenVINO runs {model_dir} wrongly: it finds other boxes than TensorFlow")
        compared += len(expected.scores)
    if not compared:
        raise _ConversionError(f"OpenVINO may run {model_dir} wrongly: it returns nothing to compare for a test image")


class _OpenVinoEngine:
    """Runs a model on the CPU, one core per call.

    Shapes stay dynamic: a model compiled for one shape is 5 to 10 % faster, but takes 0.7 s and 100 MB for each
    of the dozens of shapes that photos of many aspect ratios have. Batches gain nothing on a CPU.
    """

    name = "openvino"
    takes_batches = False

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        import openvino

        core = openvino.Core()
        self.device = core.get_property("CPU", "FULL_DEVICE_NAME")
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not native:
            raise ModelError(f"--precision bfloat16: this CPU ({self.device}) has no bfloat16; use float32")
        floats = "bfloat16" if native and precision != "float32" else "float32"
        try:
            model = core.read_model(model_dir)
            shape = [d.get_length() if d.is_static else None for d in _only_input(model, model_dir)]
            _check_input_shape(shape, model_dir)
            _check_outputs({name for output in model.outputs for name in output.names}, model_dir)
            model.reshape([1, *(-1 if side is None else side for side in shape[1:])])
            quantised = any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
            self.precision = f"int8 and {floats}" if quantised else floats
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[floats],
                    # One single-threaded stream per caller, not pinned to cores: pinning gained nothing
                    # measurable, and other processes share the machine.
                    "NUM_STREAMS": threads,
                    "INFERENCE_NUM_THREADS": threads,
                    "ENABLE_CPU_PINNING": False,
                },
            )
            self._requests: SimpleQueue[Any] = SimpleQueue()
            for _ in range(threads):
                self._requests.put(compiled.create_infer_request())
            self._outputs = {name: compiled.output(name) for name in _present(compiled)}
        except RuntimeError as error:
            raise _ConversionError(f"OpenVINO cannot run {model_dir}: {_first_line(error)}") from error
        try:
            self.run(_PROBE)
        except (RuntimeError, ModelError) as error:
            # OpenVINO can convert a model wrongly, too; if the model is at fault, TensorFlow will say so.
            raise _ConversionError(f"OpenVINO cannot run {model_dir}: {_first_line(error)}") from error

    def run(self, batch: UInt8Array, least_score: float = 0.0) -> list[Candidates]:
        """See ``Engine.run``."""
        request = self._requests.get()
        try:
            return [self._run_one(request, image, least_score) for image in batch]
        finally:
            self._requests.put(request)

    def _run_one(self, request: Any, image: UInt8Array, least_score: float) -> Candidates:
        # The outputs are not copied but seen where the request has them: the few candidates are taken out before it
        # serves others. Copying all of them took 5 of 97 ms at 1024 px.
        results = request.infer([image[None]], share_outputs=True)
        outputs = {name: results[port] for name, port in self._outputs.items()}
        return _candidates(outputs, 1, least_score)[0]


class _TensorFlowEngine:
    """Runs a model as it is, on a GPU if TensorFlow sees one, otherwise on one core per call."""

    name = "tensorflow"
    precision = "float32"

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        if precision == "bfloat16":
            raise ModelError("--precision bfloat16 needs OpenVINO on a CPU that has it; TensorFlow takes float32")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        # These can be set only before TensorFlow's first operation in this process.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_tensor_float_32_execution(False)
        self.device = (
            tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else _cpu_name()
        )
        try:
            self._model = tf.saved_model.load(model_dir)  # held: it owns the variables
        except Exception as error:
            raise ModelError(f"TensorFlow cannot load {model_dir}: {_first_line(error)}") from error
        if "serving_default" not in self._model.signatures:
            raise ModelError(f"{model_dir} lacks the signature serving_default")
        self._serve = self._model.signatures["serving_default"]
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
        self.takes_batches = bool(gpus) and not self._fixed_batch
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


def _present(compiled: Any) -> list[str]:
    """The names of the contract's outputs that a compiled OpenVINO model has."""
    names = {name for output in compiled.outputs for name in output.names}
    return [name for name in _REQUIRED + _OPTIONAL if name in names]


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


_PREAMBLE = ("Exception from", "Check ", "FrontEnd API failed", "Model wasn't fully converted", "Summary:")
"""How lines of OpenVINO's errors begin that do not say what is wrong."""


def _first_line(error: Exception) -> str:
    """What an engine says went wrong, without its traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (line.removeprefix("-- ") for line in lines if not line.startswith(_PREAMBLE))
    return next(told, type(error).__name__)


def _cpu_name() -> str:
    """The CPU's full name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
