"""Resuming: which shards are finished, and which of their records stay where others are made again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import (
    AuditFile,
    ShardResult,
    Stamp,
    StampedFile,
    Status,
    read_placed_rows,
    read_rows,
    read_stamp,
)
from faceveil.transforms.formats.kinds import Kind, holds_records
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import Input, InputFile, list_inputs
from faceveil.transforms.inputs.plan import ShardPlan, sorted_and_distinct
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.shard_format import SHARD_FORMATS

_LOGGER = logging.getLogger(__name__)


def finished_shard(plan: ShardPlan, output: OutputLayout) -> ShardResult | None:
    """The result of a shard that an earlier run of the same job has finished, else None."""
    path = output.audit_path(plan.name)
    try:
        found = read_stamp(path)
    except ValueError as error:
        # Damaged, as an object store never leaves it but a full disk might: the shard is simply made again.
        _LOGGER.warning("%s; the shard is made again", error)
        return None
    return found.result if found and is_finished(found, plan, output) else None


def is_finished(stamp: Stamp, plan: ShardPlan, output: OutputLayout) -> bool:
    """Whether a stamp says that its shard is what is planned, and the shard is there.

    Raises:
        AccessError: storage cannot be reached.
    """
    if stamp.settings_digest != output.settings_digest or stamp.result.inputs_digest != plan.inputs_digest:
        return False
    return SHARD_FORMATS[output.format].is_whole(plan.name, output, stamp.result)


def kept_records(plan: ShardPlan, output: OutputLayout, with_quarantined: bool = False) -> Iterator[Outcome]:
    """The records of a finished shard that need not be made again, in their order.

    That is all but those of files that have changed since. A shard that was made with other settings, or is not the one
    that its records file speaks of, gives none: it has to be made anew as a whole.

    Args:
        plan: the shard as it is to be.
        output: where it lies.
        with_quarantined: whether quarantined records stay so.

    Raises:
        OSError: the shard cannot be read.
    """
    stamp = _earlier_stamp(plan, output)
    if stamp is None:
        return
    unchanged = _unchanged(plan, stamp.files)
    for row, data in SHARD_FORMATS[output.format].read_back(plan.name, output, stamp.result):
        # Records of a file that was taken for an image are made again, for that file is read as one first.
        key = row.key if plan.kind == "image" else _file_key(row.key, unchanged)
        if key in unchanged and (data is not None or with_quarantined):
            yield Outcome(row, data, unchanged[key], is_kept=True)


def restamp(plan: ShardPlan, output: OutputLayout, method: str, with_given: bool) -> ShardResult | None:
    """Has a finished shard speak of the present versions of its files, if these hold what they held, and no others.

    Args:
        plan: the shard as it is to be.
        output: where it lies.
        method: as for ``write_shard``.
        with_given: as for ``write_shard``.

    Returns:
        The shard's result; None where the shard has to be made again.

    Raises:
        AccessError: storage cannot be reached.
        OSError: the audit file cannot be read.
    """
    stamp = _earlier_stamp(plan, output)
    if stamp is None or plan.unchanged is None:
        return None
    shard_format, keys = SHARD_FORMATS[output.format], {file.key for file in plan.files}
    unchanged = _unchanged(plan, stamp.files)
    if not keys == unchanged.keys() == {file.key for file in stamp.files}:
        return None
    if not shard_format.is_whole(plan.name, output, stamp.result):
        return None
    rows = AuditFile(plan.split, method, with_given, shard_format.has_files)
    for row, place in read_placed_rows(output.audit_path(plan.name)):
        rows.add(row, place)
    files = tuple(StampedFile(file.key, file.size, file.version, unchanged[file.key]) for file in plan.files)
    result = replace(stamp.result, inputs_digest=plan.inputs_digest)
    rows.publish(output.audit_path(plan.name), replace(stamp, result=result, files=files))
    return result


def _earlier_stamp(plan: ShardPlan, output: OutputLayout) -> Stamp | None:
    try:
        stamp = read_stamp(output.audit_path(plan.name))
    except ValueError:
        return None
    return stamp if stamp and stamp.settings_digest == output.settings_digest else None


def _unchanged(plan: ShardPlan, files: Iterable[StampedFile]) -> dict[str, str]:
    """What identifies the content of the files whose records stay, by their keys."""
    if plan.unchanged is not None:
        return {file.key: file.content for file in files if file.key in plan.unchanged}
    now = {(file.key, file.size, file.version) for file in plan.files}
    return {file.key: file.content for file in files if file[:3] in now}


def with_kept(sources: Iterable[Source | Outcome], kept: Iterator[Outcome]) -> Iterator[Source | Outcome]:
    """The records of a shard in their order, those that are kept instead of their sources.

    Args:
        sources: all records of the shard.
        kept: those that need not be made again, in the same order.
    """
    upcoming = next(kept, None)
    for source in sources:
        if upcoming and upcoming.key == source.key:
            yield upcoming
            upcoming = next(kept, None)
        else:
            yield source
    if upcoming:
        raise AccessError(f"{upcoming.key}: is no longer among the inputs, but its shard is being redone")


def _file_key(record_key: str, files: Collection[str]) -> str:
    """The key of the file that a record comes from: an image's is the record's, whatever the file is called."""
    return record_key if record_key in files else record_key.rpartition("#")[0]


@dataclass(frozen=True)
class _Version:
    """What a finished shard says of one of its files."""

    size: int
    version: str
    quarantined: bool
    kind: Kind
    parts: int


def parts_before(inputs: Sequence[Input], output: OutputLayout) -> dict[str, int]:
    """In how many shards an earlier job has put the files of records that have changed since, by their keys.

    Args:
        inputs: all globs of the job.
        output: whose finished shards are looked at.

    Raises:
        AccessError: a place cannot be listed or read.
    """
    before = _versions(output)
    records = (file for file in _listed(inputs) if file.key in before and holds_records(file.kind))
    return {
        file.key: before[file.key].parts
        for file in records
        if (before[file.key].size, before[file.key].version) != (file.size, file.version)
    }


def changed_inputs(inputs: Sequence[Input], output: OutputLayout, complete: bool, repaired: bool) -> list[str]:
    """Which files are not as they were when the finished shards were made, one line each.

    Holds the names of all inputs at once; it is needed only to redo what was quarantined, or to say why not to go on.

    Args:
        inputs: all globs of the job.
        output: whose finished shards are looked at.
        complete: whether they are all; else a new file may belong to one that is still to come.
        repaired: whether quarantined image files may have changed or be gone, and quarantined files of records have
            changed.

    Raises:
        AccessError: a place cannot be listed or read.
    """
    before = _versions(output)
    lines = []
    for file in _listed(inputs):
        version = before.pop(file.key, None)
        if version is None:
            if complete:
                lines.append(f"{file.key}: was added")
        elif (version.size, version.version) != (file.size, file.version) and not (repaired and version.quarantined):
            now = "" if version.size == file.size else f", it had {version.size} bytes and has {file.size}"
            lines.append(f"{file.key}: was changed{now}")
    for key, version in before.items():
        if not (repaired and version.quarantined and version.kind == "image"):
            lines.append(f"{key}: was removed")
    return lines


def _listed(inputs: Sequence[Input]) -> tuple[InputFile, ...]:
    return sorted_and_distinct(list_inputs(inputs))


def _versions(output: OutputLayout) -> dict[str, _Version]:
    versions: dict[str, _Version] = {}
    for found in storage.list_folder(output.audit_directory):
        if not found.path.endswith(".parquet"):
            continue
        try:
            stamp = read_stamp(found.path)
            if stamp is None or stamp.settings_digest != output.settings_digest:
                continue
            rows = read_rows(found.path) if stamp.result.quarantined else ()
            keys = {key for key, *_ in stamp.files}
            quarantined = {_file_key(row.key, keys) for row in rows if row.status is Status.QUARANTINED}
        except (ValueError, OSError) as error:
            _LOGGER.warning("%s: cannot be read: %s", found.path, error)
            continue
        for key, size, version, _ in stamp.files:
            # A large file is several shards.
            before = versions.get(key)
            is_quarantined = key in quarantined or (before is not None and before.quarantined)
            versions[key] = _Version(size, version, is_quarantined, stamp.kind, stamp.parts)
    return versions
