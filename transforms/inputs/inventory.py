"""Inventories of buckets in Parquet: a service's own list of objects, their sizes and versions, so nobody has to ask.

Cloud Storage's inventory reports: https://docs.cloud.google.com/storage/docs/insights/inventory-reports, with the
fields ``bucket``, ``name``, ``size``, ``generation`` and, where other than live objects are listed, ``timeDeleted``.

S3's inventory lists: https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html, with the
columns ``bucket``, ``key``, ``size``, ``e_tag`` and, where all versions are listed, ``is_latest`` and
``is_delete_marker``. Only in CSV are their keys encoded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import StoredFile

_MAGIC = b"PAR1"
_OTHER_FORMATS = {b"\x1f\x8b": "compressed", b"ORC": "in ORC", b"Obj\x01": "in Avro"}
_ROWS = 16_384
_BUFFER = 2**20


class _Service(NamedTuple):
    """What inventories of a service are like; columns are named as by ``_plain``."""

    scheme: str
    name: str
    version: str
    advice: str


_SERVICES = (
    _Service("gs", "name", "generation", "size and generation among its metadata fields"),
    _Service("s3", "key", "etag", "Size and ETag among its optional fields"),
)
_OLD = {"islatest": False, "isdeletemarker": True}
_DELETED = "timedeleted"


def is_inventory(path: str) -> bool:
    """Whether a file is an inventory, and no list of paths; its first bytes tell.

    Raises:
        AccessError: it cannot be read, or is an inventory in another format than Parquet.
    """
    try:
        start = storage.read_bytes(path, len(_MAGIC))
    except OSError as error:
        raise AccessError(f"--input @{path}: cannot be read: {error.strerror or error}") from error
    for magic, is_what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise AccessError(
                f"--input @{path}: is {is_what}; a list of paths has to be plain text, and an inventory of a bucket in "
                "Parquet: choose Parquet where the inventory is set up, or convert this one"
            )
    return start == _MAGIC


@dataclass(frozen=True)
class Inventory:
    """An inventory of one bucket; its rows are read in batches, and never held all at once.

    Attributes:
        path: where it is.
        start: what the paths of all objects begin with: the bucket, with a slash.
        row_groups: how many it has, which may be read apart.
    """

    path: str
    start: str = field(init=False)
    row_groups: int = field(init=False)

    def __post_init__(self) -> None:
        with self._opened() as file:
            service, columns = self._columns(file.schema_arrow.names)
            first = next(file.iter_batches(1, columns=[columns["bucket"]]), None)
            if not first:
                raise AccessError(f"--input @{self.path}: lists no object")
            object.__setattr__(self, "start", f"{service.scheme}://{first.column(0)[0].as_py()}/")
            object.__setattr__(self, "row_groups", file.metadata.num_row_groups)

    def files(self, row_groups: Sequence[int]) -> Iterator[StoredFile]:
        """The objects that some row groups list; of several versions the latest, and none that was deleted.

        Raises:
            AccessError: it cannot be read, or its rows are not those of one bucket's objects.
        """
        with self._opened() as file:
            service, columns = self._columns(file.schema_arrow.names)
            wanted = [columns[name] for name in ("bucket", service.name, "size", service.version)]
            others = [name for name in (*_OLD, _DELETED) if name in columns]
            for batch in file.iter_batches(
                _ROWS, row_groups=list(row_groups), columns=[*wanted, *(columns[name] for name in others)]
            ):
                values = {name: batch.column(name).to_pylist() for name in batch.schema.names}
                is_old = [False] * batch.num_rows
                for name in others:
                    is_old = [
                        old or (value == _OLD[name] if name in _OLD else value) not in (None, False)
                        for old, value in zip(is_old, values[columns[name]], strict=True)
                    ]
                for old, *row in zip(is_old, *(values[name] for name in wanted), strict=True):
                    if not old and not str(row[1]).endswith("/"):
                        yield self._stored(service, *row)

    def _stored(self, service: _Service, bucket: Any, name: Any, size: Any, version: Any) -> StoredFile:
        path = f"{service.scheme}://{bucket}/{name}"
        if not path.startswith(self.start) or None in (name, size, version):
            raise AccessError(
                f"--input @{self.path}: a row has the bucket {bucket}, name {name}, size {size} and {service.version} "
                f"{version}; each needs all of these, and all the bucket of {self.start}"
            )
        return StoredFile(path, int(size), str(version).strip('"'))

    def _columns(self, names: Iterable[str]) -> tuple[_Service, dict[str, str]]:
        """The service whose inventory it is, and its columns by their plain names."""
        columns = {_plain(name): name for name in names}
        for service in _SERVICES:
            if {"bucket", service.name, "size", service.version} <= columns.keys():
                return service, columns
        likely = [service for service in _SERVICES if service.name in columns] or _SERVICES
        needed = ", or ".join(
            f"bucket, {each.name}, size and {'e_tag' if each.version == 'etag' else each.version} ({each.advice})"
            for each in likely
        )
        raise AccessError(
            f"--input @{self.path}: has the columns {', '.join(columns.values())}; an inventory needs {needed}, for "
            "objects are read in the versions that it lists"
        )

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        # Here, for options need names of inputs alone.
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with (
                storage.open_to_read(self.path) as opened,
                parquet.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False) as file,
            ):
                yield file
        except (OSError, pa.ArrowException) as error:
            raise AccessError(f"--input @{self.path}: cannot be read as an inventory: {error}") from error


def _plain(name: str) -> str:
    """A column's name without regard to how words are put together.

    Example usage::

        >>> _plain("e_tag"), _plain("timeDeleted")
        ('etag', 'timedeleted')
    """
    return name.replace("_", "").lower()


class Repetitions:
    """Finds objects that inventories list twice, with eight bytes of memory for each that they list.

    Example usage::

        >>> repetitions = Repetitions()
        >>> for path in ("gs://b/a", "gs://b/b", "gs://b/a"):
        ...     repetitions.add(path)
        >>> repetitions.find(["gs://b/a", "gs://b/b", "gs://b/a"])
        'gs://b/a'
    """

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, path: str) -> None:
        """Adds an object."""
        self._hashes.append(hash(path))

    def find(self, again: Iterable[str]) -> str | None:
        """A path that was added twice, or None.

        Args:
            again: all paths once more, looked at if two have the same hash.
        """
        import numpy as np

        hashes = np.frombuffer(self._hashes, np.int64)
        hashes.sort()  # in its place
        alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        seen: set[str] = set()
        for path in again if alike else ():
            if hash(path) in alike:
                if path in seen:
                    return path
                seen.add(path)
        return None
