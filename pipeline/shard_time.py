"""How long a shard may take, which a limit on the time of one element must allow: to Beam, an element is a shard."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.inputs.shard_layout import Layout, SplitLayout
from faceveil.transforms.inputs.summary import InputSummary, SplitSummary

# On the safe side: large images, on one core. By `thorough` an image is looked at about ten times.
_IMAGE_SECONDS = 1
_THOROUGH_IMAGE_SECONDS = 10
_RECORD_BYTES = 100_000
"""Of a usual image, where only bytes are known."""


def check_element_timeout(
    options: JobOptions, beam_options: PipelineOptions, summary: InputSummary, layout: Layout
) -> None:
    """Refuses a time limit that would end workers that do nothing but their work on a shard, again and again.

    Raises:
        OptionError: ``--element_processing_timeout_minutes`` is less than a shard may take.
    """
    minutes = beam_options.view_as(WorkerOptions).element_processing_timeout_minutes
    if not minutes or minutes < 0:  # no limit, as Beam has it
        return
    images = max(_most_images(split, layout[name]) for name, split in summary.splits.items())
    seconds = images * (_THOROUGH_IMAGE_SECONDS if options.quality == "thorough" else _IMAGE_SECONDS)
    needed = -(-seconds // 60)
    if minutes < needed:
        raise OptionError(
            f"--element_processing_timeout_minutes {minutes}: a shard of about {images} images may take {needed} "
            "minutes; allow as many, or make shards smaller by --shard_bytes"
        )


def _most_images(split: SplitSummary, layout: SplitLayout) -> int:
    """About as many as the largest shard of a split may hold."""
    images = -(-split.images // layout.image_shards) if layout.image_shards else 0
    largest = split.largest_record_file
    if layout.part_bytes:
        largest = max(min(largest, layout.part_bytes), split.largest_part)
    return max(images, -(-largest // _RECORD_BYTES))
