"""Names of features are compared with those of the first records."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest

from faceveil.pipeline.feature_names import check_feature_names
from faceveil.pipeline.options import JobOptions, OptionError
from faceveil.transforms.example import Example
from faceveil.transforms.inputs import summarize_inputs
from faceveil.transforms.tfrecord import frame


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
    check(tmp_path, drop_features=("rare", "image/face/count"), allow_features=("other", "label"))
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
    looked_at = {Path(file.path).stem for file in summary.splits["data"].first_tfrecords}
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
