"""Bringing models and annotated boxes to where workers on other machines can reach them."""

from __future__ import annotations

from dataclasses import replace

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from faceveil.pipeline.prepare import PreparedJob
from faceveil.pipeline.runners.kinds import works_here
from faceveil.transforms import storage
from faceveil.transforms.detectors.detector_files import copy_detector, detector_digest
from faceveil.transforms.formats.box_table import BoxTable
from faceveil.transforms.models.saved_model import model_digest
from faceveil.transforms.shard.worker import Anonymization


def with_staged_models(job: PreparedJob, beam_options: PipelineOptions) -> PreparedJob:
    """The same job with its models and annotated boxes below ``--temp_location``, unless this machine does the work.

    Raises:
        AccessError: they cannot be written there.
    """
    config = staged_models(job.anonymize.config, beam_options)
    return replace(job, anonymize=replace(job.anonymize, config=config))


def staged_models(config: Anonymization, beam_options: PipelineOptions) -> Anonymization:
    """As ``with_staged_models``, of how records are anonymized.

    Raises:
        AccessError: they cannot be written there.
    """
    if works_here(beam_options):
        return config
    temporary = beam_options.view_as(GoogleCloudOptions).temp_location

    def stage(directory: str) -> str:
        if not storage.is_local(directory):
            return directory
        target = storage.join(temporary, "faceveil-models", model_digest(directory))
        storage.copy_folder(directory, target)
        return target

    def stage_detector(path: str) -> str:
        if not storage.is_local(path):
            return path
        return copy_detector(path, storage.join(temporary, "faceveil-models", detector_digest(path)))

    boxes = config.boxes
    if boxes and boxes.table:
        table = storage.join(temporary, "faceveil-boxes", BoxTable.open(boxes.table).digest)
        storage.copy_folder(boxes.table, table)
        boxes = replace(boxes, table=table)
    detector = config.detector.moved(stage_detector)
    synthesis = config.synthesis and replace(config.synthesis, model_dir=stage(config.synthesis.model_dir))
    return replace(config, detector=detector, synthesis=synthesis, boxes=boxes)
