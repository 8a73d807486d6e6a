"""How many shards a job has: as many as its inputs fill, or those of an earlier run that it goes on with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from faceveil.pipeline.describe import ADDED
from faceveil.pipeline.lock import read_lock
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.output import is_complete, previous_job
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import lay_out, lay_out_as_before
from faceveil.transforms.inputs.shard_layout import Layout, layout_of
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.shard.resume import parts_before
from faceveil.transforms.shard.update import Update, UpdateOptions, plan_update


@dataclass(frozen=True)
class Earlier:
    """The job that an output is of before this run.

    Attributes:
        job: its description; empty where there is none.
        is_complete: whether it has come to its end.
        is_updated: whether its shards are told by the audit trail, since it has been updated, or is to be.
        files: the inputs as they are now; gathered where that is so.
    """

    job: dict[str, Any]
    is_complete: bool
    is_updated: bool
    files: list[InputFile] = field(default_factory=list)


def find_earlier(options: JobOptions) -> Earlier:
    """The job that has written to a job's output; none where all is to be made anew.

    Raises:
        OutputError: there is a manifest that is not ours.
        AccessError: storage cannot be reached.
    """
    previous = None if options.overwrite else previous_job(options.output, read_lock(options.output))
    job = previous.get("job", {}) if previous else {}
    is_updated = bool(job) and (options.update or ADDED in job)
    return Earlier(job, bool(job) and is_complete(options.output), is_updated)


def plan_shards(
    options: JobOptions, summary: InputSummary, audit_directory: str, earlier: Earlier
) -> tuple[Layout, Update | None]:
    """The layout of a job, and its shards where the audit trail tells them and there is something to do.

    Raises:
        OutputError: as ``plan_update``.
        AccessError: as ``plan_update``.
    """
    before = earlier.job
    same_inputs = before.get("inputs_digest") == summary.digest
    if earlier.is_updated and (ADDED in before or not same_inputs):
        layout = layout_of(before)
        wanted = options.retry_quarantined or (options.update and not same_inputs)
        if earlier.is_complete and not wanted:
            return layout, None
        written_as = options.format, options.shard_compression
        output = OutputLayout(options.output, audit_directory, before.get("settings_digest", ""), *written_as)
        how = UpdateOptions(
            complete=earlier.is_complete,
            same_inputs=same_inputs,
            retry_quarantined=options.retry_quarantined,
            shard_bytes=options.shard_bytes,
            content_key=options.content_key,
            max_image_bytes=options.max_image_bytes,
        )
        planned = plan_update(earlier.files, layout, output, how)
        earlier.files.clear()
        return planned.layout, planned
    if options.retry_quarantined and before:
        # Repaired files have other sizes, but all shards must keep their names.
        output = OutputLayout(options.output, audit_directory, before["settings_digest"], options.format)
        parts = parts_before(options.inputs, output) if before.get("part_bytes") else {}
        return lay_out_as_before(summary, before, parts), None
    if same_inputs and not options.shard_bytes and not options.num_shards:
        # It may have been begun by a version with other defaults.
        return lay_out_as_before(summary, before), None
    return lay_out(summary, options.shard_bytes, options.num_shards), None
