"""Running a job to its end: preparation, lock, runner, progress, and what a run leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner, DataflowRuntimeException
from apache_beam.runners.dataflow.internal.apiclient import DataflowJobAlreadyExistsError
from google.api_core.exceptions import GoogleAPIError

from faceveil.pipeline.audit_directory import holds_audit_trail
from faceveil.pipeline.ending import on_sudden_end
from faceveil.pipeline.graph import AnonymizeDataset
from faceveil.pipeline.lock import HeldLock, hold_lock, read_lock, remove_stale_lock
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.output import (
    State,
    check_state,
    clear_output,
    count_finished_shards,
    refuse_foreign_files,
    remove_partial_files,
)
from faceveil.pipeline.prepare import PreparedJob, prepare
from faceveil.pipeline.progress_bar import Size, Work, local_progress_bar, progress_bar
from faceveil.pipeline.report_page.write import remove_page, write_page_at_end
from faceveil.pipeline.restart import allow_restart, is_restart, want_restart
from faceveil.pipeline.runners import dataflow
from faceveil.pipeline.runners.kinds import is_direct, works_here
from faceveil.pipeline.runners.local import DirectRunner
from faceveil.pipeline.runners.remote_job import LeftRunning
from faceveil.pipeline.runners.staging import with_staged_models
from faceveil.pipeline.runners.submit import submit, wait
from faceveil.transforms import manifest, storage
from faceveil.transforms.errors import AccessError, MemoryPressureError, OutputError, WorkerDiedError
from faceveil.transforms.formats.layout import MANIFEST_NAME, OutputLayout
from faceveil.transforms.formats.tfds_output import remove_info
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.runtime.child_process import safe_children

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A job at its end.

    Attributes:
        manifest: what it did in all.
        audit_directory: where its audit trail is.
        seconds: that this run of it took; None if there was nothing to do.
        made: records that this run has made; None if unknown.
        page: the path of the page about it; None where there is none.
    """

    manifest: dict[str, Any]
    audit_directory: str
    seconds: float | None = None
    made: int | None = None
    page: str | None = None


def run_job(options: JobOptions, beam_flags: Sequence[str]) -> Finished:
    """Runs a job to its end, or finds that it was run before.

    Raises:
        OptionError: an option's value does not fit the others.
        AccessError: an input, the model or the output cannot be reached.
        ModelError: the detector cannot be loaded.
        OutputError: the output holds another job's data, or another job is writing to it.
        LeftRunning: the job continues without this command.
    """
    began = time.monotonic()
    if is_restart():  # it has removed what was there when it started first
        options = replace(options, overwrite=False)
    beam_options = PipelineOptions(list(beam_flags))
    job = prepare(options, beam_options)
    work = page = None
    state = check_state(options, job.output, job.description, read_lock(options.output))
    if state is State.COMPLETE:
        _LOGGER.info("%s is complete already; nothing is done", options.output)
        remove_stale_lock(options.output)
    else:
        with hold_lock(options.output, on_sudden_end) as lock:
            # Another job may have been there until just now.
            state = check_state(options, job.output, job.description, lock.before)
            if state is not State.COMPLETE:
                if state is State.RESUME:
                    _LOGGER.info("%s: resuming: %s", options.output, _left(job))
                # A model that does not load is noticed before anything is written; a local run then finds it loaded.
                _log_detector(job)
                work = _make(job, beam_options, lock)
                page = write_page_at_end(job.output, time.monotonic() - began, work.progress.made if work else None)
    if state is State.COMPLETE:
        page = _page_of(job.output)
    written = manifest.read_manifest(options.output)
    if written is None:
        raise AccessError(f"{options.output}: the manifest that was just written cannot be found")
    seconds = None if state is State.COMPLETE else time.monotonic() - began
    return Finished(written, job.output.audit_directory, seconds, work.progress.made if work else None, page)


def _page_of(output: OutputLayout) -> str | None:
    """The page about a job that was complete before; of one that went on without its command there is none yet."""
    if storage.exists(output.page_path):
        return output.page_path
    # A restart has crashed just now, perhaps over the page; and without an audit trail there is nothing to tell.
    if is_restart() or not holds_audit_trail(output.audit_directory):
        return None
    return write_page_at_end(output, None, None)


def _left(job: PreparedJob) -> str:
    if job.options.retry_quarantined:
        return "quarantined records are tried again"
    shards = sum(split.shards for split in job.layout.values())
    return f"{count_finished_shards(job.output)} of {shards} shards are done"


def _log_detector(job: PreparedJob) -> None:
    if not job.models:
        _LOGGER.info("no detector: --boxes_mode replace")
    chosen = ", the default (--model takes another)" if job.options.model is None else ""
    for model, engine in zip(job.models, job.anonymize.load().detector.engines, strict=True):
        _LOGGER.info("detector %s%s; on %s, %s, %s", model.name, chosen, engine.name, engine.precision, engine.device)


def _make(job: PreparedJob, beam_options: PipelineOptions, lock: HeldLock) -> Work | None:
    """Does the work, once all that could be checked before has been; how far it got, if that is known."""
    options, output = job.options, job.output
    job = with_staged_models(job, beam_options)
    if options.overwrite:
        lock.note_job({})
        clear_output(output)
        refuse_foreign_files(output)
    lock.note_job(job.description.as_json)
    # Where shards are made again, the manifest no longer holds; the lock says that there is work left.
    written = storage.join(options.output, MANIFEST_NAME)
    storage.delete([written])
    remove_page(output.audit_directory)
    remove_info(options.output)
    remove_partial_files(output)
    work = None
    if dataflow.is_chosen(beam_options):
        work = _run_on_dataflow(job, beam_options, lock.note_remote)
    elif works_here(beam_options):
        work = _run_here(job, beam_options)
    else:
        wait(submit(AnonymizeDataset(options, job), beam_options))
    remove_partial_files(output)
    try:
        lock.check()
    except AccessError:  # shards may be gone of which it speaks
        storage.delete([written])
        raise
    return work


def _size(summary: InputSummary) -> Size:
    splits = summary.splits.values()
    images = None if any(split.record_files for split in splits) else sum(split.images for split in splits)
    return Size(images, sum(split.image_bytes + split.record_bytes for split in splits))


def _run_here(job: PreparedJob, beam_options: PipelineOptions) -> Work:
    allow_restart()
    # Beam starts its workers with `python -m`, which would look for modules in the working folder first.
    with safe_children(), local_progress_bar(_size(job.summary)) as (directory, work):
        job = replace(job, anonymize=replace(job.anonymize, progress_directory=directory))
        runner = DirectRunner() if is_direct(beam_options) else None
        try:
            wait(submit(AnonymizeDataset(job.options, job), beam_options, runner))
        except (MemoryPressureError, WorkerDiedError) as error:  # a new process knows how careful it has to be
            want_restart(for_memory=isinstance(error, MemoryPressureError))
            raise
    return work


def _run_on_dataflow(
    job: PreparedJob, beam_options: PipelineOptions, note_remote: Callable[[dict[str, Any]], None]
) -> Work:
    dataflow.start_with_enough_workers(beam_options, sum(split.shards for split in job.layout.values()))
    try:
        result = submit(AnonymizeDataset(job.options, job), beam_options)
    except GoogleAPIError as error:
        raise AccessError(f"Dataflow did not take the job: {error}") from error
    except DataflowJobAlreadyExistsError as error:
        name = beam_options.view_as(GoogleCloudOptions).job_name
        raise OutputError(
            f"{job.options.output}: a Dataflow job named {name} is active already; wait for it to end, or choose "
            "another --job_name if it is not about this output"
        ) from error
    remote = dataflow.submitted_job(result, beam_options)
    try:
        note_remote(asdict(remote))
        # Without an id, this command runs in a Flex Template's launcher: the job begins when it ends.
        if job.options.no_wait or remote.id is None:
            raise LeftRunning(remote, interrupted=False)
        _LOGGER.info("Dataflow job %s: %s", remote.id, remote.console)
        # What the service says of the job: its states, workers that start and stop, errors.
        logging.getLogger(DataflowRunner.__module__).setLevel(logging.INFO)
        with progress_bar(_size(job.summary), dataflow.ProgressReader(result), every=10) as work:
            wait(result)
        return work
    except KeyboardInterrupt:
        raise LeftRunning(remote, interrupted=True) from None
    except DataflowRuntimeException as error:
        raise AccessError(
            f"Dataflow job {remote.id} did not end well; the same command resumes where it stopped. "
            f"See {remote.console}\n{error}"
        ) from error
    except AssertionError as error:  # what Beam says when the service has not answered for long
        raise AccessError(f"Dataflow job {remote.id} may still be running; its state is unknown: {error}") from error
