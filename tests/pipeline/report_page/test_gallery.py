"""The page's samples: pixels of the output and of nothing else, from shards that are what the job has written."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil.pipeline.report_page.figures import KINDS, Candidate, gather_figures
from faceveil.pipeline.report_page.gallery import Sample, choose, draw_samples
from faceveil.pipeline.written_output import open_output
from faceveil.transforms.formats.layout import OutputFormat
from tests.made_outputs import made_output, made_record

SHARDS = [
    [made_record(f"{s}/{n}.png", 10 * s + n, faces=1 + (s + n) % 4, size=(400, 300)) for n in range(4)]
    for s in range(3)
]


def samples_of(folder: Path) -> list[Sample]:
    output = open_output(str(folder))
    return draw_samples(output, gather_figures(output).candidates)


@pytest.mark.parametrize("output_format", ["tfrecord", "images"])
def test_masks_are_black_in_the_samples(output_format: OutputFormat, tmp_path: Path) -> None:
    made_output(tmp_path / "out", SHARDS, output_format)
    samples = samples_of(tmp_path / "out")
    assert [sample.key for sample in samples] == list(dict.fromkeys(sample.key for sample in samples))
    assert {sample.kind for sample in samples} == set(range(len(KINDS)))
    assert len(samples) == 12
    for sample in samples:
        picture = Image.open(io.BytesIO(sample.jpeg))
        assert picture.size == sample.picture_size
        assert not {"exif", "icc_profile", "comment"} & picture.info.keys()
        pixels = np.asarray(picture)
        assert sample.outlines
        for left, top, right, bottom, _ in sample.outlines:
            x, y = (left + right) / 2, (top + bottom) / 2
            if 0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]:
                assert pixels[int(y), int(x)].max() < 40
        assert pixels.mean() > 60  # of noise, around them


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_turned_images_are_shown_upright(orientation: int, tmp_path: Path) -> None:
    upright = made_record("a.jpg", 7, faces=3, size=(400, 240))
    assert upright.image
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.open(io.BytesIO(upright.image)).transpose(turned).save(file, "JPEG", quality=95, exif=exif)
    made_output(tmp_path / "out", [[replace(upright, image=file.getvalue())]])
    [sample] = samples_of(tmp_path / "out")
    assert sample.picture_size == (400, 240)
    pixels = np.asarray(Image.open(io.BytesIO(sample.jpeg)))
    for left, top, right, bottom, _ in sample.outlines:
        assert pixels[int((top + bottom) / 2), int((left + right) / 2)].max() < 60


def test_a_shard_that_was_changed_gives_no_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_output(tmp_path / "out", SHARDS)
    first, second, third = sorted((tmp_path / "out").glob("*.tfrecord"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    with caplog.at_level(logging.WARNING):
        samples = samples_of(tmp_path / "out")
    assert {sample.key.partition("/")[0] for sample in samples} == {"2"}
    third.write_bytes(third.read_bytes()[:-1])
    assert samples_of(tmp_path / "out") == []


def test_no_more_is_read_than_is_cheap() -> None:
    sizes = {f"s{n}": 64 * 2**20 for n in range(40)}
    candidates = [[Candidate(n, f"{kind}-{n}", f"s{n}", 0) for n in range(24)] for kind in range(4)]
    chosen = choose(candidates, sizes)
    assert len({candidate.shard for alike in chosen for candidate in alike}) == 4
    # The first is read however large its shard is.
    assert choose([[Candidate(0, "a", "huge", 0)]], {"huge": 2**40}) == [[Candidate(0, "a", "huge", 0)]]
