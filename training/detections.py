"""What a trained detector finds on photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faceveil.evaluation.measures import ImageResult
from faceveil.training.anchors import make_anchors
from faceveil.training.fit import load_weights_into
from faceveil.training.model import build_model, keras
from faceveil.training.photos import AnnotatedPhoto
from faceveil.training.settings import TrainingSettings
from faceveil.training.validate import detect_photos


def detect_with(weights: Path, settings: TrainingSettings, photos: Sequence[AnnotatedPhoto]) -> list[ImageResult]:
    """Annotated and detected faces of each photo that can be decoded, in pixels of the upright image.

    Afterwards Keras has forgotten all models, so that many can be trained and measured one after the other.

    Args:
        weights: a checkpoint ``best.npz``.
        settings: of its training.
        photos: to look at.

    Raises:
        ModelError: the weights cannot be read, or are of another model.
        AccessError: a photo cannot be read.
    """
    model = build_model(settings.architecture, len(settings.labels))
    load_weights_into(model, str(weights))
    anchors = make_anchors(settings.architecture)
    found = list(detect_photos(model, photos, anchors, settings.image_size, settings.batch_size))
    keras.utils.clear_session()
    return found
