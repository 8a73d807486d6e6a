"""How many annotated faces the detector covers, what it invents, and how fast it is.

Example usage::

    python -m benchmarks.detection_quality ../shared/data/wider-dev --detect_size 640
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transforms.codecs import decode_for_detection, probe
from transforms.detectors.detector import Detector, DetectorConfig
from transforms.detectors.models import resolve_model
from transforms.detectors.nms import iou
from transforms.faces import FloatArray

MIN_FACE = 16
"""Annotated faces of fewer rows, in pixels, do not count."""

MIN_COVERED = 0.5
"""The share of an annotated face that the detected boxes must cover together."""

MIN_IOU = 0.5
"""A box whose overlap with every annotated face is less is one that matches none."""


@dataclass(frozen=True)
class Quality:
    """What a detector did on a set of annotated images.

    Attributes:
        faces: annotated faces of ``MIN_FACE`` rows and more, invalid ones left out.
        recall: the share of them that the union of the detected boxes covers by ``MIN_COVERED``.
        unmatched_per_image: boxes an image that match no annotated face, valid or not, at ``MIN_IOU``.
        images_per_second: of ``prepare`` and ``detect`` alone, without decoding.
    """

    faces: int
    recall: float
    unmatched_per_image: float
    images_per_second: float


def measure(detector: Detector, folder: Path) -> Quality:
    """Runs a detector over ``folder/annotations.jsonl`` and the images that it names."""
    images = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    size, threads = detector.config.detect_size, detector.config.threads

    def detect(index: int) -> FloatArray:
        view = detector.prepare(previews[index], images[index]["width"], images[index]["height"])
        return detector.detect([view])[0].boxes

    def preview(image: dict[str, str]) -> np.ndarray:
        data = (folder / image["file"]).read_bytes()
        return decode_for_detection(data, probe(data), size).rgb

    with ThreadPoolExecutor(threads) as pool:
        previews = list(pool.map(preview, images))
        start = time.perf_counter()
        found = list(pool.map(detect, range(len(images))))
        seconds = time.perf_counter() - start
    faces, covered, unmatched = 0, 0, 0
    for image, boxes in zip(images, found, strict=True):
        annotated = np.array([face["box"] for face in image["faces"]], np.float32).reshape(-1, 4)
        unmatched += int((iou(boxes, annotated) < MIN_IOU).all(axis=1).sum())
        shares = list(_covered_shares(image, boxes))
        faces += len(shares)
        covered += sum(share >= MIN_COVERED for share in shares)
    return Quality(faces, covered / faces, unmatched / len(images), len(images) / seconds)


def _covered_shares(image: dict, boxes: FloatArray) -> Iterator[float]:
    """For every face that counts, the share of its pixels within the union of the boxes."""
    mask = np.zeros((image["height"], image["width"]), bool)
    for x0, y0, x1, y1 in np.rint(boxes).astype(int):
        mask[y0:y1, x0:x1] = True
    for face in image["faces"]:
        x0, y0, x1, y1 = np.rint(face["box"]).astype(int)
        if not face["invalid"] and y1 - y0 >= MIN_FACE:
            yield float(mask[y0:y1, x0:x1].mean())


def main() -> None:
    """Measures the detector with the options of the command line and prints a row of the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds annotations.jsonl and the images it names")
    parser.add_argument("--model", default="centerface", help="a known model or a SavedModel's folder")
    parser.add_argument("--engine", default="auto", choices=("auto", "openvino", "tensorflow"))
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--score_threshold", type=float, default=0.2)
    parser.add_argument("--detect_size", type=int, default=1024, help="long side of what the model sees")
    parser.add_argument("--threads", type=int, default=2)
    options = vars(parser.parse_args())
    folder, model = options.pop("folder"), options.pop("model")
    detector = Detector(DetectorConfig(str(resolve_model(model)), **options))
    quality = measure(detector, folder)
    print(
        f"{folder.name}, {options['detect_size']} px, {detector.engine.name} {detector.engine.precision}: "
        f"recall {quality.recall:.4f} of {quality.faces} faces, {quality.unmatched_per_image:.3f} unmatched "
        f"boxes an image, {quality.images_per_second:.1f} images/s on {options['threads']} threads"
    )


if __name__ == "__main__":
    main()
