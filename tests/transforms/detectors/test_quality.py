from pathlib import Path

import pytest

from benchmarks.detection_quality import measure
from transforms.detectors.detector import Detector, DetectorConfig

PHOTOS = Path(__file__).parents[3] / "../shared/data/wider-dev"


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the annotated photos (wider-dev) are not on this machine")
def test_default_options_cover_the_faces_and_invent_few(centerface: str) -> None:
    quality = measure(Detector(DetectorConfig(centerface, threads=2)), PHOTOS)
    assert quality.faces == 770
    assert quality.recall >= 0.965
    assert quality.unmatched_per_image <= 1.1
