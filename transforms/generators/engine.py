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
from typing import Any

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.errors import ModelError
from faceveil.transforms.generators.embedded import embedded_digest
from faceveil.transforms.models.engines import (
    Contract,
    ConversionError,
    Engine,
    EngineName,
    Precision,
    Signature,
    load_model,
)
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


class GeneratorModel:
    """A loaded generator. ``run`` may be called from several threads at once.

    Attributes:
        engine: what runs it.
        sizes: what it takes.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sizes = _read_sizes(engine.signature)
        [output] = engine.signature.outputs
        self._output = output.names[0]

    def run(self, requests: Requests) -> FloatArray:
        """Faces ``[B, S, S, 3]`` from -1 to 1.

        Raises:
            ModelError: the model fails, or its output breaks the generator contract.
        """
        return self.engine.run(requests.inputs(), lambda outputs: _checked(outputs[self._output], requests, self.sizes))


def load_generator(
    model_dir: str, engine: EngineName = "auto", precision: Precision = "auto", threads: int = 1
) -> GeneratorModel:
    """Loads a SavedModel and tries it on two crops of noise.

    Models other than the embedded one are run by both engines, and TensorFlow is taken where OpenVINO's result differs.

    Args:
        model_dir: the SavedModel's folder.
        engine: as `load_model` takes it.
        precision: likewise.
        threads: likewise.

    Raises:
        ModelError: the model does not load, breaks the generator contract, or cannot run as asked.
    """
    known = model_digest(model_dir) == embedded_digest()
    contract = Contract(_check, _try_out)
    compare = None if known else functools.partial(_compare, model_dir=model_dir)
    return GeneratorModel(load_model(model_dir, contract, compare, engine, precision, threads))


def _try_out(engine: Engine) -> None:
    model = GeneratorModel(engine)
    model.run(_probe(model.sizes))


def _compare(converted: Engine, original: Engine, model_dir: str) -> None:
    exact, truth = GeneratorModel(converted), GeneratorModel(original)
    if exact.sizes != truth.sizes:
        raise ConversionError(f"OpenVINO reads other sizes from {model_dir}: {exact.sizes}, not {truth.sizes}")
    requests = _probe(truth.sizes)
    difference = float(np.abs(exact.run(requests) - truth.run(requests)).max())
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


def _check(signature: Signature, model_dir: str) -> None:
    """Refuses what is no generator; the messages name the model."""
    try:
        _read_sizes(signature)
    except ModelError as error:
        raise ModelError(f"{model_dir} is no generator: {error}") from error


def _read_sizes(signature: Signature) -> Sizes:
    """S, K and Z from the inputs' types and shapes.

    Raises:
        ModelError: they are not the contract's.
    """
    ports = {name: port for port in signature.inputs for name in port.names if name in _INPUTS}
    if set(ports) != set(_INPUTS) or len(signature.inputs) != len(_INPUTS):
        names = ", ".join(port.names[0] for port in signature.inputs)
        raise ModelError(f"its inputs must be {', '.join(_INPUTS)}, not {names}")
    if len(signature.outputs) != 1:
        raise ModelError(f"it must have one output, the faces; it has {len(signature.outputs)}")
    sides = {}
    for name, dimensions in _INPUTS.items():
        _, kind, shape = ports[name]
        fits = shape is not None and len(shape) == dimensions and shape[0] is None and None not in shape[1:]
        if kind != "float32" or shape is None or not fits:
            raise ModelError(
                f"{name} must be float32 of {dimensions} dimensions, the first of any length, the others fixed; "
                f"it is {kind} {shape}"
            )
        sides[name] = [side or 0 for side in shape[1:]]
    crop, mask, keypoints, z = (sides[name] for name in _INPUTS)
    size = crop[0]
    if crop != [size, size, 3] or mask != [size, size, 1] or keypoints[1] != 2 or min(size, keypoints[0], z[0]) < 1:
        raise ModelError(
            "crop must be [B, S, S, 3], mask [B, S, S, 1], keypoints [B, K, 2] and z [B, Z]; "
            f"they are {crop}, {mask}, {keypoints} and {z} behind the batch"
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
