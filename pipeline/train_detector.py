"""From the options of ``faceveil train-detector`` to a detector: all checks, then the training, then the export."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.option_values import OptionError, Range
from faceveil.pipeline.training_options import (
    annotated_photos,
    checked_number,
    local_file,
    local_path,
    model_options,
    tell_left_out,
)
from faceveil.training.checkpoint import read_checkpoint
from faceveil.training.export import export
from faceveil.training.photos import (
    AnnotatedPhoto,
    hold_out,
    labels_of,
    merge_labels,
    photos_digest,
    without_copies,
)
from faceveil.training.settings import TrainingFolder, TrainingSettings
from faceveil.transforms.models.saved_model import is_saved_model


def train_detector(given: argparse.Namespace) -> None:
    """Trains a detector as the sub-command's arguments say, or goes on with it, and exports it.

    Raises:
        OptionError: an option's value is not allowed, or annotations do not fit their format or the photos.
        OutputError: the output holds another training, or one is writing there.
        AccessError: photos or annotations cannot be read, or the output not be written.
        ModelError: weights do not fit, or the training failed.
    """
    share = (
        checked_number(given, "validation_share", float, Range(0, 0.9)) if given.validation_share is not None else 0.2
    )
    if given.validation and given.validation_share is not None:
        raise OptionError("--validation_share: is for trainings without --validation")
    options = _options(given)
    folder = TrainingFolder(Path(local_path(given.output, "--output")))
    photos, validation, left_out = _photos(given, share, options["seed"])
    settings = TrainingSettings(labels=tuple(labels_of([*photos, *validation])), **options)
    data = {**_identity(photos, validation, settings), "left_out": left_out}
    with folder.locked():
        folder.claim(settings, data)
        _tell_begin(settings, photos, validation, left_out)
        from faceveil.training.fit import train  # loads TensorFlow

        train(settings, photos, validation, folder, say)
        if not is_saved_model(folder.saved_model) or _is_newer(folder.best, folder.saved_model):
            export(folder.best, settings, folder.saved_model)
    _tell_end(folder)


def _options(given: argparse.Namespace) -> dict[str, Any]:
    """The values of the options that become settings, checked."""
    options = model_options(given)
    if given.init and given.backbone_weights:
        raise OptionError("--backbone_weights: are replaced by those of --init; give one of the two")
    files = {name: local_file(given, name) for name in ("init", "backbone_weights")}
    if given.merge_labels is not None and not given.merge_labels.strip():
        raise OptionError("--merge_labels: must be a name, such as FACE")
    return {
        **options,
        **files,
        "learning_rate": checked_number(given, "learning_rate", float, Range(0, 1, above_low=True)),
        "seed": checked_number(given, "seed", int, Range(0, 2**31 - 1)),
        "validate_every": checked_number(given, "validate_every", int, Range(1)),
        "mixed_precision": given.mixed_precision,
    }


def _photos(
    given: argparse.Namespace, share: float, seed: int
) -> tuple[list[AnnotatedPhoto], list[AnnotatedPhoto], dict[str, str]]:
    """The photos to train on, those to measure on, and why others are left out."""
    photos, left_out = annotated_photos(given.data, given.images, "--data")
    if given.validation:
        validation, more_left_out = annotated_photos(given.validation, given.images, "--validation")
        left_out |= more_left_out
        photos = without_copies(photos, validation)
    else:
        photos, validation = hold_out(photos, share, seed)
    if given.merge_labels:
        photos, validation = (merge_labels(some, given.merge_labels) for some in (photos, validation))
    if not labels_of(photos):
        raise OptionError(f"--data {' '.join(given.data)}: leaves no photo with a face to train on")
    if unknown := set(labels_of(validation)) - set(labels_of(photos)):
        raise OptionError(
            f"--validation: has labels that --data has not: {', '.join(sorted(unknown))}; --merge_labels joins all"
        )
    return photos, validation, left_out


def _identity(
    photos: Sequence[AnnotatedPhoto], validation: Sequence[AnnotatedPhoto], settings: TrainingSettings
) -> dict[str, Any]:
    """What else makes two trainings the same."""
    files = {name: getattr(settings, name) for name in ("init", "backbone_weights")}
    if settings.init:
        read_checkpoint(Path(settings.init))
    return {
        "photos": {"count": len(photos), "sha256": photos_digest(photos)},
        "validation": {"count": len(validation), "sha256": photos_digest(validation)},
        "sha256": {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in files.items() if path},
    }


def _tell_begin(
    settings: TrainingSettings,
    photos: Sequence[AnnotatedPhoto],
    validation: Sequence[AnnotatedPhoto],
    left_out: dict[str, str],
) -> None:
    tell_left_out(left_out, "training.json")
    faces = sum(int((~photo.annotated.ignored).sum()) for photo in photos)
    classes = f"{len(settings.labels)} class{'es' if len(settings.labels) > 1 else ''}: {', '.join(settings.labels)}"
    say(
        f"training {settings.config} at {settings.image_size} px on {len(photos)} photos with {faces} faces "
        f"({classes}); measuring on {len(validation)} others"
    )


def _is_newer(file: Path, folder: Path) -> bool:
    return file.stat().st_mtime > (folder / "saved_model.pb").stat().st_mtime


def _tell_end(folder: TrainingFolder) -> None:
    _, note = read_checkpoint(folder.best)
    measured = note["average_precision"]
    told = "" if not measured or measured["all"] is None else f", AP@0.5 {measured['all']:.3f} on the validation photos"
    say_result(
        f"{folder.saved_model}{told}\n"
        f"  to use it:     faceveil run --model {folder.saved_model} --input … --output …\n"
        f"  to measure it: faceveil evaluate detector --model {folder.saved_model} --annotations … --images …"
    )
