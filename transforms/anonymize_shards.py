"""The PTransform that makes every shard of a job: the only one with a model, and the only DoFn that touches images."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import GlobalWindow
from apache_beam.typehints import with_input_types, with_output_types
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.audit import ShardResult, Status
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.metrics import NAMESPACE, RecordMetrics
from faceveil.transforms.shard.attempt import attempt_marker
from faceveil.transforms.shard.progress import ProgressFile
from faceveil.transforms.shard.read import begin_reading
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.resume import finished_shard, kept_records, restamp
from faceveil.transforms.shard.worker import (
    Anonymization,
    RecordSandbox,
    Worker,
    anonymize_shard,
    record_sandbox,
)

_LOGGER = logging.getLogger(__name__)
_USUAL_RECORD = 100_000
"""Bytes, where nobody knows how many records a file has."""


@with_input_types(ShardPlan)
@with_output_types(ShardResult)
@dataclass(eq=False)
class AnonymizeShards(beam.PTransform):  # type: ignore[misc]
    """Anonymizes every planned shard, unless it is finished already, and yields one small result for each.

    Takes ``ShardPlan``s and yields ``ShardResult``s.

    Attributes:
        config: how records are anonymized.
        output: where to write.
        run: identifies this run of the job, restarts after crashes included.
        retry_quarantined: whether finished shards are made again where records are quarantined.
        update: whether other records of finished shards stay where some files have changed.
        tries_records: whether every record is made in a sandbox, whatever is known of its shard.
        progress_directory: where local workers tell how far they are; None elsewhere.
    """

    config: Anonymization
    output: OutputLayout
    run: str = ""
    retry_quarantined: bool = False
    update: bool = False
    tries_records: bool = False
    progress_directory: str | None = None
    _shared: Shared = field(default_factory=Shared, repr=False)

    def expand(self, plans: beam.PCollection[ShardPlan]) -> beam.PCollection[ShardResult]:
        """Builds the graph."""
        dofn = _AnonymizeShardDoFn(self)
        # Shards are spread over all workers here, whatever the grouping before has put together.
        return plans | "Spread" >> beam.Reshuffle() | "AnonymizeShard" >> beam.ParDo(dofn)

    def load(self) -> Worker:
        """Loads the model into this process, where a local run will then find it.

        Raises:
            ModelError: the model cannot be loaded.
        """
        worker: Worker = self._shared.acquire(functools.partial(Worker, self.config))
        return worker


class _ShardProgress(RestrictionProvider):  # type: ignore[misc]
    """Lets a runner see how much of a shard is done; a shard is never split."""

    def initial_restriction(self, plan: ShardPlan) -> int:
        """How much there is to do."""
        return max(1, plan.nbytes)

    def create_tracker(self, restriction: int) -> _Tracker:
        """Counts what is done."""
        return _Tracker(restriction)

    def restriction_size(self, _plan: ShardPlan, restriction: int) -> int:
        """In bytes."""
        return restriction

    def truncate(self, _plan: ShardPlan, restriction: int) -> int:
        """A shard that was begun is finished."""
        return restriction


class _Tracker(RestrictionTracker):  # type: ignore[misc]
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def current_restriction(self) -> int:
        return self._total

    def current_progress(self) -> RestrictionProgress:
        # As a fraction: what a runner's client counts as completed work is bytes of output, of which there is none yet.
        return RestrictionProgress(fraction=min(1.0, self._done / self._total))

    def try_claim(self, done: int) -> bool:
        self._done = done
        return True

    def try_split(self, _fraction_of_remainder: float) -> None:
        return None

    def check_done(self) -> None:
        pass

    def is_bounded(self) -> bool:
        return True


_PROGRESS = beam.DoFn.RestrictionParam(_ShardProgress())


@with_input_types(ShardPlan, Any)  # Beam would take the tracker's annotation, which is text to it, for a type
@with_output_types(ShardResult)
class _AnonymizeShardDoFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: AnonymizeShards) -> None:
        self._job = job
        self._resumed = Metrics.counter(NAMESPACE, "resumed")
        self._shard_seconds = Metrics.distribution(NAMESPACE, "shard_seconds")

    def setup(self) -> None:
        """Gets the process's model and threads."""
        self._worker = self._job.load()
        self._metrics = RecordMetrics(self._worker.timings)
        self._progress = ProgressFile(self._job.progress_directory)
        self._sandbox: RecordSandbox | None = None
        # Threads that wait for storage: one for the shard that is begun, one for the shard that is ended.
        self._reader = ThreadPoolExecutor(1, "begin")
        self._publisher = ThreadPoolExecutor(1, "publish")
        self._publishing: Future[tuple[ShardResult, float]] | None = None

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Waits for the last shard, and ends the sandbox, if there was a reason for one."""
        self._end_sandbox()
        for result in self._published():
            yield WindowedValue(result, GlobalWindow().max_timestamp(), [GlobalWindow()])

    def teardown(self) -> None:
        """Ends the sandbox of a bundle that has failed."""
        self._end_sandbox()
        self._reader.shutdown(wait=False)  # of a bundle that has failed it may wait for storage
        self._publisher.shutdown()

    def process(self, plan: ShardPlan, tracker: Any = _PROGRESS) -> Iterator[ShardResult]:
        """Makes one shard, or finds it made; while it is published, the next one is made."""
        job = self._job
        result = finished_shard(plan, job.output)
        if result and not (job.retry_quarantined and result.quarantined):
            storage.delete(job.output.marks(plan.name))  # it may have been killed between its last acts
            self._progress.resumed(result.records, result.faces, result.quarantined, plan.nbytes)
            self._resumed.inc(result.records)
            yield result
            return
        if plan.finished:
            raise AccessError(
                f"{job.output.directory}: {plan.name} was finished when the job began, and is no longer as it was; run "
                "the same command again"
            )
        if job.update and (result := restamp(plan, job.output, job.config.method, job.config.boxes is not None)):
            self._progress.resumed(result.records, result.faces, result.quarantined, plan.nbytes)
            self._resumed.inc(result.records)
            yield result
            return
        publish = self._make(plan, tracker)
        yield from self._published()
        self._publishing = self._publisher.submit(publish)
        if storage.is_local(job.output.directory):
            yield from self._published()  # no network to wait for

    def _make(self, plan: ShardPlan, tracker: Any) -> Callable[[], tuple[ShardResult, float]]:
        """Makes a shard; what publishes it, which also tells the seconds that all of it took."""
        job, began = self._job, time.monotonic()
        keeps = job.retry_quarantined or job.update
        kept = kept_records(plan, job.output, with_quarantined=job.update) if keeps else None
        # Once a shard has crashed, so may others of its bundle, and a runner tries a bundle a few times only.
        tried = job.tries_records or self._sandbox is not None
        share = _share_of_each(plan)
        done = resumed = 0
        config = self._worker.config
        sources = begin_reading(plan, config.features, config.limits.max_image_bytes, self._reader)

        def count(record: Outcome) -> None:
            nonlocal done, resumed
            done += 1
            tracker.try_claim(int(done * share))
            if record.is_kept:
                resumed += record.row.status is not Status.COPIED
            else:
                self._metrics.count(record.row)
            self._progress.count(record.row, record.is_kept)

        with ExitStack() as stack:
            care = stack.enter_context(attempt_marker(job.output, plan.name, job.run, tried))
            if care.tried and not self._sandbox:
                _LOGGER.warning("%s: an earlier attempt crashed; from here on records are made in a sandbox", plan.name)
                self._sandbox = record_sandbox(self._worker.config, self._worker.pool.threads)
            if care.alone:
                _LOGGER.warning("%s: memory ran out before; one image is worked on at a time", plan.name)
            sandbox = self._sandbox if care.tried else None
            publish = anonymize_shard(plan, job.output, self._worker, count, kept, care.alone, sandbox, sources)
            marker = stack.pop_all()
        self._resumed.inc(resumed)

        def finish() -> tuple[ShardResult, float]:
            with marker:
                result = publish()
            self._progress.finished(plan)
            return result, time.monotonic() - began

        return finish

    def _published(self) -> Iterator[ShardResult]:
        """The result of the shard that is being published, if one is, once it is done."""
        publishing, self._publishing = self._publishing, None
        if publishing:
            result, seconds = publishing.result()
            self._shard_seconds.update(round(seconds))
            yield result

    def _end_sandbox(self) -> None:
        if self._sandbox:
            self._sandbox.end()
            self._sandbox = None


def _share_of_each(plan: ShardPlan) -> float:
    """About how much of a shard's bytes one of its records is."""
    records = len(plan.files) if plan.kind == "image" else plan.part.records if plan.part else None
    return plan.nbytes / (records or max(1, plan.nbytes // _USUAL_RECORD))
