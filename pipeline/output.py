"""The state of an output before a job begins: empty, unfinished, complete, or another job's."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

from pipeline.describe import differences
from pipeline.lock import is_live, lock_path, read_lock
from transforms import manifest, storage
from transforms.errors import OutputError
from transforms.manifest import JobDescription
from transforms.write import Output

_SHARD_FILE = re.compile(r"\.?.+-\d{5,}-of-\d{5,}\.(tfrecord|parquet)(\.partial)?")


class State(Enum):
    """What there is to do."""

    BEGIN = auto()
    RESUME = auto()
    COMPLETE = auto()


def check_output(output: Output, description: JobDescription) -> State:
    """Whether the job has to begin, go on or do nothing.

    Raises:
        OutputError: the output holds another job's data; says what differs.
    """
    try:
        finished = manifest.read_manifest(output.directory)
    except ValueError as error:
        raise OutputError(f"{error}; use --overwrite or another --output") from error
    if finished:
        _refuse_other_job(output, finished, description)
        return State.COMPLETE
    lock = read_lock(output.directory)
    if lock:
        if lock["job"] or not is_live(lock):
            _refuse_other_job(output, lock["job"], description)
        return State.RESUME
    leftovers = _job_files(output)
    if leftovers:
        raise OutputError(
            f"{output.directory}: holds {leftovers[0]} and no manifest or lock that says whose it is; use --overwrite "
            "or another --output"
        )
    return State.BEGIN


def _refuse_other_job(output: Output, other: dict[str, Any], description: JobDescription) -> None:
    if other.get("job", {}).get("digest") != description.job["digest"]:
        lines = "\n  ".join(differences(other, description)) or "its description cannot be read"
        raise OutputError(
            f"{output.directory}: holds another job's data; use --overwrite or another --output. "
            f"What differs:\n  {lines}"
        )


def clear_output(output: Output) -> None:
    """Removes what earlier jobs have written: the manifest first, so that at no time it speaks of shards that are gone.

    Raises:
        OutputError: a live job is writing there.
        AccessError: something cannot be removed.
    """
    lock = read_lock(output.directory)
    if lock and is_live(lock):
        raise OutputError(f"{output.directory}: process {lock['pid']} on {lock['host']} is writing to it")
    storage.delete([storage.join(output.directory, manifest.NAME)])
    storage.delete(_job_files(output))
    storage.delete([lock_path(output.directory)])


def _job_files(output: Output) -> list[str]:
    found = []
    for folder in {output.directory, output.records_directory}:
        if storage.is_local(folder) and not storage.exists(folder):
            continue
        for file in storage.list_files(folder):
            below = file.path[len(folder.rstrip("/")) + 1 :].removeprefix("records/")
            if _SHARD_FILE.fullmatch(below) and "/" not in below:
                found.append(file.path)
    return sorted(set(found))
