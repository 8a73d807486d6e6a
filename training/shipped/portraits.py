"""Prepares portraits for the training of a generator: decodes them, finds their faces, sets some aside.

Example usage::

    python -m faceveil.training.shipped.portraits --tar synthetic-faces.tar --output portraits

writes ``portraits/images.npy`` (uint8 ``[N, 128, 128, 3]`` RGB) and ``portraits/faces.npz`` (``boxes`` and
``keypoints`` in pixels of them, ``held_out``: one in twenty by the hash of its file, which no training sees).
"""

from __future__ import annotations

import argparse
import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.faces import Faces

SIDE = 128
_ENLARGED, _BORDER = 192, 32
"""The detector is shown a portrait at 1.5 times its size, its border mirrored: in the middle of 256 px."""

_HELD_OUT = 20
_SCORE = 0.3


@dataclass(frozen=True)
class Portraits:
    """Portraits with one face each.

    Attributes:
        images: uint8 ``[N, 128, 128, 3]`` RGB, maybe mapped from a file.
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels.
        keypoints: float32 ``[N, 5, 2]``, x, y in pixels.
        held_out: bool ``[N]``, which no training may see.
    """

    images: NDArray[np.uint8]
    boxes: FloatArray
    keypoints: FloatArray
    held_out: BoolMask

    def only(self, chosen: BoolMask) -> Portraits:
        """Some of them."""
        return Portraits(self.images[chosen], self.boxes[chosen], self.keypoints[chosen], self.held_out[chosen])


def load_portraits(directory: str | Path) -> Portraits:
    """Reads what the command has written."""
    folder = Path(directory)
    with np.load(folder / "faces.npz") as faces:
        return Portraits(np.load(folder / "images.npy", mmap_mode="r"), **faces)


def _read(tar: str) -> Iterator[bytes]:
    with tarfile.open(tar) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member)
            if file is not None:
                yield file.read()


def _detect(detector: Detector, rgb: NDArray[np.uint8]) -> Faces:
    large = cv2.resize(rgb, (_ENLARGED, _ENLARGED), interpolation=cv2.INTER_CUBIC)
    framed = cv2.copyMakeBorder(large, *(_BORDER,) * 4, cv2.BORDER_REFLECT_101)
    side = _ENLARGED + 2 * _BORDER
    (faces,) = detector.detect([detector.prepare(framed, side, side)])
    return faces


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tar", required=True, metavar="FILE", help="128 px JPEG portraits")
    parser.add_argument("--output", required=True, metavar="DIR", help="where to write; made if missing")
    given = parser.parse_args()
    quality = Quality(_ENLARGED + 2 * _BORDER)
    detector = Detector(DetectorConfig((str(known_model("centerface")),), score_threshold=_SCORE, quality=quality))
    images, boxes, keypoints, held_out = [], [], [], []
    for data in _read(given.tar):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        rgb = np.asarray(decoded, np.uint8)
        faces = _detect(detector, rgb)
        if not len(faces) or faces.keypoints is None or rgb.shape != (SIDE, SIDE, 3):
            continue
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        best = np.abs(centres - (_ENLARGED / 2 + _BORDER)).sum(axis=1).argmin()
        images.append(rgb)
        boxes.append((faces.boxes[best] - _BORDER) * SIDE / _ENLARGED)
        keypoints.append((faces.keypoints[best] - _BORDER) * SIDE / _ENLARGED)
        held_out.append(int.from_bytes(hashlib.sha256(data).digest()[:8], "big") % _HELD_OUT == 0)
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(images))
    kept = np.array(held_out)
    np.savez(folder / "faces.npz", boxes=np.stack(boxes), keypoints=np.stack(keypoints), held_out=kept)


if __name__ == "__main__":
    main()
