"""Draws contact sheets to look at: portraits that no training has seen, and scenes, before and after.

Example usage::

    python -m faceveil.training.shipped.sheets portraits --portraits portraits --output sheet.png
    python -m faceveil.training.shipped.sheets scenes --images 'photos/*.jpg' --every 10 --output scenes.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.training.shipped.faces_kept import find, photos
from faceveil.training.shipped.portraits import SIDE, Portraits, load_portraits
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.faces import Faces
from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer

_STYLE = Style(MaskGeometry(shape="box"))
_HEIGHTS = 16, 32, 64, 128
"""Of the portraits, in pixels."""

_TILE = 128
_SCENE = 256

_Image = NDArray[np.uint8]


def synthesized(synthesizer: Synthesizer, image: _Image, faces: Faces, name: str) -> _Image:
    """An image with new faces."""
    plan = synthesizer.plan(image, faces, "RGB", _STYLE, name)
    (drawn,) = synthesizer.draw([plan])
    return synthesizer.paint(image, faces, _STYLE, (0, 0, 0), plan, drawn).astype(np.uint8)


def portrait_sheet(synthesizer: Synthesizer, portraits: Portraits, count: int) -> _Image:
    """A row for each portrait: itself and its new faces at several sizes, all enlarged to one, and two more faces."""
    rows = []
    for number in range(count):
        image = np.ascontiguousarray(portraits.images[number])
        tiles = [image]
        for height, salt in [*((height, "a") for height in _HEIGHTS), (SIDE, "b"), (SIDE, "c")]:
            scale = height / SIDE
            small = cv2.resize(image, (height, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            keypoints = portraits.keypoints[number : number + 1] * scale
            faces = Faces(portraits.boxes[number : number + 1] * scale, np.ones(1, np.float32), keypoints)
            tiles.append(enlarged(synthesized(synthesizer, small, faces, f"{number}{salt}"), _TILE))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def enlarged(image: _Image, side: int) -> _Image:
    """With its pixels to be seen."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


def scene_sheet(synthesizer: Synthesizer, detector: Detector, scenes: Sequence[tuple[str, _Image]]) -> _Image:
    """Part of each scene before and after, around one of its faces, two pairs in a row."""
    pairs = []
    for name, image in scenes:
        faces = find(detector, image)
        if not len(faces):
            continue
        box = faces.boxes[len(faces) // 2]
        centre, reach = (box[:2] + box[2:]) / 2, 2.5 * float(max(box[2:] - box[:2]))
        left, top = np.maximum(centre - reach, 0).astype(int)
        right, bottom = (centre + reach).astype(int)
        both = (image, synthesized(synthesizer, image, faces, name))
        parts = [cv2.resize(side[top:bottom, left:right], (_SCENE, _SCENE)) for side in both]
        pairs.append(np.hstack(parts).astype(np.uint8))
    return np.vstack([np.hstack(pairs[i : i + 2]) for i in range(0, len(pairs) // 2 * 2, 2)])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_portraits, of_scenes = kinds.add_parser("portraits"), kinds.add_parser("scenes")
    of_portraits.add_argument(
        "--portraits", required=True, metavar="DIR", help="what faceveil.training.shipped.portraits has written"
    )
    of_portraits.add_argument("--count", type=int, default=12, metavar="N", help="(default: %(default)s)")
    of_scenes.add_argument("--images", required=True, metavar="GLOB", help="photos")
    of_scenes.add_argument("--every", type=int, default=10, metavar="N", help="take every Nth (default: %(default)s)")
    for sub in (of_portraits, of_scenes):
        sub.add_argument("--output", required=True, metavar="FILE", help="a PNG")
        sub.add_argument("--generator", metavar="DIR", help="a SavedModel (default: the embedded one)")
    given = parser.parse_args()
    synthesizer = Synthesizer(SynthesisConfig(given.generator or str(embedded_generator()), b"sheets", "solid"))
    if given.kind == "portraits":
        portraits = load_portraits(given.portraits)
        sheet = portrait_sheet(synthesizer, portraits.only(portraits.held_out), given.count)
    else:
        detector = Detector(DetectorConfig((str(known_model("centerface-int8")),)))
        sheet = scene_sheet(synthesizer, detector, list(photos(given.images, given.every)))
    cv2.imwrite(given.output, sheet[..., ::-1])


if __name__ == "__main__":
    main()
