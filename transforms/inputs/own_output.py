"""Where a job writes, as seen from its inputs: a glob that would take the job's own files for inputs is refused."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from faceveil.transforms import storage
from faceveil.transforms.inputs.selection import real_prefix
from faceveil.transforms.storage.local import Identity, identity_of


class OwnOutput:
    """The folders that a job writes to, and names of files that it will write there.

    Args:
        output: the folder of the shards and the manifest.
        audit_directory: the folder of the audit trail.
        splits: the names of the job's splits.
    """

    def __init__(self, output: str, audit_directory: str, splits: Collection[str]) -> None:
        shards = [f"{split}-00000-of-00001" for split in splits]
        self._folders: dict[str, list[str]] = {output: ["manifest.json", ".faceveil-lock.json"]}
        for folder, names in (
            (output, "{}.tfrecord"),
            (audit_directory, "{}.parquet"),
            (audit_directory, ".{}.attempt"),
        ):
            self._folders.setdefault(folder, []).extend(map(names.format, shards))
        self._places = {real_prefix(storage.join(folder, "")): folder for folder in self._folders}
        self._every_place = tuple(self._places)
        # A folder that is listed may be one of these or hold one, whatever links lead there: what identifies a folder,
        # and what is still to come below it.
        self._ways: dict[Identity, list[tuple[str, str]]] = {}
        for folder in self._folders:
            if storage.is_local(folder):
                for ancestor, rest in _ancestors(os.path.realpath(folder)):
                    with suppress(OSError):  # what is yet to be made is below something that is there
                        self._ways.setdefault(identity_of(ancestor), []).append((rest, folder))

    def holds(self, path: str) -> str | None:
        """The folder of the job in which a file lies, its path spelt as by ``real_prefix``; None if in none."""
        if not path.startswith(self._every_place):
            return None
        return next(folder for place, folder in self._places.items() if path.startswith(place))

    def files_below(self, listed: str, identity: Identity | None = None) -> Iterator[tuple[str, str]]:
        """Files that the job will write below a folder that is listed, however deep; with the folder they belong to.

        Args:
            listed: the folder, or the prefix of objects.
            identity: of a folder on disk.
        """
        if identity is None:
            ways = [
                (place.removeprefix(listed), folder)
                for place, folder in self._places.items()
                if not storage.is_local(folder) and place.startswith(listed)
            ]
        else:
            ways = self._ways.get(identity, [])
        for rest, folder in ways:
            for name in self._folders[folder]:
                yield os.path.join(listed, rest, name), folder


def _ancestors(path: str) -> Iterator[tuple[str, str]]:
    """A folder and all that hold it, each with the way from there."""
    rest = ""
    while True:
        yield path, rest
        above, name = os.path.split(path)
        if above == path:
            return
        path, rest = above, os.path.join(name, rest)
