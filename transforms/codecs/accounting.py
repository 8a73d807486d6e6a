"""Compressed data may be copied only when they are wholly accounted for: measuring what they hold.

A header may say fewer rows than the compressed data hold, and decoders do not read behind the last row. What is copied
there would be a picture that was not examined.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

_OUTPUT_BYTES = 2**20  # decompressed at once, so that memory does not grow with what a stream expands to


class Unaccounted(Exception):
    """Compressed data hold more than the picture, or not what their format says; its text says what."""


def inflate(stream: bytes, length: int, *, keep: bool = False) -> tuple[bytes, bytes]:
    """Decompress a zlib stream (RFC 1950) that holds so many bytes.

    Args:
        stream: from the header of the stream on.
        length: in bytes, of what it holds.
        keep: whether the decompressed bytes are wanted.

    Returns:
        The decompressed bytes, empty unless they are to be kept, and the bytes behind the stream's checksum.

    Raises:
        Unaccounted: it holds another number of bytes, is cut off or damaged.
    """
    decompressor = zlib.decompressobj()
    kept, total, rest = [], 0, stream
    try:
        while not decompressor.eof:
            part = decompressor.decompress(rest, _OUTPUT_BYTES)
            rest = decompressor.unconsumed_tail
            total += len(part)
            if total > length or not (part or rest or decompressor.eof):
                break
            if keep:
                kept.append(part)
    except zlib.error as error:
        raise Unaccounted(f"the zlib stream is damaged: {error}") from error
    if total != length or not decompressor.eof:
        raise Unaccounted(f"the zlib stream does not hold the {length} bytes of the picture and nothing else")
    return b"".join(kept), decompressor.unused_data


def without_tail(stream: bytes, is_enough: Callable[[bytes], bool], slack: int, least: int = 1) -> bytes:
    """Coded data without the bytes at their end that no decoder reads.

    Args:
        stream: the coded data.
        is_enough: whether a beginning of the stream shows the same picture.
        slack: how many bytes encoders write at the end in vain; so many stay.
        least: bytes that stay in any case.
    """
    if len(stream) - slack < least or not is_enough(stream[:-slack]):
        return stream
    enough, too_few = len(stream) - slack, least - 1
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if is_enough(stream[:middle]):
            enough = middle
        else:
            too_few = middle
    return stream[:enough]
