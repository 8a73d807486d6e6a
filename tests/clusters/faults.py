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


def _check_one_file(photos: Path, folder: Path, cluster: Cluster, count: int) -> None:
    """Runs a job on one TFRecord file, which both machines share."""
    file = jobs.write_records(folder / "records" / "all.tfrecord", photos)
    options = ("--shard_bytes", file.stat().st_size // jobs.SHARDS + 1)
    local = jobs.start(file.parent, folder / "one-file", *options)
    local.wait()
    before = [machine.cpu_seconds() for machine in cluster.machines]
    job = jobs.start(file.parent, folder / "one-file-shared", *options, *cluster.options)
    job.wait()
    jobs.check_same(job.output, local.output, count)
    spent = [machine.cpu_seconds() - so_far for machine, so_far in zip(cluster.machines, before, strict=True)]
    assert min(spent) > 0.25 * sum(spent), f"one file was not shared: {spent} seconds of CPU"
    shares = " and ".join(f"{seconds / sum(spent):.0%}" for seconds in spent)
    print(f"one TFRecord file of {job.finished_shards} shards: the machines did {shares} of it", flush=True)


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
        _check_one_file(photos, folder, cluster, count)
    print(f"{count} records in each, none twice, and the same bytes in every file")
