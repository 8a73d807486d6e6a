"""Where a job writes, as seen from its inputs: a glob that would take its output for inputs is refused.

Files of the audit trail are no inputs, wherever it lies: they are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from faceveil.transforms import storage
from faceveil.transforms.formats.layout import LOCK_NAME, MANIFEST_NAME, is_audit_file, is_page_file
from faceveil.transforms.inputs.selection import real_prefix
from faceveil.transforms.storage.local import Identity, identity_of


class OwnOutput:
    """The folders that a job writes to, and names of files that it will write there.

    Args:
        output: the folder of the shards and the manifest.
        audit_directory: the folder of the audit trail.
        splits: the names of the job's splits.
        ending: what the names of shards end with; empty where what it writes to the output mirrors the inputs, so that
            nobody knows its names here.
    """

    def __init__(self, output: str, audit_directory: str, splits: Collection[str], ending: str = ".tfrecord") -> None:
        self.output = output
        self.mirrors = not ending
        self.names = [MANIFEST_NAME, LOCK_NAME, *(f"{name}-00000-of-00001{ending}" for name in splits)]
        self._place = real_prefix(storage.join(output, ""))
        self._audit_directory = audit_directory
        self._audit_place = real_prefix(storage.join(audit_directory, ""))
        self._places = (self._place, self._audit_place)
        # A folder that is listed may be the output or hold it, whatever links lead there: what identifies a folder, and
        # where the output is below it.
        self._ways: dict[Identity, str] = {}
        if storage.is_local(output):
            for ancestor, rest in _ancestors(os.path.realpath(output)):
                with suppress(OSError):  # what is yet to be made is below something that is there
                    self._ways.setdefault(identity_of(ancestor), rest)

    def holds(self, path: str) -> str | None:
        """The folder of the job in which a file lies that is none of its audit trail; None if it lies in none.

        Args:
            path: spelt as by ``real_prefix``.
        """
        if not path.startswith(self._places) or self.is_audit(path):
            return None
        return self.output if path.startswith(self._place) else self._audit_directory

    def is_audit(self, path: str) -> bool:
        """Whether a file belongs to the audit trail or is the page about it, its path spelt as by ``real_prefix``."""
        name = path[len(self._audit_place) :]
        return path.startswith(self._audit_place) and (is_audit_file(name) or is_page_file(name))

    def place_below(self, listed: str, identity: Identity | None = None) -> str | None:
        """The output, where that is a folder that is listed or lies below it; None where it does not.

        Args:
            listed: the folder, or the prefix of objects.
            identity: of a folder on disk.

        Returns:
            Its path as it would be listed, a slash at its end.
        """
        if identity is not None:
            rest = self._ways.get(identity)
            return None if rest is None else os.path.join(listed, rest, "")
        is_below = not storage.is_local(self.output) and self._place.startswith(listed)
        return self._place if is_below else None


def _ancestors(path: str) -> Iterator[tuple[str, str]]:
    """A folder and all that hold it, each with the way from there."""
    rest = ""
    while True:
        yield path, rest
        above, name = os.path.split(path)
        if above == path:
            return
        path, rest = above, os.path.join(name, rest)
