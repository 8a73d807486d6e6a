import pytest

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions


@pytest.mark.parametrize("path", ["a.csv", "./a.CSV", "/x/a.parquet", "gs://b/a.JSON", "s3://b/a.b.csv"])
def test_a_file_is_known_by_its_ending(path: str) -> None:
    assert JobOptions(boxes=path).boxes == path


@pytest.mark.parametrize("prefix", ["image/object/bbox", "bbox", "image.boxes", "csv", "a.csv/bbox"])
def test_all_else_is_a_prefix_of_features(prefix: str) -> None:
    assert JobOptions(boxes=f"{prefix}/").boxes == JobOptions(boxes=prefix).boxes == prefix


@pytest.mark.parametrize("given", ["", "/", "/x/a.txt", "./bbox", "~/a", "gs://b/a", "file:///a", 3])
def test_what_can_be_neither_is_refused(given: object) -> None:
    with pytest.raises(OptionError, match=r"--boxes .*: must be a "):
        JobOptions(boxes=given)  # type: ignore[arg-type]


def test_classes_are_names_or_numbers() -> None:
    assert JobOptions(boxes="a", box_classes=("plate", 3)).box_classes == ("plate", "3")  # type: ignore[arg-type]
    for wrong in (1.5, True, None):
        with pytest.raises(OptionError, match="--box_classes"):
            JobOptions(boxes="a", box_classes=(wrong,))  # type: ignore[arg-type]


def test_a_detector_is_left_out_only_where_no_image_needs_one() -> None:
    assert JobOptions(boxes="a").detector.models
    assert JobOptions(boxes="a", boxes_mode="replace").detector.models == ()
    assert JobOptions(boxes="a", boxes_mode="replace", image_feature=("left", "right"), quality="fast").detector.models
    with pytest.raises(OptionError, match="--score_threshold: no detector runs with --boxes_mode replace"):
        JobOptions(boxes="a", boxes_mode="replace", score_threshold=0.5)
