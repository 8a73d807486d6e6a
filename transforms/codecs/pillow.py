"""Pillow on bytes from anywhere: which plug-in reads them, and what its errors mean."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory


def open_image(data: bytes, image_format: str) -> Image.Image:
    """Read the header with the one plug-in of this format (lower case), never with another."""
    return Image.open(io.BytesIO(data), formats=(image_format.upper(),))


@contextmanager
def decoder_errors(image_format: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `Quarantine`: TRUNCATED, TOO_LARGE or CORRUPT_IMAGE.

    Lack of memory is an OutOfMemoryError.
    """
    try:
        yield
    except Quarantine:
        raise
    except Image.DecompressionBombError as error:
        raise Quarantine(Reason.TOO_LARGE, f"{image_format}: {error}") from error
    except UnidentifiedImageError as error:  # its text holds a memory address, another one in each run
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{image_format}: the header cannot be read") from error
    except Exception as error:  # Pillow promises no list: struct.error, SyntaxError, KeyError, MemoryError, …
        if is_out_of_memory(error):
            raise
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        reason = Reason.TRUNCATED if truncated else Reason.CORRUPT_IMAGE
        raise Quarantine(reason, f"{image_format}: {error or type(error).__name__}") from error
