import math
from pathlib import Path

from faceveil.evaluation.annotations import parse_annotations
from faceveil.evaluation.detect import MIN_SCORE, detect_all
from faceveil.evaluation.measures import Band, measure
from faceveil.pipeline.detection import detector_config
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.detectors.detector import Detector


def test_default_options_cover_the_faces_and_invent_few(default_detector: tuple[str, ...], wider_unseen: Path) -> None:
    images = parse_annotations((wider_unseen / "annotations.jsonl").read_text())[::2]
    options = JobOptions()
    detector = Detector(detector_config(options, default_detector, MIN_SCORE, threads=2))
    paths = [str(wider_unseen / image.file) for image in images]
    results = list(detect_all(detector, images, paths, lambda path: Path(path).read_bytes()))
    seen_well = measure(results, Band(16, math.inf))
    assert seen_well.faces > 200
    covered = seen_well.at(options.score_threshold).covered
    assert covered is not None
    assert covered >= 0.945
    assert measure(results, Band(0, math.inf)).at(options.score_threshold).false_positives_per_image <= 1.7
