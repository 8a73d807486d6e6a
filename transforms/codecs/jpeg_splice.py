"""Put painted pixels into a JPEG and leave every other block of coefficients as it is.

A JPEG is made of MCUs, "minimum coded units": the smallest rectangles that hold whole 8 x 8 blocks of every component,
8 x 8 to 32 x 32 pixels. The MCUs that a mask touches are transformed and quantised again, with the file's own tables;
of all others the quantised coefficients are copied. Sections and tables named here are those of ITU-T T.81
(https://www.w3.org/Graphics/JPEG/itu-t81.pdf).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jpegio
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import BoolMask, Values
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.codecs.jpeg_coefficients import LARGEST, can_be_coded, file_of, has_complete_tables
from faceveil.transforms.codecs.jpeg_markers import segments
from faceveil.transforms.codecs.metadata import strip_metadata
from faceveil.transforms.codecs.pillow import open_image
from faceveil.transforms.runtime.memory import is_out_of_memory

_MCUS_AT_ONCE = 1024
"""So that the working memory of a face that fills the photo stays below 30 MB."""

_SEQUENTIAL, _PROGRESSIVE = {0xC0, 0xC1}, {0xC2}  # of 8 bits, with Huffman codes (table B.1)
_SOS, _DQT = 0xDA, 0xDB

_SCALE = 2.0**16
_angles = np.pi / 16 * (2 * np.arange(8) + 1) * np.arange(8)[:, np.newaxis]
_COSINES = np.rint(_SCALE / 2 * np.cos(_angles) * np.where(np.arange(8) == 0, np.sqrt(0.5), 1)[:, np.newaxis])
"""The forward DCT (section A.3.3) as a matrix ``[8, 8]``. It holds integers, since sums of integers below 2⁵³ are exact
in float64: the same pixels give the same coefficients on every CPU, in whatever order they are added up."""
_TRANSPOSED = np.ascontiguousarray(_COSINES.T)  # NumPy multiplies by a view of it half as fast


@dataclass(frozen=True)
class _Layout:
    """How a JPEG is coded, by its headers.

    Attributes:
        sampling: blocks in an MCU of each component, down and across.
        tables: quantisation table of each component, float64 ``[8, 8]``.
        mcu_height: in pixels.
        mcu_width: in pixels.
        one_scan: whether all coefficients are in a single scan.
    """

    sampling: list[tuple[int, int]]
    tables: list[NDArray[np.float64]]
    mcu_height: int
    mcu_width: int
    one_scan: bool


def splice(pixels: Pixels, painted: BoolMask, data: bytes, info: ImageInfo) -> bytes | None:
    """Code the painted MCUs of a JPEG again and keep the coefficients of all others.

    Sampling, colour space, quantisation tables, progression and restart interval stay as they are; metadata go
    as in `strip_metadata`. Which MCUs are coded again follows from `painted` alone, and what is coded from `pixels`
    alone, so nothing is left there of the original's coefficients.

    Args:
        pixels: as `decode_pixels` returned them, painted on; in the stored layout.
        painted: bool ``[H, W]``, which of them were painted on; in the stored layout.
        data: the original.
        info: its header's facts.

    Returns:
        The JPEG, or None where this cannot be done: libjpeg complained of the original, or it is too large, or has
        arithmetic coding, fractional sampling, coefficients too large for a Huffman code, or quantisation tables
        that hold zeros or change between scans.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
    """
    if not pixels.faultless:
        return None
    clean = strip_metadata(data, info, faultless=True)
    layout = _layout(clean)
    if layout is None:
        return None
    with file_of(clean) as path:
        try:
            coded = jpegio.read(path)
            _code_again(coded, layout, pixels, painted)
            if not can_be_coded(coded):
                return None
            coded.optimize_coding = not (layout.one_scan and has_complete_tables(coded))
            coded.write(path)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            # libjpeg's. Whatever is known to cause one is looked for before, since jpegio then leaves a file open.
            return None
        return Path(path).read_bytes()


def _layout(data: bytes) -> _Layout | None:
    """How the JPEG is coded, or None where it is one of those that `splice` cannot do."""
    markers = [marker for marker, *_ in segments(data)]
    after_first_scan = markers[markers.index(_SOS) :]
    if _DQT in after_first_scan or not {*markers} & (_SEQUENTIAL | _PROGRESSIVE):
        return None
    with open_image(data, "jpeg") as header:
        components, tables = header.layer, header.quantization  # type: ignore[attr-defined]
        width, height = header.size
    sampling = [(down, across) for _, across, down, _ in components]
    if len(sampling) == 1:
        sampling = [(1, 1)]  # an MCU is one block, whatever the factors (section A.2.2)
    max_down, max_across = np.max(sampling, axis=0).tolist()
    blocks = sum(down * across for down, across in sampling)
    if (
        any(not down or max_down % down or not across or max_across % across for down, across in sampling)
        or width * height * blocks > LARGEST * max_down * max_across
        or blocks > 10  # what a scan of all components may hold (section B.2.3)
        or not all(table in tables and min(tables[table]) > 0 for *_, table in components)
    ):
        return None
    return _Layout(
        sampling,
        [np.array(tables[table], np.float64).reshape(8, 8) for *_, table in components],
        8 * max_down,
        8 * max_across,
        after_first_scan.count(_SOS) == 1,
    )


def _code_again(coded: Any, layout: _Layout, pixels: Pixels, painted: BoolMask) -> None:
    """Replace the coefficients of the painted MCUs, in place."""
    mcus = _mcus(pixels.values, layout)
    rows, columns = np.nonzero(_touched(painted, layout))
    for start in range(0, len(rows), _MCUS_AT_ONCE):
        row, column = rows[start : start + _MCUS_AT_ONCE], columns[start : start + _MCUS_AT_ONCE]
        values = mcus[row, :, column]
        for samples, array, (down, across), table in zip(
            _components(values, coded.jpeg_color_space), coded.coef_arrays, layout.sampling, layout.tables, strict=True
        ):
            blocks = array.reshape(array.shape[0] // 8, 8, array.shape[1] // 8, 8).swapaxes(1, 2)
            coefficients = _transform(samples, down, across, table)
            for i, j in np.ndindex(down, across):
                block_row, block_column = row * down + i, column * across + j
                # An MCU at the edge may end in blocks that hold nothing of the image.
                real = (block_row < blocks.shape[0]) & (block_column < blocks.shape[1])
                if real.all():
                    blocks[block_row, block_column] = coefficients[:, i, j]
                else:
                    blocks[block_row[real], block_column[real]] = coefficients[real, i, j]


def _touched(painted: BoolMask, layout: _Layout) -> BoolMask:
    """Which MCUs hold a painted pixel, bool ``[rows, columns]``."""
    mcus = _mcus(painted.view(np.uint8), layout)
    # Eight pixels are looked at in one, as an integer of 64 bits.
    rows, height, columns = mcus.shape[:3]
    eights = np.ascontiguousarray(mcus).reshape(rows, height, -1).view(np.uint64)
    touched: BoolMask = np.bitwise_or.reduce(eights, axis=1).reshape(rows, columns, -1).any(axis=2)
    return touched


def _mcus(values: Values, layout: _Layout) -> Values:
    """Pixels ``[H, W, C]`` or ``[H, W]`` as MCUs ``[rows, h, columns, w, C]``; edges are repeated, as in libjpeg."""
    height, width = values.shape[:2]
    below, right = -height % layout.mcu_height, -width % layout.mcu_width
    if below or right:
        values = cv2.copyMakeBorder(np.ascontiguousarray(values), 0, below, 0, right, cv2.BORDER_REPLICATE)
    rows, columns = (height + below) // layout.mcu_height, (width + right) // layout.mcu_width
    return values.reshape(rows, layout.mcu_height, columns, layout.mcu_width, -1)


def _components(mcus: Values, colour_space: int) -> list[Values]:
    """The components of pixels, uint8 ``[n, h, w]`` each.

    Args:
        mcus: uint8 ``[n, h, w, C]``; CMYK as Pillow has it, 0 for no ink.
        colour_space: libjpeg's number of it: 1 grey, 2 RGB, 3 YCbCr, 4 CMYK, 5 YCCK.
    """
    # Pillow takes all CMYK for Adobe's, which is stored as 255 less the ink.
    stored = 255 - mcus if colour_space in (4, 5) else mcus
    planes = list(np.moveaxis(stored, -1, 0))
    if colour_space in (3, 5):
        # The three colours of YCCK are the complements of C, M, Y as they are stored.
        rgb = np.ascontiguousarray(mcus[..., :3]).reshape(1, -1, 3)  # OpenCV is slow at short rows
        luma, red, blue = np.moveaxis(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).reshape(*mcus.shape[:3], 3), -1, 0)
        planes[:3] = luma, blue, red
    return planes


def _transform(samples: Values, down: int, across: int, table: NDArray[np.float64]) -> NDArray[np.int32]:
    """The quantised coefficients of one component, int32 ``[n, down, across, 8, 8]``.

    Args:
        samples: uint8 ``[n, h, w]`` of n MCUs, at the image's full resolution.
        down: blocks in an MCU.
        across: blocks in an MCU.
        table: the quantisation table, ``[8, 8]``.
    """
    count, height, width = samples.shape
    step_down, step_across = height // (8 * down), width // (8 * across)
    averaged = step_down * step_across
    sums = np.full((count, 8 * down, 8 * across), -128 * averaged, np.int16)
    for i, j in np.ndindex(step_down, step_across):
        sums += samples[:, i::step_down, j::step_across]
    blocks = sums.reshape(count, down, 8, across, 8).swapaxes(2, 3).astype(np.float64, order="C")
    exact = _COSINES @ blocks @ _TRANSPOSED
    exact *= 1 / (table * (_SCALE**2 * averaged))
    quantised: NDArray[np.int32] = np.rint(exact, out=exact).astype(np.int32)
    return quantised
