"""Training a detector, epoch by epoch, so that it can be killed and go on."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from faceveil.training.anchors import make_anchors
from faceveil.training.batches import steps_per_epoch, training_batches
from faceveil.training.checkpoint import assign_values, read_checkpoint, take_values, write_checkpoint
from faceveil.training.losses import box_loss, focal_loss
from faceveil.training.model import BOXES, LOGITS, build_model, keras, set_momentum
from faceveil.training.photos import AnnotatedPhoto
from faceveil.training.settings import TrainingFolder, TrainingSettings
from faceveil.training.validate import validate
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, ModelError
from faceveil.transforms.models.frameworks import load_tensorflow

_WARM_UP = 0.05
"""Share of all steps in which the learning rate rises; then it falls as a cosine does, to 0."""

_AVERAGED = 0.02
"""Share of all steps over which weights are averaged, and statistics of batches. Long trainings do so as EfficientDet's
authors do (https://arxiv.org/abs/1911.09070, section 5.1)."""

_MAX_MOMENTUM, _MAX_STATISTICS_MOMENTUM = 0.9998, 0.99

_WEIGHT_DECAY = 1e-3
"""Of AdamW (https://arxiv.org/abs/1711.05101), not of biases and normalizations."""

_MAX_GRADIENT = 10.0
"""Norm of the gradient of all weights above which it is scaled down."""

_WHOLE = "all"
"""The band of all faces, by whose average precision the best weights are chosen."""


def train(
    settings: TrainingSettings,
    photos: Sequence[AnnotatedPhoto],
    validation: Sequence[AnnotatedPhoto],
    folder: TrainingFolder,
    tell: Callable[[str], None],
) -> None:
    """Trains a detector from where the folder's last checkpoint ends; after each epoch there is another.

    The same settings and photos give the same order and augmentation, interrupted or not. Weights are equal only where
    the backend computes the same each time.

    Args:
        settings: the folder has to be claimed for them.
        photos: to learn from; at least one.
        validation: to measure on; without any, the last weights count as the best.
        folder: where checkpoints and measures are written.
        tell: gets a line for every epoch.

    Raises:
        ModelError: weights to begin with do not fit, or the loss is no longer a number.
        AccessError: a photo cannot be read or the folder not be written.
    """
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if settings.mixed_precision else "float32")
    steps = steps_per_epoch(len(photos), settings.batch_size)
    model = _compiled(settings, steps * settings.epochs)
    rows = _restore(model, settings, folder)
    anchors = make_anchors(settings.architecture)
    images = steps * settings.batch_size
    bar = tqdm(
        total=images * settings.epochs,
        initial=images * len(rows),
        unit=" images",
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    )
    begun, begun_at = time.perf_counter(), len(rows)
    with bar:
        for epoch in range(len(rows), settings.epochs):
            started = time.perf_counter()
            bar.set_description(f"epoch {epoch + 1}/{settings.epochs}")
            batches = training_batches(
                photos, settings.labels, anchors, settings.image_size, settings.batch_size, settings.seed, epoch
            )
            losses = _fit(model, batches, _Progress(bar, settings.batch_size))
            row: dict[str, Any] = {
                "epoch": epoch + 1,
                **losses,
                "images_per_second": images / (time.perf_counter() - started),
            }
            if (epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs:
                row["average_precision"] = _keep_best(model, settings, validation, folder, rows)
            rows.append(row)
            _save(model, rows, folder)
            left = (time.perf_counter() - begun) / (epoch + 1 - begun_at) * (settings.epochs - epoch - 1)
            with bar.external_write_mode(file=sys.stderr):
                tell(_line(row, settings.epochs, left))


def _compiled(settings: TrainingSettings, steps: int) -> Any:
    model = build_model(settings.architecture, len(settings.labels), settings.backbone_weights)
    average = 1 - 1 / max(2.0, _AVERAGED * steps)
    set_momentum(model, min(_MAX_STATISTICS_MOMENTUM, average))
    warm_up = max(1, round(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=settings.learning_rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=_WEIGHT_DECAY,
        global_clipnorm=_MAX_GRADIENT,
        use_ema=True,
        ema_momentum=min(_MAX_MOMENTUM, average),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "fusion"])
    optimizer.build(model.trainable_variables)
    # TensorFlow's XLA takes a minute to compile it, and on a CPU makes a step take several times as long.
    by_xla = keras.backend.backend() != "tensorflow"
    model.compile(optimizer=optimizer, loss={LOGITS: focal_loss, BOXES: box_loss}, jit_compile=by_xla)
    return model


def _restore(model: Any, settings: TrainingSettings, folder: TrainingFolder) -> list[dict[str, Any]]:
    """Loads the last checkpoint, else the weights to begin with; the rows of the epochs that are done."""
    if folder.last.exists():
        values, note = read_checkpoint(folder.last)
        assign_values([*model.variables, *model.optimizer.variables], values, str(folder.last))
        rows: list[dict[str, Any]] = note["rows"]
        return rows
    if settings.init:
        load_weights_into(model, settings.init)
    return []


def load_weights_into(model: Any, path: str) -> None:
    """Sets a model's variables to those of a checkpoint ``best.npz``.

    Raises:
        ModelError: it cannot be read, or is of another model.
    """
    values, _ = read_checkpoint(Path(path))
    assign_values(model.variables, values, path)


def _fit(model: Any, batches: Any, progress: Any) -> dict[str, float]:
    """Learns from the batches of an epoch; the losses, the mean of the epoch's steps."""
    try:
        seen = model.fit(batches, shuffle=False, verbose=0, callbacks=[progress]).history
    except load_tensorflow().errors.OpError as error:
        # What is raised where photos are read comes back as text.
        if told := re.search(rf"{AccessError.__name__}: (.*)", str(error)):
            raise AccessError(told[1]) from error
        raise
    losses = {
        "loss": seen["loss"][-1],
        "scores_loss": seen[f"{LOGITS}_loss"][-1],
        "boxes_loss": seen[f"{BOXES}_loss"][-1],
    }
    if not math.isfinite(losses["loss"]):
        raise ModelError("the loss is no longer a number; begin anew with a lower --learning_rate")
    return {name: float(loss) for name, loss in losses.items()}


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Moves the progress bar on."""

    def __init__(self, bar: Any, batch_size: int) -> None:
        super().__init__()
        self._bar = bar
        self._batch_size = batch_size

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002  Keras' signature
        """After each step."""
        self._bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)
        self._bar.update(self._batch_size)


def _keep_best(
    model: Any,
    settings: TrainingSettings,
    validation: Sequence[AnnotatedPhoto],
    folder: TrainingFolder,
    rows: Sequence[dict[str, Any]],
) -> dict[str, float | None] | None:
    """Measures the averaged weights, and writes them if they are the best so far."""
    own = take_values(model.variables)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    measured = None
    if validation:
        anchors = make_anchors(settings.architecture)
        measured = validate(model, validation, anchors, settings.image_size, settings.batch_size)
    before = [row["average_precision"][_WHOLE] or 0 for row in rows if row.get("average_precision")]
    if not measured or (measured[_WHOLE] or 0) >= max(before, default=0):
        write_checkpoint(folder.best, take_values(model.variables), {"average_precision": measured})
    assign_values(model.variables, own, "this model")
    return measured


def _save(model: Any, rows: Sequence[dict[str, Any]], folder: TrainingFolder) -> None:
    """Writes the measures, and then the checkpoint that says that the epoch is done."""
    storage.write_bytes(str(folder.metrics), "".join(json.dumps(row) + "\n" for row in rows).encode())
    _write_scalars(rows[-1], float(model.optimizer.learning_rate), folder)
    write_checkpoint(folder.last, take_values([*model.variables, *model.optimizer.variables]), {"rows": rows})


def _write_scalars(row: dict[str, Any], rate: float, folder: TrainingFolder) -> None:
    """Adds an epoch to TensorBoard's curves; ``tf.summary.scalar`` would need the package tensorboard."""
    tf = load_tensorflow()
    scalars = {name: value for name, value in row.items() if isinstance(value, float)} | {"learning_rate": rate}
    for band, value in (row.get("average_precision") or {}).items():
        if value is not None:
            scalars[f"average_precision/{band.replace('>= ', 'from ')}"] = value
    metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
    writer = tf.summary.create_file_writer(str(folder.tensorboard))
    with writer.as_default():
        for name, value in scalars.items():
            tf.summary.write(name, tf.constant(value, tf.float32), row["epoch"], metadata)
    writer.close()


def _line(row: dict[str, Any], epochs: int, left: float) -> str:
    precision = ""
    if row.get("average_precision"):
        told = [f"{band} {value:.3f}" for band, value in row["average_precision"].items() if value is not None]
        precision = f", AP@0.5 {', '.join(told)}"
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f} (scores {row['scores_loss']:.3f}, boxes "
        f"{row['boxes_loss']:.3f}){precision}; {row['images_per_second']:.1f} images/s, "
        f"{tqdm.format_interval(left)} left"
    )
