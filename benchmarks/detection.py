"""What each way to look finds and costs: the tables of docs/notes/detection-views.md.

    python -m benchmarks.detection --data ../shared/data/wider-dev --output views
    python -m benchmarks.detection --data ../shared/data/masks --every 3 --output views

Each way runs in a process of its own, so that its peak memory is its own. What the output folder has already is kept,
so an interrupted run goes on; the table of all that is there comes last.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.measures import BANDS, measure
from faceveil.evaluation.report import describe_bands
from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.quality import FAST_QUALITIES, QUALITIES, Quality
from faceveil.transforms.detectors.views import ShownImage, plan_windows, side_needed, take_view
from faceveil.transforms.models.engines import EngineName, Precision
from faceveil.transforms.runtime.pool import usable_cores

_DEFAULT_THRESHOLD = DetectorConfig(()).score_threshold
_THRESHOLDS = (0.15, _DEFAULT_THRESHOLD, 0.3, 0.5)
_BOTH = "centerface-int8", "centerface-covered-int8"
_PAIR = "yunet-s", "centerface-covered-int8"
_TWO_SCALES = Quality(1024, scales=(1.0, 1.75))


@dataclass(frozen=True)
class Way:
    """One way to look at photos.

    Attributes:
        shown: what of a photo the detector sees.
        quality: the views.
        models: names of known models; two share the views, or the second looks again at what the first finds.
        verifies: whether it does.
        engine: what runs it.
        precision: in which it computes.
        enlarges: whether photos that are smaller than the view are enlarged to it.
    """

    shown: str
    quality: Quality
    models: tuple[str, ...] = ("centerface-int8",)
    engine: EngineName = "openvino"
    precision: Precision = "auto"
    enlarges: bool = True
    verifies: bool = False


WAYS = {
    "stored-1024-bf16": Way("1024 px at most", Quality(1024), ("centerface",), precision="bfloat16", enlarges=False),
    "640-bf16": Way("640 px", Quality(640), ("centerface",), precision="bfloat16"),
    "1024-bf16": Way("1024 px", Quality(1024), ("centerface",), precision="bfloat16"),
    "1408-bf16": Way("1408 px", Quality(1408), ("centerface",), precision="bfloat16"),
    "1728-bf16": Way("1728 px", Quality(1728), ("centerface",), precision="bfloat16"),
    "640": Way("640 px (`fast`)", QUALITIES["fast"]),
    "1024": Way("1024 px", Quality(1024)),
    "1056": Way("1056 px", Quality(1056)),
    "balanced": Way("1056 px, small (`balanced`)", QUALITIES["balanced"]),
    "balanced-bf16": Way("1056 px, small", QUALITIES["balanced"], ("centerface",), precision="bfloat16"),
    "balanced-f32": Way("1056 px, small", QUALITIES["balanced"], ("centerface",), precision="float32"),
    "balanced-tf": Way("1056 px, small", QUALITIES["balanced"], ("centerface",), "tensorflow", "float32"),
    "tiles": Way("640 px, small, tiles of 640 px", Quality(640, reduce_at_most=1, smaller=(256,))),
    "mirrored": Way("1056 px, small, mirrored", replace(QUALITIES["balanced"], mirrored=True)),
    "scales": Way("1024 and 1792 px", _TWO_SCALES),
    "scales-mirrored": Way("1024 and 1792 px, mirrored", replace(_TWO_SCALES, mirrored=True)),
    "scales-averaged": Way("1024 and 1792 px, mirrored, averaged", replace(_TWO_SCALES, mirrored=True, averaged=True)),
    "covered-1024-bf16": Way("1024 px, `centerface-covered`", Quality(1024), ("centerface-covered",)),
    "one-detector": Way("512, 768, 1024 and 1792 px, mirrored, small, turned, averaged", QUALITIES["thorough"]),
    "thorough": Way("the same, views shared with `centerface-covered` (`thorough`)", QUALITIES["thorough"], _BOTH),
    "yunet": Way("YuNet-s alone at 832 px, small", FAST_QUALITIES["balanced"], _PAIR[:1]),
    "verified-fast": Way("YuNet-s at 640 px, verified", FAST_QUALITIES["fast"], _PAIR, verifies=True),
    "verified": Way("YuNet-s at 832 px, small, verified", FAST_QUALITIES["balanced"], _PAIR, verifies=True),
    "verified-thorough": Way("YuNet-s at 1280 px, small, verified", FAST_QUALITIES["thorough"], _PAIR, verifies=True),
}


class _NeverEnlarging(Detector):
    """Shows small photos as they are stored."""

    def _quality(self, width: int, height: int) -> Quality:
        quality = self.config.quality
        return replace(quality, detect_size=min(quality.detect_size, max(width, height)))

    def side_needed(self, width: int, height: int) -> int:
        return side_needed(width, height, self._quality(width, height))

    def prepare(self, rgb: RGB, width: int, height: int) -> ShownImage:
        windows = plan_windows(width, height, self._quality(width, height))
        return ShownImage(tuple(take_view(rgb, window, width, height) for window in windows))


def measure_way(way: Way, data: Path, every: int) -> dict[str, Any]:
    """Detects with one way and compares with the annotations.

    Args:
        way: how to look.
        data: a folder with photos and their ``annotations.jsonl``.
        every: of the photos, each so many-th is taken.
    """
    images = parse_annotations((data / "annotations.jsonl").read_text(), "jsonl")[::every]
    config = DetectorConfig(
        tuple(str(known_model(model)) for model in way.models),
        way.engine,
        way.precision,
        MIN_SCORE,
        way.quality,
        threads=usable_cores(),
        shares_views=len(way.models) > 1 and not way.verifies,
        verifies=way.verifies,
    )
    detector = (Detector if way.enlarges else _NeverEnlarging)(config)
    paths = [str(data / image.file) for image in images]
    started, used = time.perf_counter(), time.process_time()
    results = list(detect_all(detector, images, paths, lambda path: Path(path).read_bytes()))
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    bands = [measure(results, band) for band in BANDS]
    return {
        "shown": way.shown,
        "engine": detector.engines[0].name,
        "precision": "int8" if way.models[0].endswith("int8") else detector.engines[0].precision,
        "images": len(images),
        "images_per_second": len(images) / seconds,
        "cpu_seconds_per_image": cpu / len(images),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "bands": describe_bands(bands, _DEFAULT_THRESHOLD),
    }


def format_table(results: Iterator[dict[str, Any]]) -> str:
    """A Markdown table of what ``measure_way`` returned, a row each."""
    header = ["shown", "engine", "AP@0.5", *(f"AP {band}" for band in map(str, BANDS[2:]))]
    header += [f"covered / false at {threshold}" for threshold in _THRESHOLDS] + ["images/s", "CPU ms", "peak MB"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for result in results:
        by_heights = {band["heights"]: band for band in result["bands"]}
        everything, counted = by_heights["all"], by_heights[">= 16"]
        engine = {"openvino": "", "tensorflow": "TensorFlow "}[result["engine"]] + result["precision"]
        cells = [result["shown"], engine, f"{everything['average_precision']:.4f}"]
        cells += [f"{by_heights[str(band)]['average_precision']:.3f}" for band in BANDS[2:]]
        for threshold in _THRESHOLDS:
            covered, false = (
                next(row for row in band["table"] if row["threshold"] == threshold) for band in (counted, everything)
            )
            cells.append(f"{covered['covered']:.4f} / {false['false_positives_per_image']:.2f}")
        cells += [f"{result['images_per_second']:.1f}", f"{1000 * result['cpu_seconds_per_image']:.0f}"]
        cells.append(f"{result['peak_memory_bytes'] / 1e6:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures every way that the output lacks and prints the table."""
    parser = argparse.ArgumentParser(description="Measures what each way to look at photos finds and costs.")
    parser.add_argument("--data", type=Path, required=True, help="folder with photos and their annotations.jsonl")
    parser.add_argument("--every", type=int, default=1, help="take each so many-th photo (1)")
    parser.add_argument("--output", type=Path, required=True, help="folder for a JSON file for each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="measure these (all)")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    files = {name: given.output / f"{given.data.name}-{name}.json" for name in given.ways}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for name, file in files.items():
            if not file.exists():
                result = processes.submit(measure_way, WAYS[name], given.data, given.every).result()
                file.write_text(json.dumps(result, indent=1))
    print(format_table(json.loads(file.read_text()) for file in files.values()))


if __name__ == "__main__":
    main()
