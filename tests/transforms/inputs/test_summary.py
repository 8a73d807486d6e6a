import gzip
import logging
import os
import re
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.inputs.summary import summarize_inputs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "c.png", "notes.txt", "sub/d.jpeg", "sub/e.webp", "x.tfrecord", "sub/y.tfrecord.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


def test_summary_counts_and_identifies(tree: Path) -> None:
    inputs = [Input("data", str(tree))]
    summary = summarize_inputs(inputs, "elsewhere")
    split = summary.splits["data"]
    assert (split.images, split.image_bytes, split.tfrecords, summary.ignored) == (5, 5 * 7, 2, 1)
    assert summarize_inputs(inputs, "elsewhere").digest == summary.digest
    os.utime(tree / "a.jpg", (1, 1))
    touched = summarize_inputs(inputs, "elsewhere").digest
    assert touched != summary.digest
    (tree / "a.jpg").rename(tree / "z.jpg")
    assert summarize_inputs(inputs, "elsewhere").digest != touched


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nothing/*.jpg", "nothing"),
        ("*.png.bak", "matches no file"),
        ("missing.jpg", "missing.jpg"),
        ("*.txt", "matches 1 files, none with the ending of an image"),
    ],
)
def test_a_glob_without_a_match_is_an_error(tree: Path, pattern: str, message: str) -> None:
    with pytest.raises(AccessError, match=re.escape(message)):
        summarize_inputs([Input("data", f"{tree}/{pattern}")], "elsewhere")


def test_output_among_the_inputs_is_an_error(tree: Path) -> None:
    with pytest.raises(AccessError, match="its own output"):
        summarize_inputs([Input("data", f"{tree}/**")], str(tree / "sub"))


def test_what_would_be_divided_is_counted_and_compressed_files_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = frame(bytes(1000)) * 100
    (tmp_path / "a.tfrecord").write_bytes(records)
    for name in ("b.tfrecord.gz", "c-00000-of-00001"):
        (tmp_path / name).write_bytes(gzip.compress(os.urandom(200_000), 0))
    (tmp_path / "small.tfrecord.gz").write_bytes(gzip.compress(records))
    with caplog.at_level(logging.WARNING):
        summary = summarize_inputs([Input("data", str(tmp_path))], "elsewhere", shard_bytes=10_000)
    split = summary.splits["data"]
    assert (split.tfrecords, split.more_parts[10_000], split.compressed) == (4, 10, 2)
    assert "2 large TFRecord files are compressed, such as" in caplog.text
    assert split.first_compressed.endswith("b.tfrecord.gz")
