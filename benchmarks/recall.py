"""What each contender finds, for a speed says nothing without.

    python -m benchmarks.recall --data ../shared/data/wider-dev ../shared/data/masks

Of the photos that the annotations of all folders describe, the share of faces that are at least half covered by boxes,
by the faces' height in pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.deface_command import DEFACE
from benchmarks.photos import WIDER_DEV
from faceveil.evaluation.annotations import AnnotatedImage, parse_annotations
from faceveil.evaluation.detect import detect_all
from faceveil.evaluation.measures import BANDS, ImageResult, measure
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.storage import read_bytes

_DEFACE_SCORE = 0.2

CONTENDERS: dict[str, JobOptions | str] = {
    "640 px: faceveil": JobOptions(quality="fast"),
    "640 px: prototype": JobOptions(model=("centerface",), quality="fast", precision="bfloat16"),
    "640 px: deface": "640x480",
    "default: faceveil": JobOptions(),
    "default: prototype": JobOptions(model=("centerface",), quality="fast", detect_size=1024, precision="bfloat16"),
    "default: deface": "full",
}


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[WIDER_DEV.parent], help="with annotations.jsonl")
    images, paths = [], []
    for folder in parser.parse_args().data:
        annotated = parse_annotations((folder / "annotations.jsonl").read_text())
        images += annotated
        paths += [str(folder / image.file) for image in annotated]
    print("| | " + " | ".join(map(str, BANDS)) + " | false/image |\n|" + "---|" * (len(BANDS) + 2))
    for name, how in CONTENDERS.items():
        if isinstance(how, JobOptions):
            results, score = _ours(how, images, paths), how.score_threshold
        else:
            results, score = list(_defaces(how, images, paths)), _DEFACE_SCORE
        points = [measure(results, band).at(score) for band in BANDS]
        shares = " | ".join(f"{point.covered:.4f}" for point in points)
        print(f"| {name} | {shares} | {points[0].false_positives_per_image:.2f} |", flush=True)


def _ours(options: JobOptions, images: Sequence[AnnotatedImage], paths: Sequence[str]) -> list[ImageResult]:
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = Detector(detector_config(options, models, options.score_threshold, usable_cores()))
    return list(detect_all(detector, images, paths, read_bytes))


def _defaces(size: str, images: Sequence[AnnotatedImage], paths: Sequence[str]) -> Iterator[ImageResult]:
    command = [str(DEFACE.with_name("python")), str(Path(__file__).with_name("deface_faces.py")), size, *paths]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    for image, line in zip(images, said.splitlines(), strict=True):
        faces = np.array(json.loads(line), np.float32).reshape(-1, 5)
        best_first = faces[np.argsort(-faces[:, 4], kind="stable")]
        yield ImageResult(image.boxes, image.ignored, best_first[:, :4], best_first[:, 4])


if __name__ == "__main__":
    main()
