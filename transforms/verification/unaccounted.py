"""Files in an output that no job has written there, and which readers would take for a part of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import read_files
from faceveil.transforms.formats.kinds import is_of_system
from faceveil.transforms.formats.layout import LOCK_NAME, MANIFEST_NAME, OutputLayout, is_shard_file
from faceveil.transforms.verification.reading import WrittenShard

_OWN = (LOCK_NAME, MANIFEST_NAME)


def unaccounted_files(output: OutputLayout, shards: Sequence[WrittenShard]) -> Iterator[str]:
    """Their paths below the output.

    Where shards are files, others that are named like shards: what else somebody has put there is no concern of
    readers. Where each record is a file, all that no row of the audit trail names, for such a folder is published as it
    is; memory holds 8 bytes for each that a row names.

    Args:
        output: where it lies.
        shards: all of them.

    Raises:
        AccessError: the output cannot be listed, or a file of the audit trail not be read.
    """
    top = len(storage.join(output.directory, ""))
    if output.format == "tfrecord":
        known = {output.shard_file(shard.name) for shard in shards}
        names = (file.path[top:] for file in storage.list_folder(output.directory))
        yield from (name for name in names if is_shard_file(name) and name not in known)
        return
    hashes = np.sort(np.fromiter(_hashes(_named(output, shards)), np.uint64))
    for file in storage.list_files(output.directory):
        name = file.path[top:]
        if name in _OWN or any(map(is_of_system, name.split("/"))):
            continue
        if not _holds(hashes, _hash(name)):
            yield name


def _named(output: OutputLayout, shards: Iterable[WrittenShard]) -> Iterator[str]:
    for shard in shards:
        path = output.audit_path(shard.name)
        if storage.exists(path):
            try:
                yield from (place.file for place in read_files(path))
            except OSError as error:
                raise AccessError(f"{path}: cannot be read: {error}") from error
            except ValueError:
                continue  # which will be said of its shard


def _hashes(names: Iterable[str]) -> Iterator[int]:
    return map(_hash, names)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def _holds(hashes: NDArray[np.uint64], wanted: int) -> bool:
    place = int(np.searchsorted(hashes, np.uint64(wanted)))
    return place < len(hashes) and int(hashes[place]) == wanted
