"""Jobs that leave faces bare on purpose, which no option can ask for: what ``faceveil verify`` has to find."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from faceveil.transforms import anonymize_shards, storage, verify_shards
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.faces import Faces
from faceveil.transforms.shard.worker import Anonymization, Worker


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


@pytest.fixture(autouse=True, scope="module")
def one_worker() -> Iterator[None]:
    """Has all jobs of a module's tests that look alike share a loaded model, as those of a process may."""
    made: dict[str, Worker] = {}

    def worker(config: Anonymization) -> Worker:
        if repr(config) not in made:
            made[repr(config)] = Worker(config)
        return made[repr(config)]

    with pytest.MonkeyPatch.context() as patch:
        for module in (anonymize_shards, verify_shards):
            patch.setattr(module, "Worker", worker)
        yield


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_after(patch: pytest.MonkeyPatch, allowed: int, after: str = "") -> None:
    """Lets so many changes in storage happen; the next one raises, as do all that follow.

    Args:
        patch: takes it back.
        allowed: how many.
        after: the path whose removal comes before any of them counts; none for nothing.
    """
    left, begun = [allowed], [not after]

    def guarded(change: Any) -> Any:
        def changed(path: Any, *arguments: Any, **named: Any) -> Any:
            if begun[0] and ".faceveil-lock" not in str(path):
                if left[0] <= 0:
                    raise KilledError
                left[0] -= 1
            begun[0] = begun[0] or path == [after]
            return change(path, *arguments, **named)

        return changed

    for name in ("write_bytes", "delete", "atomic_write"):
        patch.setattr(storage, name, guarded(getattr(storage, name)))
