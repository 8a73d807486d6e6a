"""Pixels without any header: known by their number, or by how much each row is like the one before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray

FEWEST = 256
"""Values that may show a face: 16 × 16 pixels."""
_FEWEST_SMOOTH = 1024
_WINDOW = 2**16  # values looked at in one go: what costs most is a Fourier transform of twice as many
_WIDE_WINDOW = 2**19
# The least autocorrelation at the distance of a pixel and of a row, and how far that is above all shorter ones.
# Measured on 200 photos reduced to 32 × 32 grey (tests/transforms/test_raw_pixels.py): 98 % are above all three; lists
# of noise, embeddings or one-hot data never. A text's letters have rows too, but are less like their neighbours.
_LIKE_NEIGHBOUR, _LIKE_NEIGHBOUR_IN_TEXT = 0.45, 0.7
_LIKE_ROW = 0.5
_PEAK = 0.15
_PLACES = np.random.default_rng(0).random(1024)  # where values are looked at for their range, the same every time
_TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]*")
_BEYOND_ASCII = bytes(range(128, 256))
_LEAST_ASCII = 0.9  # of a text that is no UTF-8: letters with accents among others
_REDUCTIONS = (1, 2, 4, 8)
_CHANNELS = (1, 3, 4)
# Of one value in bytes: 8 bits, 16, floats of 32 and 64. In halves, for planes of half the size in chroma count too.
_HALF_BYTES = (2, 3, 4, 8, 16)


def counts_of(width: int, height: int) -> frozenset[int]:
    """How many values the pixels of an image are, in one, three or four channels, whole or reduced to 1/2, 1/4 or 1/8.

    Reduced sides are rounded up or down. Fewer than ``FEWEST`` pixels are left out: they show no face.
    """
    sizes = {
        columns * rows
        for divisor in _REDUCTIONS
        for columns in (width // divisor, -(-width // divisor))
        for rows in (height // divisor, -(-height // divisor))
    }
    return frozenset(size * channels for size in sizes if size >= FEWEST for channels in _CHANNELS)


def byte_counts_of(width: int, height: int) -> frozenset[int]:
    """How many bytes the same are, with one, two, four or eight bytes a value, or one and a half (YUV 4:2:0)."""
    return frozenset(count * half // 2 for count in counts_of(width, height) for half in _HALF_BYTES)


def are_bytes_like_rows(data: bytes) -> bool:
    """Whether bytes vary as the rows of a picture do, taken as integers of 8 or 16 bits, or floats of 16, 32 or 64."""
    if len(data) < _FEWEST_SMOOTH:
        return False
    if _is_text(data):
        return are_like_rows(np.frombuffer(data, np.uint8), like_neighbour=_LIKE_NEIGHBOUR_IN_TEXT)
    if are_like_rows(np.frombuffer(data, np.uint8), (1, 3, 4, 8)):
        return True
    for kind in ("<u2", ">u2", "<f4", "<f8", "<f2", ">f4"):
        size = np.dtype(kind).itemsize
        if len(data) >= size * _FEWEST_SMOOTH:
            values = np.frombuffer(data, kind, len(data) // size)
            if (kind[1] == "u" or are_plausible(values)) and are_like_rows(values):
                return True
    return False


def _is_text(data: bytes) -> bool:
    """Whether bytes are a text's: labels are lines of one form, which are like each other as rows of pixels are."""
    if not _TEXT.fullmatch(data[:64]) or not _TEXT.fullmatch(data):
        return False
    if len(data.translate(None, _BEYOND_ASCII)) >= _LEAST_ASCII * len(data):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def are_plausible(values: NDArray[Any]) -> bool:
    """Whether floats look computed: other bytes, read as floats, have wild exponents."""
    with np.errstate(all="ignore"):
        some = np.abs(values[:1024].astype(np.float64))
        return bool(np.mean((some == 0) | ((some > 1e-6) & (some < 1e6))) > 0.99)


def are_like_rows(
    values: NDArray[Any], channels: tuple[int, ...] = _CHANNELS, like_neighbour: float = _LIKE_NEIGHBOUR
) -> bool:
    """Whether numbers vary as the rows of a picture do, whatever its width.

    In a picture a pixel is like its neighbour, and, a row's length further, like the one below; between the two it is
    less so. So the autocorrelation is high at the distance of a pixel, and has a peak at that of a row. Embeddings,
    noise and one-hot data lack the first; curves, sorted numbers and walks the second.

    Args:
        values: 1-D, of any real type; 1,024 and more, else it is False.
        channels: how many values a pixel may have.
        like_neighbour: the least autocorrelation at the distance of a pixel.
    """
    if values.size < _FEWEST_SMOOTH:
        return False
    return any(_has_rows(window, step, like_neighbour) for window in _windows(values) for step in channels)


def _windows(values: NDArray[Any]) -> Iterator[FloatArray]:
    """Parts that are looked at, without outliers: beginning, middle and end, and a wider one of large data."""
    if values.size <= _WINDOW:
        parts = [values]
    else:
        places = (0, (values.size - _WINDOW) // 2, values.size - _WINDOW)
        parts = [values[place : place + _WINDOW] for place in places]
        if values.size >= 2 * _WINDOW:
            width = min(_WIDE_WINDOW, values.size)
            parts.append(values[(values.size - width) // 2 :][:width])
    for part in parts:
        with np.errstate(all="ignore"):
            numbers = np.nan_to_num(part.astype(np.float64), posinf=0, neginf=0)
            some = np.sort(numbers[(_PLACES * numbers.size).astype(np.intp)])
            low, first, third, high = some[[part * some.size // 100 for part in (1, 25, 75, 99)]]
            if third > first:  # a few values that mean something else do not make all others look alike
                low, high = max(low, first - 3 * (third - first)), min(high, third + 3 * (third - first))
            if 0 < high - low < np.inf:
                yield ((np.clip(numbers, low, high) - low) / (high - low)).astype(np.float32)


def _has_rows(values: FloatArray, step: int, like_neighbour: float) -> bool:
    whole = values[: values.size // step * step].reshape(-1, step)
    centred = (whole - whole.mean(axis=0)).ravel()
    energy = float(np.mean(centred * centred))
    if energy <= 0 or float(np.mean(centred[:-step] * centred[step:])) < like_neighbour * energy:
        return False
    longest = centred.size // 8
    spectrum = np.fft.rfft(centred, 1 << (centred.size + longest + step).bit_length())
    products = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: longest + step + 1 : step]
    likeness = products / (centred.size - step * np.arange(products.size)) / energy
    rows, least = likeness[8:-1], np.minimum.accumulate(likeness)[7:-2]
    peaks = (rows >= likeness[7:-2]) & (rows >= likeness[9:])
    return bool(np.any(peaks & (rows - least >= _PEAK) & (rows >= _LIKE_ROW)))
