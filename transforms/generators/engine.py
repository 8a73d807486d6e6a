"""Running a generator's SavedModel, with OpenVINO or TensorFlow.

A generator is a SavedModel whose ``serving_default`` takes, for crops of side S:

* ``crop`` float32 ``[B, S, S, 3]``: RGB from -1 to 1, 0 wherever the mask is 1;
* ``mask`` float32 ``[B, S, S, 1]``: 1 where nothing is known, be it the face, another face or beyond the image;
* ``keypoints`` float32 ``[B, K, 2]``: x, y in pixels of the crop, NaN where missing;
* ``z`` float32 ``[B, Z]``: standard normal;

and returns one output, float32 ``[B, S, S, 3]`` RGB from -1 to 1. B is any; S, K and Z are the model's.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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
from faceveil.transforms.generators.embedded import embedded_digest
from faceveil.transforms.memory import is_out_of_memory
from faceveil.transforms.models.saved_model import model_digest

_INPUTS = {"crop": 4, "mask": 4, "keypoints": 3, "z": 2}
"""The inputs' names and numbers of dimensions."""

_LARGEST_DIFFERENCE = 0.02
"""Between the engines' outputs, in float32: two and a half of 255 grey levels."""


@dataclass(frozen=True)
class Sizes:
    """What a generator takes: side of the crop in pixels, number of keypoints, numbers in z."""

    crop: int
    keypoints: int
    random: int


@dataclass(frozen=True)
class Requests:
    """Faces to be drawn: the contract's inputs, as arrays of one length."""

    crop: FloatArray
    mask: FloatArray
    keypoints: FloatArray
    z: FloatArray

    def __len__(self) -> int:
        return len(self.crop)

    def part(self, start: int, stop: int) -> Requests:
        """Some of them."""
        return Requests(*(array[start:stop] for array in self.inputs().values()))

    def inputs(self) -> dict[str, FloatArray]:
        """By the contract's names."""
        return {name: getattr(self, name) for name in _INPUTS}


class GeneratorEngine(Protocol):
    """A loaded generator. ``run`` may be called from several threads at once.

    Attributes:
        name: ``openvino`` or ``tensorflow``.
        precision: ``float32`` or ``bfloat16``, of the arithmetic.
        device: the kind of processor, by its full name.
        sizes: what it takes.
    """

    name: str
    precision: str
    device: str
    sizes: Sizes

    def run(self, requests: Requests) -> FloatArray:
        """Faces ``[B, S, S, 3]`` from -1 to 1.

        Raises:
            ModelError: the output breaks the generator contract.
        """


def load_generator(
    model_dir: str, engine: EngineName = "auto", precision: Precision = "auto", threads: int = 1
) -> GeneratorEngine:
    """Loads a SavedModel and tries it on two crops of noise.

    Models other than the embedded one are run by both engines, and TensorFlow is taken where OpenVINO's result differs.

    Args:
        model_dir: the SavedModel's folder.
        engine: as for a detector.
        precision: as for a detector.
        threads: how many threads will call ``run`` at once.

    Raises:
        ModelError: the model does not load, breaks the generator contract, or cannot run as asked.
    """
    known = model_digest(model_dir) == embedded_digest()
    chosen: GeneratorEngine = choose_engine(
        model_dir,
        engine,
        precision,
        converted=lambda: _OpenVinoGenerator(model_dir, precision, threads),
        original=lambda: _TensorFlowGenerator(model_dir, "float32" if engine != "tensorflow" else precision, threads),
        compare=None if known else functools.partial(_compare, model_dir=model_dir),
    )
    return chosen


def _compare(converted: GeneratorEngine, original: GeneratorEngine, model_dir: str) -> None:
    exact = converted if converted.precision == "float32" else _OpenVinoGenerator(model_dir, "float32", threads=1)
    if exact.sizes != original.sizes:
        raise ConversionError(f"OpenVINO reads other sizes from {model_dir}: {exact.sizes}, not {original.sizes}")
    requests = _probe(original.sizes)
    difference = float(np.abs(exact.run(requests) - original.run(requests)).max())
    if difference > _LARGEST_DIFFERENCE:
        raise ConversionError(
            f"OpenVINO runs {model_dir} wrongly: its faces differ from TensorFlow's by {difference:g}"
        )


def _probe(sizes: Sizes) -> Requests:
    """Two crops of noise, half of it masked, the keypoints of the second missing."""
    random = np.random.default_rng(0)
    mask = np.zeros((2, sizes.crop, sizes.crop, 1), np.float32)
    mask[:, : sizes.crop // 2] = 1
    crop = random.uniform(-1, 1, (2, sizes.crop, sizes.crop, 3)).astype(np.float32) * (1 - mask)
    keypoints = random.uniform(0, sizes.crop, (2, sizes.keypoints, 2)).astype(np.float32)
    keypoints[1] = np.nan
    return Requests(crop, mask, keypoints, random.standard_normal((2, sizes.random)).astype(np.float32))


class _OpenVinoGenerator:
    """Runs a generator on the CPU, one core per call."""

    name = "openvino"

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        def prepare(model: Any) -> None:
            shapes = {}
            for port in model.inputs:
                shape = port.get_partial_shape()
                if shape.rank.is_dynamic:
                    raise ModelError(f"{model_dir}: input {port.any_name} may have any number of dimensions")
                sides = [side.get_length() if side.is_static else None for side in shape]
                shapes.update({name: (port.get_element_type().get_type_name(), sides) for name in port.names})
            wanted = {name: shapes[name] for name in _INPUTS if name in shapes}
            self.sizes = _read_sizes(wanted, [port.any_name for port in model.inputs], len(model.outputs), model_dir)

        self._model = OpenVinoModel(model_dir, precision, threads, prepare)
        self.device, self.precision = self._model.device, self._model.precision
        try:
            self.run(_probe(self.sizes))
        except (RuntimeError, ModelError) as error:
            if is_out_of_memory(error):
                raise
            raise ConversionError(f"OpenVINO cannot run {model_dir}: {first_line(error)}") from error

    def run(self, requests: Requests) -> FloatArray:
        """See ``GeneratorEngine.run``."""
        with self._model.request() as request:
            (output,) = request.infer(requests.inputs()).values()
        return _checked(output, requests, self.sizes)


class _TensorFlowGenerator:
    """Runs a generator as it is."""

    name = "tensorflow"
    precision = "float32"

    def __init__(self, model_dir: str, precision: Precision, threads: int) -> None:
        self._model = TensorFlowModel(model_dir, precision, threads)
        self.device = self._model.device
        specs = self._model.serve.structured_input_signature[1]
        shapes = {}
        for name, spec in specs.items():
            if spec.shape.rank is None:
                raise ModelError(f"{model_dir}: input {name} may have any number of dimensions")
            shapes[name] = ({"float32": "f32"}.get(spec.dtype.name, spec.dtype.name), spec.shape.as_list())
        outputs = self._model.serve.structured_outputs
        self.sizes = _read_sizes(shapes, list(specs), len(outputs), model_dir)
        self.run(_probe(self.sizes))

    def run(self, requests: Requests) -> FloatArray:
        """See ``GeneratorEngine.run``."""
        import tensorflow as tf

        inputs = {name: tf.constant(array) for name, array in requests.inputs().items()}
        try:
            (output,) = self._model.serve(**inputs).values()
        except tf.errors.OpError as error:
            raise ModelError(f"the generator fails for a batch of {len(requests)}: {first_line(error)}") from error
        return _checked(output.numpy(), requests, self.sizes)


def _read_sizes(
    shapes: dict[str, tuple[str, list[int | None]]], names: list[str], outputs: int, model_dir: str
) -> Sizes:
    """S, K and Z from the inputs' types and shapes.

    Raises:
        ModelError: they are not the contract's.
    """
    if set(shapes) != set(_INPUTS) or len(names) != len(_INPUTS):
        raise ModelError(
            f"{model_dir} is no generator: its inputs must be {', '.join(_INPUTS)}, not {', '.join(names)}"
        )
    if outputs != 1:
        raise ModelError(f"{model_dir} is no generator: it must have one output, the faces; it has {outputs}")
    for name in _INPUTS:
        kind, shape = shapes[name]
        if kind != "f32" or len(shape) != _INPUTS[name] or shape[0] is not None or None in shape[1:]:
            raise ModelError(
                f"{model_dir} is no generator: {name} must be float32 of {_INPUTS[name]} dimensions, the first of them "
                f"of any length, the others fixed; it is {kind} {shape}"
            )
    (crop, mask, keypoints, z) = ([side or 0 for side in shapes[name][1][1:]] for name in _INPUTS)
    size = crop[0]
    if crop != [size, size, 3] or mask != [size, size, 1] or keypoints[1] != 2 or min(size, keypoints[0], z[0]) < 1:
        raise ModelError(
            f"{model_dir} is no generator: crop must be [B, S, S, 3], mask [B, S, S, 1], keypoints [B, K, 2] and "
            f"z [B, Z]; they are {crop}, {mask}, {keypoints} and {z} behind the batch"
        )
    return Sizes(size, keypoints[0], z[0])


def _checked(output: Any, requests: Requests, sizes: Sizes) -> FloatArray:
    expected = (len(requests), sizes.crop, sizes.crop, 3)
    if output.dtype != np.float32 or output.shape != expected:
        raise ModelError(f"the generator must return float32 {expected}; it returned {output.dtype} {output.shape}")
    if not np.isfinite(output).all():
        raise ModelError("the generator returned values that are no numbers")
    faces: FloatArray = np.clip(output, -1, 1)
    return faces
