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
from faceveil.transforms.formats.layout import LOCK_NAME, MANIFEST_NAME, OutputFormat, OutputLayout, is_shard_file
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.verification.reading import WrittenShard

_OWN = (LOCK_NAME, MANIFEST_NAME)
_READ_BY_ENDING: dict[OutputFormat, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "webdataset": (".tar", ".tar.gz", ".tgz"),
}


def unaccounted_files(output: OutputLayout, shards: Sequence[WrittenShard]) -> Iterator[str]:
    """Their paths below the output.

    Where shards are files, others that are named like shards, and where these are tables or tars, in any folder below,
    all that end like them, since readers look for these: what else somebody has put there is no concern of theirs.
    Where each record is a file, all that no row of the audit trail names, for such a folder is published as it is;
    memory holds 8 bytes for each that a row names.

    Args:
        output: where it lies.
        shards: all of them.

    Raises:
        AccessError: the output cannot be listed, or a file of the audit trail not be read.
    """
    top = len(storage.join(output.directory, ""))
    if not SHARD_FORMATS[output.format].has_files:
        known = {output.shard_file(shard.name) for shard in shards}
        list_all = storage.list_folder if output.format == "tfrecord" else storage.list_files
        names = (file.path[top:] for file in list_all(output.directory))
        yield from (name for name in names if name not in known and _is_taken_for_one(name, output.format))
        return
    hashes = np.sort(np.fromiter(_hashes(_named(output, shards)), np.uint64))
    for file in storage.list_files(output.directory):
        name = file.path[top:]
        if name in _OWN or any(map(is_of_system, name.split("/"))):
            continue
        if not _holds(hashes, _hash(name)):
            yield name


def _is_taken_for_one(name: str, output_format: OutputFormat) -> bool:
    """Whether readers of a format would take a file for a shard."""
    last = name.rpartition("/")[2]
    is_hidden = last.startswith((".", "_")) or any(map(is_of_system, name.split("/")))
    return is_shard_file(name) or (last.lower().endswith(_READ_BY_ENDING.get(output_format, ())) and not is_hidden)


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
