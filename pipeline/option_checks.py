"""What options have to be together."""

from __future__ import annotations

from collections import Counter

from faceveil.pipeline.option_values import OptionError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import COMPRESSIONS, OutputFormat


def check_feature_roles(roles: FeatureRoles) -> None:
    """Refuses features that are named twice, and an Example without an image.

    Raises:
        OptionError: naming the option and the feature.
    """
    if not roles.images:
        raise OptionError("--image_feature: names no feature")
    by_option = {
        "--image_feature": roles.written(),
        "--drop_features": [*roles.images, *roles.dropped],
        "--allow_features": [*roles.written(), *roles.dropped, *roles.allowed],
    }
    for option, names in by_option.items():
        twice = next((name for name, times in Counter(names).items() if times > 1), None)
        if twice:
            raise OptionError(f"{option}: {twice} is named twice, by it or another option, or is written by faceveil")


def check_format(
    output_format: OutputFormat,
    roles: FeatureRoles,
    copy_others: bool,
    hash_keys: bool,
    compression: str | None = None,
    tfds: bool = False,
) -> None:
    """Refuses options that do nothing with what is written, or would give away what another one hides.

    Raises:
        OptionError: naming the option.

    Example usage::

        >>> check_format("tfrecord", FeatureRoles(), True, False)
        Traceback (most recent call last):
        faceveil.pipeline.option_values.OptionError: --copy_others: is for --format images
    """
    if output_format == "images":
        if roles != FeatureRoles(hides_names=hash_keys):
            raise OptionError("--format images: files have no features; options about these are for other formats")
    elif copy_others:
        raise OptionError("--copy_others: is for --format images")
    if tfds and (output_format != "tfrecord" or compression not in (None, "none")):
        raise OptionError("--tfds: is for --format tfrecord without --compression, which TensorFlow Datasets reads")
    if compression not in (None, *COMPRESSIONS[output_format]):
        taken = ", ".join(COMPRESSIONS[output_format])
        raise OptionError(f"--compression {compression}: --format {output_format} takes {taken}")
    if copy_others and hash_keys:
        raise OptionError("--copy_others: labels name files, whose names --hash_keys hides; use one of them")
