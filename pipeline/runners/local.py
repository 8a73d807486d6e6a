"""Beam's runner for one machine: its worker processes end when this one does, and how one has died is told."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.python_urns import SUBPROCESS_SDK
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from faceveil.transforms.errors import WorkerDiedError
from faceveil.transforms.runtime.child_process import shell_command

_EXITED = re.compile(r"Worker subprocess exited with return code (-?\d+)")
_CLOSED = "Channel closed prematurely"  # what the runner says when a worker has died
# The thread that waits for a worker may notice its end a little later than the one that talks to it.
_NOTICED_SECONDS = 1.0


class DirectRunner(FnApiRunner):  # type: ignore[misc]
    """The FnApiRunner, named outright: Beam's own DirectRunner would first look for Prism and fall back in silence."""

    def run_via_runner_api(self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Runs a pipeline.

        Raises:
            WorkerDiedError: one of several worker processes has died.
        """
        # The runner itself has chosen the workers' command just before.
        for environment in pipeline.components.environments.values():
            if environment.urn == SUBPROCESS_SDK:
                environment.payload = shell_command("apache_beam.runners.worker.sdk_worker_main").encode()
        with _worker_exits() as exits:
            try:
                return super().run_via_runner_api(pipeline, options)
            except Exception as error:
                if not exits and _CLOSED in str(error):
                    time.sleep(_NOTICED_SECONDS)
                if exits or _CLOSED in str(error):
                    raise WorkerDiedError(f"a worker process has died{_cause(exits)}") from error
                raise


@contextlib.contextmanager
def _worker_exits() -> Iterator[list[int]]:
    """Collects how workers have died, instead of the traces of all threads of the runner that have to do with them."""
    exits: list[int] = []
    before = threading.excepthook

    def note(args: threading.ExceptHookArgs) -> None:
        exited = _EXITED.search(str(args.exc_value))
        if exited:
            exits.append(int(exited[1]))
        elif args.exc_type.__module__.partition(".")[0] != "grpc":
            before(args)

    threading.excepthook = note
    try:
        yield exits
    finally:
        threading.excepthook = before


def _cause(exits: list[int]) -> str:
    if not exits:
        return ""
    if exits[0] >= 0:
        return f" (exit status {exits[0]})"
    cause = signal.Signals(-exits[0])
    return f" ({cause.name}{', as the kernel does when memory runs out' if cause == signal.SIGKILL else ''})"
