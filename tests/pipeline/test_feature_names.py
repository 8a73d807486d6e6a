"""Names of features are compared with those of the first records."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.feature_names import check_feature_names
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.summary import summarize_inputs
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

JPEG, PNG = b"\xff\xd8\xff\xe0" + bytes(60), b"\x89PNG\r\n\x1a\n" + bytes(60)


def write(path: Path, *records: dict[str, Any] | bytes) -> None:
    serialized = [
        r if isinstance(r, bytes) else Example.empty().with_features({"image/encoded": b"1", **r}) for r in records
    ]
    data = b"".join(map(frame, serialized))
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def check(folder: Path, **options: Any) -> None:
    given = JobOptions(input=(f"{folder}/**",), output="out", **options)
    check_feature_names(given, summarize_inputs(given.inputs, "elsewhere"))


def test_a_feature_of_any_record_that_is_looked_at_is_known(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", {"label": [1]})
    write(tmp_path / "b.tfrecord.gz", {}, {"rare": [1]})
    write(tmp_path / "c.tfrecord", b"no Example \xff", {"other": b"1"})
    check(tmp_path, drop_features=("rare",), allow_features=("other", "label"))
    with pytest.raises(OptionError, match="--drop_features rale: is no feature of all 4 records; did you mean rare"):
        check(tmp_path, drop_features=("rale",))


def test_a_name_that_only_later_records_may_have_is_refused_only_where_that_loses_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.tfrecord", *[{"thumbnail": b"1"}] * 16, {"rare": [1]})
    with pytest.raises(
        OptionError, match=r"--drop_features rare: is no feature of the first 16 records\..*--strict_feat"
    ):
        check(tmp_path, drop_features=("rare",))
    with pytest.raises(OptionError, match="--image_feature right: is no feature of the first 16 records"):
        check(tmp_path, image_feature=("image/encoded", "right"))
    check(tmp_path, drop_features=("rare",), strict_features=True)
    with caplog.at_level(logging.WARNING):
        check(tmp_path, allow_features=("rare",))
    assert "--allow_features rare: none of the first 16 records has it" in caplog.text
    with pytest.raises(OptionError, match="did you mean thumbnail"):
        check(tmp_path, allow_features=("thumbnial",))
    # As the message says.
    (tmp_path / "first").mkdir()
    write(tmp_path / "first" / "b.tfrecord", {"rare": [1]})
    check(tmp_path, drop_features=("rare",))


def test_files_beyond_the_first_are_not_looked_at(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.tfrecord", {"late": [1]} if number == 4 else {})
    given = JobOptions(input=(f"{tmp_path}/*",), output="out", drop_features=("late",))
    summary = summarize_inputs(given.inputs, "elsewhere")
    looked_at = {Path(file.path).stem for file in summary.splits["data"].first_record_files}
    assert len(looked_at) == 4
    if "4" not in looked_at:
        with pytest.raises(OptionError, match="the first 4 records"):
            check_feature_names(given, summary)


def test_what_cannot_be_read_is_left_to_the_job(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", b"no Example \xff")
    (tmp_path / "b.tfrecord").write_bytes(frame(b"1")[:-1])
    (tmp_path / "c.tfrecord").touch()
    check(tmp_path, drop_features=("anything",), image_feature=("other",))


def test_options_for_examples_may_be_given_with_image_files_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    check(tmp_path, drop_features=("thumbnail", "image/filename"), allow_features=("depth",), image_feature=("left",))
    with pytest.raises(OptionError, match="did you mean image/filename"):
        check(tmp_path, drop_features=("image/filname",))
    write(tmp_path / "b.tfrecord", {})
    check(tmp_path, drop_features=("image/filename",))


def records(folder: Path, name: str, *examples: dict[str, Any], compress: Callable[[bytes], bytes] = bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(compress(b"".join(frame(Example.empty().with_features(e)) for e in examples)))


TFDS = {"image": JPEG, "label": [3], "image/filename": b"a.jpg"}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress])
@pytest.mark.parametrize("strict", [False, True])
def test_a_feature_of_images_by_another_name_is_named(
    tmp_path: Path, compress: Callable[[bytes], bytes], strict: bool
) -> None:
    records(tmp_path, "mnist-train.tfrecord-00000-of-00001", TFDS, {**TFDS, "mask": PNG}, compress=compress)
    with pytest.raises(OptionError) as caught:
        check(tmp_path, strict_features=strict)
    assert str(caught.value) == (
        "--image_feature image/encoded: is no feature of all 2 records. They have: image, image/filename, label, mask. "
        "Images are in image (jpeg), mask (png): name those that are to be anonymized with --image_feature, the others "
        "with --drop_features or --allow_features"
    )
    check(tmp_path, image_feature=("image",), drop_features=("mask",), strict_features=strict)


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"image": [1, 2, 3]}, "holds no value of bytes in all 1 record. Each record has to have it"),
        ({"image": []}, "holds no value of bytes in all 1 record. Each record"),
        ({"image": b"a.jpg", "jpg": JPEG}, r"holds no image in all 1 record. Images are in jpg \(jpeg\)"),
        (
            {"image": [0.5] * 8, "png": PNG},
            r"holds no value of bytes in all 1 record. Images are in png \(png\)",
        ),
    ],
)
def test_a_feature_that_holds_no_images_is_refused(tmp_path: Path, example: dict[str, Any], said: str) -> None:
    records(tmp_path, "train", example)
    with pytest.raises(OptionError, match=f"--image_feature image: {said}"):
        check(tmp_path, image_feature=("image",))


def test_what_is_allowed_or_dropped_may_be_the_only_image(tmp_path: Path) -> None:
    records(tmp_path, "train", {"image": b"damaged", "depth": PNG, "thumbnail": JPEG})
    check(tmp_path, image_feature=("image",), allow_features=("depth",), drop_features=("thumbnail",))


def test_each_series_of_files_has_to_have_the_images(tmp_path: Path) -> None:
    for number in range(6):
        records(tmp_path, f"a/train-{number}", {"image/encoded": JPEG})
        records(tmp_path, f"a/labels-{number}", {"label": [1]})
        records(tmp_path, f"b/train-{number}", {"image": JPEG})
    with pytest.raises(OptionError, match=r"is no feature of the first 4 records of .*/a/labels-\*\. They have: label"):
        check(tmp_path)
    with pytest.raises(OptionError, match=r"is no feature of .* of .*/b/train-\*\. .*Images are in image"):
        check(tmp_path, exclude=("labels-*",))
    check(tmp_path, exclude=("labels-*", "b"))


def test_each_split_has_to_have_the_images(tmp_path: Path) -> None:
    for split, feature in (("train", "image/encoded"), ("val", "image")):
        records(tmp_path, f"{split}/part-r-00000", *[{feature: JPEG}] * 20)
    given = JobOptions(input=tuple(f"{split}={tmp_path}/{split}/**" for split in ("train", "val")), output="out")
    with pytest.raises(OptionError, match=r"is no feature of the first 16 records of .*/val/part-r-\*"):
        check_feature_names(given, summarize_inputs(given.inputs, "elsewhere"))


def test_tfrecords_in_buckets_are_looked_into(object_store: Server, connect: Callable[..., FaultyProxy]) -> None:
    connect()
    data = frame(Example.empty().with_features(TFDS)) * 20
    for name, content in (("train", data), ("train.gz", gzip.compress(data)), ("train.z", zlib.compress(data))):
        object_store.put("inputs", f"tfds/{name}", content)
        given = JobOptions(input=(f"{object_store.scheme}://inputs/tfds/{name}",), output="out")
        with pytest.raises(OptionError, match=r"image/encoded: is no feature of .*Images are in image \(jpeg\)"):
            check_feature_names(given, summarize_inputs(given.inputs, "elsewhere"))


def test_a_class_of_boxes_that_only_later_records_may_have_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sides = {f"image/object/bbox/{side}": [0.5] for side in ("xmin", "ymin", "xmax", "ymax")}
    plate = {**sides, "image/object/class/text": [b"plate"], "image/object/class/label": [7]}
    write(tmp_path / "a.tfrecord", *[plate] * 16, {**plate, "image/object/class/text": [b"person"]})
    with caplog.at_level(logging.WARNING):
        check(tmp_path, boxes="image/object/bbox", box_classes=("plate", "7"))
        assert not caplog.text
        check(tmp_path, boxes="image/object/bbox", box_classes=("person",))
    assert "--box_classes person: no box of the first 16 records is of it" in caplog.text
    with pytest.raises(
        OptionError, match=r"no box of the first 16 records is of this class; did you mean plate\? There"
    ):
        check(tmp_path, boxes="image/object/bbox", box_classes=("plates",))
    with pytest.raises(OptionError, match="--boxes other/bbox/xmin: is no feature of the first 16 records"):
        check(tmp_path, boxes="other/bbox")


def table(folder: Path, name: str, **columns: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)


def found(folder: Path, **options: Any) -> tuple[str, ...]:
    given = JobOptions(input=(f"{folder}/**",), output="out", **options)
    return check_feature_names(given, summarize_inputs(given.inputs, "elsewhere")).image_feature


def test_the_only_column_of_images_is_found_in_all_tables_or_in_none(tmp_path: Path) -> None:
    table(tmp_path, "a/x.parquet", img=[JPEG, b""], text=["a", "b"], mask=[PNG, PNG])
    table(tmp_path, "empty/x.parquet", img=pa.array([], pa.binary()))
    table(tmp_path, "broken/x.parquet", img=[JPEG])
    (tmp_path / "broken" / "x.parquet").write_bytes(b"PAR1\x15 broken")
    for options in ({"drop_features": ("mask",)}, {"allow_features": ("mask",)}, {"image_feature": ("img", "mask")}):
        assert found(tmp_path, **options)[0] == "img"
    with pytest.raises(OptionError, match=r"Images are in img \(jpeg\), mask \(png\): name those"):
        found(tmp_path)
    table(tmp_path, "b/x.parquet", img=[JPEG])
    assert found(tmp_path, drop_features=("mask",)) == ("img",)
    table(tmp_path, "c/x.parquet", picture=[JPEG])
    with pytest.raises(OptionError, match="image/encoded: is no feature of"):
        found(tmp_path, drop_features=("mask",))


def test_a_table_with_the_usual_name_keeps_it_beside_tfrecords(tmp_path: Path) -> None:
    table(tmp_path, "x.parquet", **{"image/encoded": [JPEG], "image/format": ["jpeg"]})
    records(tmp_path, "x.tfrecord", {"image/encoded": JPEG})
    assert found(tmp_path) == ("image/encoded",)
    table(tmp_path, "y.parquet", image=[JPEG])
    with pytest.raises(OptionError, match=r"of .*/y\.parquet\. .*Images are in image \(jpeg\)"):
        found(tmp_path)
