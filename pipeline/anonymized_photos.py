"""Training photos, anonymized in several ways by the job itself, and read back with their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceveil.evaluation.anonymizers import NONE
from faceveil.pipeline.console import say
from faceveil.pipeline.launch import run_job
from faceveil.pipeline.options import JobOptions
from faceveil.training.photos import AnnotatedPhoto, find_photos, merge_labels, source_number, write_photos
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.formats import BOX_SIDES
from faceveil.transforms.inputs.globs import escape_glob

BOXES = "image/object/bbox"
"""The prefix of the features that hold the annotated boxes of the copies."""

_PASSED = (*(f"{BOXES}/{side}" for side in BOX_SIDES), "image/object/class/text", "image/object/difficult")
_COPIES = "photos.tfrecord"
LABEL = "FACE"
"""The one class of all faces."""


@dataclass(frozen=True)
class AnonymizedSet:
    """The training photos after one method.

    Attributes:
        method: its name.
        photos: by their places among the originals; what was quarantined is missing.
        counts: what the job's manifest says of faces; of ``NONE`` only how many there are.
    """

    method: str
    photos: dict[int, AnnotatedPhoto]
    counts: dict[str, Any]


def job_options(method: str, root: Path, salt_file: str | None) -> JobOptions:
    """The job that anonymizes the copies with a method.

    Annotated boxes replace detected faces, so that no detector decides what is masked. A new face is drawn from the
    keypoints of a detected one, so ``synthesize`` needs both.

    Args:
        method: any but ``NONE``.
        root: the folder of all sets.
        salt_file: see ``JobOptions``.

    Raises:
        OptionError: there is no salt.
    """
    return JobOptions(
        input=(escape_glob(str(root / NONE / _COPIES)),),
        output=str(root / method),
        method=method,
        boxes=BOXES,
        boxes_mode="add" if method == SYNTHESIZE else "replace",
        allow_features=_PASSED,
        salt_file=salt_file if method == SYNTHESIZE else None,
    )


def anonymize_all(
    photos: Sequence[AnnotatedPhoto], jobs: Mapping[str, JobOptions], root: Path
) -> Iterator[AnonymizedSet]:
    """The photos as they are, and then as each job leaves them; what is finished is not done again.

    Args:
        photos: the originals.
        jobs: by method, as ``job_options`` makes them.
        root: the folder of all sets.

    Raises:
        AccessError: a photo cannot be read, or nothing be written.
        OutputError: another job is writing there, or one with other settings has.
        ModelError: the detector or the generator cannot be loaded.
    """
    copies = root / NONE / _COPIES
    if not copies.exists():
        copies.parent.mkdir(parents=True, exist_ok=True)
        write_photos(photos, str(copies))
    originals = _read_back(copies.parent)
    faces = sum(len(photo.annotated.boxes) for photo in originals.values())
    yield AnonymizedSet(NONE, originals, {"faces": faces, "fallback_faces": None, "quarantined": 0})
    for number, (method, options) in enumerate(jobs.items(), 1):
        say(f"anonymizing {number} of {len(jobs)}: {method}")
        totals = run_job(options, []).manifest["totals"]
        counts = {name: totals.get(name) for name in ("faces", "fallback_faces", "quarantined")}
        yield AnonymizedSet(method, _read_back(Path(options.output)), counts)


def _read_back(folder: Path) -> dict[int, AnnotatedPhoto]:
    """All photos of a folder of TFRecords, by their places among the originals."""
    found, _ = find_photos([f"{escape_glob(str(folder))}/*.tfrecord"], None)
    return {source_number(photo): photo for photo in merge_labels(found, LABEL)}


def in_all(sets: Sequence[AnonymizedSet]) -> list[int]:
    """The places of the photos that no method has lost, so that all detectors learn from the same."""
    return sorted(set.intersection(*(set(each.photos) for each in sets)))
