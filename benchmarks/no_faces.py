"""What an image without faces costs beyond decoding it and looking for faces: CPU time on one thread."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.shard.detect import decode, detect
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome, Record
from faceveil.transforms.shard.worker import Anonymization, Worker, anonymize_record

NO_FACES = "an image without faces / decode and detect"


def cost_ratio(photos: Path, count: int) -> float:
    """The median over photos of the cost of the whole work over that of decoding and detecting alone.

    Args:
        photos: a folder of them; a threshold of 1 makes all of them images without faces.
        count: how many to take.
    """
    options = JobOptions(score_threshold=1.0)
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = detector_config(options, models, options.score_threshold)
    worker = Worker(Anonymization(detector, options.method, Style(), options.features, (), options.limits))

    def whole(source: Source) -> None:
        outcome = anonymize_record(source, worker)
        assert isinstance(outcome, Outcome), outcome
        frame(outcome.serialized or b"")

    def look(source: Source) -> None:
        decoded = decode(source, options.features, worker.detector, options.limits)
        assert isinstance(decoded, Record), decoded
        detect([decoded], worker.detector)

    sources = [Source(path.name, str(path), None, 0) for path in sorted(photos.iterdir())[:count]]
    ratios = []
    for source in sources:
        look(source)  # the shape is new
        # In turns, so that whatever else the machine does meets both.
        costs = [(_cpu_seconds(whole, source), _cpu_seconds(look, source)) for _ in range(3)]
        ratios.append(min(cost for cost, _ in costs) / min(cost for _, cost in costs))
    return statistics.median(ratios)


def _cpu_seconds(function: object, source: Source) -> float:
    start = time.process_time()
    function(source)  # type: ignore[operator]
    return time.process_time() - start
