"""What the metrics of a pipeline say of records, as the runner shows them."""

from __future__ import annotations

from apache_beam.metrics import Metrics

from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.quarantine import Reason
from faceveil.transforms.runtime.timings import Timings
from faceveil.transforms.shard.worker import STEPS

NAMESPACE = "faceveil"
_AMOUNTS = {
    "face_count": "faces",
    "given_faces": "given_faces",
    "fallback_faces": "fallback_faces",
    "reencoded": "reencoded",
}
"""The counters of what a row tells in numbers."""


class RecordMetrics:
    """What a pipeline's metrics say of records, in the namespace ``faceveil``; of use in a DoFn's own thread alone.

    Counters: a record's status, ``quarantined_`` and the reason, ``reencoded``, ``faces``, and of these ``given_faces``
    and ``fallback_faces``. Distributions: a step and ``_milliseconds``, of each image.

    Args:
        timings: where they are taken from.
    """

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._counters = {status: Metrics.counter(NAMESPACE, status) for status in Status}
        self._reasons = {str(reason): Metrics.counter(NAMESPACE, f"quarantined_{reason}") for reason in Reason}
        self._amounts = {name: Metrics.counter(NAMESPACE, counter) for name, counter in _AMOUNTS.items()}
        self._steps = {step: Metrics.distribution(NAMESPACE, f"{step}_milliseconds") for step in STEPS}

    def count(self, row: Row) -> None:
        """Adds one record, and what was measured meanwhile, of this record or of others."""
        self._counters[row.status].inc()
        if row.reason is not None:
            self._reasons[row.reason].inc()
        for name, counter in self._amounts.items():
            counter.inc(int(getattr(row, name)))
        for step, milliseconds in self._timings.take():
            self._steps[step].update(milliseconds)
