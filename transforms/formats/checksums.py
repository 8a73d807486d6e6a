"""Checksums of an image that a record holds beside it: they would link the output to the original, and are renewed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from faceveil.transforms.formats.example import Example

_ALGORITHMS = ("md5", "sha1", "sha256")
# Bytes of a digest as it is, and spelt in hexadecimal digits.
_LENGTHS = {size for name in _ALGORITHMS for size in (hashlib.new(name).digest_size, 2 * hashlib.new(name).digest_size)}


def renewed_checksums(
    example: Example, untouched: Collection[str], images: Sequence[tuple[bytes, bytes]]
) -> dict[str, list[bytes]]:
    """The features that hold the MD5, SHA-1 or SHA-256 of an original image, with that of the new image instead.

    They are known by their value, not by their name (TensorFlow's detection data sets call it ``image/key/sha256``),
    and keep their form: raw bytes, or hexadecimal digits in lower or upper case.

    Args:
        example: as it was read.
        untouched: names of features that are not looked at.
        images: the bytes of each image before and after.

    Returns:
        All values of each feature that changes.

    Example usage::

        >>> old, new = hashlib.sha1(b"old").hexdigest(), hashlib.sha1(b"new").hexdigest()
        >>> example = Example.parse(Example.empty().with_features({"sum": [old.encode(), b"label"]}))
        >>> renewed_checksums(example, (), [(b"old", b"new")]) == {"sum": [new.encode(), b"label"]}
        True
    """
    changed = [(before, after) for before, after in images if before != after]
    if not changed:
        return {}
    held = {name: example.bytes_values(name) or [] for name in example.names() if name not in untouched}
    # Images are hashed only where a value may be a checksum.
    candidates = {name: values for name, values in held.items() if any(len(value) in _LENGTHS for value in values)}
    if not candidates:
        return {}
    new_of: dict[bytes, bytes] = {}
    for before, after in changed:
        new_of |= _renewals(before, after)
    return {
        name: [new_of.get(value, value) for value in values]
        for name, values in candidates.items()
        if not new_of.keys().isdisjoint(values)
    }


def _renewals(before: bytes, after: bytes) -> Mapping[bytes, bytes]:
    renewals = {}
    for name in _ALGORITHMS:
        old, new = (hashlib.new(name, data, usedforsecurity=False).digest() for data in (before, after))
        renewals[old] = new
        renewals[old.hex().encode()] = new.hex().encode()
        renewals[old.hex().upper().encode()] = new.hex().upper().encode()
    return renewals
