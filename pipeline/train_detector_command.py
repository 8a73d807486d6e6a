"""``faceveil train-detector``: a face detector of one's own, from annotated photos to a SavedModel."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.pipeline.option_parsing import add_command
from faceveil.training.architectures import ARCHITECTURES

_EXAMPLES = """\
examples:
  faceveil train-detector --data masks/annotations.jsonl --output detector
  faceveil train-detector --data train.json --images 'photos/**' --validation val.json --config d2 --output detector
  faceveil train-detector --data 'records/*.tfrecord' --merge_labels FACE --config d2 --output detector
  faceveil run --input 'photos/**' --output anonymized --model detector/saved_model

A training that was interrupted is taken up by the same command, after the last epoch that was finished.
"""


def add_train_detector_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "train-detector",
        "train a face detector on annotated images",
        "Trains an EfficientDet on annotated images and exports it as a SavedModel for --model.",
        _EXAMPLES,
    )
    data = parser.add_argument_group("data")
    kinds = "JSON lines, COCO's JSON, WIDER's text, a folder of Pascal VOC's XML, or TFRecords"
    data.add_argument("--data", required=True, nargs="+", metavar="PATH", help=f"annotated photos: {kinds}")
    data.add_argument("--images", metavar="GLOB", help="where the photos are (default: beside their annotations)")
    data.add_argument("--validation", nargs="+", metavar="PATH", help="annotated photos to measure on, like --data")
    data.add_argument(
        "--validation_share",
        metavar="SHARE",
        help="of the photos to hold out and measure on, without --validation (default: 0.2)",
    )
    data.add_argument("--output", required=True, metavar="DIR", help="local folder for checkpoints and the detector")
    data.add_argument("--merge_labels", metavar="NAME", help="make one class of all labels, such as FACE")
    training = parser.add_argument_group("training")
    add_training_arguments(training)
    training.add_argument("--backbone_weights", metavar="FILE", help="of the backbone without its top, from Keras")
    training.add_argument("--learning_rate", default="0.001", metavar="RATE", help="the highest (default: %(default)s)")
    training.add_argument("--mixed_precision", action="store_true", help="compute in bfloat16: for GPUs that have it")
    training.add_argument("--validate_every", default="5", metavar="N", help="epochs (default: %(default)s)")
    training.add_argument("--seed", default="0", metavar="N", help="of all that is random (default: %(default)s)")


def add_training_arguments(group: Any) -> None:
    """Adds the options that all trainings of detectors have to a parser or a group of it."""
    group.add_argument("--config", default="small", help=f"size: {', '.join(ARCHITECTURES)} (default: small, for CPUs)")
    group.add_argument("--image_size", metavar="PX", help="of the model's input (default: the configuration's)")
    group.add_argument("--init", metavar="FILE", help="best.npz of an earlier training, to begin with its weights")
    group.add_argument("--epochs", default="60", metavar="N", help="times each photo is shown (default: %(default)s)")
    group.add_argument("--batch_size", default="8", metavar="N", help="images a step (default: %(default)s)")


def run_train_detector_command(given: argparse.Namespace) -> int:
    """Runs the sub-command and returns its exit status.

    Raises:
        OptionError: an option's value is not allowed, or annotations do not fit their format or the photos.
        OutputError: the output holds another training, or one is writing there.
        AccessError: photos or annotations cannot be read, or the output not be written.
        ModelError: weights do not fit, or the training failed.
    """
    from faceveil.pipeline.train_detector import train_detector  # loads NumPy, which `faceveil --help` has no need of

    train_detector(given)
    return 0
