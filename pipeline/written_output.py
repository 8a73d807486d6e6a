"""The output of a job, finished or not, as a person looks at it: nothing is written, and no input is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from faceveil.pipeline.audit_directory import holds_audit_trail
from faceveil.pipeline.lock import is_live, read_lock
from faceveil.pipeline.option_values import OptionError
from faceveil.transforms import storage
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.errors import OutputError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import (
    OutputLayout,
    audit_directory_beside,
    audit_directory_inside,
    shard_ending,
)
from faceveil.transforms.manifest import read_manifest
from faceveil.transforms.shard.shard_format import SHARD_FORMATS

_AUDIT_SUFFIX = ".audit"
_READ_AT_ONCE = 8

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class WrittenOutput:
    """What a job has written so far.

    Attributes:
        layout: where it lies.
        job: what the manifest or the lock file says of the job's settings.
        model: the detector's name and sha256.
        manifest: None until the job is complete.
        is_running: whether a job is writing to it now, as far as can be told from here.
    """

    layout: OutputLayout
    job: dict[str, Any]
    model: dict[str, Any]
    manifest: dict[str, Any] | None
    is_running: bool = False

    @property
    def geometry(self) -> MaskGeometry:
        """The masks' shape."""
        job = self.job
        return MaskGeometry(job.get("coverage", 1.0), job.get("margin", 0.1), job.get("shape") or "ellipse")

    @property
    def image_features(self) -> tuple[str, ...]:
        """The features of Examples that hold images, the main one first."""
        return tuple(self.job.get("image_feature") or FeatureRoles().images)

    def shard_names(self) -> list[str]:
        """The names of the finished shards, in order; in a folder of audit trails there may be others.

        Raises:
            AccessError: the audit trail cannot be listed.
        """
        names = {
            os.path.basename(file.path).removesuffix(".parquet")
            for file in storage.list_folder(self.layout.audit_directory)
            if file.path.endswith(".parquet") and not os.path.basename(file.path).startswith(".")
        }
        return sorted(names if self.manifest is None else names & self.shard_bytes().keys())

    def shard_bytes(self) -> dict[str, int]:
        """The sizes of a finished output's shards, by name."""
        shards = (self.manifest or {}).get("shards", [])
        ending = shard_ending(self.layout.format, self.layout.compression)
        return {shard.get("name") or shard["file"].removesuffix(ending): shard["bytes"] for shard in shards}

    def for_each_shard(self, look: Callable[[str], _Result]) -> Iterator[tuple[str, _Result]]:
        """What a function makes of the name of each finished shard, in their order; some at once.

        Args:
            look: what it gives stays in memory until it is taken, so it has to be small.

        Raises:
            AccessError: the audit trail cannot be read.
        """
        names = self.shard_names()
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            yield from zip(names, pool.map(look, names), strict=True)


def open_output(directory: str, records_output: str | None = None) -> WrittenOutput:
    """Finds out what lies in an output.

    Args:
        directory: the output.
        records_output: the folder of its audit trail; None for where jobs put it by themselves.

    Raises:
        OptionError: no job has written there, or its audit trail is elsewhere.
        OutputError: what is there is of another version of faceveil.
        AccessError: it cannot be reached.
    """
    storage.check_readable(directory)
    try:
        manifest = read_manifest(directory)
    except ValueError as error:
        raise OutputError(str(error)) from error
    lock = read_lock(directory)
    told = manifest or (lock or {}).get("job")
    if told is None:
        raise OptionError(f"{directory}: {_why_not(directory)}")
    job = told.get("job")
    if not job:
        raise OutputError(f"{directory}: its job cannot be told; an --overwrite was interrupted before it began")
    output_format = job.get("format", "tfrecord")
    if output_format not in SHARD_FORMATS:
        raise OutputError(f"{directory}: was written with --format {output_format}, which this version does not know")
    trail = _find_trail(directory, records_output, complete=manifest is not None)
    written_as = output_format, job.get("compression", "none"), job.get("columns") or {}
    layout = OutputLayout(directory, trail, job.get("settings_digest", ""), *written_as)
    running = lock is not None and is_live(lock, directory)
    return WrittenOutput(layout, job, told.get("model") or {}, manifest, running)


def _why_not(directory: str) -> str:
    if storage.is_local(directory) and not storage.exists(directory):
        return "there is no such folder"
    folder = directory.rstrip("/")
    if folder.endswith(_AUDIT_SUFFIX):
        return f"is an audit trail; name its output, {folder.removesuffix(_AUDIT_SUFFIX)}"
    return "holds neither a manifest.json nor an unfinished job of faceveil"


def _find_trail(directory: str, named: str | None, complete: bool) -> str:
    """The folder of an output's audit trail: the one that is named, or that of an earlier version, or beside it."""
    if named:
        if not holds_audit_trail(named):
            raise OptionError(f"--records_output {named}: holds no audit trail")
        return named
    inside = audit_directory_inside(directory)
    if holds_audit_trail(inside):
        return inside
    try:
        beside = audit_directory_beside(directory)
    except ValueError as error:
        raise OptionError(f"{directory}: {error}; --records_output names the folder of its audit trail") from None
    if complete and not holds_audit_trail(beside):
        raise OptionError(
            f"{directory}: its audit trail is not in {beside}; if it was kept elsewhere, --records_output names that "
            "folder"
        )
    return beside
