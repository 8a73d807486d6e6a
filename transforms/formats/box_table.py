"""Annotated boxes by record key, as arrays in files that are mapped and not read: processes share their memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms import storage
from faceveil.transforms.arrays import BoolMask, FloatArray

_NAMES = ("keys", "spans", "sizes", "boxes")
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class BoxTable:
    """The boxes of many images.

    Attributes:
        keys: ``[K]``, 16 bytes each, sorted: the hashes of record keys.
        spans: int64 ``[K, 2]``: where each key's boxes begin and end.
        sizes: int32 ``[K, 2]``: width and height in pixels of the image that they were drawn on; 0 where nobody knows.
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels of the stored image, unchecked.

    Example usage::

        >>> boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
        >>> table = BoxTable.of(["a.jpg", "b.jpg"], np.array([0, 0]), boxes)
        >>> table.find("a.jpg").tolist(), table.find("b.jpg").tolist(), table.find("c.jpg")
        ([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], [], None)
    """

    keys: NDArray[np.bytes_]
    spans: NDArray[np.int64]
    sizes: NDArray[np.int32]
    boxes: FloatArray

    @classmethod
    def of(
        cls,
        keys: Sequence[str],
        images: NDArray[np.int64],
        boxes: FloatArray,
        names: Callable[[str], Iterable[str]] = lambda key: (key,),
        sizes: NDArray[np.int32] | None = None,
    ) -> BoxTable:
        """The table of some images.

        Args:
            keys: of the images, each once.
            images: ``[N]``: for each box, the number of its image among the keys.
            boxes: ``[N, 4]``.
            names: under which keys an image is found.
            sizes: ``[K, 2]``, of the images; None where nobody knows.
        """
        in_order = sorted(range(len(keys)), key=keys.__getitem__)
        ranks = np.empty(len(keys), np.int64)
        ranks[in_order] = np.arange(len(keys))
        ranks_of_boxes = ranks[images]
        ends = np.cumsum(np.bincount(ranks_of_boxes, minlength=len(keys)))
        hashed = [
            (_hash(name), start, end, image)
            for image, (start, end) in zip(in_order, pairwise([0, *ends.tolist()]), strict=True)
            for name in names(keys[image])
        ]
        hashed.sort()
        return cls(
            np.array([key for key, *_ in hashed], f"S{_DIGEST_BYTES}"),
            np.array([span for _, *span, _ in hashed], np.int64).reshape(-1, 2),
            np.zeros((len(hashed), 2), np.int32) if sizes is None else sizes[[image for *_, image in hashed]],
            np.ascontiguousarray(boxes[np.argsort(ranks_of_boxes, kind="stable")], np.float32),
        )

    @property
    def digest(self) -> str:
        """Identifies the boxes and their images, whatever their order in the file; 64 hexadecimal digits."""
        checksum = hashlib.sha256()
        for name in _NAMES:
            checksum.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return checksum.hexdigest()

    def find(self, key: str) -> FloatArray | None:
        """The boxes of a record; None where nothing is known of it."""
        place = self._place(key)
        if place is None:
            return None
        start, end = self.spans[place]
        return np.array(self.boxes[start:end])

    def size(self, key: str) -> tuple[int, int] | None:
        """Width and height in pixels of the image that a record's boxes were drawn on; None where nobody knows."""
        place = self._place(key)
        width, height = (0, 0) if place is None else self.sizes[place].tolist()
        return (width, height) if width and height else None

    def _place(self, key: str) -> int | None:
        hashed = np.array(_hash(key), self.keys.dtype)
        place = int(np.searchsorted(self.keys, hashed))
        return place if place < len(self.keys) and self.keys[place] == hashed else None

    def holds(self, keys: Iterable[str]) -> BoolMask:
        """Of which of some records something is known."""
        hashed = np.array([_hash(key) for key in keys], self.keys.dtype)
        if not len(self.keys):
            return np.zeros(len(hashed), np.bool_)
        places = np.minimum(np.searchsorted(self.keys, hashed), len(self.keys) - 1)
        found: BoolMask = self.keys[places] == hashed
        return found

    def save(self, folder: str) -> None:
        """Writes the arrays into a folder.

        Raises:
            AccessError: they cannot be written.
        """
        for name in _NAMES:
            content = io.BytesIO()
            np.save(content, getattr(self, name))
            storage.write_bytes(storage.join(folder, f"{name}.npy"), content.getvalue())

    @classmethod
    def open(cls, folder: str) -> BoxTable:
        """Maps the arrays of a folder, fetched first if it is in an object store; processes share their memory.

        Raises:
            AccessError: they cannot be fetched.
        """
        local = storage.local_copy(folder)
        return cls(*(np.load(storage.join(local, f"{name}.npy"), mmap_mode="r") for name in _NAMES))


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:_DIGEST_BYTES]
