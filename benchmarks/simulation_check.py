"""Whether the simulation tells what jobs take: fitted to three runs on this machine, compared with three others.

    python -m benchmarks.simulation_check [--records 40000] [--repeat 1]

A worker process on a core of its own plays a machine, a local job with several of them a cluster. Small JPEGs and a
detector that does nearly nothing, as in `benchmarks.scale`. Wants quiet cores, two at least.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.scale import SIDE, write_detector, write_images, write_tfrecords
from benchmarks.simulation import Costs, Work, simulate

_LOCAL = Costs(request=0.0, machine_start=0.0, shards_at_once=1, speed_spread=0.0, shard_spread=0.0, shard_sum=0.0)


@dataclass(frozen=True)
class Run:
    """A job that was measured."""

    seconds: float
    shards: int


def measure(inputs: Path, model: Path, machines: int, shards: int, repeat: int) -> Run:
    """The median of a job with so many worker processes, each with a thread, and about so many shards."""
    total = sum(path.stat().st_size for path in inputs.rglob("*") if path.is_file())
    workers = ["--direct_running_mode", "multi_processing", "--direct_num_workers", str(machines)]
    options = ["--detect_size", str(SIDE), "--quality", "fast", "--score_threshold", "0.5", "--model", str(model)]
    use_cores = functools.partial(os.sched_setaffinity, 0, set(range(machines)))
    taken = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "faceveil", "run", "--input", f"{inputs}/**", "--output", f"{folder}/out"]
            command += ["--shard_bytes", str(total // shards + 1), *options, *(workers if machines > 1 else [])]
            begun = time.monotonic()
            subprocess.run(command, check=True, capture_output=True, preexec_fn=use_cores)  # noqa: S603
            taken.append(time.monotonic() - begun)
            made = len(json.loads(Path(folder, "out", "manifest.json").read_text())["shards"])
    return Run(statistics.median(taken), made)


def main() -> None:
    """Prints what was fitted, and for each other run what it took and what the simulation says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=40_000, help="of the smallest run (%(default)s)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; their medians count")
    given = parser.parse_args()
    few = given.records
    with tempfile.TemporaryDirectory(prefix="faceveil-simulation-") as name:
        folder = Path(name)
        model = folder / "model"
        write_detector(model)
        for count in (few, 3 * few, 6 * few):
            write_tfrecords(folder / str(count), count)
        write_images(folder / "files", 2 * few)
        run = functools.partial(measure, model=model, repeat=given.repeat)
        least, most = (run(folder / str(count), machines=1, shards=count // 4000) for count in (few, 3 * few))
        fine = run(folder / str(few), machines=1, shards=few // 400)
        shard = max(0.0, (fine.seconds - least.seconds) / (fine.shards - least.shards))
        rate = 2 * few / (most.seconds - least.seconds - shard * (most.shards - least.shards))
        costs = replace(_LOCAL, rate=rate, shard=shard, launch=least.seconds - few / rate - shard * least.shards)
        print(f"fitted: {costs.launch:.1f} s to launch, {rate:.0f} records/s on a core, {1000 * shard:.0f} ms a shard")
        worst = 0.0
        for inputs, machines, count in ((str(6 * few), 1, 6 * few), (str(6 * few), 2, 6 * few), ("files", 2, 2 * few)):
            took = run(folder / inputs, machines=machines, shards=count // 4000)
            work = Work(count, files=count if inputs == "files" else 1, shards=took.shards)
            says = simulate(work, machines, costs).seconds
            worst = max(worst, abs(says / took.seconds - 1))
            kind = "files" if inputs == "files" else "records"
            print(f"{count} {kind}, {machines} machines: {took.seconds:.1f} s, simulated {says:.1f} s", flush=True)
        print(f"at most {worst:.0%} off")


if __name__ == "__main__":
    main()
