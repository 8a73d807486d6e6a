"""A JPEG's quantised coefficients, through pyjpegio: read, and written again with nothing beside them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jpegio
import numpy as np

from faceveil.transforms.codecs.pillow import open_image

LARGEST = 2**27
"""Samples of all components: 89 megapixels of 4:2:0, 44 of 4:4:4. The coefficients take six bytes for each."""

_LARGEST_AC = 1023  # in size, as in sections F.1.2.1 and F.1.2.2 of ITU-T T.81


def transcode(data: bytes, *, same_tables: bool = False) -> bytes | None:
    """Write a JPEG's coefficients as a new JPEG, so that all that is not among them is left behind.

    Every decoder shows the same pixels. Coefficients that its tables multiply by zero become zero.

    Args:
        data: the JPEG, with all its tables.
        same_tables: code with its own Huffman tables; else they are made anew. A progressive JPEG has new ones anyway.

    Returns:
        A JPEG with the same frame, quantisation tables, restart interval and kind of coding, progressive or not; None
        where it cannot be read to its end, holds coefficients that no Huffman code says, or is too large.
    """
    try:
        with open_image(data, "jpeg") as header:
            width, height = header.size
            components, tables = header.layer, header.quantization  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  whatever they raise, it cannot be read
        return None
    if width * height * len(components) > LARGEST:
        return None
    with file_of(data) as path:
        try:
            coded = jpegio.read(path)
            for array, (*_, table) in zip(coded.coef_arrays, components, strict=True):
                unseen = np.array(tables[table]).reshape(8, 8) == 0
                if unseen.any():
                    blocks = array.reshape(array.shape[0] // 8, 8, array.shape[1] // 8, 8).swapaxes(1, 2)
                    blocks[..., unseen] = 0
            for values in coded.quant_tables:
                values[values == 0] = 1  # zero is none of the values that a table may have (section B.2.4.1)
            if not can_be_coded(coded):
                return None
            coded.optimize_coding = not same_tables
            if not same_tables:
                # Those of the file come from its first scan, and may be wrong for components that are not in it.
                for number, component in enumerate(coded.comp_info):
                    component.dc_tbl_no = component.ac_tbl_no = min(number, 1)
            coded.write(path)
        except (RuntimeError, KeyError):  # libjpeg's, or a table that is missing
            return None
        return Path(path).read_bytes()


def can_be_coded(coded: Any) -> bool:
    """Whether Huffman codes hold all coefficients: a decoder takes larger ones, but no 8-bit picture has them."""
    for array in coded.coef_arrays:
        if array.max() > _LARGEST_AC or array.min() < -_LARGEST_AC:
            ac = array.copy()
            ac[::8, ::8] = 0
            # Of DC coefficients the differences are coded, which may be twice as large.
            if abs(ac).max() > _LARGEST_AC or array.max() > _LARGEST_AC or array.min() < -_LARGEST_AC - 1:
                return False
    return True


@contextmanager
def file_of(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes, since jpegio reads and writes files only.

    On Linux the file is in memory, so no face is ever written to a disk.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("faceveil")
        try:
            path = f"/proc/self/fd/{descriptor}"
            Path(path).write_bytes(data)
            yield path
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "image.jpg")
            Path(path).write_bytes(data)
            yield path
