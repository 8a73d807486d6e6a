"""The PTransform that anonymizes images which a pipeline already has, one by one in and out."""

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
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Anonymization, Worker, anonymize_images

# Of a bundle, that go through the steps together: enough to keep all threads busy most of the time.
_IMAGES_PER_THREAD = 32
_BATCH_BYTES = 64 * 2**20

KeyedImage = tuple[str, bytes]
"""An image's key, and the image as it is encoded."""


class QuarantinedImage(NamedTuple):
    """An image that could not be anonymized.

    Beam's coder for Python's own values takes it, on every runner. As one of Beam's rows, a worker that has not loaded
    this module yet would get a tuple of another class.

    Attributes:
        key: the image's.
        reason: one of ``Reason``.
        detail: more about it, or None.
    """

    key: str
    reason: str
    detail: str | None


class AnonymizedImages(NamedTuple):
    """What becomes of images: each is in one of the two.

    Attributes:
        main: keys and anonymized images.
        quarantined: those that could not be anonymized, as ``QuarantinedImage``.
    """

    main: beam.PCollection[KeyedImage]
    quarantined: beam.PCollection[QuarantinedImage]


@with_input_types(KeyedImage)
@dataclass(eq=False)
class AnonymizeKeyedImages(beam.PTransform):  # type: ignore[misc]
    """Anonymizes ``(key, image)``, each as a job anonymizes a file of that key; windows and timestamps stay.

    Attributes:
        config: how; its format is images.
    """

    config: Anonymization
    _shared: Shared = field(default_factory=Shared, repr=False)

    def expand(self, images: beam.PCollection[KeyedImage]) -> AnonymizedImages:
        """Builds the graph."""
        made = images | "Anonymize" >> beam.ParDo(_AnonymizeImageDoFn(self))
        # Not by tags: Beam's runtime checks would hold all outputs of a step to the type of the main one.
        return AnonymizedImages(
            made | "Main" >> beam.FlatMap(_anonymized).with_output_types(KeyedImage),
            made | "Quarantined" >> beam.FlatMap(_quarantined).with_output_types(QuarantinedImage),
        )

    def load(self) -> Worker:
        """Loads the model into this process, or finds it loaded.

        Raises:
            ModelError: the model cannot be loaded.
        """
        worker: Worker = self._shared.acquire(functools.partial(Worker, self.config))
        return worker


def _anonymized(made: KeyedImage | QuarantinedImage) -> Iterator[KeyedImage]:
    if not isinstance(made, QuarantinedImage):
        yield made


def _quarantined(made: KeyedImage | QuarantinedImage) -> Iterator[QuarantinedImage]:
    if isinstance(made, QuarantinedImage):
        yield made


# Beam would take the annotations of what it fills in itself, which are text to it, for types.
@with_input_types(KeyedImage, Any, Any)
@with_output_types(KeyedImage | QuarantinedImage)
class _AnonymizeImageDoFn(beam.DoFn):  # type: ignore[misc]
    """Works on the images of a bundle in batches, so that all of the process's threads have something to do."""

    def __init__(self, transform: AnonymizeKeyedImages) -> None:
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
        image: KeyedImage,
        timestamp: Timestamp = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        """Takes an image, and anonymizes all that wait once these are enough."""
        self._waiting.append(WindowedValue(image, timestamp, [window]))
        self._waiting_bytes += len(image[1])
        if len(self._waiting) >= _IMAGES_PER_THREAD * self._worker.pool.threads or self._waiting_bytes >= _BATCH_BYTES:
            yield from self._make()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Anonymizes what is left."""
        yield from self._make()

    def _make(self) -> Iterator[WindowedValue]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        outcomes = anonymize_images((image.value for image in waiting), self._worker)
        for image, outcome in zip(waiting, outcomes, strict=True):
            self._metrics.count(outcome.row)
            yield image.with_value(_made_of(outcome))


def _made_of(outcome: Outcome) -> KeyedImage | QuarantinedImage:
    row = outcome.row
    if outcome.serialized is None:
        return QuarantinedImage(row.key, str(row.reason), row.detail)
    return row.key, outcome.serialized
