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
from faceveil.transforms.runtime.memory import is_out_of_memory

LARGEST = 2**27
"""Samples of all components: 89 megapixels of 4:2:0, 44 of 4:4:4. The coefficients take six bytes for each."""

_DC_SYMBOLS = {*range(12)}
_AC_SYMBOLS = {0x00, 0xF0, *(16 * run + size for run in range(16) for size in range(1, 11))}
"""What Huffman tables must hold to code every block of 8-bit samples (ITU-T T.81, sections F.1.2.1 and F.1.2.2), as
those of annex K.3 do. Tables made for one image may lack what its new blocks need."""
_LARGEST_AC = 1023  # in size, likewise


def transcode(data: bytes, *, keep_tables: bool = False, faultless: bool = False) -> bytes | None:
    """Write a JPEG's coefficients as a new JPEG, so that all that is not among them is left behind.

    Every decoder shows the same pixels. Coefficients that its tables multiply by zero become zero.

    Args:
        data: the JPEG, with all its tables.
        keep_tables: code with its own Huffman tables, which are those of a sequential JPEG's only scan; else they are
            made anew, and so they are where they may lack what damaged data need.
        faultless: whether libjpeg is known to decode it without a complaint.

    Returns:
        A JPEG with the same frame, quantisation tables, restart interval and kind of coding, progressive or not; None
        where it cannot be read to its end, holds coefficients that no Huffman code says, or is too large.
    """
    try:
        with open_image(data, "jpeg") as header:
            width, height = header.size
            components, tables = header.layer, header.quantization  # type: ignore[attr-defined]
    except Exception as error:
        if is_out_of_memory(error):
            raise
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
            coded.optimize_coding = not (keep_tables and (faultless or has_complete_tables(coded)))
            if coded.optimize_coding:
                # Those of the file come from its first scan, and may be wrong for components that are not in it.
                for number, component in enumerate(coded.comp_info):
                    component.dc_tbl_no = component.ac_tbl_no = min(number, 1)
            coded.write(path)
        except (RuntimeError, KeyError) as error:  # libjpeg's, or a table that is missing
            if is_out_of_memory(error):
                raise
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


def has_complete_tables(coded: Any) -> bool:
    """Whether its Huffman tables hold a code for whatever there may be in a picture of 8 bits."""
    return all(
        needed <= set(table["symbols"][: table["counts"].sum()].tolist())
        for tables, needed in ((coded.dc_huff_tables, _DC_SYMBOLS), (coded.ac_huff_tables, _AC_SYMBOLS))
        for table in tables
    )


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
