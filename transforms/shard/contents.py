"""Whether a file holds what it held when its shard was made, whatever its time says now.

A copy, a check-out or a bare `touch` gives files other times. So a shard's stamp has a digest of each file's content
beside its version. Where names are hidden it is keyed by the secret salt, as they are: nobody without it can test
whether an image was among the inputs.
"""

from __future__ import annotations

import hashlib

from faceveil.transforms import storage
from faceveil.transforms.formats.kinds import holds_records
from faceveil.transforms.inputs.match import InputFile

_DIGEST_BYTES = 16
_PIECE = 2**20


def content_digest(data: bytes, key: bytes) -> str:
    """Identifies the content of a file, by BLAKE2b (RFC 7693) of 128 bits.

    Args:
        data: the content.
        key: 64 bytes at most; empty for a digest that everybody can compute.

    Example usage::

        >>> content_digest(b"", b"")
        'cae66941d9efbd404e4d88758ea67670'
    """
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=key).hexdigest()


def digest_of_file(file: InputFile, key: bytes, max_bytes: int) -> str:
    """Identifies what a file holds now; empty where it cannot be read, or no record would be made of it.

    Args:
        file: as it was listed.
        key: as for ``content_digest``.
        max_bytes: of an image; of a larger one nothing is written.

    Raises:
        AccessError: storage cannot be reached, or the file is no longer the one that was listed.
    """
    if file.size > max_bytes and not holds_records(file.kind):
        return ""
    checksum = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=key)
    try:
        with storage.open_to_read(file.path, file.version, file.size) as opened:
            while piece := opened.read(_PIECE):
                checksum.update(piece)
        storage.check_unchanged(file.path, file.version, file.size)
    except OSError:
        return ""
    return checksum.hexdigest()
