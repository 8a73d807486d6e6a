"""What the command sets in its process's environment before anything else is loaded; its children inherit it."""

from __future__ import annotations

import os

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def prepare_environment() -> None:
    """Makes libraries tell errors only, and keeps proxies out of this machine's own connections."""
    # TensorFlow tells of CPU features at every import, gRPC of every fork.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Outside Google's cloud, looking for credentials waits for a server that is not there: once is enough.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    _reach_loopback_directly()


def _reach_loopback_directly() -> None:
    """Excepts loopback from proxies: Beam's processes talk through it, and gRPC would ask a proxy to lead there.

    gRPC goes by ``no_grpc_proxy`` and else by ``no_proxy``, most others by ``no_proxy`` and else by ``NO_PROXY``:
    https://github.com/grpc/grpc/blob/master/doc/environment_variables.md.
    """
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for_grpc = os.environ.get("no_grpc_proxy") or excepted
    os.environ["no_grpc_proxy"] = _with_loopback(for_grpc)
    if excepted.strip() != "*":  # which excepts everything, but only if it stands alone
        os.environ["no_proxy"] = _with_loopback(excepted)


def _with_loopback(hosts: str) -> str:
    named = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join([*named, *(host for host in _LOOPBACK if host not in named)])
