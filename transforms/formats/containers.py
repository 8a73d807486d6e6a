"""All kinds of files that hold many records, and what a file is by its first bytes."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from faceveil.transforms import storage
from faceveil.transforms.codecs.signatures import IMAGES, sniff
from faceveil.transforms.formats.container import Container
from faceveil.transforms.formats.kinds import (
    BY_CONTENT,
    CONTAINER_ENDINGS,
    EMPTY,
    LOOKED_AT,
    NO_FILE,
    Kind,
    ending_of,
    unreadable,
)
from faceveil.transforms.formats.parquet_files import PARQUET_FILES
from faceveil.transforms.formats.tar_files import TAR_FILES
from faceveil.transforms.formats.tfrecord_files import TFRECORD_FILES
from faceveil.transforms.storage.base import StoredFile

CONTAINERS: Mapping[Kind, Container] = {"tfrecord": TFRECORD_FILES, "parquet": PARQUET_FILES, "tar": TAR_FILES}


def container_kind(start: bytes) -> Kind | None:
    """The kind of container that begins with these bytes, 4096 or all; None where it holds no records.

    Example usage::

        >>> container_kind(b"PAR1" + bytes([0x15])), container_kind(b"text")
        ('parquet', None)
    """
    return next((kind for kind, container in CONTAINERS.items() if container.begins(start)), None)


def look(file: StoredFile) -> tuple[Kind | None, str]:
    """What a file is, judged by its content.

    Returns:
        What it holds, or None and why it is ignored.

    Raises:
        AccessError: it cannot be read, is a link to nothing, or storage cannot be reached.
    """
    try:
        start = storage.read_range(file, 0, LOOKED_AT)
        kind = container_kind(start)
        if kind:
            reason = CONTAINERS[kind].why_ignored(file)
            return None if reason else kind, reason
    except OSError as error:
        if error.errno == errno.EINVAL:  # a pipe or a device, of which nothing is read
            return None, NO_FILE
        raise unreadable(file.path, error) from error
    if not start:
        return None, EMPTY
    found = sniff(start)
    if found in IMAGES:
        return "image", ""
    if kind := CONTAINER_ENDINGS.get(ending_of(file.path)):  # damaged, as its reader will say
        return kind, ""
    return None, f"{BY_CONTENT} ({found})" if found else BY_CONTENT
