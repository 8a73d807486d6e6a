"""What a training is told, and the folder in which it writes."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from faceveil.training.architectures import ARCHITECTURES, Architecture
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutputError

_SCHEMA = 1
_TRAINING = "training"
_BY_CONTENT = ("init", "backbone_weights")
"""Files that are known by their digests, and may lie elsewhere another time."""


@dataclass(frozen=True)
class TrainingSettings:
    """What decides, together with the photos, what comes out of a training.

    Attributes:
        config: one of ``ARCHITECTURES``.
        image_size: of the model's square input, in pixels.
        labels: the classes, in the order of their numbers from 1.
        epochs: how often each photo is shown.
        batch_size: images that are learnt from at once.
        learning_rate: the highest, after the warm-up.
        seed: of weights, order and augmentation.
        validate_every: epochs from one validation to the next; the last epoch is followed by one, too.
        mixed_precision: whether to compute in bfloat16 and to keep weights in float32.
        init: a checkpoint ``best.npz`` of an earlier training to begin with, or None.
        backbone_weights: weights of the backbone alone to begin with, or None.
    """

    config: str
    image_size: int
    labels: tuple[str, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    validate_every: int
    mixed_precision: bool = False
    init: str | None = None
    backbone_weights: str | None = None

    @property
    def architecture(self) -> Architecture:
        """The model's sizes."""
        return replace(ARCHITECTURES[self.config], size=self.image_size)


@dataclass(frozen=True)
class TrainingFolder:
    """The output of a training.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def best(self) -> Path:
        """The weights that were best on the validation photos."""
        return self.root / "best.npz"

    @property
    def last(self) -> Path:
        """All that it takes to go on."""
        return self.root / "last.npz"

    @property
    def metrics(self) -> Path:
        """A line of JSON for every epoch."""
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard draws."""
        return self.root / "tensorboard"

    @property
    def saved_model(self) -> Path:
        """The detector, for ``faceveil run --model``."""
        return self.root / "saved_model"

    @property
    def description(self) -> Path:
        """The settings, by which another training is known."""
        return self.root / "training.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other trainings out while the block runs.

        Raises:
            OutputError: another one writes here.
            AccessError: the folder cannot be written.
        """
        with locked_folder(self.root, _TRAINING):
            yield

    def claim(self, settings: TrainingSettings, data: Mapping[str, Any]) -> None:
        """Writes down what is trained here, or makes sure that it is the same that was begun.

        Args:
            settings: this training's.
            data: what identifies its photos and files.

        Raises:
            OutputError: the folder holds another training, or something else.
            AccessError: the folder cannot be written.
        """
        wanted = {"schema": _SCHEMA, **asdict(settings), **data}
        for name in _BY_CONTENT:
            wanted[name] = wanted[name] and Path(wanted[name]).name
        claim_folder(self.description, wanted, _TRAINING)


@contextlib.contextmanager
def locked_folder(root: Path, what: str) -> Iterator[None]:
    """Makes a folder and keeps other processes out of it while the block runs.

    Args:
        root: the folder.
        what: is done there, for messages.

    Raises:
        OutputError: another one writes here.
        AccessError: the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(root / ".lock", "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise AccessError(f"--output {root}: cannot be written: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"--output {root}: another {what} is writing there") from error
        yield


def claim_folder(description: Path, settings: Mapping[str, Any], what: str) -> None:
    """Writes down what is done in a folder, or makes sure that it is the same that was begun.

    Args:
        description: the file in the folder that says so.
        settings: by name; JSON can hold them.
        what: is done there, for messages.

    Raises:
        OutputError: the folder holds another one, or something else.
        AccessError: the folder cannot be written.
    """
    root = description.parent
    wanted = json.loads(json.dumps(settings))  # in which tuples are lists
    if not description.exists():
        if others := [path.name for path in root.iterdir() if path.name != ".lock"]:
            raise OutputError(f"--output {root}: holds {others[0]}, and no {what}; name another folder")
        storage.write_bytes(str(description), json.dumps(wanted, indent=1).encode())
        return
    try:
        begun = json.loads(description.read_text())
        other = next((name for name in wanted | begun if wanted.get(name) != begun.get(name)), None)
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{description}: cannot be read: {error}") from error
    if other:
        raise OutputError(
            f"--output {root}: holds another {what}: {other} was {begun.get(other)}, not "
            f"{wanted.get(other)}; repeat its options to go on with it, or name another folder"
        )
