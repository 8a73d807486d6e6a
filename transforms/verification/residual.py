"""Which of the faces that a second look finds were not dealt with: geometry only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import Extent, face_mask
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.faces import Faces

INSIDE = 0.6
"""Share of a found box that masks cover where it is what they have made of a face. See docs/notes/verify.md."""


def faces_outside(found: Faces, known: Faces, geometry: MaskGeometry, height: int, width: int) -> Faces:
    """The faces of which the masks of an image cover less than ``INSIDE``.

    A detector finds a blurred, pixelated or drawn face again; that is inside. What counts is the union of all masks.
    Where a method leaves a part of each face bare on purpose (``coverage`` below 1, ``bar``), that part counts as
    masked: it was asked for.

    Args:
        found: by the second look, in pixels of the upright image.
        known: of the audit trail, which were masked.
        geometry: of the job's masks.
        height: of the upright image, in pixels.
        width: of the same.

    Example usage::

        >>> known = Faces(np.array([[0, 0, 20, 20]], np.float32), np.ones(1, np.float32))
        >>> found = Faces(np.array([[1, 1, 22, 21], [18, 0, 38, 20]], np.float32), np.full(2, 0.5, np.float32))
        >>> faces_outside(found, known, MaskGeometry(), 40, 60).boxes.tolist()
        [[18.0, 0.0, 38.0, 20.0]]
    """
    return found.take(covered_shares(found, known, geometry, height, width) < INSIDE)


def covered_shares(found: Faces, known: Faces, geometry: MaskGeometry, height: int, width: int) -> FloatArray:
    """The share of each found box ``[N]``, 0 to 1, that all masks cover; takes what ``faces_outside`` does."""
    whole = replace(geometry, coverage=1.0)
    masks = [face_mask(box, whole, height, width) for box in known.boxes] if len(found) else []
    shares = np.zeros(len(found), np.float32)
    for number, box in enumerate(found.boxes):
        extent = Extent(*(int(side) for side in (*np.floor(box[:2]), *np.ceil(box[2:]))))
        rows, columns = extent.clip(height, width)
        covered = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
        for (down, across), mask in masks:
            top, bottom = max(rows.start, down.start), min(rows.stop, down.stop)
            left, right = max(columns.start, across.start), min(columns.stop, across.stop)
            if top < bottom and left < right:
                part = mask[top - down.start : bottom - down.start, left - across.start : right - across.start]
                covered[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] |= part
        shares[number] = covered.mean() if covered.size else 0
    return shares
