"""A Spark cluster that loses a machine and a worker in the middle of a job.

    python -m tests.clusters.spark

A master, two workers with a pool of Python workers each, and Beam's job server. The output has to be, byte for byte,
that of the DirectRunner.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tests.clusters import faults, parts
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
        self._home = parts.site_packages(parts.venv("spark")) / "pyspark"
        self._job_server = parts.job_server("spark")
        parts.command("java", "Java 17")

    def start(self) -> None:
        self._start("master", "master.Master", "--port", self._master, "--webui-port", 0)
        self._servers.wait_for("the master", lambda: listens(self._master))
        for machine in self.machines:
            machine.start_pool()
            self.start_runner(machine)

    def start_runner(self, machine: Machine) -> None:
        work = self._folder / f"work-{machine.number}"
        options = ["--webui-port", 0, "--cores", 1, "--memory", "1g", "--work-dir", work]
        # Executors have it from their worker.
        environment = {"JAVA_TOOL_OPTIONS": machine.java_option}
        master = f"spark://127.0.0.1:{self._master}"
        self._start(f"worker-{machine.number}", "worker.Worker", *options, master, **environment)

    def kill_runner(self, machine: Machine) -> None:
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


if __name__ == "__main__":
    run(partial(faults.check, "Spark", Cluster), photos=400)
