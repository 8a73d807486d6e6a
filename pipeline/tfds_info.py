"""Whether an output becomes a data set of TensorFlow Datasets, and what it declares of its features."""

from __future__ import annotations

import logging
from typing import Any

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.tfds import declaration_beside
from faceveil.transforms.formats.tfds_output import declaration_of_images, declaration_of_output
from faceveil.transforms.inputs.summary import InputSummary

_LOGGER = logging.getLogger(__name__)
_NEEDS = "is for image files, or for TFRecords that all have one features.json beside them"


def find_declaration(options: JobOptions, summary: InputSummary) -> dict[str, Any] | None:
    """What an output's ``features.json`` declares; None where it gets none.

    Args:
        options: the job's options, with the features that hold images.
        summary: what the inputs hold.

    Raises:
        OptionError: it is to get one, and nobody knows what features there are.
        AccessError: what the inputs declare cannot be read.
    """
    if options.format != "tfrecord" or options.shard_compression != "none":
        return None
    splits = summary.splits.values()
    files = [file for split in splits for file in split.first_record_files]
    if not files:
        return declaration_of_images(options.features) if options.tfds else None
    found: list[dict[str, Any] | None] = []
    if not any(split.images for split in splits) and all(file.kind == "tfrecord" for file in files):
        for path in dict.fromkeys(file.path for file in files):
            try:
                found.append(declaration_beside(path))
            except OSError as error:
                raise AccessError(f"features.json beside {path}: cannot be read: {error}") from error
    if found and found[0] and all(each == found[0] for each in found):
        _LOGGER.info("features.json beside the inputs: the output gets its own, and dataset_info.json")
        return declaration_of_output(found[0], options.features)
    if options.tfds:
        raise OptionError(f"--tfds: {_NEEDS}")
    return None
