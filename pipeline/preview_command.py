"""``faceveil preview``: what a job would mask in some photos."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.pipeline.option_parsing import add_arguments, add_command

_EXAMPLES = """\
examples:
  faceveil preview photo.jpg
  faceveil preview 'photos/**' --output preview.png
  faceveil preview 'photos/**' --method pixelate --score_threshold 0.3
  faceveil preview party.jpg --compare quality
  faceveil preview 'photos/**' --config job.yaml

Of more photos than fit on a sheet, some are taken, always the same ones. Where the terminal shows pictures (kitty,
iTerm2, WezTerm, Ghostty, Konsole), so does this command; elsewhere it writes faceveil-preview.png.
"""
_DATA_OPTIONS = ("exclude", "max_pixels", "max_image_bytes", "salt_file")
"""Options about data that count for single photos, too."""


def add_preview_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "preview",
        "show what would be masked in some photos",
        "Anonymizes some photos as a job with the same options would, and shows them on one sheet: masks are outlined, "
        "with the scores of their faces. Writes no data set.",
        _EXAMPLES,
    )
    parser.add_argument("photos", nargs="*", metavar="PHOTO|GLOB", help="photos or quoted globs, as for run --input")
    parser.add_argument("--config", metavar="FILE", help="YAML file of a job's options; flags beat what it says")
    parser.add_argument("--output", dest="sheet", metavar="FILE.png", help="where to write the sheet, local or gs://")
    parser.add_argument(
        "--compare", choices=("method", "quality"), help="show all methods, or all qualities, side by side"
    )
    add_arguments(parser, only=[*_DATA_OPTIONS, "anonymization", "detection"])


def run_preview_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: an option's value is not allowed, or there is no photo.
        AccessError: a photo or a model cannot be reached, or the sheet cannot be written.
        ModelError: a model cannot be loaded.
    """
    from faceveil.pipeline.preview import preview

    preview(given, _DATA_OPTIONS)
    return 0
