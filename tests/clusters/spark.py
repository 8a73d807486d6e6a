"""A Spark cluster that loses a machine and a worker in the middle of a job.

    python -m tests.clusters.spark

A master, two workers with a pool of Python workers each, and Beam's job server. The output has to be, byte for byte,
that of the DirectRunner.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.clusters import jobs, parts
from tests.clusters.command import run
from tests.clusters.machines import POOL_HOST, Machine
from tests.clusters.processes import Servers, free_port, listens
from tests.conftest import ROOT


class Cluster:
    """A master, its workers, and a pool of Python workers beside each."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._master, self._pool = free_port(), free_port()
        self.machines = [Machine(number, self._pool, folder, servers) for number in (1, 2)]
        self._home = parts.site_packages(parts.venv("spark", "--no-deps")) / "pyspark"
        self._job_server = parts.job_server("spark")
        parts.command("java", "Java 17")

    def start(self) -> None:
        self._start("master", "master.Master", "--port", self._master, "--webui-port", 0)
        self._servers.wait_for("the master", lambda: listens(self._master))
        for machine in self.machines:
            machine.start_pool()
            self.start_worker(machine)

    def start_worker(self, machine: Machine) -> None:
        work = self._folder / f"work-{machine.number}"
        options = ["--webui-port", 0, "--cores", 1, "--memory", "1g", "--work-dir", work]
        # Executors have it from their worker.
        environment = {"JAVA_TOOL_OPTIONS": machine.java_option}
        master = f"spark://127.0.0.1:{self._master}"
        self._start(f"worker-{machine.number}", "worker.Worker", *options, master, **environment)

    def kill_worker(self, machine: Machine) -> None:
        """Ends a worker of Spark with its executor."""
        self._servers.kill(f"worker-{machine.number}")

    def _start(self, name: str, main: str, *options: object, **environment: str) -> None:
        local = {"SPARK_HOME": str(self._home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1"}
        command = [self._home / "bin" / "spark-class", f"org.apache.spark.deploy.{main}", "--host", "127.0.0.1"]
        self._servers.start(name, [*command, *options], {**os.environ, **local, **environment})

    @property
    def options(self) -> list[object]:
        """What a job needs to run here."""
        return [
            *("--config", ROOT / "configs" / "spark.yaml"),
            *("--spark_master_url", f"spark://127.0.0.1:{self._master}"),
            *("--spark_job_server_jar", self._job_server),
            *("--environment_config", f"{POOL_HOST}:{self._pool}"),
            *("--temp_location", self._folder / "temp"),
        ]


def check(folder: Path, count: int) -> None:
    photos = jobs.write_photos(folder / "photos", count)
    with Servers(folder / "logs") as servers:
        cluster = Cluster(servers, folder)
        local = jobs.start(photos, folder / "local")
        print(f"DirectRunner: {count / local.wait():.1f} images/s, start-up included", flush=True)
        cluster.start()
        plain = jobs.start(photos, folder / "spark", *cluster.options)
        print(f"Spark: {count / plain.wait():.1f} images/s, start-up included", flush=True)
        jobs.check_same(plain.output, local.output, count)

        job = jobs.start(photos, folder / "machine-killed", *cluster.options)
        job.wait_for_shards(8)
        cluster.kill_worker(cluster.machines[0])
        print(f"killed a machine after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
        cluster.start_worker(cluster.machines[0])
        job.wait()
        jobs.check_same(job.output, local.output, count)

        job = jobs.start(photos, folder / "worker-killed", *cluster.options)
        job.wait_for_shards(8)
        cluster.machines[1].kill_worker()
        print(f"killed a Python worker after {job.finished_shards} of {jobs.SHARDS} shards", flush=True)
        job.wait()
        jobs.check_same(job.output, local.output, count)
    print(f"{count} records in each, none twice, and the same bytes in every file")


if __name__ == "__main__":
    run(check, photos=1000)
