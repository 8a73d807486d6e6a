"""One shard through all its steps, with what the shards of a process share: a loaded model and threads."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.detector_files import local_detector
from faceveil.transforms.detectors.second_opinion import SecondOpinion
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import ShardResult
from faceveil.transforms.formats.columns import Columns
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.file_names import NameReporter
from faceveil.transforms.formats.layout import OutputFormat, OutputLayout
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.limits import Limits
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_bounded, keep_freed_memory, out_of_memory_errors
from faceveil.transforms.runtime.pool import OrderedPool, threads_beside, usable_cores
from faceveil.transforms.runtime.sandbox import Sandbox
from faceveil.transforms.runtime.timings import Timings
from faceveil.transforms.runtime.watchdog import Watchdog
from faceveil.transforms.shard.anonymize import Masking, anonymize, batch_by_pixels
from faceveil.transforms.shard.compose import composer
from faceveil.transforms.shard.contents import content_digest
from faceveil.transforms.shard.detect import (
    DecodedImage,
    DetectedImage,
    batch_like_shaped,
    decode,
    detect,
    with_records,
)
from faceveil.transforms.shard.given import BoxSource, GivenBoxes
from faceveil.transforms.shard.others import copy_file
from faceveil.transforms.shard.read import (
    ReadAhead,
    Source,
    read_ahead,
    read_records_of,
    read_sources,
)
from faceveil.transforms.shard.record import (
    Batch,
    Outcome,
    Record,
    guarded,
    in_order,
    one_by_one_on_failure,
    quarantine_of,
    quarantined,
)
from faceveil.transforms.shard.resume import with_kept
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.write import write_shard

# What all shards of a process together hold between decoding and writing, and of files that are read ahead.
_IN_FLIGHT_BYTES = 256 * 2**20
_READ_AHEAD_BYTES = 32 * 2**20
_READERS_PER_THREAD = 4
_HOLDS_RECORDS = "it holds records"


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
        boxes: where annotated boxes come from, if there are any.
        format: what is written of them.
        content_key: of the digests of files, see ``content_digest``; None where nobody wants them.
        columns: the types of features, where the format needs any.
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
    boxes: BoxSource | None = None
    format: OutputFormat = "tfrecord"
    content_key: bytes | None = None
    columns: Columns = field(default_factory=dict)


RecordSandbox = Sandbox[Source, Outcome | Source]

STEPS = ("read", "decode", "detect", "anonymize")
"""What a worker measures."""


class Worker:
    """What the shards of a process share: the loaded model, the threads and who watches them.

    Its steps take records and outcomes, and pass outcomes through.

    Args:
        config: how records are anonymized.
        threads: how many images are worked on at once; None for one on every core that is this process's share.
        guest: whether the process is somebody else's, whose libraries keep the settings that they have.

    Attributes:
        config: how records are anonymized.
        detector: finds the faces.
        masking: masks them.
        pool: the threads that all steps are done on.
        timings: of `STEPS`, for each image; whoever drives the steps may take them.

    Raises:
        ModelError: a model cannot be loaded.
    """

    def __init__(self, config: Anonymization, threads: int | None = None, guest: bool = False) -> None:
        if not guest:
            _set_libraries_up()
        self.config = config
        detector = config.detector.moved(local_detector)
        # By the cores of the machine that it runs on, not of the one that has launched it.
        threads = threads or max(1, threads_beside(config.processes, usable_cores()) >> config.memory_shortages)
        kind = SecondOpinion if detector.second_opinion else Detector
        self.detector: Detector = kind(replace(detector, threads=threads))
        drawing = None
        if synthesis := config.synthesis:
            generator = storage.local_copy(synthesis.model_dir)
            drawing = Synthesizer(replace(synthesis, model_dir=generator, threads=threads))
        self.masking = Masking(config.method, config.style, drawing, config.allow_label_maps)
        self._compose = composer(config.format, config.columns)
        self._boxes = GivenBoxes(config.boxes) if config.boxes else None
        self.pool = OrderedPool(threads, _IN_FLIGHT_BYTES)
        # Storage takes its time to answer; threads of their own wait for it, so that those that compute do not.
        self._readers = OrderedPool(_READERS_PER_THREAD * threads, _READ_AHEAD_BYTES)
        self._names = NameReporter(config.features) if config.hashed_keys else None
        self._watchdog = Watchdog(config.limits.image_timeout)
        self.timings = Timings()

    def read_ahead(self, items: Iterable[Source | Outcome]) -> Iterator[Source | Outcome]:
        """Has image files read before they are needed, some at once."""
        read = self._readers.map(self._read_ahead, map(ReadAhead, items), is_done=lambda ahead: _is_done(ahead.item))
        return (ahead.item for ahead in read)

    def _read_ahead(self, ahead: ReadAhead) -> ReadAhead:
        is_file = not isinstance(ahead.item, Outcome) and ahead.item.serialized is None
        with self._watchdog.watching(ahead.item.key), self.timings.measuring("read", int(is_file)):
            return read_ahead(ahead, self.config.limits.max_image_bytes)

    def decode(
        self, item: Source | Outcome, sandbox: RecordSandbox | None = None
    ) -> Record[DecodedImage] | Source | Outcome:
        """Reads and decodes a record; gives a file back that holds records in truth.

        Args:
            item: the record's source.
            sandbox: where the record is made first. That outcome stands, unless this process detects on a GPU, which
                the sandbox does not have.
        """
        return guarded(functools.partial(self._decode, sandbox=sandbox), Reason.CORRUPT_IMAGE)(item)

    def _decode(self, source: Source, sandbox: RecordSandbox | None) -> Record[DecodedImage] | Source | Outcome:
        if sandbox:
            made = sandbox.run(source, source.key)
            if made is not None and not any(engine.on_gpu for engine in self.detector.engines):
                return made
        config = self.config
        with self._watchdog.watching(source.key):
            if source.kind == "other":
                copied = copy_file(source, self.config.limits.max_image_bytes)
                return self._with_content(copied, copied.serialized or b"")
            with self.timings.measuring("decode", 1 if source.serialized is None else len(config.features.images)):
                limits, keep_metadata = config.limits, config.keep_metadata
                decoded = decode(source, config.features, self.detector, limits, keep_metadata, self._boxes)
            if self._names and isinstance(decoded, Record) and decoded.example:
                self._names.look(decoded.example, source.path)
        return decoded

    def detect(self, batch: Batch[Record[DecodedImage] | Outcome]) -> Batch[Record[DetectedImage] | Outcome]:
        """Finds the faces of several records."""
        find = functools.partial(detect, detector=self.detector, geometry=self.config.style.geometry)
        step = one_by_one_on_failure(find, Reason.DETECTION_FAILED)
        with self._watchdog.watching(_names_of(batch)), self.timings.measuring("detect", _count_images(batch)):
            return Batch(step(batch.items), batch.places)

    def anonymize(self, batch: Batch[Record[DetectedImage] | Outcome]) -> Batch[Outcome]:
        """Masks the faces of several records, and makes what is written of them."""
        with self._watchdog.watching(_names_of(batch)), self.timings.measuring("anonymize", _count_images(batch)):
            made = anonymize(batch.items, self.masking, self.config.features, self._compose)
            of_files = [
                self._with_content(outcome, item.images[0].data)
                if isinstance(item, Record) and item.example is None
                else outcome
                for item, outcome in zip(batch.items, made, strict=True)
            ]
            return Batch(of_files, batch.places)

    def _with_content(self, outcome: Outcome, data: bytes) -> Outcome:
        key = self.config.content_key
        return outcome if key is None else replace(outcome, content=content_digest(data, key))


def _set_libraries_up() -> None:
    """Has this process do nothing but anonymize."""
    keep_freed_memory()
    # The pool has a thread for every core; OpenCV starting more of its own would only get in their way.
    cv2.setNumThreads(1)
    # What OpenCV and Pillow warn of, an unreadable image's reason for quarantine says better.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # as OpenCV 4 has it, and 5
    set_log_level(0)  # silent
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    Image.MAX_IMAGE_PIXELS = None  # ours is Limits.max_pixels


def _names_of(batch: Batch[Any]) -> str:
    return ", ".join(item.key for item in batch.items if isinstance(item, Record))


def _count_images(batch: Batch[Any]) -> int:
    return sum(len(item.images) for item in batch.items if isinstance(item, Record))


def _is_done(item: Any) -> bool:
    """Whether no step has anything left to do: of records that are kept, these are most."""
    return all(isinstance(each, Outcome) for each in (item.items if isinstance(item, Batch) else [item]))


def anonymize_sources(
    sources: Iterable[Source | Outcome],
    worker: Worker,
    read_records: Callable[[Source], Iterable[Source | Outcome]],
    alone: bool = False,
    sandbox: RecordSandbox | None = None,
) -> Iterator[Outcome]:
    """Takes records through all steps: decode, detect, anonymize; their outcomes come in the records' order.

    Args:
        sources: the records.
        worker: the model and the threads.
        read_records: gives the records of a file that was taken for an image.
        alone: whether one record is worked on at a time, for want of memory.
        sandbox: where records are made that may crash this process.

    Raises:
        OutOfMemoryError: memory ran out, with one record at a time too.
    """
    pooled = functools.partial(worker.pool.map, alone=alone, is_done=_is_done)
    decode_one = functools.partial(worker.decode, sandbox=sandbox)
    decoded = with_records(pooled(decode_one, sources), lambda file: pooled(decode_one, read_records(file)))
    detected = in_order(pooled(worker.detect, batch_like_shaped(decoded, worker.detector.batch_size)))
    return in_order(pooled(worker.anonymize, batch_by_pixels(detected, worker.masking.batch_size)))


def anonymize_shard(
    plan: ShardPlan,
    output: OutputLayout,
    worker: Worker,
    on_record: Callable[[Outcome], None],
    kept: Iterator[Outcome] | None = None,
    alone: bool = False,
    sandbox: RecordSandbox | None = None,
    sources: Iterable[Source | Outcome] | None = None,
) -> Callable[[], ShardResult]:
    """Makes one output shard whole: reads, decodes, detects, anonymizes and writes its records in order.

    Args:
        plan: the shard.
        output: where to write.
        worker: the model and the threads.
        on_record: called with each record as it is written.
        kept: records of an earlier run that are taken as they are, in the shard's order.
        alone: whether one record is worked on at a time, for want of memory.
        sandbox: where records are made that may crash this process.
        sources: the records, if reading them has begun.

    Returns:
        What publishes it, see ``write_shard``.

    Raises:
        AccessError: the output cannot be written.
        OutOfMemoryError: memory ran out, with one record at a time too.
    """
    config = worker.config
    max_bytes = config.limits.max_image_bytes
    with out_of_memory_errors():
        sources = sources or read_sources(plan, config.features, max_bytes)
        if kept:
            sources = with_kept(sources, kept)
        if plan.kind == "image" and not alone and not is_bounded():
            sources = worker.read_ahead(sources)
        read_records: Callable[[Source], Iterable[Source | Outcome]] = _refused_records
        if SHARD_FORMATS[output.format].takes_records:
            read_records = functools.partial(read_records_of, roles=config.features, max_bytes=max_bytes)
        outcomes = anonymize_sources(sources, worker, read_records, alone, sandbox)
        result = _empty_result(plan, worker.detector)
        told = config.method, on_record, config.boxes is not None, config.content_key or b""
        return write_shard(plan, outcomes, output, result, *told)


def anonymize_record(source: Source, worker: Worker) -> Outcome | Source:
    """Makes one record by itself, as ``anonymize_shard`` does; gives a file back that holds records in truth."""
    decoded = worker.decode(source)
    if isinstance(decoded, Source):
        return decoded
    return worker.anonymize(worker.detect(Batch([decoded], [0]))).items[0]


def anonymize_in_memory(sources: Iterable[Source | Outcome], worker: Worker) -> Iterator[Outcome]:
    """Takes images or Examples that are in memory through all steps; their outcomes come in the records' order.

    Args:
        sources: as ``image_source`` and others make them.
        worker: the model and the threads.

    Raises:
        OutOfMemoryError: memory ran out, with one record at a time too.
    """
    with out_of_memory_errors():
        yield from anonymize_sources(sources, worker, _refused_records)


def _refused_records(file: Source) -> Iterator[Outcome]:
    yield quarantined(file.key, Quarantine(Reason.NOT_AN_IMAGE, _HOLDS_RECORDS))


def detect_in_memory(source: Source | Outcome, worker: Worker) -> Faces:
    """The faces of an image in memory that would be masked.

    Raises:
        Quarantine: it cannot be decoded, or the detector fails.
        OutOfMemoryError: memory ran out.
    """
    decoded = worker.decode(source)
    if isinstance(decoded, Source):
        raise Quarantine(Reason.NOT_AN_IMAGE, _HOLDS_RECORDS)
    [detected] = worker.detect(Batch([decoded], [0])).items
    if isinstance(detected, Outcome):
        raise quarantine_of(detected.row)
    return detected.images[0].faces


def record_sandbox(config: Anonymization, threads: int) -> RecordSandbox:
    """A process that makes records as this one does, for records that may crash it; it is not started yet.

    Args:
        config: how.
        threads: how many records are made at once.
    """
    prepare = functools.partial(_prepare_sandbox, config, storage.beam_options())
    return Sandbox(prepare, threads, config.limits.image_timeout)


def _prepare_sandbox(config: Anonymization, beam_options: Any) -> Callable[[Source], Outcome | Source]:
    storage.set_beam_options(beam_options)
    return functools.partial(anonymize_record, worker=Worker(config))


def _empty_result(plan: ShardPlan, detector: Detector) -> ShardResult:
    return ShardResult(
        *(plan.name, plan.split),
        inputs_digest=plan.inputs_digest,
        engine=", ".join(sorted({engine.name for engine in detector.engines})),
        precision=", ".join(sorted({engine.precision for engine in detector.engines})),
        device=", ".join(sorted({engine.device for engine in detector.engines})),
    )
