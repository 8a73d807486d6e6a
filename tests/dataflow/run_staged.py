"""What a Dataflow worker does with a staged pipeline, on one machine. Runs in the workers' environment, not in ours.

    python run_staged.py PIPELINE_PB OPTIONS_JSON METRICS_JSON

The work is done by Beam's SDK harness in a process of its own, as on Dataflow, which gets its options and the graph
from its runner and everything else from what is installed here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apache_beam.metrics import monitoring_infos
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner

_EVERY_SECONDS = 0.2


def main(pipeline_path: str, options_path: str, metrics_path: str) -> None:
    """Runs the pipeline to its end."""
    pipeline = beam_runner_api_pb2.Pipeline.FromString(Path(pipeline_path).read_bytes())
    for environment in pipeline.components.environments.values():
        # In place of the image's container: a process of this environment.
        assert environment.urn == common_urns.environments.DOCKER.urn, environment.urn
        environment.urn = python_urns.SUBPROCESS_SDK
        environment.payload = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main".encode()
        del environment.dependencies[:]  # installed before this runs
    _tell_progress(Path(metrics_path))
    os.environ["PIPELINE_OPTIONS_FILE"] = options_path  # for the harness
    # A harness that dies would leave its runner waiting for ever.
    threading.excepthook = lambda _: os._exit(1)
    runner = fn_runner.FnApiRunner(progress_request_frequency=_EVERY_SECONDS)
    result = runner.run_via_runner_api(pipeline, PipelineOptions([]))
    counters = result.metrics().query()["counters"]
    _write(Path(metrics_path), [(c.key.metric.namespace, c.key.metric.name, c.committed) for c in counters])


def _tell_progress(path: Path) -> None:
    """Writes the counters of the bundle at work whenever the harness reports them."""

    class Telling(fn_runner.ProgressRequester):  # type: ignore[misc]
        def __init__(self, *args: object) -> None:
            super().__init__(*args, callback=lambda progress: _write(path, _counters(progress.monitoring_infos)))

    fn_runner.ProgressRequester = Telling


def _counters(infos: Iterable[Any]) -> list[tuple[str, str, int]]:
    return [
        (*monitoring_infos.parse_namespace_and_name(info), monitoring_infos.extract_counter_value(info))
        for info in infos
        if info.urn == monitoring_infos.USER_COUNTER_URN
    ]


def _write(path: Path, counters: list[tuple[str, str, int]]) -> None:
    if counters:
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(counters))
        os.replace(unfinished, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
