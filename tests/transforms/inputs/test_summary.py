import gzip
import logging
import os
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input, InputFile
from faceveil.transforms.inputs.summary import MAX_SAMPLED, SplitSummary, series_of, summarize_inputs


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
    assert (split.images, split.image_bytes, split.record_files, summary.ignored) == (5, 5 * 7, 2, 1)
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


def test_what_would_be_divided_is_counted_and_files_that_cannot_be_are_told(
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
    assert (split.record_files, split.more_parts[10_000], split.undivided) == (4, 10, 2)
    assert "2 large files cannot be divided, such as" in caplog.text
    assert split.first_undivided.endswith("b.tfrecord.gz")


files = st.builds(
    lambda number, name, part: (number, InputFile("data", "k", f"{number}/{name}-{part}", 1, "1", "tfrecord")),
    st.integers(0, 3),
    st.sampled_from("abcdefgh"),
    st.integers(0, 9),
)


@given(st.lists(files, unique=True), st.randoms())
def test_which_files_are_looked_into_does_not_depend_on_their_order(
    drawn: list[tuple[int, InputFile]], chosen: Random
) -> None:
    sampled = []
    for _ in range(2):
        split = SplitSummary()
        for number, file in drawn:
            split.add(file, number)
        sampled.append(split.first_record_files)
        chosen.shuffle(drawn)
    assert sampled[0] == sampled[1]
    series = Counter(map(series_of, sampled[0]))
    assert len(series) == min(8, len({series_of(file) for _, file in drawn}))
    if drawn:
        [first, *others] = series.values()
        assert first <= MAX_SAMPLED
        assert set(others) <= {1}
        assert sampled[0][0].path == min(file.path for number, file in drawn if number == min(n for n, _ in drawn))
