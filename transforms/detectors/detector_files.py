"""A detector's files, a SavedModel's folder or an ONNX file with what belongs to it: copying and identifying them."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.models.onnx_file import is_onnx, onnx_digest, parse_onnx, refuse_misnamed, yaml_beside
from faceveil.transforms.models.saved_model import model_digest


def detector_digest(path: str) -> str:
    """The sha256 that identifies a detector on this machine's disk.

    Raises:
        ModelError: there is none.
    """
    return onnx_digest(path) if is_onnx(path) else model_digest(path)


def copy_detector(source: str, folder: str) -> str:
    """Copies a detector into a folder, from and to wherever.

    Of an ONNX file, what lies beside it is copied if it belongs to it: its declaration, the files that it keeps weights
    in, and the images with known answers.

    Returns:
        Where it is now.

    Raises:
        AccessError: the source cannot be read or the target cannot be written.
        ModelError: the ONNX file or its declaration is wrong.
    """
    if not is_onnx(source):
        storage.copy_folder(source, folder)
        return folder
    above, _, name = source.rpartition("/")
    data = _read(source)
    needed = {*parse_onnx(data, source).external}
    declaration = yaml_beside(name)
    refuse_misnamed(source, storage.exists)
    if storage.exists(_below(above, declaration)):
        from faceveil.transforms.detectors.declaration import parse_declaration

        text = _read(_below(above, declaration))
        needed.add(declaration)
        needed |= {answer.image for answer in parse_declaration(text, _below(above, declaration)).get("tests", ())}
    for each in sorted(needed):
        storage.write_bytes(storage.join(folder, each), _read(_below(above, each)))
    target = storage.join(folder, name)
    storage.write_bytes(target, data)
    return target


@functools.cache
def local_detector(path: str) -> str:
    """A detector's place on this machine's disk; one in an object store is fetched, once per process.

    Raises:
        AccessError: it cannot be read.
        ModelError: as `copy_detector`.
    """
    if storage.is_local(path) or not is_onnx(path):
        return storage.local_copy(path)
    target = tempfile.mkdtemp(prefix="faceveil-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    return copy_detector(path, target)


def _below(folder: str, name: str) -> str:
    return storage.join(folder, name) if folder else name


def _read(path: str) -> bytes:
    try:
        return storage.read_bytes(path)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error}") from error
