"""Average precision against COCO's own implementation."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

from faceveil.evaluation.measures import Band, ImageResult, measure
from tests.conftest import missing

SIZES = [(0, math.inf), (16, math.inf), (16, 32), (32, 64)]


def draw_results(random: np.random.Generator, images: int, twice: bool) -> list[ImageResult]:
    """Faces far apart, found more or less well, some ignored, and others that are none.

    Some are found twice if ``twice``, none of those that are ignored: for COCO only one detection may be on such one.
    """
    results = []
    for _ in range(images):
        places = (
            np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2)[random.permutation(25)] * 100.0
        )
        count = int(random.integers(0, 9))
        sides = random.uniform(8, 90, (count, 2))
        faces = np.concatenate([places[:count], places[:count] + sides], axis=1)
        shifts = random.normal(0, 0.12, (count, 4)) * np.tile(sides, 2)
        ignored = random.random(count) < 0.1
        found = [faces + shifts]
        if twice:
            found.append((faces + shifts / 2)[~ignored][: count // 3])
        nothing = places[count : count + 4]
        found.append(np.concatenate([nothing, nothing + random.uniform(8, 90, (len(nothing), 2))], axis=1))
        boxes = np.concatenate(found)
        order = np.argsort(-(scores := random.random(len(boxes))))
        results.append(
            ImageResult(
                faces.astype(np.float32),
                ignored,
                boxes[order].astype(np.float32),
                scores[order].astype(np.float32),
            )
        )
    return results


def coco_average_precision(results: list[ImageResult], low: float, high: float) -> float:
    """What pycocotools says, at as many recalls as there are faces, which makes its sampled area the whole one."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image, result in enumerate(results, 1):
        for box, ignored in zip(result.faces.tolist(), result.ignored.tolist(), strict=True):
            face = entry(box)
            if ignored:
                face["area"] = -1  # beyond every range, which is how it ignores without taking it for a crowd
            annotations.append({"id": len(annotations) + 1, "image_id": image, **face})
        for box, score in zip(result.boxes.tolist(), result.scores.tolist(), strict=True):
            detections.append({"image_id": image, "score": score, **entry(box)})
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(1, len(results) + 1)],
        "categories": [{"id": 1}],
        "annotations": annotations,
    }
    truth.createIndex()
    found = truth.loadRes(detections)
    for detection in found.anns.values():
        detection["area"] = detection["bbox"][3]
    evaluation = COCOeval(truth, found, "bbox")
    faces = sum(low <= face["area"] < high for face in annotations)
    evaluation.params.iouThrs = np.array([0.5])
    # Just below each recall that can be reached, since it takes the precision there or at the next one.
    evaluation.params.recThrs = (np.arange(faces) + 0.5) / faces
    evaluation.params.maxDets = [10_000]
    # It goes by areas, the bands by heights, which are put in their place.
    evaluation.params.areaRng = [[low, high if math.isfinite(high) else 1e9]]
    evaluation.params.areaRngLbl = ["band"]
    evaluation.evaluate()
    evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def entry(box: list[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {"category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": y1 - y0, "iscrowd": 0}


@pytest.mark.parametrize(("low", "high"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_pycocotools(seed: int, low: float, high: float) -> None:
    if not importlib.util.find_spec("pycocotools"):
        missing("needs pycocotools, which requirements-dev.txt pins")
    results = draw_results(np.random.default_rng(seed), 40, twice=math.isinf(high) and not low)
    told = measure(results, Band(low, high)).average_precision()
    assert told == pytest.approx(coco_average_precision(results, low, high), abs=1e-6)
