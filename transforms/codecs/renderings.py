"""Every plausible way in which a reader shows an image, for the detector: one way for nearly all images.

The promise is that what anybody sees has been looked at. So where readers differ, all of their pictures are made: alpha
composited on white, on black, and dropped; inks of which it is not sure whether 0 is none or all of it; few levels of
brightness as they are, spread out, and (black and white dots) seen from afar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.transforms.arrays import RGB
from faceveil.transforms.codecs.image import Pixels

_SAMPLES = 64
"""Rows and columns that are looked at to tell whether an image has few levels: 4,096 pixels give percentiles enough."""

_LOW_CONTRAST = 48
"""Levels of 255 between the 1st and the 99th percentile. Of 33 faces in 23 photos the default detector finds 33, 32, 31
and 20 where they are left 0.15, 0.1, 0.06 and 0.03 of their contrast, and 33 of each when they are equalised."""

_FEW_VALUES = 8
"""Of an image with no more, levels are made of dots. Of the same 33 faces in black and white dots 19 are found, and 33
after a blur of one pixel."""

_BLUR = 1.0
"""Standard deviation in pixels."""


def renderings(pixels: Pixels, ambiguous_inks: bool = False) -> Iterator[RGB]:
    """The pictures that readers make of stored pixels, uint8 ``[H, W, 3]``, what most of them show first.

    Args:
        pixels: as they are stored.
        ambiguous_inks: whether some readers take 0 of CMYK for no ink, and others for all of it.
    """
    plain = _plain(pixels, ambiguous_inks)
    for number, rgb in enumerate(plain):
        yield rgb
        yield from _of_few_levels(rgb, pixels if number == 0 and pixels.values.dtype == np.uint16 else None)


def _plain(pixels: Pixels, ambiguous_inks: bool) -> Iterator[RGB]:
    if pixels.mode.startswith("CMYK"):
        inks = np.ascontiguousarray(_eight_bits(pixels.values))
        yield _without_inks(inks)
        if ambiguous_inks:
            yield _without_inks(255 - inks)
        return
    first = _without_alpha(pixels)
    yield first
    if pixels.has_alpha and pixels.values[..., -1].min() < np.iinfo(pixels.values.dtype).max:
        for page in (255, 0):
            composited = _composited(pixels, page)
            if not np.array_equal(composited, first):
                yield composited


def _composited(pixels: Pixels, page: int) -> RGB:
    """The picture on a page of one grey."""
    alpha = _eight_bits(pixels.values[..., -1]).astype(np.uint16)
    behind = page * (255 - alpha)
    channels = []
    for channel in range(pixels.values.shape[2] - 1):
        shown = _eight_bits(pixels.values[..., channel]).astype(np.uint16)
        # Premultiplied colours may be brighter than their alpha allows.
        shown = shown * 255 if pixels.is_premultiplied else shown * alpha
        channels.append(((np.minimum(shown, 255 * 255 - behind) + behind + 127) // 255).astype(np.uint8))
    return _three_channels(np.stack(channels, axis=-1))


def _without_alpha(pixels: Pixels) -> RGB:
    """The colours alone, scaled so that the brightest value of 16 bits becomes 255."""
    values: NDArray[Any] = pixels.values
    if pixels.has_alpha:
        values, alpha = values[..., :-1], values[..., -1:]
        if pixels.is_premultiplied:
            most = np.iinfo(values.dtype).max
            values = np.minimum(values.astype(np.uint32) * most // np.maximum(alpha, 1), most).astype(values.dtype)
    if values.dtype == np.uint16:
        values = (values * np.float32(255.0 / max(int(values.max()), 1))).astype(np.uint8)
    return _three_channels(values)


def _without_inks(inks: NDArray[np.uint8]) -> RGB:
    return np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    return values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)


def _three_channels(values: NDArray[np.uint8]) -> RGB:
    if values.shape[2] == 1:
        rgb: RGB = cv2.cvtColor(np.ascontiguousarray(values[..., 0]), cv2.COLOR_GRAY2RGB)
        return rgb
    return values


def _of_few_levels(rgb: RGB, deep: Pixels | None) -> Iterator[RGB]:
    """What else there is to see in a picture whose levels are few, or are the upper eight bits of `deep` ones."""
    height, width = rgb.shape[:2]
    sample = rgb[:: -(-height // _SAMPLES), :: -(-width // _SAMPLES)].reshape(-1, 3)
    low, high = np.percentile(sample, (1, 99), axis=0)
    if deep is not None:
        yield _equalised(deep.values[..., : 3 if deep.values.shape[2] >= 3 else 1])
    elif (high - low).max() < _LOW_CONTRAST and _varies(rgb):
        yield _equalised(rgb)
    if len(np.unique(sample)) <= _FEW_VALUES and _varies(rgb):
        yield cv2.GaussianBlur(rgb, (0, 0), _BLUR)


def _varies(rgb: RGB) -> bool:
    return bool((rgb != rgb[0, 0]).any())


def _equalised(values: NDArray[Any]) -> RGB:
    """Each channel with all levels as frequent, so that whatever differs can be seen."""
    channels = []
    for channel in range(values.shape[2]):
        plane = values[..., channel]
        levels = int(np.iinfo(plane.dtype).max) + 1
        counts = cv2.calcHist([np.ascontiguousarray(plane)], [0], None, [levels], [0, levels]).ravel()
        ranks = np.cumsum(counts, dtype=np.float64) - counts / 2
        channels.append((ranks * (255 / plane.size)).astype(np.uint8)[plane])
    return _three_channels(np.stack(channels, axis=-1))
