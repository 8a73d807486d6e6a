"""Prism, Beam's own runner for one machine, beside the DirectRunner: the same bytes, killed or not, and their rates.

python -m tests.clusters.prism
"""

from __future__ import annotations

import os
import signal
import statistics
from pathlib import Path

from tests.clusters import jobs, parts
from tests.clusters.command import run
from tests.clusters.processes import descendants
from tests.conftest import ROOT

ROUNDS = 3


def check(folder: Path, count: int) -> None:
    photos = jobs.write_photos(folder / "photos", count)
    options = ["--config", ROOT / "configs" / "prism.yaml", "--prism_location", parts.prism()]
    rates: dict[str, list[float]] = {"DirectRunner": [], "Prism": []}
    for number in range(ROUNDS):
        local = jobs.start(photos, folder / f"local-{number}")
        rates["DirectRunner"].append(count / local.wait())
        prism = jobs.start(photos, folder / f"prism-{number}", *options)
        rates["Prism"].append(count / prism.wait())
        jobs.check_same(prism.output, local.output, count)
    expected = folder / "local-0"
    for runner, found in rates.items():
        print(f"{runner}: {statistics.median(found):.1f} images/s, start-up included, of {ROUNDS}", flush=True)

    job = jobs.start(photos, folder / "job-killed", *options)
    job.wait_for_shards(8)
    os.killpg(job.process.pid, signal.SIGKILL)
    job.process.communicate()
    print(f"killed the job after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
    jobs.start(photos, job.output, *options).wait()
    jobs.check_same(job.output, expected, count)

    job = jobs.start(photos, folder / "prism-killed", *options)
    job.wait_for_shards(8)
    for process in descendants(job.process.pid, "prism --job_port"):
        os.kill(process, signal.SIGKILL)
    print(f"killed Prism after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
    job.wait(status=5)
    jobs.start(photos, job.output, *options).wait()
    jobs.check_same(job.output, expected, count)
    print(f"{count} records in each, none twice, and the same bytes in every file")


if __name__ == "__main__":
    run(check, photos=400)
