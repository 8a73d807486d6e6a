"""The state of an output before a job begins: empty, unfinished, complete, or another job's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from faceveil.pipeline.describe import ADDED, RAISABLE, differences, differing
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.report_page.write import remove_page
from faceveil.transforms import manifest, storage
from faceveil.transforms.errors import OutputError
from faceveil.transforms.formats.kinds import is_of_system
from faceveil.transforms.formats.layout import (
    FINDINGS_NAME,
    LOCK_NAME,
    MANIFEST_NAME,
    SAMPLE_NAME,
    OutputLayout,
    audit_directory_beside,
    audit_directory_inside,
    is_audit_file,
    is_shard_file,
)
from faceveil.transforms.formats.tfds_output import remove_info
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.manifest import JobDescription
from faceveil.transforms.shard.image_shard import listed_files
from faceveil.transforms.shard.resume import changed_inputs
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.storage.staged import delete_below

_NAMED_FILES = 10
# What may differ when what was quarantined is tried again.
_LAYOUT = {"num_shards", "tfrecord_shards", "part_bytes"}
_UNKNOWN = "its description cannot be read, or an --overwrite was interrupted"
_UPDATE = "--update to take in what has changed"
_RETRIED_WITH = {"inputs_digest", *_LAYOUT, *RAISABLE}


class State(Enum):
    """What there is to do."""

    BEGIN = auto()
    RESUME = auto()
    COMPLETE = auto()


def check_output(
    output: OutputLayout, description: JobDescription, inputs: Sequence[Input], lock: dict[str, Any] | None
) -> State:
    """Whether the job has to begin, go on or do nothing.

    Args:
        output: where it writes.
        description: what it is.
        inputs: all its globs.
        lock: what an earlier job has left in the lock file.

    Raises:
        OutputError: the output holds another job's data; says what differs, changed inputs by name.
    """
    finished = _finished(output.directory)
    if finished:
        _refuse_other_job(output, finished, description, inputs, complete=True)
        return State.COMPLETE
    if lock and lock["job"] is not None:
        _refuse_other_job(output, lock["job"], description, inputs, complete=False)
        return State.RESUME
    _refuse_leftovers(output)
    refuse_foreign_files(output)
    return State.BEGIN


def check_state(
    options: JobOptions, output: OutputLayout, description: JobDescription, lock: dict[str, Any] | None
) -> State:
    """Whether the job has to begin, resume or do nothing, by what the user wants done with what is there.

    Raises:
        OutputError: as ``check_output``, ``check_retry`` and ``check_update``.
    """
    if options.overwrite:
        return State.BEGIN
    check = check_retry if options.retry_quarantined else check_update if options.update else check_output
    return check(output, description, options.inputs, lock)


def previous_job(directory: str, lock: dict[str, Any] | None) -> dict[str, Any] | None:
    """``{"job": …, "model": …}`` of the job that has written to an output, finished or not; None where there is none.

    Raises:
        OutputError: there is a manifest that is not ours.
    """
    finished = _finished(directory)
    if finished:
        return finished
    return lock["job"] if lock and lock["job"] else None


def is_complete(directory: str) -> bool:
    """Whether a job has come to its end in an output.

    Raises:
        OutputError: there is a manifest that is not ours.
    """
    return _finished(directory) is not None


def refuse_other_state(directory: str, job: dict[str, Any], lock: dict[str, Any] | None) -> None:
    """Refuses an output that is no longer of the job that it was of when an update of it was planned.

    Args:
        directory: the output.
        job: the description of the job that it was of.
        lock: what the lock file of an earlier job says now.

    Raises:
        OutputError: another job has been there meanwhile.
    """
    previous = previous_job(directory, lock) or {}
    if previous.get("job", {}) != job:
        raise OutputError(f"{directory}: another job has just ended there; run the same command again")


def check_retry(
    output: OutputLayout, description: JobDescription, inputs: Sequence[Input], lock: dict[str, Any] | None
) -> State:
    """Whether there is something to make again of what was quarantined; takes what ``check_output`` does.

    Raises:
        OutputError: nothing was made yet, or with other settings, or with inputs that have changed although they were
            not quarantined.
    """
    previous = previous_job(output.directory, lock)
    if previous is None:
        raise OutputError(f"{output.directory}: --retry_quarantined needs the output of an earlier run; there is none")
    job, before = description.job, previous["job"]
    if before.get("settings_digest") != job["settings_digest"]:
        raise _other_job(output, differences(previous, description))
    lowered = _lowered(before, description)
    if lowered:
        raise _other_job(output, lowered)
    complete = is_complete(output.directory)
    changed = changed_inputs(inputs, output, complete, repaired=True)
    if changed:
        raise _other_job(output, _shortened(changed), f"{_UPDATE}, --overwrite or another --output")
    return State.COMPLETE if complete and not previous["totals"]["quarantined"] else State.RESUME


def check_update(
    output: OutputLayout, description: JobDescription, inputs: Sequence[Input], lock: dict[str, Any] | None
) -> State:
    """Whether there is something to take in, or all is to be made; takes what ``check_output`` does.

    Raises:
        OutputError: the output is another job's in more than its inputs.
    """
    previous = previous_job(output.directory, lock)
    if previous is None:
        return check_output(output, description, inputs, lock)
    before = previous.get("job", {})
    if not before:
        raise _other_job(output, [_UNKNOWN])
    of_inputs = {name: before[name] for name in ("inputs_digest", ADDED) if name in before}
    here = {name: value for name, value in description.job.items() if name not in ("inputs_digest", ADDED)}
    others = differences(previous, JobDescription({**here, **of_inputs}, description.model))
    if others:
        raise _other_job(output, others)
    if before.get("digest") == description.job["digest"] and is_complete(output.directory):
        return State.COMPLETE
    return State.RESUME


def _refuse_leftovers(output: OutputLayout) -> None:
    """Refuses to write among files of a job of which neither a manifest nor a lock tells."""
    leftovers = _job_files(output)
    if not leftovers:
        return
    folder, name = os.path.split(leftovers[0])
    if folder == output.audit_directory.rstrip("/"):
        raise OutputError(
            f"{output.audit_directory}: holds {name} of the audit trail of a job whose manifest and lock are not in "
            f"{output.directory}; move it away, or use --overwrite or another --output"
        )
    raise OutputError(
        f"{output.directory}: holds {leftovers[0]} and no manifest or lock that says whose it is; use --overwrite or "
        "another --output"
    )


def refuse_foreign_files(output: OutputLayout) -> None:
    """Refuses to begin a job whose files mirror its inputs in a folder that holds others.

    What lies in such a folder is published as anonymized, so it has to be what the job accounts for; and nobody's file
    may be replaced because it has the name of an input.

    Raises:
        OutputError: naming one of them.
    """
    if not SHARD_FORMATS[output.format].has_files or not _is_there(output.directory):
        return
    top = len(storage.join(output.directory, ""))
    for file in storage.list_files(output.directory):
        name = file.path[top:]
        if name not in (LOCK_NAME, MANIFEST_NAME) and not any(map(is_of_system, name.split("/"))):
            raise OutputError(
                f"{output.directory}: holds {name}, which no job has written there, as far as {output.audit_directory} "
                f"tells; --format {output.format} needs a folder of its own: move that away, or choose another --output"
            )


def _is_there(folder: str) -> bool:
    return not storage.is_local(folder) or storage.exists(folder)


def _finished(directory: str) -> dict[str, Any] | None:
    try:
        return manifest.read_manifest(directory)
    except ValueError as error:
        raise OutputError(f"{error}; use --overwrite or another --output") from error


def _refuse_other_job(
    output: OutputLayout, other: dict[str, Any], description: JobDescription, inputs: Sequence[Input], complete: bool
) -> None:
    before = other.get("job", {})
    if not before:
        raise _other_job(output, [_UNKNOWN])
    if before.get("digest") == description.job["digest"]:
        return
    lines = differences(other, description)
    differ = set(differing(other, description))
    # Of inputs with other sizes there may be another number of shards, and so other settings.
    if differ <= _RETRIED_WITH and not (differ and differ <= _LAYOUT) and not _lowered(before, description):
        output = replace(output, settings_digest=before["settings_digest"])
        changed = _shortened(changed_inputs(inputs, output, complete, repaired=False))
        more = bool(changed) or not differ <= {"inputs_digest", *_LAYOUT}  # than new inputs of an unfinished job
        if more and not changed_inputs(inputs, output, complete, repaired=True):
            advice = f"--retry_quarantined to try again what was quarantined, or {_UPDATE}"
            raise _other_job(output, [*lines, *changed], advice)
        lines += changed
    if "inputs_digest" in differ and differ <= {"inputs_digest", *_LAYOUT}:
        raise _other_job(output, lines, f"{_UPDATE}, --overwrite or another --output")
    raise _other_job(output, lines)


def _lowered(before: dict[str, Any], description: JobDescription) -> list[str]:
    """Limits that would quarantine more than before, one line each."""
    now = description.job
    return [f"{name}: {before[name]} there, less here" for name in RAISABLE if now.get(name, 0) < before.get(name, 0)]


def _other_job(
    output: OutputLayout, lines: Sequence[str], advice: str = "--overwrite or another --output"
) -> OutputError:
    return OutputError(
        "\n  ".join([f"{output.directory}: holds another job's data; use {advice}. What differs:", *lines])
    )


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _NAMED_FILES
    return [*lines[:_NAMED_FILES], *([f"and {more} more"] if more > 0 else [])]


def clear_output(output: OutputLayout) -> None:
    """Removes what earlier jobs have written: the manifest first, so that at no time it speaks of shards that are gone.

    The caller holds the lock.

    Raises:
        AccessError: something cannot be removed, or an audit trail not be read.
    """
    storage.delete([storage.join(output.directory, MANIFEST_NAME)])
    remove_info(output.directory)
    # What another audit trail of it says no longer holds, wherever this job puts its own.
    layouts = [output]
    with contextlib.suppress(ValueError):
        layouts.append(replace(output, audit_directory=audit_directory_beside(output.directory)))
    files = sorted({path for layout in layouts for path in _job_files(layout)})
    for path in files:
        in_audit_trail = os.path.dirname(path) != output.directory.rstrip("/")
        # Of a job that writes a file for each image, they list these.
        if in_audit_trail and path.endswith((".parquet", ".files")):
            delete_below(output.directory, listed_files(path))
    storage.delete(files)
    for name in (FINDINGS_NAME, SAMPLE_NAME):  # of a second look at what is gone
        folder = storage.join(output.audit_directory, name)
        storage.delete([f"{folder}.json", *(file.path for file in storage.list_folder(folder))])
    for layout in layouts:
        remove_page(layout.audit_directory)
    remove_partial_files(output)


def remove_partial_files(output: OutputLayout) -> None:
    """Removes what attempts that were killed, or taken for dead, have been writing; the caller holds the lock.

    Raises:
        AccessError: something cannot be removed.
    """
    for folder in {output.directory, output.audit_directory}:
        storage.delete(storage.partial_files(folder))


def count_finished_shards(output: OutputLayout) -> int:
    """How many shards have a file of the audit trail, which is written last.

    Raises:
        AccessError: the folder cannot be listed.
    """
    return sum(file.path.endswith(".parquet") for file in storage.list_folder(output.audit_directory))


def _job_files(output: OutputLayout) -> list[str]:
    """The shards and the audit trails that lie where this job writes, whichever job has written them."""
    folders = {output.directory, output.audit_directory, audit_directory_inside(output.directory)}
    names = ((file.path, os.path.basename(file.path)) for folder in folders for file in storage.list_folder(folder))
    return sorted({path for path, name in names if is_shard_file(name) or is_audit_file(name)})
