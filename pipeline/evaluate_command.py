"""``faceveil evaluate``: what a detector finds, whom one still recognises, and what can still be learnt."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from faceveil.evaluation import AnnotationFormat
from faceveil.pipeline.option_parsing import add_arguments, add_command
from faceveil.pipeline.options import FIELDS
from faceveil.pipeline.train_detector_command import add_training_arguments
from faceveil.transforms.anonymizers import METHOD_NAMES, SYNTHESIZE

_METHODS = (*METHOD_NAMES, SYNTHESIZE)
_DETECTOR_EXAMPLES = """\
examples:
  faceveil evaluate detector --annotations photos/annotations.jsonl --images photos
  faceveil evaluate detector --annotations wider_face_val_bbx_gt.txt --images WIDER_val/images --output quality
  faceveil evaluate detector --annotations instances.json --images 'photos/**/*.jpg' --model my/saved_model
  faceveil evaluate detector --annotations wider_face_val_bbx_gt.txt --images WIDER_val/images --groups labels.csv
"""
_PRIVACY_EXAMPLES = """\
examples:
  faceveil evaluate privacy --identities people --output privacy
  faceveil evaluate privacy --identities people --methods blur --strength 0.2 --output privacy
  faceveil evaluate privacy --identities 'people/*.tfrecord' --identity_feature person/id
"""
_ANONYMIZERS_EXAMPLES = """\
examples:
  faceveil evaluate anonymizers --data train.jsonl --test val.jsonl --output comparison
  faceveil evaluate anonymizers --data train.json --images 'train/**' --test val.json --test_images 'val/**' \\
      --methods none blur synthesize --seeds 5 --config d0 --output comparison

Trainings that were interrupted are taken up by the same command; methods and seeds may be added to it.
"""


def add_evaluate_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = commands.add_parser(
        "evaluate", help="measure detectors and anonymization", description="Measures what faceveil does."
    )
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    _add_detector(subjects)
    _add_privacy(subjects)
    _add_anonymizers(subjects)


def _add_detector(subjects: Any) -> None:
    detector = add_command(
        subjects,
        "detector",
        "measure a detector on annotated images",
        "Measures a detector on annotated images: average precision, recall, the share of faces that its "
        "boxes cover, false positives, speed and memory, by height of the faces and over score thresholds.",
        _DETECTOR_EXAMPLES,
    )
    data = detector.add_argument_group("data")
    kinds = "JSON lines, COCO, WIDER FACE, or a folder of Pascal VOC's XML"
    data.add_argument("--annotations", required=True, metavar="PATH", help=f"the faces: {kinds}")
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


def _add_privacy(subjects: Any) -> None:
    privacy = add_command(
        subjects,
        "privacy",
        "measure how many persons are recognised after anonymization",
        "Anonymizes photos of known persons in several ways. Attackers who know how it was done, and have "
        "other photos of everybody, say who is who.",
        _PRIVACY_EXAMPLES,
    )
    people = privacy.add_argument_group("people")
    people.add_argument(
        "--identities",
        required=True,
        metavar="GLOB",
        help="a folder with a folder of photos for each person, or a quoted glob of TFRecords",
    )
    people.add_argument("--identity_feature", metavar="NAME", help="of Examples: says whose photo it is")
    people.add_argument(
        "--methods",
        nargs="+",
        default=_METHODS,
        choices=_METHODS,
        metavar="NAME",
        help=f"ways to anonymize (default: {' '.join(_METHODS)}); no anonymization is always measured, too",
    )
    people.add_argument(
        "--output",
        metavar="DIR",
        help="folder for privacy.json and privacy.png, local or gs://; methods that are in there are not done again",
    )
    anonymization = ["strength", "coverage", "margin", "shape", "generator", "fallback_method"]
    add_arguments(privacy, only=["image_feature", *anonymization, "detection"])


def _add_anonymizers(subjects: Any) -> None:
    anonymizers = add_command(
        subjects,
        "anonymizers",
        "measure what anonymized training photos cost a detector",
        "Anonymizes annotated training photos in several ways, trains the same detector on each, several "
        "times, and tests them all on original photos.",
        _ANONYMIZERS_EXAMPLES,
    )
    data = anonymizers.add_argument_group("data")
    kinds = "as train-detector reads them"
    data.add_argument("--data", required=True, nargs="+", metavar="PATH", help=f"annotated photos to learn: {kinds}")
    data.add_argument("--images", metavar="GLOB", help="where they are (default: beside their annotations)")
    data.add_argument(
        "--test", required=True, nargs="+", metavar="PATH", help="annotated photos to test on, like --data"
    )
    data.add_argument("--test_images", metavar="GLOB", help="where those are (default: beside their annotations)")
    data.add_argument("--output", required=True, metavar="DIR", help="local folder for photos, trainings and results")
    data.add_argument("--salt_file", metavar="FILE", help=FIELDS["salt_file"].metadata["help"])
    anonymizers.add_argument(
        "--methods",
        nargs="+",
        default=("none", *_METHODS),
        metavar="NAME",
        help=f"ways to anonymize, none always among them (default: none {' '.join(_METHODS)})",
    )
    anonymizers.add_argument(
        "--seeds", default="3", metavar="N", help="trainings on the photos of each method (default: %(default)s)"
    )
    add_training_arguments(anonymizers.add_argument_group("training"))


def run_evaluate_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: an option's value is not allowed, or annotations or identities cannot be used.
        OutputError: the output holds another comparison, or one is writing there.
        AccessError: annotations or an image cannot be read, or the output cannot be written.
        ModelError: a model cannot be loaded, or a training failed.
    """
    # These load NumPy, which `faceveil --help` has no need of.
    if given.subject == "privacy":
        from faceveil.pipeline.evaluate_privacy import evaluate_privacy

        evaluate_privacy(given)
        return 0
    if given.subject == "anonymizers":
        from faceveil.pipeline.evaluate_anonymizers import evaluate_anonymizers

        evaluate_anonymizers(given)
        return 0
    from faceveil.pipeline.evaluate import evaluate_detector

    evaluate_detector(given)
    return 0
