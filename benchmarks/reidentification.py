"""What blur and pixelate give away: the table of docs/notes/blur.md.

    python -m benchmarks.reidentification --data ../shared/data/wider-dev
    python -m benchmarks.reidentification --data ../shared/data/wider-unseen --every 2 --first 1 --among_all

The attacker has the original photos and looks for each masked face among all of them, without training. Faces are those
of 20 px and more that the default detector finds. *Exact box*: the photos have the detector's boxes. *Annotator*: the
same photos, the annotated boxes. *Other take*: these, turned by up to 6°, scaled and shifted by up to 6 %, in other
light and with another white balance. *Frames*: each face comes as the average over so many frames that differ a little
in place, light and noise, each masked on its own.

The attacker knows the mask, compares averages of 1, 2 x 2, 3 x 3 and 5 x 5 parts of the mask or of the box with four
measures of likeness, and the figure is the best share of faces found first. *Code*: what is found with the face's code
alone, read without a fault, where the fill has one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import detect_all
from faceveil.evaluation.pictures import FRAME, TAKE, changed, cut_out
from faceveil.evaluation.similarity import found_first
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.anonymizers.methods import METHODS
from faceveil.transforms.anonymizers.scene import face_code
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.faces import Faces
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.storage import read_bytes

_MIN_SIDE, _OVERLAP = 20, 0.5
_LARGEST_SIDE = 64
"""Pixels that larger faces are reduced to: averages are about the same, and twenty frames a matter of minutes."""
_GRIDS = 1, 2, 3, 5
_FINEST = 30
"""Parts along a side that all grids are made of."""

_Image = NDArray[np.uint8]
_Features = list[NDArray[np.float64]]
_Vectors = list[NDArray[np.float64]]
"""The features of all faces: one ``[N, D]`` for each kind."""


@dataclass(frozen=True)
class Face:
    """A face and what is around it.

    Attributes:
        image: uint8 RGB.
        boxes: of all faces in it, as detected; the first is this one's.
        annotated: the box ``[4]`` that a person drew.
    """

    image: _Image
    boxes: FloatArray
    annotated: FloatArray


_Way = Callable[[Face, _Image], _Features]
"""What is shown of a face in one of its frames."""


def features(image: _Image, box: FloatArray) -> _Features:
    """What the attacker compares: averages over parts of the mask, then of the box."""
    rectangle, mask = face_mask(box, Style().geometry, *image.shape[:2])
    ends = np.clip(np.rint(box).astype(int), 0, np.array(image.shape[1::-1] * 2))
    whole = image[ends[1] : max(ends[3], ends[1] + 1), ends[0] : max(ends[2], ends[0] + 1)]
    compared = []
    for region, counted in ((image[rectangle], mask), (whole, np.ones(whole.shape[:2], np.bool_))):
        weighted = np.dstack([region * counted[..., np.newaxis], counted]).astype(np.float32)
        small = cv2.resize(weighted, (_FINEST, _FINEST), interpolation=cv2.INTER_AREA)
        for grid in _GRIDS:
            part = _FINEST // grid
            sums = small.reshape(grid, part, grid, part, 4).sum((1, 3), dtype=np.float64)
            compared.append((sums[..., :3] / np.maximum(sums[..., 3:], 1e-6)).ravel())
    return compared


def code_of(image: _Image, box: FloatArray) -> _Features:
    """The code that the fill of a box has of a face."""
    rectangle, _ = face_mask(box, Style().geometry, *image.shape[:2])
    return [np.array(face_code(image[rectangle], 255)[:2], np.float64)]


def averaged(faces: Sequence[Face], ways: Mapping[str, _Way], frames: int, seed: int) -> dict[str, _Vectors]:
    """What each way shows of each face on average over its frames; a single frame is the photo itself."""
    rows: dict[str, list[_Features]] = {name: [] for name in ways}
    for number, face in enumerate(faces):
        random = np.random.default_rng((seed, number))
        many = (changed(face.image, face.boxes[0], FRAME, random) for _ in range(frames))
        images = list(many) if frames > 1 else [face.image]
        for name, way in ways.items():
            seen = zip(*(way(face, image) for image in images), strict=True)
            rows[name].append([np.mean(part, axis=0) for part in seen])
    return {name: _stacked(seen) for name, seen in rows.items()}


def galleries(faces: Sequence[Face], seen: Callable[[_Image, FloatArray], _Features], seed: int) -> list[_Vectors]:
    """What the attacker knows: by the exact boxes, by the annotator's, and of other takes."""
    random = np.random.default_rng(seed)
    exact = [seen(face.image, face.boxes[0]) for face in faces]
    annotated = [seen(face.image, face.annotated) for face in faces]
    takes = [seen(changed(face.image, face.annotated, TAKE, random), face.annotated) for face in faces]
    return [_stacked(exact), _stacked(annotated), _stacked(takes)]


def _stacked(rows: Sequence[_Features]) -> _Vectors:
    return [np.array(part) for part in zip(*rows, strict=True)]


def _masked(face: Face, image: _Image, method: str, style: Style) -> _Features:
    found = Faces(face.boxes, np.ones(len(face.boxes), np.float32))
    return features(METHODS[method](image, found, style, (0, 0, 0)).astype(np.uint8), face.boxes[0])


def table(
    faces: Sequence[Face],
    methods: Sequence[str],
    strengths: Sequence[float],
    frames: int,
    seed: int,
    others: Sequence[Face] = (),
) -> str:
    """The table in Markdown; `others` are in the gallery, too, but nobody looks for them."""
    ways: dict[str, _Way] = {
        f"`{method}`, strength {strength:g}": partial(_masked, method=method, style=Style(strength=strength))
        for method in methods
        for strength in strengths
    }
    ways["code"] = lambda face, image: code_of(image, face.boxes[0])
    known_faces = [*faces, *others]
    averages, codes = galleries(known_faces, features, seed), galleries(known_faces, code_of, seed)
    shown = [averaged(faces, ways, count, seed) for count in (1, frames)]
    heads = ["exact box", "annotator", "other take"]
    names = [*heads, *(f"{head}, {frames} frames" for head in heads)]
    lines = [
        f"{len(faces)} faces among {len(known_faces)}; chance {1 / len(known_faces):.4f}",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * 7 + "|",
    ]
    for name in ways:
        known = codes if name == "code" else averages
        shares = [max(map(found_first, probes[name], gallery)) for probes in shown for gallery in known]
        lines.append(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    return "\n".join(lines)


def cut_out_annotated(image: _Image, boxes: FloatArray, number: int, annotated: FloatArray) -> Face:
    """A face with its surroundings, as far as a fill may look, and the annotated box in the same pixels."""
    both = Faces(np.vstack([boxes, annotated]), np.ones(len(boxes) + 1, np.float32))
    picture = cut_out(image, both, number, around=0.75, largest_side=_LARGEST_SIDE)
    return Face(picture.image, picture.faces.boxes[:-1], picture.faces.boxes[-1])


def read_faces(data: Path, every: int, first: int) -> Iterator[Face]:
    """The faces of a folder's annotated photos that the default detector finds."""
    images = parse_annotations((data / "annotations.jsonl").read_text())[first::every]
    options = JobOptions()
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = Detector(detector_config(options, models, options.score_threshold, usable_cores()))
    paths = [str(data / image.file) for image in images]
    for path, image, result in zip(paths, images, detect_all(detector, images, paths, read_bytes), strict=True):
        wanted = image.boxes[~image.ignored & ((image.boxes[:, 2:] - image.boxes[:, :2]).min(1) >= _MIN_SIDE)]
        overlaps = iou(wanted, result.boxes)
        pixels = np.asarray(cv2.imread(path, cv2.IMREAD_COLOR_RGB), np.uint8)
        for box, row in zip(wanted, overlaps, strict=True):
            number = int(row.argmax()) if len(row) else 0
            if len(row) and row[number] >= _OVERLAP and overlaps[:, number].max() == row[number]:
                yield cut_out_annotated(pixels, result.boxes, number, box)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reidentification", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photos with annotations.jsonl")
    parser.add_argument("--every", type=int, default=1, help="of the photos of each, only each so many-th is taken")
    parser.add_argument("--first", type=int, default=0, help="the number of the first photo")
    parser.add_argument(
        "--among_all", action="store_true", help="look for them among the faces of the other photos, too"
    )
    parser.add_argument("--methods", nargs="+", default=["blur", "pixelate"], choices=["blur", "pixelate"])
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.2, Style().strength])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faces = [face for data in given.data for face in read_faces(data, given.every, given.first)]
    rest = set(range(given.every)) - {given.first} if given.among_all else ()
    others = [face for data in given.data for first in rest for face in read_faces(data, given.every, first)]
    print(table(faces, given.methods, given.strengths, given.frames, given.seed, others))


if __name__ == "__main__":
    main()
