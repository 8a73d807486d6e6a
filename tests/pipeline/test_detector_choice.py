from typing import Any

import pytest

from faceveil.pipeline.options import JobOptions
from faceveil.transforms.detectors.quality import QUALITIES


def built(**options: Any) -> JobOptions:
    return JobOptions(**options)


def test_the_default_detector_fits_the_engine_and_the_precision() -> None:
    for options in ({}, {"engine": "openvino"}, {"quality": "fast"}):
        assert built(**options).detector.models == ("yunet-s", "centerface-covered-int8")
    for options in ({"engine": "tensorflow"}, {"precision": "float32"}):
        assert built(**options).detector.models == ("yunet-s", "centerface-covered")
    assert built(model="a", engine="tensorflow").detector.models == ("a",)


@pytest.mark.parametrize(
    ("options", "models", "verifies", "detect_size"),
    [
        ({}, ("yunet-s", "centerface-covered-int8"), True, 832),
        ({"verifier": "b"}, ("yunet-s", "b"), True, 832),
        ({"model": "a"}, ("a",), False, 1056),
        ({"model": "a", "verifier": "b"}, ("a", "b"), True, 1056),
        ({"model": ["a", "b"], "verifier": "c", "quality": "fast"}, ("a", "b", "c"), True, 640),
        ({"model": "yunet-s"}, ("yunet-s",), False, 832),
        ({"model": "yunet-s", "verifier": "b", "quality": "thorough"}, ("yunet-s", "b"), True, 1280),
        ({"quality": "thorough", "verifier": "b"}, ("yunet-s", "b"), True, 1280),
        ({"boxes": "a", "boxes_mode": "replace"}, (), False, 832),
    ],
)
def test_a_verifier_looks_at_what_another_finds(
    options: dict[str, Any], models: tuple[str, ...], verifies: bool, detect_size: int
) -> None:
    choice = built(**options).detector
    assert (choice.models, choice.verifies, choice.quality.detect_size) == (models, verifies, detect_size)


def test_two_detectors_share_the_views_of_thorough() -> None:
    thorough = built(quality="thorough").detector
    assert (thorough.models, thorough.shares_views) == (("centerface-int8", "centerface-covered-int8"), True)
    assert built(quality="thorough", engine="tensorflow").detector.models == ("centerface", "centerface-covered")
    own = built(quality="thorough", model=["a", "b"]).detector
    assert (own.models, own.shares_views) == (("a", "b"), False)
    assert not built().detector.shares_views


def test_a_detect_size_replaces_the_quality_s() -> None:
    looks = built(quality="thorough", detect_size="640").detector.quality
    assert (looks.detect_size, looks.scales) == (640, QUALITIES["thorough"].scales)
