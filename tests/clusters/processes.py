"""Servers that a check starts: on free ports of this machine, each with a log, and stopped again whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Servers:
    """The servers of one check, by name; leaving the block ends them all, with what they have started."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Servers:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exception: object) -> None:
        for name in list(self._running):
            self.kill(name)

    def start(self, name: str, command: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        """Starts a server in a session of its own; what it says goes to its log."""
        with open(self.logs / f"{name}.log", "ab") as log:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """Ends a server and its children as a power failure does."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_for(self, what: str, there: Callable[[], object], seconds: float = 120) -> None:
        """Waits until something is there.

        Raises:
            RuntimeError: it is not, or a server has ended meanwhile.
        """
        ends = time.monotonic() + seconds
        while True:
            with suppress(OSError):
                if there():
                    return
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > ends:
                why = f"{ended[0]} has ended" if ended else f"it did not come in {seconds:g} s"
                raise RuntimeError(f"{what}: {why}; see the logs in {self.logs}\n{self._last_words(ended)}")
            time.sleep(0.2)

    def _last_words(self, names: Sequence[str]) -> str:
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace")[-3000:] for name in names)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def listens(port: int, address: str = "127.0.0.1") -> bool:
    """Whether somebody answers on a port of this machine."""
    with socket.create_connection((address, port), timeout=1):
        return True


def parent(pid: int) -> int:
    """The process that has started another one, by /proc."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int, command: str) -> list[int]:
    """The processes below another one whose command line contains a text; those further down come later."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = parent(int(entry.name))
    below = [pid]
    for process in below:
        below += [child for child, its_parent in parents.items() if its_parent == process]
    found = []
    for process in below[1:]:
        with suppress(OSError):
            if command in Path(f"/proc/{process}/cmdline").read_text().replace("\0", " "):
                found.append(process)
    return found
