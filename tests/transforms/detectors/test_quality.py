import math
from pathlib import Path

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.measures import Band, measure
from faceveil.transforms.detectors.detector import Detector, DetectorConfig


def test_default_options_cover_the_faces_and_invent_few(centerface_int8: str, wider_dev: Path) -> None:
    images = parse_annotations((wider_dev / "annotations.jsonl").read_text())[::2]
    detector = Detector(DetectorConfig((centerface_int8,), score_threshold=MIN_SCORE, threads=2))
    paths = [str(wider_dev / image.file) for image in images]
    results = list(detect_all(detector, images, paths, lambda path: Path(path).read_bytes()))
    threshold = DetectorConfig.score_threshold
    seen_well = measure(results, Band(16, math.inf))
    assert seen_well.faces > 300
    covered = seen_well.at(threshold).covered
    assert covered is not None
    assert covered >= 0.97
    assert measure(results, Band(0, math.inf)).at(threshold).false_positives_per_image <= 1.0
