"""What a trained detector has found, kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceveil.evaluation.measures import ImageResult
from faceveil.training.checkpoint import read_checkpoint, write_checkpoint


def write_results(path: Path, results: Sequence[ImageResult]) -> None:
    """Writes results of upright images to a file that is there whole or not at all.

    Raises:
        AccessError: it cannot be written.
    """
    counts = np.array([(len(result.faces), len(result.boxes)) for result in results], np.int64).reshape(-1, 2)
    faces, ignored, boxes, scores = (
        np.concatenate([np.zeros(shape, np.float32), *(getattr(result, name) for result in results)])
        for name, shape in (("faces", (0, 4)), ("ignored", 0), ("boxes", (0, 4)), ("scores", 0))
    )
    write_checkpoint(path, [counts, faces, ignored, boxes, scores], {})


def read_results(path: Path) -> list[ImageResult]:
    """What ``write_results`` wrote.

    Raises:
        ModelError: it cannot be read.
    """
    (counts, faces, ignored, boxes, scores), _ = read_checkpoint(path)
    by_face, by_box = (np.cumsum(counts[:, column])[:-1] for column in range(2))
    parts = (
        *(np.split(faces, by_face), np.split(ignored.astype(bool), by_face)),
        *(np.split(boxes, by_box), np.split(scores, by_box)),
    )
    # Of nothing, split makes one part.
    return [ImageResult(*each) for each in zip(*parts, strict=True)][: len(counts)]
