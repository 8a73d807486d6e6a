"""Which runner a job has been given, and where it does the work."""

from __future__ import annotations

from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import PythonLoopbackEnvironment

from faceveil.pipeline.runners import dataflow


def is_direct(beam_options: PipelineOptions) -> bool:
    """Whether it is Beam's runner for one machine."""
    runner = beam_options.view_as(StandardOptions).runner
    return runner is None or runner.lower() in ("directrunner", "direct", "fnapirunner")


def works_here(beam_options: PipelineOptions) -> bool:
    """Whether this process does the work itself, or its children on this machine do."""
    if is_direct(beam_options):
        return True
    runner = create_runner(beam_options.view_as(StandardOptions).runner)
    # Prism, and Flink and Spark without a cluster, call back into the process that launched the job.
    return isinstance(runner, PortableRunner) and isinstance(
        runner.default_environment(beam_options), PythonLoopbackEnvironment
    )


def processes(beam_options: PipelineOptions) -> int:
    """Worker processes on each machine; 0 for one on every core."""
    if is_direct(beam_options):
        direct = beam_options.view_as(DirectOptions)
        return int(direct.direct_num_workers) if direct.direct_running_mode == "multi_processing" else 1
    if dataflow.is_chosen(beam_options):
        experiments = beam_options.view_as(DebugOptions).experiments or ()
        return 1 if "no_use_multiple_sdk_containers" in experiments else 0
    return int(beam_options.view_as(PortableOptions).sdk_worker_parallelism)
