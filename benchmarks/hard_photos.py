"""Photos that are hard to look at, and engines that should see the same: figures of docs/detection.md.

    python -m benchmarks.hard_photos --data ../shared/data/wider-dev [--checks mosaic ...]

``engines``: how far boxes and scores of TensorFlow and OpenVINO are apart, in float32. ``orientations``: recall on the
photos stored in each of EXIF's eight orientations. ``lying``: the covered share in photos that are turned without a
tag. ``filling``: the share of large faces that is covered in photos cropped to them. ``mosaic``: the faces found in a
photo of 24 megapixels that was pasted together from others, of those found in the others themselves; each quality has a
process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import functools
import io
import multiprocessing
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.evaluation.annotations import AnnotatedImage, parse_annotations
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.matching import covering_scores
from faceveil.evaluation.measures import BANDS, ImageResult, measure
from faceveil.pipeline.detector_choice import choose_detector
from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.codecs import stored, stored_boxes
from faceveil.transforms.codecs.orientation import orientation_exif, swaps_sides
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.quality import QUALITIES, QualityName
from faceveil.transforms.models.engines import EngineName
from faceveil.transforms.runtime.pool import usable_cores

_COMPARED_SCORE = 0.3
_LARGE_FACE, _FILLED_SIDE = 100, 1200
"""Pixels: the least height of the faces that photos are cropped to, and the longer side that these then have."""

_MOSAIC, _TILE, _MOSAIC_FACE = (4000, 6000), (800, 1200), 24
"""Heights and widths in pixels, and the least height of the faces that are looked for."""

_STORED_TURNED = {0: 1, 90: 6, 180: 3, 270: 8}
"""EXIF's orientation for each turn, in degrees."""
_TURNED_QUALITIES: tuple[QualityName, ...] = ("balanced", "thorough")

_Pixels = NDArray[np.uint8]


def _default(quality: QualityName = "balanced") -> DetectorConfig:
    choice = choose_detector(None, None, quality, None, int8=True)
    directories = tuple(str(known_model(model)) for model in choice.models)
    return DetectorConfig(
        directories,
        quality=choice.quality,
        threads=usable_cores(),
        shares_views=choice.shares_views,
        verifies=choice.verifies,
    )


def read_rgb(path: Path) -> _Pixels:
    """The pixels of a photo as they are stored."""
    return np.asarray(Image.open(path).convert("RGB"))


def find(detector: Detector, pixels: _Pixels) -> FloatArray:
    """The boxes ``[M, 4]`` of the faces in upright pixels."""
    height, width = pixels.shape[:2]
    (faces,) = detector.detect([detector.prepare(pixels, width, height)])
    return faces.boxes


def engines(images: Sequence[AnnotatedImage], data: Path) -> str:
    """Pairs the detections of both engines and says how far apart they are."""

    def found(engine: EngineName) -> list[ImageResult]:
        config = DetectorConfig((str(known_model("centerface")),), engine, "float32", threads=usable_cores())
        # A little below what is compared, so that no partner is lost for a score on the other side of the line.
        detector = Detector(replace(config, score_threshold=_COMPARED_SCORE - 0.01))
        paths = [str(data / image.file) for image in images]
        return list(detect_all(detector, images, paths, lambda path: Path(path).read_bytes()))

    by_engine = found("openvino"), found("tensorflow")
    moved, differing, alone = [0.0], [0.0], 0
    for pair in zip(*by_engine, strict=True):
        for one, other in (pair, pair[::-1]):
            overlaps = iou(one.boxes, other.boxes)
            for box, score, row in zip(one.boxes, one.scores, overlaps, strict=True):
                if score >= _COMPARED_SCORE:
                    if row.max(initial=0) < 0.5:
                        alone += 1
                    else:
                        moved.append(float(np.abs(box - other.boxes[row.argmax()]).max()))
                        differing.append(float(abs(score - other.scores[row.argmax()])))
    return (
        f"{len(moved) - 1} detections by either of {_COMPARED_SCORE} and more, {alone} without a partner; boxes "
        f"differ by {max(moved):.5f} px at most, scores by {max(differing):.2g}"
    )


def orientations(images: Sequence[AnnotatedImage], data: Path) -> str:
    """Stores the photos in each orientation and says what is found."""
    detector = Detector(replace(_default(), score_threshold=MIN_SCORE))
    lines = ["| orientation | recall | covered |"]
    for orientation in range(1, 9):
        turned = [_turned(image, orientation) for image in images]
        read = functools.partial(_png, orientation=orientation)
        results = list(detect_all(detector, turned, [str(data / image.file) for image in images], read))
        point = measure(results, BANDS[0]).at(_default().score_threshold)
        lines.append(f"| {orientation} | {point.recall:.4f} | {point.covered:.4f} |")
    return "\n".join(lines)


def _turned(image: AnnotatedImage, orientation: int) -> AnnotatedImage:
    assert image.size
    upright = np.tile(np.array(image.size, np.float32), 2)
    size = image.size[::-1] if swaps_sides(orientation) else image.size
    boxes = stored_boxes(image.boxes / upright, orientation) * np.tile(np.array(size, np.float32), 2)
    return replace(image, boxes=boxes, size=size)


def _png(path: str, orientation: int, *, tagged: bool = True) -> bytes:
    file = io.BytesIO()
    pixels = np.ascontiguousarray(stored(read_rgb(Path(path)), orientation))
    Image.fromarray(pixels).save(file, "PNG", exif=orientation_exif(orientation if tagged else 1), compress_level=1)
    return file.getvalue()


def lying(images: Sequence[AnnotatedImage], data: Path) -> str:
    """Turns photos without telling it and says what is covered."""
    detectors = [Detector(replace(_default(quality), score_threshold=MIN_SCORE)) for quality in _TURNED_QUALITIES]
    paths = [str(data / image.file) for image in images]
    lines = [f"| turned by | {' | '.join(_TURNED_QUALITIES)} |"]
    for degrees, orientation in _STORED_TURNED.items():
        turned = [_turned(image, orientation) for image in images]
        read = functools.partial(_png, orientation=orientation, tagged=False)
        row = [f"{degrees}°"]
        for detector in detectors:
            results = [
                # Bands are by the heights in the upright photo.
                replace(result, turned=swaps_sides(orientation))
                for result in detect_all(detector, turned, paths, read)
            ]
            point = measure(results, BANDS[1]).at(_default().score_threshold)
            row.append(f"{point.covered:.4f} at {point.false_positives_per_image:.2f} false/image")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def filling(images: Sequence[AnnotatedImage], data: Path) -> str:
    """Crops photos to their large faces and says how many are covered."""
    detector = Detector(_default())
    covered = []
    for image in images:
        for box, ignored in zip(image.boxes.round().astype(int).clip(0), image.ignored, strict=True):
            x0, y0, x1, y1 = box.tolist()
            if not ignored and y1 - y0 >= _LARGE_FACE:
                crop = read_rgb(data / image.file)[y0:y1, x0:x1]
                scale = _FILLED_SIDE / max(crop.shape)
                large = cv2.resize(crop, None, fx=scale, fy=scale).astype(np.uint8)
                boxes = find(detector, large)
                covered.append(_covered(np.array([[0, 0, large.shape[1], large.shape[0]]], np.float32), boxes).item())
    return f"{np.mean(covered):.3f} of {len(covered)} faces that fill the photo are covered"


def _covered(faces: FloatArray, boxes: FloatArray) -> BoolMask:
    return covering_scores(faces, boxes, np.ones(len(boxes), np.float32)) > 0


def mosaic(images: Sequence[AnnotatedImage], data: Path) -> str:
    """Pastes photos together and says which of their faces are found in the whole."""
    spawn = multiprocessing.get_context("spawn")
    lines = ["| quality | found | of | share | peak MB |"]
    paths = [data / image.file for image in images]
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        whole, faces = processes.submit(paste, paths).result()
        for quality in QUALITIES:
            found, peak = processes.submit(_find_in_mosaic, whole, faces, quality).result()
            lines.append(f"| {quality} | {found} | {len(faces)} | {found / len(faces):.3f} | {peak / 1e6:.0f} |")
    return "\n".join(lines)


def paste(paths: Sequence[Path]) -> tuple[_Pixels, FloatArray]:
    """The mosaic of the first photos that fit into its tiles, and the faces that are found in each of them."""
    detector = Detector(_default())
    whole = np.full((*_MOSAIC, 3), 128, np.uint8)
    places = [(top, left) for top in range(0, _MOSAIC[0], _TILE[0]) for left in range(0, _MOSAIC[1], _TILE[1])]
    photos = (photo for photo in map(read_rgb, paths) if photo.shape[0] <= _TILE[0] and photo.shape[1] <= _TILE[1])
    faces = []
    for (top, left), photo in zip(places, photos, strict=False):
        whole[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
        boxes = find(detector, photo)
        faces.append(boxes[boxes[:, 3] - boxes[:, 1] >= _MOSAIC_FACE] + np.array([left, top, left, top], np.float32))
    return whole, np.concatenate(faces)


def _find_in_mosaic(whole: _Pixels, faces: FloatArray, quality: QualityName) -> tuple[int, int]:
    """How many of the faces are covered, and the process's peak memory in bytes."""
    boxes = find(Detector(_default(quality)), whole)
    return int(_covered(faces, boxes).sum()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_CHECKS: dict[str, Callable[[Sequence[AnnotatedImage], Path], str]] = {
    "engines": engines,
    "orientations": orientations,
    "lying": lying,
    "filling": filling,
    "mosaic": mosaic,
}


def main() -> None:
    """Prints what the checks find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs="+", choices=_CHECKS, default=list(_CHECKS), help="make these (all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos and their annotations.jsonl")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th photo (1)")
    given = parser.parse_args()
    images = parse_annotations((given.data / "annotations.jsonl").read_text(), "jsonl")[:: given.every]
    for name in given.checks:
        print(f"{name}\n{_CHECKS[name](images, given.data)}\n", flush=True)


if __name__ == "__main__":
    main()
