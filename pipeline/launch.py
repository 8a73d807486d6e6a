"""Launching a job: everything that can be wrong is checked before any work, then the graph is run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner, DataflowRuntimeException
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState, create_runner
from apache_beam.transforms.environments import PythonLoopbackEnvironment
from google.api_core.exceptions import GoogleAPIError

import faceveil.transforms.errors
from faceveil.pipeline.access import check_access
from faceveil.pipeline.describe import describe_job
from faceveil.pipeline.detection import FoundModel, detector_config, find_generator, find_models, synthesis_config
from faceveil.pipeline.ending import on_sudden_end
from faceveil.pipeline.feature_names import check_feature_names
from faceveil.pipeline.graph import AnonymizeDataset
from faceveil.pipeline.lock import HeldLock, hold_lock, read_lock, refuse_live, remove_stale_lock
from faceveil.pipeline.options import JobOptions, OptionError
from faceveil.pipeline.output import State, check_output, check_retry, clear_output, previous_job, remove_unpublished
from faceveil.pipeline.progress_bar import Size, Work, local_progress_bar, progress_bar
from faceveil.pipeline.runners import dataflow
from faceveil.pipeline.runners.local import DirectRunner
from faceveil.pipeline.runners.remote_job import LeftRunning
from faceveil.pipeline.supervise import allow_restart, is_restart, memory_shortages, run_id, want_restart
from faceveil.transforms import manifest, storage
from faceveil.transforms.anonymize_shards import AnonymizeShards
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.errors import AccessError, MemoryPressureError, OwnOutputError, WorkerDiedError
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import InputSummary, summarize_inputs
from faceveil.transforms.inputs.plan import Layout, lay_out, lay_out_as_before
from faceveil.transforms.manifest import JobDescription
from faceveil.transforms.models.saved_model import model_digest
from faceveil.transforms.runtime.child_process import safe_children
from faceveil.transforms.shard.worker import Anonymization

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A job at its end.

    Attributes:
        manifest: what it did in all.
        seconds: that this run of it took; None if there was nothing to do.
        made: records that this run has made; None if nobody knows.
    """

    manifest: dict[str, Any]
    seconds: float | None = None
    made: int | None = None


def run_job(options: JobOptions, beam_flags: Sequence[str]) -> Finished:
    """Runs a job to its end, or finds that it was run before.

    Raises:
        OptionError: an option's value does not fit the others.
        AccessError: an input, the model or the output cannot be reached.
        ModelError: the detector cannot be loaded.
        OutputError: the output holds another job's data, or another job is writing to it.
        LeftRunning: the job goes on without this command.
    """
    began = time.monotonic()
    if is_restart():  # it has removed what was there when it started first
        options = replace(options, overwrite=False)
    beam_options = PipelineOptions(list(beam_flags))
    _check_runner(beam_options, options)
    check_access(options, beam_options)
    dataflow.refuse_while_running(options.output, beam_options)
    refuse_live(options.output)
    summary = _summarize(options)
    check_feature_names(options, summary)
    layout = _lay_out(options, summary)
    found = find_models(options.models)
    # Several are told apart by the plus between them.
    model = {"name": "+".join(m.name for m in found), "sha256": "+".join(m.sha256 for m in found)}
    generator = find_generator(options)
    description = describe_job(options, summary, layout, model, generator)
    output = OutputLayout(
        options.output,
        options.records_output or storage.join(options.output, "records"),
        description.job["settings_digest"],
    )
    work = None
    state = _check_output(options, output, description, read_lock(options.output))
    if state is State.COMPLETE:
        _LOGGER.info("%s is complete already; nothing is done", options.output)
        remove_stale_lock(options.output)
    else:
        with hold_lock(options.output, on_sudden_end) as lock:
            # Another job may have been there until just now.
            state = _check_output(options, output, description, lock.before)
            if state is not State.COMPLETE:
                if state is State.RESUME:
                    left = "quarantined" if options.retry_quarantined else "unfinished"
                    _LOGGER.info("%s: going on with what an earlier run has left %s", options.output, left)
                config = _anonymization(options, found, generator, _processes(beam_options))
                # A retry tries again what its restart has quarantined for a crash, too, so it must not crash on it.
                wary = is_restart() and options.retry_quarantined
                anonymize = AnonymizeShards(config, output, run_id(), options.retry_quarantined, tries_records=wary)
                # A model that does not load is noticed before anything is written; a local run then finds it loaded.
                _log_detector(anonymize.load().detector, found, by_default=options.model is None)
                job = AnonymizeDataset(options.inputs, summary, layout, anonymize, description)
                work = _make(job, options, beam_options, lock)
    written = manifest.read_manifest(options.output)
    if written is None:
        raise AccessError(f"{options.output}: the manifest that was just written cannot be found")
    seconds = None if state is State.COMPLETE else time.monotonic() - began
    return Finished(written, seconds, work.progress.made if work else None)


def _summarize(options: JobOptions) -> InputSummary:
    try:
        return summarize_inputs(options.inputs, options.output, options.records_output)
    except OwnOutputError as error:
        raise OptionError(str(error)) from error


def _make(job: AnonymizeDataset, options: JobOptions, beam_options: PipelineOptions, lock: HeldLock) -> Work | None:
    """Does the work, once all that could be checked before has been; how far it got, if somebody looked."""
    output = job.anonymize.output
    if not _works_here(beam_options):
        job = replace(job, anonymize=replace(job.anonymize, config=_staged(job.anonymize.config, beam_options)))
    if options.overwrite:
        lock.note_job({})
        clear_output(output)
    lock.note_job({"job": job.description.job, "model": job.description.model})
    # Where shards are made again, the manifest no longer holds; the lock says that there is work left.
    written = storage.join(options.output, manifest.NAME)
    storage.delete([written])
    remove_unpublished(output)
    work = None
    if dataflow.is_chosen(beam_options):
        work = _run_on_dataflow(job, beam_options, options.no_wait, lock.note_remote)
    elif _works_here(beam_options):
        work = _run_here(job, beam_options)
    else:
        _wait(_submit(job, beam_options))
    remove_unpublished(output)
    try:
        lock.check()
    except AccessError:  # shards may be gone of which it speaks
        storage.delete([written])
        raise
    return work


def _lay_out(options: JobOptions, summary: InputSummary) -> Layout:
    if options.retry_quarantined and (previous := previous_job(options.output, read_lock(options.output))):
        # Repaired files have other sizes, but all shards must keep their names.
        return lay_out_as_before(summary, previous["job"]["num_shards"])
    return lay_out(summary, options.shard_bytes, options.num_shards)


def _check_output(
    options: JobOptions, output: OutputLayout, description: JobDescription, lock: dict[str, Any] | None
) -> State:
    if options.overwrite:
        return State.BEGIN
    check = check_retry if options.retry_quarantined else check_output
    return check(output, description, options.inputs, lock)


def _log_detector(detector: Detector, found: Sequence[FoundModel], by_default: bool) -> None:
    chosen = ", the default (--model takes another)" if by_default else ""
    for model, engine in zip(found, detector.engines, strict=True):
        _LOGGER.info("detector %s%s; on %s, %s, %s", model.name, chosen, engine.name, engine.precision, engine.device)


def _size(summary: InputSummary) -> Size:
    splits = summary.splits.values()
    images = None if any(split.tfrecords for split in splits) else sum(split.images for split in splits)
    return Size(images, sum(split.image_bytes + split.tfrecord_bytes for split in splits))


def _run_here(job: AnonymizeDataset, beam_options: PipelineOptions) -> Work:
    allow_restart()
    # Beam starts its workers with `python -m`, which would look for modules in the working folder first.
    with safe_children(), local_progress_bar(_size(job.summary)) as (directory, work):
        job = replace(job, anonymize=replace(job.anonymize, progress_directory=directory))
        try:
            _wait(_submit(job, beam_options, DirectRunner() if _is_direct(beam_options) else None))
        except (MemoryPressureError, WorkerDiedError) as error:  # a new process knows how careful it has to be
            want_restart(for_memory=isinstance(error, MemoryPressureError))
            raise
    return work


def _run_on_dataflow(
    job: AnonymizeDataset,
    beam_options: PipelineOptions,
    no_wait: bool,
    note_remote: Callable[[dict[str, Any]], None],
) -> Work:
    try:
        result = _submit(job, beam_options)
    except GoogleAPIError as error:
        raise AccessError(f"Dataflow did not take the job: {error}") from error
    remote = dataflow.submitted_job(result, beam_options)
    try:
        note_remote(asdict(remote))
        # Without an id, this command runs in a Flex Template's launcher: the job begins when it ends.
        if no_wait or remote.id is None:
            raise LeftRunning(remote, interrupted=False)
        _LOGGER.info("Dataflow job %s: %s", remote.id, remote.console)
        # What the service says of the job: its states, workers that start and stop, errors.
        logging.getLogger(DataflowRunner.__module__).setLevel(logging.INFO)
        with progress_bar(_size(job.summary), dataflow.ProgressReader(result), every=10) as work:
            _wait(result)
        return work
    except KeyboardInterrupt:
        raise LeftRunning(remote, interrupted=True) from None
    except DataflowRuntimeException as error:
        raise AccessError(
            f"Dataflow job {remote.id} did not end well; the same command goes on where it stopped. "
            f"See {remote.console}\n{error}"
        ) from error
    except AssertionError as error:  # what Beam says when the service has not answered for long
        raise AccessError(f"Dataflow job {remote.id} may go on, but nothing is heard of it: {error}") from error


def _submit(
    job: AnonymizeDataset, beam_options: PipelineOptions, runner: PipelineRunner | None = None
) -> PipelineResult:
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    _ = pipeline | job
    try:
        return pipeline.run()
    except Exception as error:
        raise _original_error(error) from error


def _wait(result: PipelineResult) -> None:
    try:
        ended = result.wait_until_finish()
    except Exception as error:
        raise _original_error(error) from error
    if ended not in (None, PipelineState.DONE):
        raise AccessError(f"the job ended as {ended}; the same command goes on where it stopped")


def _original_error(error: Exception) -> BaseException:
    """What a worker raised: Beam adds the step's name, and mostly hands it on as the text of a RuntimeError."""
    told = f"{type(error).__module__}.{type(error).__name__}: {error}"
    if "KeyboardInterrupt [while running" in told:
        return KeyboardInterrupt()
    if "StatusCode.UNAVAILABLE" in told:  # what gRPC says when nobody is there
        return AccessError("the runner has died or cannot be reached; the same command goes on where the job stopped")
    match = re.search(r"faceveil\.transforms\.errors\.(\w+): (.*?)(?: \[while running|\n\n|\Z)", told, re.DOTALL)
    kind = getattr(faceveil.transforms.errors, match[1], None) if match else None
    return kind(match[2]) if match and kind else error


def _check_runner(beam_options: PipelineOptions, options: JobOptions) -> None:
    if dataflow.is_chosen(beam_options):
        dataflow.check_options(options, beam_options)
        return
    if options.no_wait:
        raise OptionError("--no_wait: goes with --runner DataflowRunner, where a job goes on without this command")
    temporary = beam_options.view_as(GoogleCloudOptions).temp_location
    local_models = any(map(storage.is_local, options.models)) or options.method == SYNTHESIZE
    if not _works_here(beam_options) and not temporary and local_models:
        raise OptionError("--temp_location: is required with this runner, a folder that all workers reach")


def _is_direct(beam_options: PipelineOptions) -> bool:
    runner = beam_options.view_as(StandardOptions).runner
    return runner is None or runner.lower() in ("directrunner", "direct", "fnapirunner")


def _works_here(beam_options: PipelineOptions) -> bool:
    """Whether this process does the work itself, or its children on this machine do."""
    if _is_direct(beam_options):
        return True
    runner = create_runner(beam_options.view_as(StandardOptions).runner)
    # Prism, and Flink and Spark without a cluster, call back into the process that launched the job.
    return isinstance(runner, PortableRunner) and isinstance(
        runner.default_environment(beam_options), PythonLoopbackEnvironment
    )


def _processes(beam_options: PipelineOptions) -> int:
    """Worker processes on each machine; 0 for one on every core."""
    if _is_direct(beam_options):
        direct = beam_options.view_as(DirectOptions)
        return int(direct.direct_num_workers) if direct.direct_running_mode == "multi_processing" else 1
    if dataflow.is_chosen(beam_options):
        experiments = beam_options.view_as(DebugOptions).experiments or ()
        return 1 if "no_use_multiple_sdk_containers" in experiments else 0
    return int(beam_options.view_as(PortableOptions).sdk_worker_parallelism)


def _anonymization(
    options: JobOptions, found: Sequence[FoundModel], generator: FoundModel | None, processes: int
) -> Anonymization:
    directories = [model.directory for model in found]
    detector = detector_config(options, directories, options.score_threshold)
    style = Style(options.geometry, options.strength)
    keep, limits = options.keep_metadata, options.limits
    synthesis = synthesis_config(options, generator)
    return Anonymization(
        *(detector, options.method, style, options.features, keep, limits, processes, synthesis, options.hash_keys),
        allow_label_maps=options.allow_label_maps,
        memory_shortages=memory_shortages(),
    )


def _staged(config: Anonymization, beam_options: PipelineOptions) -> Anonymization:
    """The same with the models where workers on other machines can reach them.

    Raises:
        AccessError: they cannot be written there.
    """
    temporary = beam_options.view_as(GoogleCloudOptions).temp_location

    def stage(directory: str) -> str:
        if not storage.is_local(directory):
            return directory
        target = storage.join(temporary, "faceveil-models", model_digest(directory))
        storage.copy_folder(directory, target)
        return target

    detector = replace(config.detector, model_dirs=tuple(map(stage, config.detector.model_dirs)))
    synthesis = config.synthesis and replace(config.synthesis, model_dir=stage(config.synthesis.model_dir))
    return replace(config, detector=detector, synthesis=synthesis)
