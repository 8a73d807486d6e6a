"""What identifies a SavedModel, for manifests and for resuming."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from faceveil.transforms.errors import ModelError

_NOTE = "assets.extra/faceveil.json"
"""Says what a SavedModel was built from. TensorFlow leaves the folder assets.extra to others."""


def is_saved_model(folder: Path) -> bool:
    """Whether a SavedModel lies in this folder."""
    return (folder / "saved_model.pb").is_file()


def model_digest(path: str | Path) -> str:
    """The sha256 that identifies a SavedModel.

    For one that this program built it is that of its weights, since builds differ with TensorFlow's version. For any
    other, a changed copy included, it is that of its files' relative paths and contents.

    Raises:
        ModelError: there is no SavedModel.
    """
    folder = Path(path)
    if not is_saved_model(folder):
        raise ModelError(f"{path} is no SavedModel: it holds no saved_model.pb")
    digest = files_digest(folder)
    note = folder / _NOTE
    if note.is_file():
        content = json.loads(note.read_text())
        if content.get("files_sha256") == digest and "model_sha256" in content:
            return str(content["model_sha256"])
    return digest


def write_note(saved_model: Path, digest: str) -> None:
    """Says beside a SavedModel that was just built what it is, for `model_digest`."""
    note = saved_model / _NOTE
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps({"model_sha256": digest, "files_sha256": files_digest(saved_model)}))


def model_files(folder: Path) -> list[Path]:
    """Every file of a SavedModel, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def files_digest(saved_model: Path) -> str:
    """A digest over paths and contents of a SavedModel, without the note beside them."""
    whole = hashlib.sha256()
    for file in model_files(saved_model):
        name = file.relative_to(saved_model).as_posix()
        if not name.startswith("assets.extra/"):
            whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
