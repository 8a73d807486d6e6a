"""Options about annotated boxes: what their values mean, and what they have to be together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from faceveil.pipeline.option_values import OptionError, parse_path
from faceveil.transforms.formats import BOX_FILES


def parse_boxes(text: Any) -> str:
    """A file of annotated boxes, by its ending, or the prefix of features that hold them.

    Raises:
        ValueError: it is neither.

    Example usage::

        >>> parse_boxes("image/object/bbox/"), parse_boxes("file:///data/plates.csv")
        ('image/object/bbox', '/data/plates.csv')
    """
    path = parse_path(text)
    if is_box_file(path):
        return path
    if not path or path.startswith(("/", ".", "~")) or "://" in path:
        raise ValueError(f"a file that ends in {', '.join(BOX_FILES)}, or a prefix such as image/object/bbox")
    return path.rstrip("/")


def is_box_file(boxes: str) -> bool:
    """Whether it is a file that ``--boxes`` names, and no prefix of features."""
    return boxes.lower().endswith(BOX_FILES)


def parse_class(value: Any) -> str:
    """A class of annotated boxes, by name or number.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, (str, int)):
        raise ValueError("a name or a number")
    return str(value)


def check_box_options(given: Sequence[dataclasses.Field[Any]], detects: bool) -> None:
    """Refuses options that would do nothing with the annotated boxes that there are.

    Args:
        given: the options that are not left as they are.
        detects: whether a detector looks at any image.

    Raises:
        OptionError: naming the option.
    """
    names = [option.name for option in given]
    for name in ("boxes_mode", "box_classes"):
        if name in names and "boxes" not in names:
            raise OptionError(f"--{name}: is for the boxes of --boxes, which names none")
    if not detects:
        for option in given:
            if option.metadata["group"] == "detection":
                raise OptionError(f"--{option.name}: no detector runs with --boxes_mode replace; leave one of them out")
