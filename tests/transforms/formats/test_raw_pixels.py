"""Pixels without a header: how many real photos are found, and how few other numbers are taken for some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.formats.raw_pixels import are_bytes_like_rows, are_like_rows, byte_counts_of, counts_of

RNG = np.random.default_rng(0)


def test_counts_are_those_of_the_whole_image_and_its_reductions() -> None:
    whole = {97 * 61, 49 * 31, 48 * 30, 49 * 30, 48 * 31, 25 * 16, 24 * 16, 25 * 15, 24 * 15}
    assert counts_of(97, 61) == counts_of(61, 97) == {count * channels for count in whole for channels in (1, 3, 4)}
    assert counts_of(15, 17) == set()
    assert counts_of(16, 16) == {256, 768, 1024}
    assert {16 * 16 * 3 // 2, 16 * 16 * 4 * 8} < byte_counts_of(16, 16)


@pytest.mark.parametrize(("mode", "size"), [("L", (32, 32)), ("RGB", (32, 32)), ("L", (64, 64)), ("RGB", (100, 75))])
def test_nearly_all_photos_are_found_however_small(wider_dev: Path, mode: str, size: tuple[int, int]) -> None:
    photos = [
        np.asarray(Image.open(path).convert(mode).resize(size))
        for path in sorted((wider_dev / "images").iterdir())[::2]
    ]
    for values in (
        photos,
        [(photo / 255).astype(np.float32) for photo in photos],
        [p.astype("<u2") * 257 for p in photos],
    ):
        assert np.mean([are_like_rows(each.ravel()) for each in values]) > 0.97
        assert np.mean([are_bytes_like_rows(each.tobytes()) for each in values]) > 0.97


def test_large_and_wide_pixels_are_found_wherever_they_vary(wider_dev: Path) -> None:
    photo = np.asarray(Image.open(min((wider_dev / "images").iterdir())).convert("RGB"))
    assert are_bytes_like_rows(photo.tobytes())
    assert are_bytes_like_rows(bytes(200_000) + photo.tobytes())
    wide = np.asarray(Image.fromarray(photo).resize((9000, 400)))
    assert are_bytes_like_rows(wide.tobytes())
    outliers = photo[:64, :64].astype(np.float32)
    outliers[::20, ::20] = 1e30
    assert are_like_rows(outliers.ravel())
    outliers[:, 7] = np.nan
    outliers[5:8] = -9999
    assert are_like_rows(outliers.ravel())


def keypoints() -> np.ndarray:
    people = []
    for _ in range(30):
        x, y = RNG.uniform(0, 600) + RNG.normal(0, 40, 17), RNG.uniform(0, 400) + RNG.normal(0, 40, 17)
        people.append(np.stack([x, y, RNG.integers(0, 3, 17)], 1))
    return np.concatenate(people).ravel()


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: RNG.normal(size=1024), 0),
        (lambda: RNG.normal(size=4096), 0),
        (lambda: np.maximum(RNG.normal(size=2048), 0), 0),
        (lambda: RNG.integers(0, 256, 3072), 0),
        (lambda: np.eye(1000)[RNG.integers(1000)], 0),
        (lambda: np.eye(50)[RNG.integers(0, 50, 40)].ravel(), 0),
        (lambda: np.cumsum(RNG.integers(1, 50, 2000)), 0),
        (lambda: np.cumsum(RNG.normal(size=2048)), 2),
        (lambda: np.full(3000, 7.0), 0),
        (lambda: np.full(3000, np.nan), 0),
        (lambda: RNG.uniform(0, 1, (400, 4)).ravel(), 0),
        (keypoints, 2),
    ],
)
def test_other_numbers_are_hardly_ever_taken_for_pixels(make: Callable[[], np.ndarray], most: int) -> None:
    lists = [make() for _ in range(100)]
    assert sum(are_like_rows(values) for values in lists) <= most
    assert sum(are_bytes_like_rows(values.astype(np.float32).tobytes()) for values in lists[:30]) <= most
