"""``faceveil evaluate``: how many annotated faces a detector finds, what it invents, and how fast it is."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from faceveil.evaluation import AnnotationFormat
from faceveil.pipeline.option_parsing import add_arguments

_EXAMPLES = """\
examples:
  faceveil evaluate detector --annotations photos/annotations.jsonl --images photos
  faceveil evaluate detector --annotations wider_face_val_bbx_gt.txt --images WIDER_val/images --output quality
  faceveil evaluate detector --annotations instances.json --images 'photos/**/*.jpg' --model my/saved_model
  faceveil evaluate detector --annotations wider_face_val_bbx_gt.txt --images WIDER_val/images --groups labels.csv
"""


def add_evaluate_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = commands.add_parser(
        "evaluate", help="measure a detector on annotated images", description="Measures what faceveil does."
    )
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    detector = subjects.add_parser(
        "detector",
        help="measure a detector on annotated images",
        description="Measures a detector on annotated images: average precision, recall, the share of faces that its "
        "boxes cover, false positives, speed and memory, by height of the faces and over score thresholds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    data = detector.add_argument_group("data")
    data.add_argument("--annotations", required=True, metavar="FILE", help="the faces: JSON lines, COCO or WIDER FACE")
    data.add_argument("--images", required=True, metavar="GLOB", help="a folder or a quoted glob of the images")
    data.add_argument("--format", default="auto", choices=get_args(AnnotationFormat), help="of the annotations")
    data.add_argument(
        "--groups",
        nargs="+",
        action="extend",
        default=[],
        metavar="FEATURE|FILE",
        help="compare groups of faces: by attributes that the annotations have of each face, or by the columns of a "
        ".csv, .parquet or .jsonl file of image file, box and labels",
    )
    data.add_argument("--output", metavar="DIR", help="folder for detector.json and curves.png, local or gs://")
    add_arguments(detector, only=["detection"])


def run_evaluate_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: an option's value is not allowed, or the annotations do not fit their format or the images.
        AccessError: the annotations or an image cannot be read, or the output cannot be written.
        ModelError: the detector cannot be loaded.
    """
    from faceveil.pipeline.evaluate import evaluate_detector  # loads NumPy, which `faceveil --help` has no need of

    evaluate_detector(given)
    return 0
