"""SavedModels of the package's own weights: built once per machine, by the TensorFlow that is installed there."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.saved_model import is_saved_model, write_note
from faceveil.transforms.runtime.child_process import child_environment, module_command

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelBuild:
    """How a SavedModel is made from weights that come with the package.

    Attributes:
        name: the model's, for messages.
        place: its folder's path within the cache; other weights have another.
        digest: what identifies it.
        module: a module that, run as ``python -m module FOLDER``, writes it there.
        arguments: further ones of the module's.
    """

    name: str
    place: str
    digest: str
    module: str
    arguments: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where models are kept: ``$FACEVEIL_CACHE``, or ``faceveil`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        OSError: this user has no home, or the one that is named.
    """
    if own := os.environ.get("FACEVEIL_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError as error:
            raise OSError(f"{own}: {error}") from error
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "faceveil"
    try:
        return Path.home() / ".cache" / "faceveil"
    except RuntimeError as error:  # a container's user without a name
        raise OSError("this user has no home folder") from error


def find_built(build: ModelBuild) -> Path | None:
    """The SavedModel's folder in the cache; None where it has not been built yet."""
    try:
        folder = cache_folder() / build.place
        return folder if is_saved_model(folder) else None
    except OSError:
        return None


def built_model(build: ModelBuild) -> Path:
    """The SavedModel's folder; builds it first if the cache lacks it.

    Several processes may build it at once: each works in a folder of its own, and the first to finish wins. Where the
    cache cannot be written, the model is built in a temporary folder, which goes with this process.

    Raises:
        ModelError: it cannot be built.
    """
    if found := find_built(build):
        return found
    try:
        target = cache_folder() / build.place
        target.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        return _built_for_this_process(build, str(error))
    with work as folder:
        new = Path(folder) / "saved_model"
        try:
            _run(build, new)
        except ModelError as error:  # as where the disk is full
            return _built_for_this_process(build, str(error))
        try:
            new.rename(target)
        except OSError as error:
            # Another process was first, which is as good; a folder that is in the way is not.
            if not is_saved_model(target):
                raise ModelError(f"cannot put {build.name} into {target}: {error}; remove that folder") from error
    return target


@functools.cache
def _built_for_this_process(build: ModelBuild, why: str) -> Path:
    _LOGGER.warning(
        "%s is built in a temporary folder, since the cache cannot be written (%s); FACEVEIL_CACHE names another cache",
        build.name,
        why,
    )
    try:
        folder = tempfile.mkdtemp(prefix="faceveil-model-")
    except OSError as error:
        raise ModelError(
            f"{build.name}: neither the cache ({why}) nor a temporary folder can be written: {error}"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = Path(folder) / "saved_model"
    _run(build, target)
    return target


def _run(build: ModelBuild, target: Path) -> None:
    """Builds it in a process of its own, so that TensorFlow never loads into this one."""
    command = module_command(build.module, str(target), *build.arguments)
    result = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(f"cannot build the SavedModel of {build.name} from its weights: {said}")
    write_note(target, build.digest)
