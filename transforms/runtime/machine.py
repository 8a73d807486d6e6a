"""What the system tells of this machine, its processes and its containers; None where it does not tell.

Linux tells all of it in ``/proc``; elsewhere only names and numbers of processes are known.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True)
class ProcessIdentity:
    """What tells a process from all others, also from one that has its number later or in another container.

    Attributes:
        host: the machine's name.
        machine: its number (https://man7.org/linux/man-pages/man5/machine-id.5.html).
        boot: another one each time its kernel starts; containers of a machine share it
            (``boot_id`` in https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html).
        pid_namespace: within which its number holds; a container's processes have one of their own
            (https://man7.org/linux/man-pages/man7/pid_namespaces.7.html).
        uts_namespace: within which the machine's name holds.
        pid: its number.
        started: when it started, in ticks of the clock since the kernel did.
    """

    host: str
    machine: str | None
    boot: str | None
    pid_namespace: str | None
    uts_namespace: str | None
    pid: int
    started: str | None


def this_process() -> ProcessIdentity:
    """The identity of the process that asks.

    Example usage::

        >>> this_process() == this_process(), this_process().pid == os.getpid()
        (True, True)
    """
    pid = os.getpid()
    return ProcessIdentity(
        socket.gethostname(), _read(_MACHINE_ID), boot_id(), _namespace("pid"), _namespace("uts"), pid, start_time(pid)
    )


def boot_id() -> str | None:
    """What is another one each time the machine's kernel starts."""
    return _read(_BOOT_ID)


def start_time(pid: int) -> str | None:
    """When a process started, in ticks of the clock since the kernel did."""
    return _stat(pid, 22)


def is_running(pid: int, started: str | None) -> bool:
    """Whether a process of this number is there, and is the one that started then as far as that is known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # A zombie, which has ended but was not waited for, still answers.
    return _stat(pid, 3) not in ("Z", "X") and (started is None or start_time(pid) in (started, None))


def oom_kills() -> int | None:
    """How many processes the kernel has killed since it started because memory ran out, in all containers."""
    for line in (_read(_VMSTAT) or "").splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def _stat(pid: int, field: int) -> str | None:
    """A field of /proc/PID/stat, counted from 1 as in https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    # The second field is the command's name in brackets, which may hold spaces and brackets.
    fields = (_read(Path(f"/proc/{pid}/stat")) or "").rpartition(")")[2].split()
    return fields[field - 3] if fields else None


def _namespace(kind: str) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/ns/{kind}")
    return None


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()  # the name of a command may hold any bytes
    return None
