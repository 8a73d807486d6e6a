"""Jobs that leave faces bare on purpose, which no option can ask for: what ``faceveil verify`` has to find."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.faces import Faces


def is_left_out(box: np.ndarray, one_in: int = 10) -> bool:
    """Whether a face is: by its box alone, so that threads and retries do not matter."""
    return zlib.crc32(np.rint(box).astype("<i4").tobytes()) % one_in == 0


@contextmanager
def faces_left_out(one_in: int = 10) -> Iterator[list[Faces]]:
    """Has jobs in this process overlook every so many faces while the block runs; yields what was overlooked."""
    overlooked: list[Faces] = []
    unite = Detector.unite

    def unite_most(self: Detector, shown: Sequence[Faces]) -> Faces:
        faces = unite(self, shown)
        left_out = np.array([is_left_out(box, one_in) for box in faces.boxes], bool)
        if left_out.any():
            overlooked.append(faces.take(left_out))
        return faces.take(~left_out)

    Detector.unite = unite_most  # type: ignore[method-assign]
    try:
        yield overlooked
    finally:
        Detector.unite = unite  # type: ignore[method-assign]
