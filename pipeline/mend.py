"""Mending an output in which a second look has found faces: its manifest meanwhile, and going on after a kill.

While shards are mended there is no manifest in the output, as while a job makes them; a copy waits beside the findings.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceveil.pipeline.lock import HeldLock
from faceveil.pipeline.output import remove_partial_files
from faceveil.pipeline.report_page.write import remove_page
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import ShardResult, read_stamp
from faceveil.transforms.formats.layout import FINDINGS_NAME, MANIFEST_NAME, OutputLayout, shard_ending
from faceveil.transforms.formats.tfds_output import read_declaration
from faceveil.transforms.manifest import JobDescription, compose_manifest, write_manifest
from faceveil.transforms.verification.mend import settle
from faceveil.transforms.verification.mend_record import Mending
from faceveil.transforms.verification.reading import WrittenShard
from faceveil.transforms.verify_shards import MendOutput, MendShards, VerifyShards, WriteMended

_LOGGER = logging.getLogger(__name__)
_COPY = ".manifest.json"
_WAITING = (".before", ".after")


def manifest_copy(audit_directory: str) -> str:
    """Where an output's manifest waits while its shards are mended."""
    return storage.join(audit_directory, FINDINGS_NAME, _COPY)


def mend_output(
    shards: Sequence[WrittenShard],
    verify: VerifyShards,
    mending: Mending,
    manifest: Mapping[str, Any],
    lock: HeldLock,
    run: Callable[[MendOutput], None],
) -> None:
    """Mends the shards, and writes the manifest of what there is then.

    Args:
        shards: in which faces were found outside the masks; at least one.
        verify: what has found them.
        mending: how.
        manifest: of the output.
        lock: of the output; it says whose shards these are should the mending be killed.
        run: runs a job to its end.

    Raises:
        AccessError: the output cannot be read or written.
        OutOfMemoryError: memory ran out.
    """
    output = mending.output
    copy, written = manifest_copy(output.audit_directory), storage.join(output.directory, MANIFEST_NAME)
    lock.note_job({"job": manifest["job"], "model": manifest["model"]})
    remove_page(output.audit_directory)  # it may show the faces that are masked now
    storage.write_bytes(copy, json.dumps(manifest, indent=2).encode())
    storage.delete([written])
    path = f"{mending.findings.audit_directory}.json"
    run(MendOutput(shards, MendShards(verify, mending), WriteMended(path, mending.action)))
    _finish(mending, manifest)


def resume_mending(mending: Mending, manifest: Mapping[str, Any]) -> None:
    """Ends or undoes what was begun in each shard when an earlier mending was killed, and writes the manifest of that.

    The caller holds the lock of the output.

    Args:
        mending: how shards are mended.
        manifest: of the output, as it was.

    Raises:
        AccessError: the output cannot be read or written.
    """
    _LOGGER.info("%s: resuming after a mending that was interrupted", mending.output.directory)
    folder = mending.findings.audit_directory
    for name in _waiting(folder):
        settle(name, mending)
    _finish(mending, manifest)


def forget_mending(findings: OutputLayout) -> None:
    """Removes what a mending has left that was killed, where a job has since made the output whole.

    Raises:
        AccessError: it cannot be removed.
    """
    folder = findings.audit_directory
    left = [storage.join(folder, f".{name}{ending}") for name in _waiting(folder) for ending in _WAITING]
    storage.delete([storage.join(folder, _COPY), *left])


def _waiting(folder: str) -> set[str]:
    names = (os.path.basename(file.path) for file in storage.list_folder(folder))
    return {os.path.splitext(name)[0][1:] for name in names if name.startswith(".") and name.endswith(_WAITING)}


def _finish(mending: Mending, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest of the shards as their rows tell them."""
    output = mending.output
    ending = shard_ending(output.format, output.compression)
    names = (shard.get("name") or shard["file"].removesuffix(ending) for shard in manifest["shards"])
    shards = [_result(output, name) for name in names]
    description = JobDescription(manifest["job"], manifest["model"])
    ignored = manifest["totals"]["ignored"], manifest["ignored"]
    mended = compose_manifest(shards, description, list(manifest["splits"]), *ignored)
    write_manifest(output.directory, mended, read_declaration(output.directory))
    storage.delete([manifest_copy(output.audit_directory)])
    remove_partial_files(output)


def _result(output: OutputLayout, name: str) -> ShardResult:
    path = output.audit_path(name)
    stamp = read_stamp(path)
    if stamp is None:
        raise AccessError(f"{path}: is gone, so nobody knows what its shard holds; the job's own command makes it anew")
    return stamp.result
