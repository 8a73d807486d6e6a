"""What a container is to a process: namespaces of its own, where it has a small number and the machine another name."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence

import pytest

_NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")


def in_container(*command: object, host: str = "box", shares_name: bool = False) -> list[str]:
    """The command in namespaces of its own, where it is process 2; the test is skipped where none can be made.

    Args:
        command: what to run.
        host: the machine's name in there.
        shares_name: whether the name is the machine's own instead.
    """
    prefix = _unshare()
    if shares_name:
        return [*(part for part in prefix if part != "--uts"), *_second_process(command)]
    return [*prefix, "sh", "-c", 'hostname "$0" && "$@"; exit $?', host, *map(str, command)]


def _second_process(command: Sequence[object]) -> list[str]:
    return ["sh", "-c", '"$@"; exit $?', "sh", *map(str, command)]


def mount_namespace() -> list[str]:
    """What a command begins with that may mount without anybody else seeing it; else the test is skipped."""
    return list(_first_that_works(("unshare", "--mount"), "mount -t tmpfs tmpfs /mnt"))


def _unshare() -> list[str]:
    return list(_first_that_works(_NAMESPACES, "hostname box"))


@functools.cache
def _first_that_works(namespaces: tuple[str, ...], trial: str) -> tuple[str, ...]:
    for prefix in (namespaces, (*namespaces, "--user", "--map-root-user")):
        try:
            if subprocess.run([*prefix, "sh", "-c", trial], capture_output=True, check=False).returncode == 0:
                return prefix
        except OSError as error:
            pytest.skip(f"needs unshare, of util-linux: {error}")
    pytest.skip("needs namespaces, which this machine does not let this user make")
