"""A Flink cluster that loses a TaskManager and a worker in the middle of a job.

    python -m tests.clusters.flink

A JobManager, two TaskManagers with a pool of Python workers each, and Beam's job server. The output has to be, byte for
byte, that of the DirectRunner.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.clusters import faults, parts
from tests.clusters.command import run
from tests.clusters.machines import POOL_HOST, Machine
from tests.clusters.processes import Servers, free_port, listens
from tests.conftest import ROOT

# What Flink's own start scripts open of Java 17's modules
# (https://nightlies.apache.org/flink/flink-docs-release-1.19/docs/deployment/java_compatibility/).
_OPEN = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.text"),
        *("java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic"),
        *("java.util.concurrent.locks", "sun.nio.ch"),
    )
]
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = CONSOLE
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1} %m%n
"""


class Cluster:
    """A JobManager, its TaskManagers and a pool of Python workers."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._rest, self._rpc, self._pool = free_port(), free_port(), free_port()
        self.machines = [Machine(number, self._pool, folder, servers) for number in (1, 2)]
        self._jars = parts.site_packages(parts.venv("flink")) / "pyflink" / "lib"
        self._job_server = parts.job_server("flink")
        (folder / "conf").mkdir()
        (folder / "conf" / "log4j.properties").write_text(_LOG4J)
        (folder / "conf" / "config.yaml").write_text(self._config())

    def _config(self) -> str:
        lines = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.memory.process.size": "1g",
            "rest.address": "localhost",
            "rest.port": self._rest,
            "rest.bind-address": "127.0.0.1",
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": 1,
            # Without one, Flink gives a job up at its first fault.
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 10,
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,
            "io.tmp.dirs": self._folder,
            # What the start script would work out of a process's total size.
            "taskmanager.cpu.cores": 1,
            "taskmanager.memory.task.heap.size": "256m",
            "taskmanager.memory.task.off-heap.size": "0",
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.network.min": "64m",
            "taskmanager.memory.network.max": "64m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
        }
        return "".join(f"{key}: {value}\n" for key, value in lines.items())

    def start(self) -> None:
        self._java("jobmanager", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint")
        self._servers.wait_for("the JobManager", lambda: listens(self._rest))
        for machine in self.machines:
            machine.start_pool()
            self.start_runner(machine)

    def start_runner(self, machine: Machine) -> None:
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        self._java(f"taskmanager-{machine.number}", main, machine.java_option)

    def kill_runner(self, machine: Machine) -> None:
        self._servers.kill(f"taskmanager-{machine.number}")

    def _java(self, name: str, main: str, *more: str) -> None:
        conf = self._folder / "conf"
        options = [f"-Dlog4j.configurationFile={conf / 'log4j.properties'}", "-Xmx512m", *_OPEN, *more]
        java = parts.command("java", "Java 17")
        self._servers.start(name, [java, *options, "-cp", f"{self._jars}/*", main, "--configDir", conf])

    @property
    def options(self) -> list[object]:
        """What a job needs to run here."""
        return [
            *("--config", ROOT / "configs" / "flink.yaml"),
            *("--flink_master", f"localhost:{self._rest}"),
            *("--flink_job_server_jar", self._job_server),
            *("--parallelism", 2),
            *("--environment_config", f"{POOL_HOST}:{self._pool}"),
            *("--temp_location", self._folder / "temp"),
        ]


if __name__ == "__main__":
    run(partial(faults.check, "Flink", Cluster), photos=400)
