"""Handing a pipeline to its runner, and what comes back: its end, or a worker's error."""

from __future__ import annotations

import re

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

import faceveil.transforms.errors
from faceveil.transforms.errors import AccessError


def submit(job: beam.PTransform, beam_options: PipelineOptions, runner: PipelineRunner | None = None) -> PipelineResult:
    """Begins a job.

    Args:
        job: what takes the pipeline's start.
        beam_options: Beam's.
        runner: the runner, if not the one that these name.

    Raises:
        Exception: what a worker has raised.
    """
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    _ = pipeline | job
    try:
        return pipeline.run()
    except Exception as error:
        raise original_error(error) from error


def wait(result: PipelineResult) -> None:
    """Waits for a job to end.

    Raises:
        AccessError: the runner has ended it, or is gone.
        Exception: what a worker has raised.
    """
    try:
        ended = result.wait_until_finish()
    except Exception as error:
        raise original_error(error) from error
    if ended not in (None, PipelineState.DONE):
        raise AccessError(f"the job ended as {ended}; the same command resumes where it stopped")


def original_error(error: Exception) -> BaseException:
    """What a worker raised: Beam adds the step's name, and mostly hands it on as the text of a RuntimeError."""
    told = f"{type(error).__module__}.{type(error).__name__}: {error}"
    if "KeyboardInterrupt [while running" in told:
        return KeyboardInterrupt()
    if "StatusCode.UNAVAILABLE" in told:  # what gRPC says when there is no server
        return AccessError("the runner has died or cannot be reached; the same command resumes where the job stopped")
    match = re.search(r"faceveil\.transforms\.errors\.(\w+): (.*?)(?: \[while running|\n\n|\Z)", told, re.DOTALL)
    kind = getattr(faceveil.transforms.errors, match[1], None) if match else None
    return kind(match[2]) if match and kind else error
