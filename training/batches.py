"""Batches to train on: images drawn from photos, and what each anchor has to say of them, by tf.data."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from faceveil.training.anchors import assign
from faceveil.training.augment import TrainingImage, draw_image
from faceveil.training.model import BOXES, LOGITS
from faceveil.training.photos import AnnotatedPhoto, label_numbers, show
from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.models.frameworks import load_tensorflow
from faceveil.transforms.quarantine import Quarantine

_LOGGER = logging.getLogger(__name__)
_AHEAD = 2
"""Batches that are made before they are needed."""


def steps_per_epoch(photos: int, batch_size: int) -> int:
    """How many batches it takes to show every photo; the last one is filled up with those of the first.

    Example usage::

        >>> steps_per_epoch(9, 4)
        3
    """
    return math.ceil(photos / batch_size)


def training_batches(
    photos: Sequence[AnnotatedPhoto],
    labels: Sequence[str],
    anchors: FloatArray,
    size: int,
    batch_size: int,
    seed: int,
    epoch: int,
) -> Any:
    """The batches of one epoch, the same for the same arguments: a ``tf.data.Dataset``.

    Its elements are images, float32 ``[B, S, S, 3]``, 0 to 255, and what the model's outputs should be: of ``logits``
    float32 ``[B, A, 1]``, of ``boxes`` float32 ``[B, A, 5]``, as the losses take them.
    """
    tf = load_tensorflow()
    order = np.random.default_rng((seed, epoch)).permutation(len(photos))

    def draw(position: np.int64) -> tuple[RGB, FloatArray, FloatArray]:
        random = np.random.default_rng((seed, epoch, int(position)))
        # The first photo is the epoch's next one, the others of a mosaic any.
        chosen = [int(order[position % len(photos)])]

        def draw_photo() -> TrainingImage:
            place = chosen.pop() if chosen else int(random.integers(len(photos)))
            return _photo(photos[place], labels, size)

        image = draw_image(draw_photo, size, random)
        meant, encoded = assign(image.boxes, image.labels, image.ignored, anchors)
        return image.pixels, meant[:, None], encoded

    def drawn(position: Any) -> Any:
        pixels, meant, encoded = tf.numpy_function(draw, [position], (tf.uint8, tf.float32, tf.float32))
        pixels = tf.ensure_shape(pixels, (size, size, 3))
        meant, encoded = tf.ensure_shape(meant, (len(anchors), 1)), tf.ensure_shape(encoded, (len(anchors), 4))
        target = {LOGITS: meant, BOXES: tf.concat([meant, encoded], axis=1)}
        return tf.cast(pixels, tf.float32), target

    count = steps_per_epoch(len(photos), batch_size) * batch_size
    drawn_images = tf.data.Dataset.range(count).map(drawn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return drawn_images.batch(batch_size, drop_remainder=True).prefetch(_AHEAD)


def _photo(photo: AnnotatedPhoto, labels: Sequence[str], size: int) -> TrainingImage:
    """A photo as it is; one that cannot be decoded is grey, and says nothing of faces."""
    try:
        shown = show(photo, 2 * size)  # as much as it is enlarged at most
    except Quarantine as error:
        _LOGGER.warning("%s is left out: it cannot be decoded: %s", photo.name, error)
        whole = np.array([[0, 0, size, size]], np.float32)
        return TrainingImage(np.full((size, size, 3), 128, np.uint8), whole, np.zeros(1, np.int64), np.ones(1, bool))
    return TrainingImage(shown.pixels, shown.boxes, label_numbers(photo, labels), photo.annotated.ignored)
