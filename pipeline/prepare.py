"""Preparing a job: everything that can be wrong is checked before any work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions, TypeOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from faceveil.pipeline.access import check_access
from faceveil.pipeline.audit_directory import check_disk, find_audit_directory
from faceveil.pipeline.box_options import is_box_file
from faceveil.pipeline.describe import describe_job
from faceveil.pipeline.detection import (
    ResolvedModel,
    detector_config,
    resolve_generator,
    resolve_models,
    synthesis_config,
)
from faceveil.pipeline.feature_names import check_feature_names
from faceveil.pipeline.given_boxes import box_source, resolve_boxes
from faceveil.pipeline.lock import read_lock, refuse_live
from faceveil.pipeline.mirrored_names import MirroredNames
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.pipeline.output import previous_job
from faceveil.pipeline.output_columns import find_columns
from faceveil.pipeline.restart import is_restart, memory_shortages, run_id
from faceveil.pipeline.runners import dataflow
from faceveil.pipeline.runners.kinds import processes, works_here
from faceveil.pipeline.runners.remote_job import LeftRunning
from faceveil.pipeline.shard_time import check_element_timeout
from faceveil.pipeline.tfds_info import find_declaration
from faceveil.transforms import storage
from faceveil.transforms.anonymize_shards import AnonymizeShards
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.errors import OutputError, OwnOutputError
from faceveil.transforms.formats.layout import OutputLayout, shard_ending
from faceveil.transforms.formats.tfds_output import foreign_info
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import Layout, lay_out, lay_out_as_before
from faceveil.transforms.inputs.summary import InputSummary, summarize_inputs
from faceveil.transforms.manifest import JobDescription
from faceveil.transforms.shard.given import BoxSource
from faceveil.transforms.shard.resume import parts_before
from faceveil.transforms.shard.worker import Anonymization

_OF_IMAGES = {"max_pixels", "max_image_bytes", "image_timeout", "salt_file"}
"""Options about data that are about every image, wherever it comes from."""
_OF_EXAMPLES = {"image_feature", "drop_features", "allow_features", "strict_features"}
_OF_EXAMPLES |= {"boxes", "boxes_mode", "box_classes"}
"""Options about data that are about every Example."""


@dataclass(frozen=True)
class PreparedJob:
    """A job whose options, inputs and models have been checked.

    Attributes:
        options: what the user has said.
        summary: what the inputs hold.
        layout: the shards.
        description: what the job is, for its lock file and manifest.
        output: where it writes.
        models: the detectors.
        anonymize: what makes the shards.
        declaration: of the output's features, where TensorFlow Datasets is to read it.
    """

    options: JobOptions
    summary: InputSummary
    layout: Layout
    description: JobDescription
    output: OutputLayout
    models: tuple[ResolvedModel, ...]
    anonymize: AnonymizeShards
    declaration: dict[str, Any] | None = None


def prepare(options: JobOptions, beam_options: PipelineOptions) -> PreparedJob:
    """Checks a job's options, lists its inputs and finds its models; nothing is written.

    Raises:
        OptionError: an option's value does not fit the others.
        AccessError: an input, a model or the output cannot be reached.
        ModelError: a model cannot be found or built.
        OutputError: another job is writing to the output.
        LeftRunning: this very job runs already, and is not to be waited for.
    """
    options.check_required()
    check_runner(beam_options, options)
    check_access(options, beam_options)
    audit_directory = find_audit_directory(options)
    running = dataflow.running_job(options.output, beam_options)
    if running and not (options.no_wait and running.id):
        raise dataflow.taken_by(running, options.output)
    refuse_live(options.output)
    boxes = resolve_boxes(options)
    names = MirroredNames(options) if options.format == "images" else None
    observers = [each for each in (boxes, names) if each]

    def note(file: InputFile) -> None:
        for observer in observers:
            observer.note(file)

    places = options.output, audit_directory
    try:
        ending = shard_ending(options.format, options.shard_compression)
        summary = summarize_inputs(options.inputs, *places, options.shard_bytes, ending, note)
    except OwnOutputError as error:
        raise OptionError(str(error)) from error
    for observer in observers:
        observer.check_inputs()
    check_disk(audit_directory)
    options = check_feature_names(options, summary)
    layout = _lay_out(options, summary, audit_directory)
    check_element_timeout(options, beam_options, summary, layout)
    models = resolve_models(options.detector.models)
    generator = resolve_generator(options)
    # Several are told apart by the plus between them.
    model = {"name": "+".join(m.name for m in models), "sha256": "+".join(m.sha256 for m in models)}
    columns, declaration = _columns(options, summary), find_declaration(options, summary)
    if declaration and (foreign := foreign_info(options.output)):
        raise OutputError(f"{foreign}: no job has written it, and this one would replace it; move it away")
    boxes_told = boxes.description if boxes else None
    description = describe_job(options, summary, layout, model, generator, boxes_told, columns)
    if running:
        # Who has the same job submitted a second time, as a scheduler that has lost sight of the first, wants that one.
        if _is_begun(options.output, description):
            raise LeftRunning(running, interrupted=False)
        raise dataflow.taken_by(running, options.output)
    written_as = options.format, options.shard_compression, columns
    output = OutputLayout(options.output, audit_directory, description.job["settings_digest"], *written_as)
    config = _anonymization(options, beam_options, models, generator, box_source(options, boxes))
    config = replace(config, columns=columns)
    # A retry tries again what its restart has quarantined for a crash, too, so it must not crash on it.
    wary = is_restart() and options.retry_quarantined
    anonymize = AnonymizeShards(config, output, run_id(), options.retry_quarantined, tries_records=wary)
    return PreparedJob(options, summary, layout, description, output, tuple(models), anonymize, declaration)


def prepare_images(options: JobOptions, beam_options: PipelineOptions) -> Anonymization:
    """How images are anonymized that a pipeline brings itself: checks options, and finds models.

    Raises:
        OptionError: an option's value does not fit the others, or it is about whole data sets.
        AccessError: a model cannot be reached.
        ModelError: a model cannot be found or built.
    """
    return replace(_prepare_keyed(options, beam_options, _OF_IMAGES), format="images")


def prepare_examples(options: JobOptions, beam_options: PipelineOptions) -> Anonymization:
    """The same of Examples that a pipeline brings itself.

    Raises:
        OptionError: as ``prepare_images``, or the annotated boxes are in a file.
        AccessError: as ``prepare_images``.
        ModelError: as ``prepare_images``.
    """
    if options.boxes and is_box_file(options.boxes):
        raise OptionError(f"--boxes {options.boxes}: a file is for whole data sets; here, features may hold boxes")
    return _prepare_keyed(options, beam_options, _OF_IMAGES | _OF_EXAMPLES)


def _prepare_keyed(options: JobOptions, beam_options: PipelineOptions, names: Collection[str]) -> Anonymization:
    refuse_others(options, ("anonymization", "detection"), names)
    _check_beam_options(beam_options)
    _check_staging(beam_options, options)
    check_access(options, beam_options)
    models, generator = resolve_models(options.detector.models), resolve_generator(options)
    return _anonymization(options, beam_options, models, generator, box_source(options, None))


def refuse_others(options: JobOptions, groups: Collection[str], names: Collection[str] = ()) -> None:
    """Refuses options that are set and would do nothing.

    Args:
        options: what the user has said.
        groups: of options that count.
        names: of further ones.

    Raises:
        OptionError: naming the option.

    Example usage::

        >>> refuse_others(JobOptions(output="anonymized"), ["detection"])
        Traceback (most recent call last):
        faceveil.pipeline.option_values.OptionError: --output: has no effect here, only options about detection have
    """
    for name, option in FIELDS.items():
        counts = option.metadata["group"] in groups or name in names
        if not counts and getattr(options, name) != option.default:
            raise OptionError(f"--{name}: has no effect here, only options about {' and '.join(groups)} have")


def _anonymization(
    options: JobOptions,
    beam_options: PipelineOptions,
    models: Sequence[ResolvedModel],
    generator: ResolvedModel | None,
    boxes: BoxSource | None = None,
) -> Anonymization:
    return Anonymization(
        detector=detector_config(options, [model.directory for model in models], options.score_threshold),
        method=options.method,
        style=Style(options.geometry, options.strength),
        features=options.features,
        keep_metadata=options.keep_metadata,
        limits=options.limits,
        processes=processes(beam_options),
        synthesis=synthesis_config(options, generator),
        hashed_keys=options.hash_keys,
        allow_label_maps=options.allow_label_maps,
        memory_shortages=memory_shortages(),
        boxes=boxes,
        format=options.format,
    )


def check_runner(beam_options: PipelineOptions, options: JobOptions) -> None:
    """Refuses options that the job's runner cannot do with.

    Raises:
        OptionError: naming the option and what the runner needs.
    """
    _check_beam_options(beam_options)
    if dataflow.is_chosen(beam_options):
        dataflow.check_options(options, beam_options)
        return
    if options.no_wait:
        raise OptionError("--no_wait: goes with --runner DataflowRunner, where a job goes on without this command")
    _check_staging(beam_options, options)


def _check_staging(beam_options: PipelineOptions, options: JobOptions) -> None:
    temporary = beam_options.view_as(GoogleCloudOptions).temp_location
    local_models = any(map(storage.is_local, options.detector.models)) or options.method == SYNTHESIZE
    box_file = options.boxes is not None and is_box_file(options.boxes)
    if not works_here(beam_options) and not temporary and (local_models or box_file):
        raise OptionError("--temp_location: is required with this runner, a folder that all workers reach")


def _is_begun(directory: str, description: JobDescription) -> bool:
    lock = read_lock(directory) or {}
    begun = lock.get("job") or {"job": {}}
    return bool(begun["job"].get("digest") == description.job["digest"])


def _check_beam_options(beam_options: PipelineOptions) -> None:
    """Refuses what Beam would stumble over when the pipeline is built or run."""
    types, setup = beam_options.view_as(TypeOptions), beam_options.view_as(SetupOptions)
    if types.runtime_type_check and types.performance_runtime_type_check:
        raise OptionError("--performance_runtime_type_check: does not go with --runtime_type_check; use one of them")
    library = setup.pickle_library
    if library.startswith("dill") and find_spec("dill") is None:
        raise OptionError(f"--pickle_library {library}: dill is not installed; without this option, it is not needed")
    if PipelineOptionsValidator(beam_options, None).validate_pickle_library(setup):
        raise OptionError(f"--pickle_library {library}: takes the version of dill that apache-beam[dill] installs")


def _job_before(options: JobOptions) -> dict[str, Any]:
    """What is told of the job that has written to the output before; nothing where there is none."""
    previous = None if options.overwrite else previous_job(options.output, read_lock(options.output))
    return previous["job"] if previous else {}


def _columns(options: JobOptions, summary: InputSummary) -> dict[str, str]:
    """Repaired files may show other columns, but all shards must have the same."""
    before = _job_before(options) if options.retry_quarantined else {}
    columns: dict[str, str] = before.get("columns") or find_columns(options, summary)
    return columns


def _lay_out(options: JobOptions, summary: InputSummary, audit_directory: str) -> Layout:
    before = _job_before(options)
    if options.retry_quarantined and before:
        # Repaired files have other sizes, but all shards must keep their names.
        output = OutputLayout(options.output, audit_directory, before["settings_digest"], options.format)
        parts = parts_before(options.inputs, output) if before.get("part_bytes") else {}
        return lay_out_as_before(summary, before, parts)
    if before.get("inputs_digest") == summary.digest and not options.shard_bytes and not options.num_shards:
        # It may have been begun by a version with other defaults.
        return lay_out_as_before(summary, before)
    return lay_out(summary, options.shard_bytes, options.num_shards)
