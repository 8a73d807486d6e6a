"""The PTransform that makes every shard: the only one with a model, and the only DoFn that touches images."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.attempt import attempt_marker
from faceveil.transforms.shard.progress import ProgressFile
from faceveil.transforms.shard.resume import finished_shard, kept_records
from faceveil.transforms.shard.worker import Anonymization, RecordSandbox, Worker, anonymize_shard, record_sandbox

_LOGGER = logging.getLogger(__name__)


@dataclass
class AnonymizeShards(beam.PTransform):  # type: ignore[misc]
    """Anonymizes every planned shard, unless it is finished already, and yields one small result for each.

    Takes ``ShardPlan``s and yields ``ShardResult``s.

    Attributes:
        config: how records are anonymized.
        output: where to write.
        run: identifies this run of the job, restarts after crashes included.
        retry_quarantined: whether finished shards are made again where records are quarantined.
        tries_records: whether every record is made in a sandbox, whatever is known of its shard.
        progress_directory: where local workers tell how far they are; None elsewhere.
    """

    config: Anonymization
    output: OutputLayout
    run: str = ""
    retry_quarantined: bool = False
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


class _AnonymizeShardDoFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: AnonymizeShards) -> None:
        self._job = job
        self._counters = {status: Metrics.counter("faceveil", status) for status in Status}
        self._faces = Metrics.counter("faceveil", "faces")
        self._resumed = Metrics.counter("faceveil", "resumed")

    def setup(self) -> None:
        """Gets the process's model and threads."""
        self._worker = self._job.load()
        self._progress = ProgressFile(self._job.progress_directory)
        self._sandbox: RecordSandbox | None = None

    def finish_bundle(self) -> None:
        """Ends the sandbox, if there was a reason for one."""
        if self._sandbox:
            self._sandbox.end()
            self._sandbox = None

    def teardown(self) -> None:
        """Ends the sandbox of a bundle that has failed."""
        self.finish_bundle()

    def process(self, plan: ShardPlan) -> Iterator[ShardResult]:
        """Makes one shard, or finds it made."""
        job = self._job
        result = finished_shard(plan, job.output)
        if result and not (job.retry_quarantined and result.quarantined):
            storage.delete([job.output.attempt_path(plan.name)])  # it may have been killed between its last two acts
            self._progress.resumed(plan, result)
            self._resumed.inc(result.records)
        else:
            result = self._make(plan)
            self._progress.finished(plan)
        yield result

    def _make(self, plan: ShardPlan) -> ShardResult:
        job = self._job
        kept = kept_records(plan, job.output) if job.retry_quarantined else None
        # Once a shard has crashed, so may others of its bundle, and a runner tries a bundle a few times only.
        tried = job.tries_records or self._sandbox is not None
        with attempt_marker(job.output, plan.name, job.run, tried) as care:
            if care.tried and not self._sandbox:
                _LOGGER.warning("%s: an earlier attempt crashed; from here on records are made in a sandbox", plan.name)
                self._sandbox = record_sandbox(self._worker.config, self._worker.pool.threads)
            if care.alone:
                _LOGGER.warning("%s: memory ran out before; one image is worked on at a time", plan.name)
            sandbox = self._sandbox if care.tried else None
            return anonymize_shard(plan, job.output, self._worker, self._count, kept, care.alone, sandbox)

    def _count(self, row: Row) -> None:
        self._counters[row.status].inc()
        self._faces.inc(row.face_count)
        self._progress.count(row)
