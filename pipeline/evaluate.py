"""Measuring a detector on annotated images, and telling what came of it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from faceveil.evaluation.annotation_files import list_images, read_annotations
from faceveil.evaluation.annotations import AnnotatedImage, AnnotationError, locate_images
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.fairness import Comparison, compare_groups
from faceveil.evaluation.group_report import describe_groups, format_groups
from faceveil.evaluation.groups import GroupError, Grouping, group_by, is_label_table, read_labels, with_labels
from faceveil.evaluation.measures import BANDS, ImageResult, measure
from faceveil.evaluation.report import describe_bands, draw_curves, format_tables
from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.option_parsing import check_flags
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms import storage
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.detector_files import local_detector
from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.paths import as_path
from faceveil.transforms.runtime.pool import usable_cores

# The options that `faceveil run` has, too.
_DETECTION = frozenset(name for name, option in FIELDS.items() if option.metadata["group"] == "detection")


def evaluate_detector(given: argparse.Namespace) -> None:
    """Measures a detector as the sub-command's arguments say, and reports.

    Raises:
        OptionError: an option's value is not allowed, the annotations do not fit their format or the images, or there
            are no such groups.
        AccessError: the annotations or an image cannot be read, or the output cannot be written.
        ModelError: the detector cannot be loaded.
    """
    options = JobOptions(**check_flags({name: value for name, value in vars(given).items() if name in _DETECTION}))
    if given.output and not importlib.util.find_spec("matplotlib"):
        raise OptionError("--output: curves.png needs matplotlib; run `pip install 'faceveil[evaluate]'`")
    try:
        images = read_annotations(as_path(given.annotations), given.format)
        groupings = find_groups(images, given.groups)
        paths = list_images(given.images)
        located = locate_images(images, paths)
        found = resolve_models(options.detector.models)
        # Lower than any threshold that is asked for: those are applied to what was found.
        least = min(MIN_SCORE, options.score_threshold)
        directories = [local_detector(model.directory) for model in found]
        detector = Detector(detector_config(options, directories, least, usable_cores()))
        start = time.perf_counter()
        results = list(
            tqdm(
                detect_all(detector, images, located, storage.read_bytes),
                total=len(images),
                unit=" images",
                disable=not sys.stderr.isatty(),
            )
        )
        seconds = time.perf_counter() - start
    except AnnotationError as error:
        raise OptionError(f"--annotations {given.annotations}: {error}") from error
    run = {
        "annotations": given.annotations,
        "images": len(images),
        "images_without_annotations": len(paths) - len(set(located)),
        **_count_faces(images),
        "models": [{"name": model.name, "sha256": model.sha256} for model in found],
        "settings": {name: getattr(options, name) for name in sorted(_DETECTION)},
        "engines": [
            {"name": engine.name, "precision": engine.precision, "device": engine.device} for engine in detector.engines
        ],
        "threads": detector.config.threads,
        "images_per_second": len(images) / seconds,
        "peak_memory_bytes": _peak_memory_bytes(),
    }
    comparisons = [
        comparison
        for grouping in groupings
        for comparison in compare_groups(results, grouping, options.score_threshold)
    ]
    _report(run, results, comparisons, options.score_threshold, given.output)


def find_groups(images: Sequence[AnnotatedImage], named: Sequence[str]) -> list[Grouping]:
    """The groups that ``--groups`` names.

    Args:
        images: the annotated images.
        named: attributes of faces, and tables of labels. If tables alone are named, all of their labels are meant.

    Raises:
        OptionError: a table cannot be used, or the faces have no such groups.
        AccessError: a table cannot be read.
    """
    labels: list[str] = []
    for table in filter(is_label_table, named):
        try:
            images, names, left = with_labels(images, read_labels(_read_table(table), table))
        except GroupError as error:
            raise OptionError(f"--groups {table}: {error}") from error
        labels += names
        if left:
            say(f"--groups {table}: {left} of its rows are of no annotated face and are left out")
    features = [name for name in named if not is_label_table(name)]
    try:
        return [group_by(images, feature) for feature in dict.fromkeys(features or labels)]
    except GroupError as error:
        raise OptionError(f"--groups {error}") from error


def _read_table(path: str) -> bytes:
    try:
        return storage.read_bytes(as_path(path))
    except OSError as error:
        raise AccessError(f"--groups {path}: cannot be read: {error}") from error


def _count_faces(images: list[AnnotatedImage]) -> dict[str, int]:
    ignored = sum(int(image.ignored.sum()) for image in images)
    return {"faces": sum(len(image.boxes) for image in images) - ignored, "ignored_faces": ignored}


def _peak_memory_bytes() -> int:
    """The largest resident set that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _report(
    run: Mapping[str, Any],
    images: Sequence[ImageResult],
    comparisons: Sequence[Comparison],
    score_threshold: float,
    output: str | None,
) -> None:
    """Prints the tables, and writes the output if there is to be one."""
    results = [measure(images, band) for band in BANDS]
    detectors = [
        f"{model['name']} on {engine['name']}, {engine['precision']}"
        for model, engine in zip(run["models"], run["engines"], strict=True)
    ]
    say_result(
        f"{run['images']} images, {run['faces']} faces ({run['ignored_faces']} more ignored, "
        f"{run['images_without_annotations']} images without annotations left out)\n"
        f"{' and '.join(detectors)}: {run['images_per_second']:.1f} images/s on {run['threads']} threads, "
        f"peak memory {run['peak_memory_bytes'] / 2**20:.0f} MiB\n\n"
        f"{format_tables(results, score_threshold)}"
    )
    if comparisons:
        say_result(f"\n{format_groups(comparisons, score_threshold)}")
    if output:
        content = {"schema": 1, **run, "bands": describe_bands(results, score_threshold)}
        if comparisons:
            content["groups"] = describe_groups(comparisons)
        storage.write_bytes(storage.join(output, "detector.json"), json.dumps(content, indent=1).encode())
        storage.write_bytes(storage.join(output, "curves.png"), draw_curves(results, score_threshold))
        say_result(f"\ndetector.json and curves.png in {output}")
