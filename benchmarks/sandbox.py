"""What it costs to make records in a sandbox, as after a crash: the rate of a shard in one, over the rate without.

    python -m benchmarks.sandbox [--photos FOLDER] [--count 120] [--repeat 3]

The sandbox's start, which loads a model once more, is told apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.photos import find_photos
from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.worker import Anonymization, RecordSandbox, Worker, anonymize_shard, record_sandbox


def main() -> None:
    """Prints the medians, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    options = JobOptions()
    models = [model.directory for model in resolve_models(options.detector.models)]
    detector = detector_config(options, models, options.score_threshold)
    worker = Worker(Anonymization(detector, options.method, Style(options.geometry), options.features))
    listed = sorted(list_inputs([Input("data", str(given.photos or find_photos()))], 0), key=lambda file: file.key)
    plan = ShardPlan("data", 0, 1, "image", tuple(listed[: given.count]))

    def seconds(sandbox: RecordSandbox | None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            output = OutputLayout(folder, f"{folder}/records", "")
            anonymize_shard(plan, output, worker, lambda _: None, sandbox=sandbox)()
            return time.monotonic() - began

    with record_sandbox(worker.config, worker.pool.threads) as sandbox:
        began = time.monotonic()
        sandbox.run(Source("none", "/dev/null", None, 0), "none")
        print(f"the sandbox starts in {time.monotonic() - began:.1f} s")
        seconds(None)
        pairs = [(seconds(None), seconds(sandbox)) for _ in range(given.repeat)]
    plain, careful = (statistics.median(column) for column in zip(*pairs, strict=True))
    count = len(plan.files)
    print(
        f"{count / plain:.1f} images/s without, {count / careful:.1f} in a sandbox: {plain / careful:.2f} of the rate"
    )


if __name__ == "__main__":
    main()
