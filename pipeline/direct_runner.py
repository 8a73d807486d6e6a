"""Beam's runner for one machine, with worker processes that end when this one does."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.python_urns import SUBPROCESS_SDK
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from faceveil.transforms.child_process import shell_command


class DirectRunner(FnApiRunner):  # type: ignore[misc]
    """The FnApiRunner, named outright: Beam's own DirectRunner would first look for Prism and fall back in silence."""

    def run_via_runner_api(self, pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Runs a pipeline. Of several worker processes, the runner itself chooses the command just before."""
        for environment in pipeline.components.environments.values():
            if environment.urn == SUBPROCESS_SDK:
                environment.payload = shell_command("apache_beam.runners.worker.sdk_worker_main").encode()
        return super().run_via_runner_api(pipeline, options)
