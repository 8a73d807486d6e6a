"""What a cluster of two machines has to get through: jobs that lose one of them, or a worker, against a local one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.clusters import jobs
from tests.clusters.machines import Machine
from tests.clusters.processes import Servers


class Cluster(Protocol):
    """A cluster once it is set up."""

    machines: list[Machine]

    @property
    def options(self) -> list[object]:
        """What a job needs to run here."""

    def start(self) -> None:
        """Starts all of it."""

    def start_runner(self, machine: Machine) -> None:
        """Starts what runs jobs on a machine, beside its pool of Python workers."""

    def kill_runner(self, machine: Machine) -> None:
        """Ends that as a power failure does."""


def check(name: str, set_up: Callable[[Servers, Path], Cluster], folder: Path, count: int) -> None:
    """Runs a job undisturbed, one that loses a machine's runner, and one that loses a Python worker.

    Raises:
        AssertionError: one of them fails, or its output is not the DirectRunner's to the byte.
    """
    photos = jobs.write_photos(folder / "photos", count)
    with Servers(folder / "logs") as servers:
        cluster = set_up(servers, folder)
        local = jobs.start(photos, folder / "local")
        print(f"DirectRunner: {count / local.wait():.1f} images/s, start-up included", flush=True)
        cluster.start()
        plain = jobs.start(photos, folder / "undisturbed", *cluster.options)
        print(f"{name}: {count / plain.wait():.1f} images/s, start-up included", flush=True)
        jobs.check_same(plain.output, local.output, count)

        job = jobs.start(photos, folder / "machine-killed", *cluster.options)
        job.wait_for_shards(8)
        cluster.kill_runner(cluster.machines[0])
        print(f"killed a machine's runner after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
        cluster.start_runner(cluster.machines[0])
        job.wait()
        jobs.check_same(job.output, local.output, count)

        job = jobs.start(photos, folder / "worker-killed", *cluster.options)
        job.wait_for_shards(8)
        cluster.machines[1].kill_worker()
        print(f"killed a Python worker after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
        job.wait()
        jobs.check_same(job.output, local.output, count)
    print(f"{count} records in each, none twice, and the same bytes in every file")
