"""The machines of a cluster, played by loopback addresses of this one: each has a pool of Python workers of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clusters.jobs import ENVIRONMENT
from tests.clusters.processes import Servers, descendants, listens

# On every machine, its own pool.
POOL_HOST = "worker-pool"


def _stat(process: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


@dataclass
class Machine:
    """One machine: what runs on it in Java finds its own pool under the name that all machines use."""

    number: int
    pool_port: int
    folder: Path
    servers: Servers

    @property
    def address(self) -> str:
        return f"127.0.0.{self.number + 1}"

    @property
    def java_option(self) -> str:
        """Makes Java resolve names by a file; it knows no others then."""
        hosts = self.folder / f"hosts-{self.number}"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{self.address} {POOL_HOST}\n")
        return f"-Djdk.net.hosts.file={hosts}"

    def start_pool(self) -> None:
        command = [sys.executable, "-m", "tests.clusters.worker_pool", f"{self.address}:{self.pool_port}"]
        self.servers.start(self._pool, command, ENVIRONMENT)
        self.servers.wait_for("a pool of workers", lambda: listens(self.pool_port, self.address))

    def kill_worker(self) -> None:
        """Ends the Python process that does the work, as a crash of native code does; the pool stays."""
        for worker in descendants(self.servers.pid(self._pool), "SdkHarness"):
            os.kill(worker, signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """What its Python workers have spent, also those that have ended (proc_pid_stat(5))."""
        pool = self.servers.pid(self._pool)
        ticks = sum(map(int, _stat(pool)[13:15]))
        for worker in descendants(pool, "SdkHarness"):
            ticks += sum(map(int, _stat(worker)[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def _pool(self) -> str:
        return f"workers-{self.number}"
