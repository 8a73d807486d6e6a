"""Whether a feature of an Example that no option names holds a picture, in any form in which one may lie there.

Searched are the values as they are (`codecs.signatures`), as raw pixels (`raw_pixels`), as texts that spell bytes
(`codecs.spellings`), lists of numbers that are bytes, several values joined, and messages within messages: Examples,
SequenceExamples, tensors. A signature counts wherever it stands, not at the beginning alone: behind a small header of
someone's own a picture is as easily read, and what is searched for cannot be there by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.codecs.headers import SMALLEST_IMAGE
from faceveil.transforms.codecs.signatures import find, sniff
from faceveil.transforms.codecs.spellings import read_numbers, read_spelt
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.raw_pixels import (
    FEWEST,
    are_bytes_like_rows,
    are_like_rows,
    are_plausible,
    byte_counts_of,
    counts_of,
)

_DEEPEST = 6  # texts and messages within each other
_FEWEST_BYTES = 64  # numbers that may be the bytes of an image file
_MAX_FIELDS = 10_000
_FIRST_TAGS = b"\x0a\x12"  # of an Example's features, or a SequenceExample's lists
_BEFORE_TEXT = b" \t\r\n\x0b\x0c\0\xef\xbb\xbf\xfe\xff"  # white space, zeros, byte order marks


@dataclass
class Contents:
    """What the values of one feature may be.

    Attributes:
        picture: what they hold that is a picture or may hold one; None where nothing is known to.
        byte_counts: how many bytes they have, as they are and behind each spelling or message.
        counts: of numbers, how many there are.
    """

    picture: str | None = None
    byte_counts: set[int] = field(default_factory=set)
    counts: set[int] = field(default_factory=set)

    def add(self, other: Contents) -> None:
        """Adds what other values of the feature may be."""
        self.picture = self.picture or other.picture
        self.byte_counts |= other.byte_counts
        self.counts |= other.counts

    def size_of(self, width: int, height: int, images: int = 1) -> str | None:
        """How many values there are, if they may be the pixels of so many images of this size; None else."""
        if found := sorted(self.byte_counts & {images * count for count in byte_counts_of(width, height)}):
            return f"{found[-1]} bytes"
        if found := sorted(self.counts & {images * count for count in counts_of(width, height)}):
            return f"{found[-1]} numbers"
        return None


def examine(values: Sequence[bytes] | NDArray[Any]) -> Contents:
    """Searches all values of a feature.

    Args:
        values: of bytes, or 1-D numbers.

    Example usage::

        >>> examine([b"label", b"GIF89a" + bytes(40)]).picture, examine([b"n02084071"]).picture
        ('gif', None)
    """
    contents = Contents()
    if isinstance(values, np.ndarray):
        contents.picture = _in_numbers(values, contents, 0)
        return contents
    contents.picture = next((found for value in values if (found := _in_bytes(value, contents, 0))), None)
    if contents.picture is None and len(values) > 1:  # rows, pixels or pieces
        contents.picture = _in_bytes(b"".join(values), contents, 0) or _in_numerals(b" ".join(values), contents, 0)
    return contents


def _in_bytes(data: bytes, contents: Contents, depth: int) -> str | None:
    if len(data) < SMALLEST_IMAGE:
        return None
    if len(data) >= FEWEST:
        contents.byte_counts.add(len(data))
    if found := sniff(data) or find(data):
        return found
    if are_bytes_like_rows(data):
        return "rows of pixels"
    if depth == _DEEPEST:
        is_text = min(data[:64]) >= 0x20
        return next((f"something else {said}" for _, said in _unwrapped(data)), None) if is_text else None
    for inner, said in _unwrapped(data):
        if found := _in_bytes(inner, contents, depth + 1):
            return f"{found} {said}"
    return _in_numerals(data, contents, depth) or _in_example(data, contents, depth)


def _unwrapped(data: bytes) -> Iterator[tuple[bytes, str]]:
    """The bytes that these stand for or hold."""
    if data[0] in _BEFORE_TEXT:
        yield data.lstrip(_BEFORE_TEXT), "behind white space"
    for text in read_spelt(data):
        yield text, "as text"
    for payload in _payloads(data):
        yield payload, "within a message"


def _in_numerals(text: bytes, contents: Contents, depth: int) -> str | None:
    numbers = read_numbers(text)
    return None if numbers is None else _in_numbers(numbers, contents, depth)


def _in_numbers(values: NDArray[Any], contents: Contents, depth: int) -> str | None:
    if values.size < _FEWEST_BYTES:
        return None
    if values.size >= FEWEST:
        contents.counts.add(int(values.size))
    if are_like_rows(values):
        return "rows of pixels"
    if depth == _DEEPEST:
        return "something else as numbers"
    with np.errstate(all="ignore"):
        whole = values.astype(np.int64)
        is_whole = np.array_equal(whole, values)
    if is_whole:
        return _in_integers(whole, contents, depth)
    # Floats that are not the result of a computation are other bytes.
    return None if are_plausible(values) else _in_bytes(values.tobytes(), contents, depth + 1)


def _in_integers(values: NDArray[np.int64], contents: Contents, depth: int) -> str | None:
    """Integers as the bytes that they may be: each a byte, several, or a bit."""
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 1:
        bits = np.packbits(values.astype(np.uint8)).tobytes()
        return sniff(bits) or find(bits)
    size = next(size for size in (1, 2, 4, 8) if size == 8 or max(-2 * low, high + 1) <= 1 << 8 * size)
    packed = values.astype(f"<u{size}")
    if size == 1:
        return _in_bytes(packed.tobytes(), contents, depth + 1)
    if low < 0 and are_like_rows(packed):
        return "rows of pixels"
    either = packed.tobytes(), packed.byteswap().tobytes()
    if size == 8 and any(map(are_bytes_like_rows, either)):  # two pixels and more in every number
        return "rows of pixels"
    return next((found for data in either if (found := sniff(data) or find(data))), None)


def _in_example(data: bytes, contents: Contents, depth: int) -> str | None:
    """Numbers in an Example within the Example, or a SequenceExample; bytes are found as those of any message."""
    if data[0] not in _FIRST_TAGS:
        return None
    try:
        example = Example.parse(data)
        every = [values for name in example.names() for values in example.values_of_steps(name)]
    except InvalidExampleError:
        return None
    found = (_in_numbers(values, contents, depth + 1) for values in every if isinstance(values, np.ndarray))
    return next((f"{said} within an Example" for said in found if said), None)


def _payloads(data: bytes) -> list[bytes]:
    """What the fields of a protocol buffer message hold, if the bytes are one and nothing else; empty if they are not.

    See https://protobuf.dev/programming-guides/encoding. Groups, which are obsolete, count as no message.
    """
    found = []
    place, end = 0, len(data)
    for _ in range(_MAX_FIELDS):
        tag, place = _varint(data, place)
        kind = tag & 7
        if tag < 8 or kind not in (0, 1, 2, 5):
            return []
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 2:
            length, place = _varint(data, place)
            if place + length <= end and length >= SMALLEST_IMAGE:
                found.append(data[place : place + length])
            place += length
        else:
            place += 8 if kind == 1 else 4
        if place >= end:
            break
    return found if place == end else []


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place and the place behind it; behind the end of the data where there is none."""
    value = shift = 0
    for byte in data[place : place + 10]:
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    return 0, len(data) + 1
