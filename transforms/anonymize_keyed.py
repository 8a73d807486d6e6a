"""The PTransform that anonymizes records which a pipeline already has, one by one in and out: images or Examples."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.typehints import with_input_types, with_output_types
from apache_beam.utils.shared import Shared
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from faceveil.transforms.metrics import RecordMetrics
from faceveil.transforms.shard.read import Source, example_source, image_source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Anonymization, Worker, anonymize_in_memory

# Of a bundle, that go through the steps together: enough to keep all threads busy most of the time.
_RECORDS_PER_THREAD = 32
_BATCH_BYTES = 64 * 2**20

KeyedBytes = tuple[str, bytes]
"""A record's key, and the encoded image or serialised Example."""


class QuarantinedRecord(NamedTuple):
    """A record that could not be anonymized.

    Beam's coder for Python's own values takes it, on every runner. As one of Beam's rows, a worker that has not loaded
    this module yet would get a tuple of another class.

    Attributes:
        key: the record's.
        reason: one of ``Reason``.
        detail: more about it, or None.
    """

    key: str
    reason: str
    detail: str | None


class AnonymizedRecords(NamedTuple):
    """What becomes of records: each is in one of the two.

    Attributes:
        main: keys and anonymized records.
        quarantined: those that could not be anonymized, as ``QuarantinedRecord``.
    """

    main: beam.PCollection[KeyedBytes]
    quarantined: beam.PCollection[QuarantinedRecord]


@with_input_types(KeyedBytes)
@dataclass(eq=False)
class AnonymizeKeyed(beam.PTransform):  # type: ignore[misc]
    """Anonymizes ``(key, record)``, each as a job anonymizes a record of that key; windows and timestamps stay.

    Attributes:
        config: how; its format says whether the records are encoded images or serialised Examples.
    """

    config: Anonymization
    _shared: Shared = field(default_factory=Shared, repr=False)

    def expand(self, records: beam.PCollection[KeyedBytes]) -> AnonymizedRecords:
        """Builds the graph."""
        made = records | "Anonymize" >> beam.ParDo(_AnonymizeDoFn(self))
        # Not by tags: Beam's runtime checks would hold all outputs of a step to the type of the main one.
        return AnonymizedRecords(
            made | "Main" >> beam.FlatMap(_anonymized).with_output_types(KeyedBytes),
            made | "Quarantined" >> beam.FlatMap(_quarantined).with_output_types(QuarantinedRecord),
        )

    def load(self) -> Worker:
        """Loads the model into this process, or finds it loaded.

        Raises:
            ModelError: the model cannot be loaded.
        """
        worker: Worker = self._shared.acquire(functools.partial(Worker, self.config))
        return worker


def _anonymized(made: KeyedBytes | QuarantinedRecord) -> Iterator[KeyedBytes]:
    if not isinstance(made, QuarantinedRecord):
        yield made


def _quarantined(made: KeyedBytes | QuarantinedRecord) -> Iterator[QuarantinedRecord]:
    if isinstance(made, QuarantinedRecord):
        yield made


# Beam would take the annotations of what it fills in itself, which are text to it, for types.
@with_input_types(KeyedBytes, Any, Any)
@with_output_types(KeyedBytes | QuarantinedRecord)
class _AnonymizeDoFn(beam.DoFn):  # type: ignore[misc]
    """Works on the records of a bundle in batches, so that all of the process's threads have something to do."""

    def __init__(self, transform: AnonymizeKeyed) -> None:
        self._transform = transform

    def setup(self) -> None:
        """Gets the process's model and threads."""
        self._worker = self._transform.load()
        self._metrics = RecordMetrics(self._worker.timings)

    def start_bundle(self) -> None:
        """Begins with an empty batch, whatever became of the last bundle."""
        self._waiting: list[WindowedValue] = []
        self._waiting_bytes = 0

    def process(
        self,
        record: KeyedBytes,
        timestamp: Timestamp = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        """Takes a record, and anonymizes all that wait once these are enough."""
        self._waiting.append(WindowedValue(record, timestamp, [window]))
        self._waiting_bytes += len(record[1])
        if len(self._waiting) >= _RECORDS_PER_THREAD * self._worker.pool.threads or self._waiting_bytes >= _BATCH_BYTES:
            yield from self._make()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Anonymizes what is left."""
        yield from self._make()

    def _make(self) -> Iterator[WindowedValue]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        sources = (self._source(*record.value) for record in waiting)
        for record, outcome in zip(waiting, anonymize_in_memory(sources, self._worker), strict=True):
            self._metrics.count(outcome.row)
            yield record.with_value(_made_of(outcome))

    def _source(self, key: str, data: bytes) -> Source | Outcome:
        if self._worker.config.format == "tfrecord":
            return example_source(key, data, self._worker.config.limits.max_image_bytes)
        return image_source(key, data)


def _made_of(outcome: Outcome) -> KeyedBytes | QuarantinedRecord:
    row = outcome.row
    if outcome.serialized is None:
        return QuarantinedRecord(row.key, str(row.reason), row.detail)
    return row.key, outcome.serialized
