"""Files on disk and in object stores; the only place that opens paths."""

from __future__ import annotations

import atexit
import functools
import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import CHECK_SECONDS, PATIENCE_SECONDS, PIECE, ObjectStore, Page, StoredFile
from faceveil.transforms.storage.local import (
    EVERYTHING,
    Scope,
    check_unchanged_local,
    list_local,
    open_local,
    read_local,
    stat_local,
)
from faceveil.transforms.storage.ranged import open_object

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_DELETED_AT_ONCE = 16

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


def is_local(path: str) -> bool:
    """Whether the path is on a disk of this machine, not in an object store.

    Example usage::

        >>> is_local("photos/a.jpg"), is_local("gs://bucket/a.jpg")
        (True, False)
    """
    return _SCHEME.match(path) is None


def beam_options() -> dict[str, Any]:
    """The options of Beam that count in object stores, for a process that Beam knows nothing of."""
    from apache_beam.options.pipeline_options import PipelineOptions

    options = _pipeline_options() or PipelineOptions([])
    given: dict[str, Any] = options.get_all_options(drop_default=True, retain_unknown_options=False)
    return given


def set_beam_options(options: dict[str, Any]) -> None:
    """Makes options of Beam count in object stores; on workers Beam itself does so."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions.from_dictionary(options))


def _pipeline_options() -> PipelineOptions | None:
    """What Beam gives its own file systems. Files on disk need none of it, so Beam is not loaded for them."""
    from apache_beam.io.filesystems import FileSystems

    options: PipelineOptions | None = FileSystems._pipeline_options
    return options


def _store(path: str, patience: float = PATIENCE_SECONDS) -> ObjectStore:
    scheme = cast("re.Match[str]", _SCHEME.match(path))[1]
    return _connect(scheme, _pipeline_options(), patience)


@functools.cache
def _connect(scheme: str, given: PipelineOptions | None, patience: float) -> ObjectStore:
    """One store per process for each kind of path."""
    from apache_beam.options.pipeline_options import PipelineOptions

    options = given or PipelineOptions([])
    if scheme == "gs":
        from faceveil.transforms.storage.gcs import GoogleCloudStorage

        return GoogleCloudStorage(options, patience)
    if scheme == "s3":
        try:
            from faceveil.transforms.storage.s3 import S3
        except ImportError as error:
            raise AccessError(f"s3:// needs {error.name}: pip install 'faceveil[s3]'") from error
        return S3(options, patience)
    raise AccessError(f"{scheme}://: is not supported; files are on disk, in gs:// or in s3://")


def join(folder: str, *names: str) -> str:
    """A path below a folder, with one slash in between."""
    return "/".join((folder.rstrip("/"), *names)) if folder.strip("/") else "/".join((folder, *names))


def list_files(folder: str, scope: Scope = EVERYTHING) -> Iterator[StoredFile]:
    """Every file below a folder, however deep; see ``list_local`` for what counts as one on disk.

    Args:
        folder: where to begin.
        scope: which part of it, on disk; of an object store all objects are listed.

    Raises:
        AccessError: the folder cannot be listed, or a folder below it.
    """
    if is_local(folder):
        return list_local(folder, scope)
    prefix = join(folder, "")
    return (file for page in _store(folder).pages(prefix) for file in page.files)


def list_folder(folder: str) -> Iterator[StoredFile]:
    """The files in a folder, not those of folders in it; none where there is no such folder.

    Raises:
        AccessError: the folder cannot be listed.
    """
    if not is_local(folder):
        return (file for page in list_pages(join(folder, ""), one_level=True) for file in page.files)
    if not exists(folder):
        return iter(())
    return list_local(folder, Scope(lambda path, _: path == folder))


def list_pages(prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
    """What lies below a prefix of an object store, page by page; see ``ObjectStore.pages``."""
    return _store(prefix).pages(prefix, after, before, one_level=one_level)


def exists(path: str) -> bool:
    """Whether a file (locally also a folder) is at this path.

    Raises:
        AccessError: storage does not answer or refuses to say.
    """
    return stat(path) is not None


def stat(path: str) -> StoredFile | None:
    """Size and version of one file; None where there is none.

    Raises:
        AccessError: storage does not answer or refuses to say.
    """
    return stat_local(path) if is_local(path) else _store(path).stat(path)


def open_to_read(path: str, version: str | None = None, size: int | None = None, until: int = 0) -> BinaryIO:
    """Opens a file as the bytes it holds, never decompressed on the way.

    Args:
        path: where it is.
        version: which version of it; None for whatever is there.
        size: in bytes, when it was listed; None where that does not matter. It tells versions apart on disk.
        until: a position that is going to be reached by reading on and on, so that what an object store holds before it
            is fetched ahead; 0 where nothing is known.

    Raises:
        OSError: the file cannot be opened, or is none: a pipe or a device might be read for ever. One in an object
            store may say so when it is read.
        AccessError: storage cannot be reached, or holds another version.
    """
    return open_local(path, version, size) if is_local(path) else open_object(_store(path), path, version, size, until)


def check_unchanged(path: str, version: str, size: int) -> None:
    """Makes sure that a file that was just read is still the one that was listed; on disk, others may write to it.

    An object store gives no bytes of another version.

    Raises:
        AccessError: it is another one.
    """
    if is_local(path):
        check_unchanged_local(path, version, size)


def read_bytes(path: str, limit: int = -1, version: str | None = None, size: int | None = None) -> bytes:
    """All bytes of a file, or the first ``limit`` of them.

    Args:
        path: where it is.
        limit: no limit where it is negative.
        version: as for ``open_to_read``.
        size: as for ``open_to_read``.

    Raises:
        OSError: the file cannot be read.
        AccessError: storage cannot be reached, or holds another version.
    """
    return read_local(path, limit, version, size) if is_local(path) else _store(path).read(path, limit, version)


def read_range(file: StoredFile, start: int, end: int) -> bytes:
    """The bytes of a file from one position to before another, of those that it has; no others are fetched.

    Raises:
        OSError: the file cannot be read.
        AccessError: storage cannot be reached, or holds another version.
    """
    if is_local(file.path):
        return read_local(file.path, end - start, file.version, file.size, start)
    end = min(end, file.size)
    return _store(file.path).read_range(file.path, start, end, file.version) if end > start else b""


@contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name whole, when the block ends without an error, or not at all.

    On disk it is written under a temporary name, flushed and renamed. For an object store it is collected in a
    temporary file without a name, which is gone with its process, and then sent whole.

    Raises:
        AccessError: the place cannot be written.
    """
    try:
        with _publish_by_rename(path) if is_local(path) else _publish_by_upload(path) as file:
            yield file
    except OSError as error:
        raise AccessError(f"{path}: cannot be written: {error}") from error


@contextmanager
def _publish_by_upload(path: str) -> Iterator[BinaryIO]:
    # The disk is used for what is large.
    with tempfile.SpooledTemporaryFile(PIECE) as file:
        yield cast("BinaryIO", file)
        _store(path).publish(path, cast("BinaryIO", file))


@contextmanager
def _publish_by_rename(path: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    # No other process writes to this name. A cluster that takes a worker for dead lets another one make its file, and
    # both may be at it together: in one file, the first to finish would publish what the second has not written yet.
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


def partial_files(folder: str) -> list[str]:
    """The files that ``atomic_write`` was writing in a folder when its process was killed, or is writing now.

    Raises:
        AccessError: the folder cannot be listed.
    """
    if not is_local(folder):
        return []  # object stores know no unfinished objects
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder or ".") if _PARTIAL.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):  # the writer will say so
        return []
    except OSError as error:
        raise AccessError(f"{folder}: cannot be listed: {error}") from error


def write_bytes(path: str, data: bytes) -> None:
    """Publishes a small file whole.

    Raises:
        AccessError: the place cannot be written.
    """
    with atomic_write(path) as file:
        file.write(data)


def compare_and_swap(path: str, data: bytes, version: str | None) -> bool:
    """Publishes a small file if it is still this version of it that is there, or if none is where that is None.

    On disk only the latter is sure when two do it at the same moment; in an object store both are.

    Returns:
        Whether it was published.

    Raises:
        AccessError: the place cannot be written.
    """
    if not is_local(path):
        return _store(path).compare_and_swap(path, data, version)
    if version is None:
        try:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "xb") as file:
                file.write(data)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise AccessError(f"{path}: cannot be written: {error}") from error
    write_bytes(path, data)
    return True


def delete(paths: list[str]) -> None:
    """Removes files; those that are gone already are fine.

    Raises:
        AccessError: one of them cannot be removed.
    """
    remote = [path for path in paths if not is_local(path)]
    with ThreadPoolExecutor(_DELETED_AT_ONCE) as pool:
        list(pool.map(lambda path: _store(path).delete(path), remote))
    for path in paths:
        if is_local(path):
            try:
                os.remove(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise AccessError(f"{path}: cannot be removed: {error}") from error


def check_readable(path: str) -> None:
    """Makes sure, within seconds, that an object store can be reached and what lies below a path be listed and read.

    A path on disk is left to its reader.

    Raises:
        AccessError: it cannot; says why.
    """
    if not is_local(path):
        store = _store(path, CHECK_SECONDS)
        try:
            found = next((page.files[0] for page in store.pages(path) if page.files), None)
            if found:
                store.read(found.path, 1, None)
        except OSError as error:
            raise AccessError(f"cannot be read: {error}") from error


def check_writable(folder: str) -> None:
    """Makes sure, within seconds, that objects can be made, replaced and removed in a folder of an object store.

    A folder on disk is left to its writer.

    Raises:
        AccessError: they cannot; says why.
    """
    if not is_local(folder):
        store = _store(folder, CHECK_SECONDS)
        probe = join(folder, ".faceveil-probe")
        for content in (b"", b"replaced"):
            store.publish(probe, io.BytesIO(content))
        store.delete(probe)


def copy_folder(source: str, target: str) -> None:
    """Copies every file below a folder, from and to wherever.

    Raises:
        AccessError: the source cannot be read or the target cannot be written.
    """
    files = list(list_files(source))
    if not files:
        raise AccessError(f"{source}: holds no files")
    for file in files:
        below = file.path[len(source.rstrip("/")) + 1 :]
        try:
            data = read_bytes(file.path)
        except OSError as error:
            raise AccessError(f"{file.path}: cannot be read: {error}") from error
        write_bytes(join(target, below), data)


@functools.cache
def local_copy(folder: str) -> str:
    """A folder's place on this machine's disk; one in an object store is fetched, once per process.

    Raises:
        AccessError: it cannot be read.
    """
    if is_local(folder):
        return folder
    target = tempfile.mkdtemp(prefix="faceveil-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    copy_folder(folder, target)
    return target
