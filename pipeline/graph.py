"""The job as a PTransform: inputs are matched and planned into shards, each is anonymized, the manifest is written."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.typehints import with_output_types

from faceveil.pipeline.lock import hold_lock
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.output import check_state
from faceveil.pipeline.prepare import PreparedJob, prepare
from faceveil.pipeline.runners.staging import with_staged_models
from faceveil.transforms.inputs.plan import PlanShards
from faceveil.transforms.manifest import WriteManifest


@with_output_types(int)
class AnonymizeDataset(beam.PTransform):  # type: ignore[misc]
    """The whole job, from globs to the manifest; takes a pipeline's start and yields the number of shards.

    In a pipeline of your own it checks everything as the graph is built, and resumes what an earlier run has left.
    No other job may write to the output meanwhile: the lock, restarts after crashes and ``--overwrite`` are the command
    ``faceveil run``'s.

    Args:
        options: what to do.
        job: the same once it is prepared; else it is when the graph is built.

    Raises:
        OptionError: an option's value does not fit the others, or is for the command alone.
        AccessError: an input, a model or the output cannot be reached.
        ModelError: a model cannot be loaded.
        OutputError: the output holds another job's data, or another job is writing to it.

    Example usage::

        with beam.Pipeline(options=PipelineOptions()) as pipeline:
            pipeline | AnonymizeDataset(JobOptions(input=["photos/**"], output="anonymized"))
    """

    def __init__(self, options: JobOptions, job: PreparedJob | None = None) -> None:
        super().__init__()
        self._options = options
        self._job = job

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[int]:
        """Builds the graph."""
        job = self._job or self._prepared(begin)
        return (
            begin
            | "PlanShards" >> PlanShards(job.options.inputs, job.layout)
            | "AnonymizeShards" >> job.anonymize
            | "WriteManifest" >> WriteManifest(job.output.directory, job.description, job.layout, job.summary)
        )

    def _prepared(self, begin: beam.pvalue.PBegin) -> PreparedJob:
        for name in ("overwrite", "no_wait"):
            if getattr(self._options, name):
                raise OptionError(f"--{name}: is for the command `faceveil run`")
        beam_options = begin.pipeline.options
        job = prepare(self._options, beam_options)
        with hold_lock(self._options.output) as lock:
            check_state(self._options, job.output, job.description, lock.before)
            lock.note_job(job.description.as_json)
            lock.leave()
        return with_staged_models(job, beam_options)
