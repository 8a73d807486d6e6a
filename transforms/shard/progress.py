"""How far a local run is: every worker keeps a small file of totals, which the launcher adds up.

Beam's DirectRunner answers no questions while it runs, and its workers may be other processes.
"""

from __future__ import annotations

import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.inputs.plan import ShardPlan

_LAYOUT = struct.Struct("<6q")
# Of the workers in this process, those that are gone included: what they have counted stays.
_NUMBERS = itertools.count()


@dataclass
class Progress:
    """Totals so far.

    Attributes:
        records: all that are done.
        faces: found and masked.
        quarantined: records that are quarantined.
        resumed: records that an earlier run had done.
        bytes: of the input files of finished shards.
        resumed_bytes: of those that an earlier run had finished.
    """

    records: int = 0
    faces: int = 0
    quarantined: int = 0
    resumed: int = 0
    bytes: int = 0
    resumed_bytes: int = 0

    @property
    def made(self) -> int:
        """Records that this run has done."""
        return self.records - self.resumed


class ProgressFile:
    """The totals of one worker, written as they change; without a directory nothing is."""

    def __init__(self, directory: str | None) -> None:
        self._totals = Progress()
        self._file = None
        if directory:
            path = os.path.join(directory, f"{os.getpid()}-{next(_NUMBERS)}")
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  open as long as the worker is

    def count(self, row: Row, is_kept: bool = False) -> None:
        """Adds one record, which an earlier run may have made; files that are copied are none."""
        if row.status is Status.COPIED:
            return
        self._totals.records += 1
        self._totals.resumed += is_kept
        self._totals.faces += row.face_count
        self._totals.quarantined += row.reason is not None
        if not is_kept:  # which come by the thousand at once
            self._write()

    def finished(self, plan: ShardPlan) -> None:
        """Adds the files of a shard whose records have been counted."""
        self._totals.bytes += plan.nbytes
        self._write()

    def resumed(self, records: int, faces: int, quarantined: int, nbytes: int = 0) -> None:
        """Adds a shard that was finished before, and the bytes of its files."""
        self._totals.bytes += nbytes
        self._totals.resumed_bytes += nbytes
        self._totals.records += records
        self._totals.resumed += records
        self._totals.faces += faces
        self._totals.quarantined += quarantined
        self._write()

    def _write(self) -> None:
        if self._file:
            self._file.seek(0)
            self._file.write(_LAYOUT.pack(*vars(self._totals).values()))


def read_progress(directory: str) -> Progress:
    """The totals of all workers together.

    Example usage::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_progress(folder)
        Progress(records=0, faces=0, quarantined=0, resumed=0, bytes=0, resumed_bytes=0)
    """
    parts = [path.read_bytes() for path in Path(directory).glob("*")]
    totals = zip(*(_LAYOUT.unpack(part) for part in parts if len(part) == _LAYOUT.size), strict=True)
    return Progress(*map(sum, totals))
