"""The job, and what it does to each image, as PTransforms for pipelines of your own."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.typehints import with_input_types, with_output_types

from faceveil.pipeline.lock import hold_lock
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.output import check_state
from faceveil.pipeline.prepare import PreparedJob, prepare, prepare_examples, prepare_images
from faceveil.pipeline.runners.staging import staged_models, with_staged_models
from faceveil.transforms.anonymize_keyed import AnonymizedRecords, AnonymizeKeyed, KeyedBytes
from faceveil.transforms.inputs.plan import PlanShards
from faceveil.transforms.manifest import WriteManifest
from faceveil.transforms.shard.worker import Anonymization


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
            | "WriteManifest" >> WriteManifest(job.output, job.description, job.layout, job.summary, job.declaration)
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


@with_input_types(KeyedBytes)
class AnonymizeImages(beam.PTransform):  # type: ignore[misc]
    """Anonymizes images that a pipeline brings itself, in batch and streaming: encoded images in, encoded images out.

    Takes ``(key, image)``, str and bytes, and yields two PCollections: ``main`` has ``(key, anonymized image)``,
    ``quarantined`` has ``QuarantinedRecord(key, reason, detail)``. Each image is in one of them, in its window and
    with its timestamp. The anonymized image has the bytes that a job writes for a file of that key; with
    ``synthesize``, key and salt decide how the new faces look.

    An image that crashes or hangs native code ends the worker's process, and the runner tries its bundle again: only
    a job, which can leave marks in its output, then goes on without that image.

    Args:
        options: how images are anonymized. Options about data sets, such as ``output``, have to be left out.

    Raises:
        OptionError: an option's value does not fit the others, or is about data sets.
        AccessError: a model cannot be reached.
        ModelError: a model cannot be found.

    Example usage::

        made = images | AnonymizeImages(JobOptions(method="pixelate"))
        made.main | ...
        made.quarantined | ...
    """

    def __init__(self, options: JobOptions | None = None) -> None:
        super().__init__()
        self._options = options or JobOptions()

    def expand(self, images: beam.PCollection[KeyedBytes]) -> AnonymizedRecords:
        """Builds the graph."""
        return _anonymize_keyed(images, prepare_images(self._options, images.pipeline.options))


@with_input_types(KeyedBytes)
class AnonymizeExamples(beam.PTransform):  # type: ignore[misc]
    """Anonymizes tf.train.Examples that a pipeline brings itself, in batch and streaming: serialised ones in and out.

    Takes ``(key, Example)``, str and bytes, and yields two PCollections: ``main`` has ``(key, anonymized Example)``,
    ``quarantined`` has ``QuarantinedRecord(key, reason, detail)``. An Example gets the bytes that a job writes for it:
    its images anonymized, what was found beside them, all other features as they were, or left out, as options say.
    One in which a feature that no option names holds an image, too, is quarantined.

    Args:
        options: how Examples are anonymized. Options about data sets, such as ``output``, have to be left out.

    Raises:
        OptionError: an option's value does not fit the others, or is about data sets.
        AccessError: a model cannot be reached.
        ModelError: a model cannot be found.

    Example usage::

        made = keyed_examples | AnonymizeExamples(JobOptions(image_feature=["image/left", "image/right"]))
        made.main | beam.Values() | beam.io.WriteToTFRecord("anonymized/data")
    """

    def __init__(self, options: JobOptions | None = None) -> None:
        super().__init__()
        self._options = options or JobOptions()

    def expand(self, examples: beam.PCollection[KeyedBytes]) -> AnonymizedRecords:
        """Builds the graph."""
        return _anonymize_keyed(examples, prepare_examples(self._options, examples.pipeline.options))


def _anonymize_keyed(records: beam.PCollection[KeyedBytes], config: Anonymization) -> AnonymizedRecords:
    config = staged_models(config, records.pipeline.options)
    made: AnonymizedRecords = records | "AnonymizeKeyed" >> AnonymizeKeyed(config)
    return made
