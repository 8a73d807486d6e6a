"""Pictures of a palette whose indices say more than the colours show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.pillow import open_image
from faceveil.transforms.runtime.memory import is_out_of_memory


def check_indices(data: bytes, image_format: str) -> None:
    """That pixels which look the same have the same index, and that there are no indices without a colour.

    With a palette that is black all over, a whole picture would be in the indices, and no viewer would show it.

    Args:
        data: the image.
        image_format: in lower case.

    Raises:
        Unaccounted: it is not so, or the image cannot be decoded.
    """
    try:
        with open_image(data, image_format) as image:
            image.load()
            if image.mode != "P":
                return
            used = np.flatnonzero(np.bincount(np.frombuffer(image.tobytes(), np.uint8), minlength=256))
            palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
            transparency = image.info.get("transparency")
    except Exception as error:  # as in decoder_errors: Pillow promises no list of them
        if is_out_of_memory(error):
            raise
        raise Unaccounted(f"its indices cannot be decoded: {error}") from error
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparency, bytes):
        alpha[: len(transparency)] = np.frombuffer(transparency, np.uint8)
    elif isinstance(transparency, int):
        alpha[transparency] = 0
    if len(used) and used[-1] >= len(palette):
        raise Unaccounted("it has pixels of colours that its palette lacks")
    if len(np.unique(first_of_each_colour(palette, alpha)[used])) != len(used):
        raise Unaccounted("it has pixels of the same colour with different indices")


def first_of_each_colour(palette: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """For each index the first one that looks the same.

    Args:
        palette: ``[N, 3]``.
        alpha: ``[N]`` or longer.
    """
    looks = np.column_stack((palette, alpha[: len(palette)]))
    _, first, inverse = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    indices: NDArray[np.uint8] = first[inverse.reshape(-1)].astype(np.uint8)
    return indices
