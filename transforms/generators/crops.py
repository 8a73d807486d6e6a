"""What a generator is shown of an image, and putting what it has drawn back into it.

Nothing of a face gets into its crop: masked pixels become 0 before anything is resampled, and what is left is divided
by the share of it that is known. So a crop's pixels are means of known pixels only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from faceveil.transforms.anonymizers.masks import Rectangle
from faceveil.transforms.arrays import Affine, BoolMask, FloatArray, Values

_FINER = 2
"""Crops are drawn this much larger and averaged, as in the training."""

_MIN_KNOWN = 0.5
"""Share of a crop's pixel that has to be known for it to count as such."""

_WHOLE = 255
"""A pixel that is known whole, where shares are bytes."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Of R, G and B in grey (ITU-R BT.601), as libjpeg and Pillow have it."""

_COLOURLESS = 0.02
"""Mean difference of a crop's channels, of colours from -1 to 1, below which a photo in RGB is taken for black and
white."""

_SEAM = 3.0
"""How far into the face its colours are matched to those around it, in pixels of a crop of 64."""

_LARGEST_SHIFT = 0.1
"""Of colours from -1 to 1. What differs by more is no tone but content, as hair before a white wall, and a larger shift
gave it bright fringes."""


@dataclass(frozen=True)
class Crop:
    """What a generator is shown of one face.

    Attributes:
        affine: from pixels of the image to pixels of the crop.
        rgb: float32 ``[S, S, 3]`` from -1 to 1, 0 where the mask is 1.
        mask: float32 ``[S, S, 1]``, 1 where nothing is known.
        known_share: share of what lies around the face that is known.
    """

    affine: Affine
    rgb: FloatArray
    mask: FloatArray
    known_share: float


def take_crop(
    values: Values, known: BoolMask, white: float, own: tuple[Rectangle, BoolMask], affine: Affine, size: int
) -> Crop:
    """Takes the crop of one face.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, the upright image: grey or RGB, maybe with alpha, which is left out.
        known: bool ``[H, W]``, False on the masks of all faces.
        white: the value that becomes 1.
        own: the face's own mask, as `face_mask` returns it.
        affine: from pixels of the image to pixels of the crop.
        size: of the crop's side, in pixels.
    """
    rows, columns = rectangle = _footprint(affine, size, *known.shape)
    is_open = known[rectangle]
    colours = _colours(values[rectangle]).copy()
    colours[~is_open] = 0
    shares = np.dstack([is_open, _within(own, rectangle)]).astype(np.uint8) * _WHOLE
    sums = _shrunk_onto(colours, rows.start, columns.start, affine, size) / np.float32(white)
    share, blocked = np.moveaxis(
        _shrunk_onto(shares, rows.start, columns.start, affine, size) / np.float32(_WHOLE), 2, 0
    )
    is_known = share >= _MIN_KNOWN
    means = sums / np.maximum(share, _MIN_KNOWN)[..., np.newaxis] * 2 - 1
    around = blocked < 1 - _MIN_KNOWN
    return Crop(
        affine,
        np.broadcast_to(np.where(is_known[..., np.newaxis], means, 0), (size, size, 3)).astype(np.float32),
        (~is_known)[..., np.newaxis].astype(np.float32),
        float(is_known.sum() / max(int(around.sum()), 1)),
    )


def _footprint(affine: Affine, size: int, height: int, width: int) -> Rectangle:
    """The rows and columns of the image that a crop may draw on; at least one of each."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    places = (corners - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    left, top = (math.floor(low) - 2 for low in places.min(axis=0))
    right, bottom = (math.ceil(high) + 2 for high in places.max(axis=0))
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return slice(top, max(min(bottom, height), top + 1)), slice(left, max(min(right, width), left + 1))


def _within(own: tuple[Rectangle, BoolMask], rectangle: Rectangle) -> BoolMask:
    """A face's mask, cut or extended to another rectangle of the image."""
    rows, columns = rectangle
    whole = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    pairs = list(zip(own[0], rectangle, strict=True))
    down, across = (slice(max(mine.start - all_.start, 0), max(mine.stop - all_.start, 0)) for mine, all_ in pairs)
    from_rows, from_columns = (
        slice(max(all_.start - mine.start, 0), max(all_.stop - mine.start, 0)) for mine, all_ in pairs
    )
    whole[down, across] = own[1][from_rows, from_columns]
    return whole


def _colours(region: Values) -> Values:
    """Grey or RGB without its alpha."""
    channels = region.shape[2]
    return region[..., : channels - 1] if channels in (2, 4) else region


def _shrunk_onto(planes: Values, top: int, left: int, affine: Affine, size: int) -> FloatArray:
    """The planes of a part of the image, 0 beyond it, as the crop's pixels see them on average."""
    scale = _FINER * _scale(affine)
    height, width = planes.shape[:2]
    if scale < 1:  # averaged first, since bilinear sampling would skip pixels
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        planes = cv2.resize(planes, smaller, interpolation=cv2.INTER_AREA)
    ratio = np.array([planes.shape[1] / width, planes.shape[0] / height])
    # From the planes' pixels to the finer crop's; OpenCV counts from pixels' centres.
    linear = _FINER * affine[:, :2] / ratio
    shift = _FINER * (affine[:, :2] @ (left, top) + affine[:, 2]) + linear @ (0.5, 0.5) - 0.5
    finer = _FINER * size
    matrix = np.column_stack([linear, shift])
    drawn = cv2.warpAffine(planes.astype(np.float32), matrix, (finer, finer), flags=cv2.INTER_LINEAR)
    means = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(size, size, -1)  # OpenCV drops a single channel


def _scale(affine: Affine) -> float:
    """Pixels of the crop per pixel of the image."""
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def fill_from_face(
    face: FloatArray, crop: Crop, rectangle: Rectangle, channels: int, white: float, dtype: type
) -> Values:
    """What has been drawn, turned back and with its colours matched, for a rectangle of the image.

    Args:
        face: float32 ``[S, S, 3]`` from -1 to 1.
        crop: what it was drawn for.
        rectangle: of the face's mask.
        channels: of the image: an alpha becomes opaque.
        white: as for `take_crop`.
        dtype: the image's.

    Returns:
        ``[h, w, C]`` of the image's type; only masked pixels are meant.
    """
    if _is_colourless(crop):
        face = (face @ _LUMA)[..., np.newaxis].repeat(3, axis=2)
    seen = np.where(crop.mask > 0, match_colours(face, crop), crop.rgb)
    size, scale = len(seen), _scale(crop.affine)
    affine = crop.affine
    if scale > 1:  # averaged first, since the image has fewer pixels
        smaller = max(1, round(size / scale))
        seen = cv2.resize(seen, (smaller, smaller), interpolation=cv2.INTER_AREA)
        affine = affine * (smaller / size)
    rows, columns = rectangle
    linear = affine[:, :2]
    shift = linear @ (columns.start + 0.5, rows.start + 0.5) + affine[:, 2] - 0.5
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    extent = columns.stop - columns.start, rows.stop - rows.start
    matrix = np.column_stack([linear, shift])
    drawn = cv2.warpAffine(seen, matrix, extent, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    colours = np.clip(drawn / 2 + 0.5, 0, 1) * white
    if channels <= 2:
        colours = (colours @ _LUMA)[..., np.newaxis]
    fill = np.full((*colours.shape[:2], channels), np.iinfo(dtype).max, dtype)
    fill[..., : colours.shape[2]] = colours + 0.5
    return fill


def _is_colourless(crop: Crop) -> bool:
    """Whether what is known of a crop is black and white."""
    known = crop.rgb[crop.mask[..., 0] == 0]
    return len(known) > 0 and float(np.ptp(known, axis=1).mean()) < _COLOURLESS


def match_colours(face: FloatArray, crop: Crop) -> FloatArray:
    """Shifts the colours of a face near its edge towards those of what is known beyond it.

    The shift is the difference of the local means on either side, a little of it at most, and fades into the face.

    Args:
        face: float32 ``[S, S, 3]`` from -1 to 1.
        crop: what it was drawn for.
    """
    mask = crop.mask[..., 0]
    reach = _SEAM * len(mask) / 64
    depth = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    fading = np.exp(-depth / reach).astype(np.float32) * mask
    outer, outer_weight = _local_mean(crop.rgb, 1 - mask, reach)
    inner, inner_weight = _local_mean(face, fading, reach)
    trust = np.minimum(1, 8 * np.minimum(outer_weight, inner_weight))[..., np.newaxis]
    shift = np.clip(outer - inner, -_LARGEST_SHIFT, _LARGEST_SHIFT)
    matched: FloatArray = face + shift * trust * fading[..., np.newaxis]
    return np.clip(matched, -1, 1)


def _local_mean(values: FloatArray, weight: FloatArray, reach: float) -> tuple[FloatArray, FloatArray]:
    """Means of values ``[S, S, 3]`` around every pixel, and the weight that there is around it."""
    total = cv2.GaussianBlur(weight, (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
    summed = cv2.GaussianBlur(values * weight[..., np.newaxis], (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
    return summed / np.maximum(total, 1e-6)[..., np.newaxis], total
