"""Shards that are files, one for each input, under its name: together they mirror the inputs.

A shard's files appear one by one, so an attempt that dies may leave some. Before the first of them appears, a journal
lists all that the shard may leave; it goes when the shard's file of the audit trail is there, which lists what it has.
So at any time the two name every file in the output, whatever becomes of the inputs or the settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import Place, Row, ShardResult, read_files, read_placed_rows
from faceveil.transforms.formats.layout import OutputLayout, converted_name, is_mirrored_name, mirrored_name
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE
from faceveil.transforms.storage.staged import StagedFiles, delete_below, staged_files

_LOGGER = logging.getLogger(__name__)


class ImageShards:
    """See ``ShardFormat``."""

    takes_records = False
    has_files = True

    @contextmanager
    def opened(self, plan: ShardPlan, output: OutputLayout) -> Iterator[ImageWriter]:
        """See ``ShardFormat``."""
        with staged_files(output.directory) as files:
            names = {file.key: mirrored_name(file.key, file.path) for file in plan.files}
            writer = ImageWriter(files, names)
            yield writer
            audit, journal = output.audit_path(plan.name), output.journal_path(plan.name)
            possible = {
                *names.values(),
                *map(converted_name, names.values()),
                *listed_files(audit),
                *listed_files(journal),
            }
            storage.write_bytes(journal, json.dumps(sorted(possible)).encode())
            storage.delete([audit])  # from here on it tells what is no longer there
        delete_below(output.directory, sorted(possible - writer.names))

    def settle(self, name: str, output: OutputLayout) -> None:
        """See ``ShardFormat``."""
        storage.delete([output.journal_path(name)])

    def is_whole(self, name: str, output: OutputLayout, result: ShardResult) -> bool:
        """See ``ShardFormat``."""
        del result
        places = list(read_files(output.audit_path(name)))
        paths = [storage.join(output.directory, place.file) for place in places]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            found = pool.map(storage.stat, paths)
            return all(file is not None and file.size == place.bytes for file, place in zip(found, places, strict=True))

    def read_back(self, name: str, output: OutputLayout, result: ShardResult) -> Iterator[tuple[Row, bytes | None]]:
        """See ``ShardFormat``; of a file that is not the one that was written there is none."""
        del result
        for row, place in read_placed_rows(output.audit_path(name)):
            if place is None:
                yield row, None
            else:
                with suppress(OSError):
                    data = storage.read_bytes(storage.join(output.directory, place.file))
                    if hashlib.sha256(data).hexdigest() == place.sha256:
                        yield row, data


class ImageWriter:
    """See ``ShardWriter``.

    Args:
        files: takes them.
        names: of the files by the keys of their inputs.
    """

    def __init__(self, files: StagedFiles, names: dict[str, str]) -> None:
        self.nbytes = 0
        self.names: set[str] = set()
        self._files = files
        self._name_of = names
        self._checksum = hashlib.sha256()

    def add(self, row: Row, data: bytes) -> Place:
        """See ``ShardWriter``."""
        name = self._name_of[row.key]
        if row.is_converted:
            name = converted_name(name)
        sha256 = hashlib.sha256(data).hexdigest()
        self._files.add(name, data)
        self.names.add(name)
        self.nbytes += len(data)
        self._checksum.update(f"{sha256}  {name}\n".encode())
        return Place(name, 0, len(data), sha256)

    def finish(self) -> None:
        """See ``ShardWriter``; there is nothing."""

    @property
    def sha256(self) -> str:
        """See ``ShardWriter``; of what ``sha256sum`` prints of the files, in the order of their keys."""
        return self._checksum.hexdigest()


def listed_files(path: str) -> list[str]:
    """The files below an output that a journal or an audit file of a shard lists.

    Of a file that is not there, or is damaged, there are none.

    Raises:
        AccessError: it cannot be read.
    """
    if not storage.exists(path):
        return []
    try:
        if path.endswith(".parquet"):
            names = [place.file for place in read_files(path)]
        else:
            names = list(map(str, json.loads(storage.read_bytes(path))))
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error}") from error
    except (ValueError, TypeError) as error:
        _LOGGER.warning("%s: is damaged: %s", path, error)
        return []
    return [name for name in names if is_mirrored_name(name)]
