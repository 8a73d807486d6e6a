"""The ceiling: what a job does to every image, by the same functions, on all cores, without Beam."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.quality import QualityName
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.shard.progress import ProgressFile
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.worker import Anonymization, Worker, anonymize_record


def main(folder: str, output: str, quality: QualityName) -> None:
    """Anonymizes the photos of a folder into one TFRecord file.

    Args:
        folder: of the photos.
        output: the file.
        quality: how closely they are looked at.
    """
    options = JobOptions(quality=quality)
    threads = usable_cores()
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = detector_config(options, models, options.score_threshold)
    style = Style(options.geometry, options.strength)
    worker = Worker(Anonymization(detector, options.method, style, options.features, (), options.limits))
    progress = ProgressFile(tempfile.mkdtemp(prefix="faceveil-progress-"))
    sources = _sources(Path(folder))
    lock, checksum = threading.Lock(), hashlib.sha256()

    def work() -> None:
        while True:
            with lock:
                source = next(sources, None)
            if source is None:
                return
            finished = anonymize_record(source, worker)
            assert isinstance(finished, Outcome), finished
            framed = frame(finished.serialized or b"")
            with lock:
                file.write(framed)
                checksum.update(framed)
                progress.count(finished.row)

    with open(output, "wb") as file, ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()


def _sources(folder: Path) -> Iterator[Source]:
    for path in sorted(folder.iterdir()):
        yield Source(path.name, str(path), None, path.stat().st_size)


if __name__ == "__main__":
    _, _folder, _output, _quality = sys.argv
    main(_folder, _output, _quality)  # type: ignore[arg-type]
