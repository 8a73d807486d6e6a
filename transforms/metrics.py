"""What the metrics of a pipeline say of records, as the runner shows them."""

from __future__ import annotations

from apache_beam.metrics import Metrics

from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.runtime.timings import Timings
from faceveil.transforms.shard.worker import STEPS

NAMESPACE = "faceveil"


class RecordMetrics:
    """What a pipeline's metrics say of records, in the namespace ``faceveil``; of use in a DoFn's own thread alone.

    Counters: ``anonymized``, ``no_faces``, ``quarantined``, ``faces``. Distributions: ``decode_milliseconds``,
    ``detect_milliseconds`` and ``anonymize_milliseconds``, of each image.

    Args:
        timings: where they are taken from.
    """

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._counters = {status: Metrics.counter(NAMESPACE, status) for status in Status}
        self._faces = Metrics.counter(NAMESPACE, "faces")
        self._steps = {step: Metrics.distribution(NAMESPACE, f"{step}_milliseconds") for step in STEPS}

    def count(self, row: Row) -> None:
        """Adds one record, and what was measured meanwhile, of this record or of others."""
        self._counters[row.status].inc()
        self._faces.inc(row.face_count)
        for step, milliseconds in self._timings.take():
            self._steps[step].update(milliseconds)
