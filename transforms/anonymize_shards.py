"""Anonymizing one shard: the chain of steps, and the PTransform that runs it with a shared model."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TypeVar

import apache_beam as beam
import cv2
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.file_names import NameReporter
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.limits import Limits
from faceveil.transforms.quarantine import Reason
from faceveil.transforms.runtime.memory import keep_freed_memory, out_of_memory_errors
from faceveil.transforms.runtime.pool import OrderedPool, threads_beside, usable_cores
from faceveil.transforms.runtime.sandbox import Trial
from faceveil.transforms.runtime.watchdog import Watchdog
from faceveil.transforms.shard.anonymize import FinishedGroup, Group, Masking, anonymize_group, in_groups, ungrouped
from faceveil.transforms.shard.attempt import Care, attempt
from faceveil.transforms.shard.progress import ProgressFile
from faceveil.transforms.shard.read import Source, read_records, read_sources
from faceveil.transforms.shard.resume import kept_records, with_kept
from faceveil.transforms.shard.steps import (
    Batch,
    Decoded,
    Detected,
    DetectedBatch,
    Finished,
    Settled,
    batch_like_shaped,
    decode,
    detect_batch,
    finish,
    guarded,
    in_order,
    with_records,
)
from faceveil.transforms.shard.write import Output, finished_shard, write_shard

_LOGGER = logging.getLogger(__name__)
# What all shards of a process together hold between reading and writing.
_IN_FLIGHT_BYTES = 256 * 2**20

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Anonymization:
    """How records are anonymized: everything that decides about an output's pixels.

    Attributes:
        detector: which model looks for faces, and how.
        method: name of the anonymizer.
        style: the masks' geometry and the method's strength.
        features: which features of an Example that is read hold images, are dropped, or pass unseen.
        keep_metadata: the groups of EXIF tags that are kept, names from `KEEPABLE`.
        limits: what an image may cost.
        processes: worker processes that share a machine; 0 for one on every core.
        synthesis: what draws new faces, for the method that does.
        hashed_keys: whether the names of files are hidden, so that one in an Example is worth a warning.
        allow_label_maps: whether faces are masked in maps of labels and distances too.
        memory_shortages: how often memory has run out before; each time half as many threads are to work.
    """

    detector: DetectorConfig
    method: str
    style: Style
    features: FeatureRoles
    keep_metadata: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    processes: int = 1
    synthesis: SynthesisConfig | None = None
    hashed_keys: bool = False
    allow_label_maps: bool = False
    memory_shortages: int = 0


class Worker:
    """What the shards of a process share: the loaded model, the threads and who watches them."""

    def __init__(self, config: Anonymization) -> None:
        keep_freed_memory()
        # The pool has a thread for every core; OpenCV starting more of its own would only get in their way.
        cv2.setNumThreads(1)
        # What OpenCV and Pillow warn of, an unreadable image's reason for quarantine says better.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
        Image.MAX_IMAGE_PIXELS = None  # ours is Limits.max_pixels
        self.config = config
        models = tuple(map(storage.local_copy, config.detector.model_dirs))
        # By the cores of the machine that it runs on, not of the one that has launched it.
        threads = max(1, threads_beside(config.processes, usable_cores()) >> config.memory_shortages)
        self.detector = Detector(replace(config.detector, model_dirs=models, threads=threads))
        drawing = None
        if synthesis := config.synthesis:
            generator = storage.local_copy(synthesis.model_dir)
            drawing = Synthesizer(replace(synthesis, model_dir=generator, threads=threads))
        self.masking = Masking(config.method, config.style, drawing, config.allow_label_maps)
        self.pool = OrderedPool(threads, _IN_FLIGHT_BYTES)
        self.names = NameReporter(config.features) if config.hashed_keys else None
        self.watchdog = Watchdog(config.limits.image_timeout)


def anonymize_shard(
    plan: ShardPlan,
    output: Output,
    worker: Worker,
    on_record: Callable[[Row], None],
    care: Care = Care(),  # noqa: B008  it cannot be changed
    kept: Iterator[Finished] | None = None,
) -> ShardResult:
    """Makes one output shard whole: reads, decodes, detects, anonymizes and writes its records in order.

    Args:
        plan: the shard.
        output: where to write.
        worker: the model and the threads.
        on_record: called with the row of each record as it is written.
        care: how careful to be.
        kept: records of an earlier run that are taken as they are, in the shard's order.

    Raises:
        AccessError: the output cannot be written.
        OutOfMemoryError: memory ran out, with one record at a time too.
    """
    config, detector = worker.config, worker.detector
    pooled = functools.partial(worker.pool.map, alone=care.alone)
    with Trial(config) as trial, out_of_memory_errors():
        decode_step, detect_step, anonymize_step = _steps(worker, worker.watchdog, trial if care.tried else None)
        sources = read_sources(plan, config.limits.max_image_bytes)
        decoded = with_records(
            pooled(decode_step, with_kept(sources, kept) if kept else sources),
            lambda file: pooled(decode_step, read_records(file, config.limits.max_image_bytes)),
        )
        detected = in_order(pooled(detect_step, batch_like_shaped(decoded, detector.batch_size)))
        groups = in_groups(detected, worker.masking.group_size)
        finished = map(finish, ungrouped(pooled(anonymize_step, groups)))
        return write_shard(plan, finished, output, _empty_result(plan, detector), config.method, on_record)


def anonymize_record(source: Source, worker: Worker) -> Finished:
    """Makes one record by itself, as ``anonymize_shard`` does; for trying whether it can be made."""
    decode_step, detect_step, anonymize_step = _steps(worker)
    [detected] = detect_step(Batch([0], [decode_step(source)])).items
    return finish(anonymize_step(Group([detected])).items[0])


def _steps(
    worker: Worker, watchdog: Watchdog | None = None, trial: Trial | None = None
) -> tuple[
    Callable[[Source | Settled], Decoded | Settled],
    Callable[[Batch], DetectedBatch],
    Callable[[Group], FinishedGroup],
]:
    """What is done to a record, each step under watch."""
    config, detector = worker.config, worker.detector

    def watched(step: Callable[[In], Out], name_of: Callable[[In], str]) -> Callable[[In], Out]:
        return watchdog.watch(step, name_of) if watchdog else step

    def decode_source(source: Source) -> Decoded:
        if trial and watchdog:
            with watchdog.paused():
                trial.run(source)
        decoded = decode(source, config.features, detector, config.limits, config.keep_metadata)
        if worker.names and decoded.record.example:
            worker.names.look(decoded.record.example, source.path)
        return decoded

    key = attrgetter("key")
    anonymize = functools.partial(anonymize_group, masking=worker.masking, roles=config.features)
    return (
        guarded(watched(decode_source, key), key, Reason.CORRUPT_IMAGE),
        watched(functools.partial(detect_batch, detector=detector), _names),
        watched(anonymize, _names),
    )


def _names(batch: Batch | Group) -> str:
    return ", ".join(item.record.key for item in batch.items if isinstance(item, (Decoded, Detected)))


def _empty_result(plan: ShardPlan, detector: Detector) -> ShardResult:
    return ShardResult(
        *(plan.name, plan.split),
        inputs_digest=plan.inputs_digest,
        engine=", ".join(sorted({engine.name for engine in detector.engines})),
        precision=", ".join(sorted({engine.precision for engine in detector.engines})),
        device=", ".join(sorted({engine.device for engine in detector.engines})),
    )


@dataclass
class AnonymizeShards(beam.PTransform):  # type: ignore[misc]
    """Anonymizes every planned shard, unless it is finished already, and yields one small result for each.

    Takes ``ShardPlan``s and yields ``ShardResult``s.

    Attributes:
        config: how records are anonymized.
        output: where to write.
        run: identifies this run of the job, restarts after crashes included.
        retry_quarantined: whether finished shards are made again where records are quarantined.
        tries_records: whether every record is tried in another process first, whatever is known of its shard.
        progress_directory: where local workers tell how far they are; None elsewhere.
    """

    config: Anonymization
    output: Output
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
        with attempt(job.output, plan.name, job.run) as care:
            care = replace(care, tried=care.tried or job.tries_records)
            if care.tried:
                _LOGGER.warning("%s: an earlier attempt crashed; records are tried in another process first", plan.name)
            if care.alone:
                _LOGGER.warning("%s: memory ran out before; one image is worked on at a time", plan.name)
            return anonymize_shard(plan, job.output, self._worker, self._count, care, kept)

    def _count(self, row: Row) -> None:
        self._counters[row.status].inc()
        self._faces.inc(row.face_count)
        self._progress.count(row)
