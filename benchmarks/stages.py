"""Where a photo's time goes: CPU milliseconds of each step, on one thread.

    python -m benchmarks.stages [--photos FOLDER] [--quality fast]

For what is below the steps, look at a whole job with a sampling profiler:
``py-spy record --native -o profile.svg -- .venv/bin/faceveil run ...``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path

import cv2

from benchmarks.photos import find_photos
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.quality import QUALITIES, QualityName
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.runtime.memory import keep_freed_memory
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.shard.detect import decode, detect
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Record

_STEPS = "read and decode", "detect", "mask and encode", "frame"
_ROUNDS = 5


def stages(photos: list[Path], quality: QualityName) -> list[float]:
    """Each step's CPU time in seconds: the mean over photos of the median over rounds."""
    keep_freed_memory()  # as a worker does
    cv2.setNumThreads(1)
    options = JobOptions(quality=quality)
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = Detector(detector_config(options, models, options.score_threshold))
    masking = Masking(options.method, Style(options.geometry, options.strength))

    def run(source: Source) -> list[float]:
        times = [time.thread_time()]
        decoded = decode(source, options.features, detector, options.limits)
        times.append(time.thread_time())
        assert isinstance(decoded, Record), decoded
        found = detect([decoded], detector)
        times.append(time.thread_time())
        [outcome] = anonymize(found, masking, options.features)
        times.append(time.thread_time())
        frame(outcome.serialized or b"")
        times.append(time.thread_time())
        return [end - start for start, end in pairwise(times)]

    costs = []
    for path in photos:
        source = Source(path.name, str(path), None, path.stat().st_size)
        run(source)  # the first of a shape makes its kernels
        rounds = [run(source) for _ in range(_ROUNDS)]
        costs.append([statistics.median(step) for step in zip(*rounds, strict=True)])
    return [statistics.mean(step) for step in zip(*costs, strict=True)]


def main() -> None:
    """Prints a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--every", type=int, default=2, help="take each so many-th photo (2)")
    parser.add_argument("--quality", choices=QUALITIES, default="balanced")
    given = parser.parse_args()
    costs = stages(sorted((given.photos or find_photos()).iterdir())[:: given.every], given.quality)
    for step, seconds in zip(_STEPS, costs, strict=True):
        print(f"{step:16} {1000 * seconds:6.2f} ms")


if __name__ == "__main__":
    main()
