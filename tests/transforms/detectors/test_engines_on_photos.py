from pathlib import Path

import numpy as np

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import detect_all
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.nms import iou

SCORE, SLACK = 0.3, 0.01


def test_the_engines_find_the_same_faces(centerface: str, wider_dev: Path) -> None:
    images = parse_annotations((wider_dev / "annotations.jsonl").read_text())[::20]
    paths = [str(wider_dev / image.file) for image in images]
    by_engine = []
    for engine in ("openvino", "tensorflow"):
        detector = Detector(DetectorConfig((centerface,), engine, "float32", SCORE - SLACK, threads=2))
        by_engine.append(list(detect_all(detector, images, paths, lambda path: Path(path).read_bytes())))
    compared = 0
    for found in zip(*by_engine, strict=True):
        for one, other in (found, found[::-1]):
            for box, score in zip(one.boxes, one.scores, strict=True):
                if score < SCORE:
                    break
                partner = iou(box[None], other.boxes)[0].argmax()
                assert abs(score - other.scores[partner]) <= 0.01
                np.testing.assert_allclose(box, other.boxes[partner], atol=0.5)
                compared += 1
    assert compared > 40
