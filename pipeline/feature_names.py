"""Whether the features that options name are there: a look at the first records, before a job does any work."""

from __future__ import annotations

import difflib
import itertools
import logging
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from faceveil.pipeline.box_options import is_box_file
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.codecs.signatures import IMAGES, sniff
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.box_files import nearest_of
from faceveil.transforms.formats.container import Declared
from faceveil.transforms.formats.containers import CONTAINERS, container_kind
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import BoxFeatures, FeatureRoles
from faceveil.transforms.formats.kinds import LOOKED_AT
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.summary import InputSummary, series_of
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.shard.compose import OWN_FEATURES
from faceveil.transforms.shard.given import label_text

_LOGGER = logging.getLogger(__name__)
RECORDS = 16
"""Of each file, that are looked at."""
LONGEST_RECORD = 64 * 2**20
"""Longer ones are passed over."""
_FILES_AT_ONCE = 8
_MAX_NAMED = 40  # features in a message
_BOX_FILE = "name one that ends in .csv, .parquet or .json"
_TYPO = 0.85  # difflib's ratio above which a name that is not there is surely another one, misspelt


@dataclass
class _Seen:
    """The features of the records that were looked at.

    Attributes:
        names: of all their features.
        records: how many there were.
        all_records: whether the inputs hold no others.
        filled: features that hold values of bytes, as images are.
        formats: of the images that features of bytes hold, by the feature's name.
        labels: of annotated boxes.
        declared: what the files say of features themselves, by name.
    """

    names: set[str] = field(default_factory=set)
    records: int = 0
    all_records: bool = True
    filled: set[str] = field(default_factory=set)
    formats: dict[str, set[str]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    declared: dict[str, Declared] = field(default_factory=dict)

    def note(self, record: bytes | Quarantine, labels: Collection[str] = ()) -> None:
        """Adds a record; what is no Example is left to the job. The labels are in features of these names."""
        if isinstance(record, Quarantine):
            self.all_records = False
            return
        try:
            example = Example.parse(record)
            values = {name: example.bytes_values(name) or () for name in example.names()}
            found_labels = [value for name in labels for value in _listed(example.values(name))]
        except InvalidExampleError:
            return
        self.records += 1
        self.names.update(values)
        self.labels.update(map(label_text, found_labels))
        self.filled.update(name for name, found in values.items() if found)
        for name, found in values.items():
            formats = {str(sniff(value)) for value in found if sniff(value) in IMAGES}
            if formats:
                self.formats.setdefault(name, set()).update(formats)

    def add(self, other: _Seen) -> None:
        """Adds what was seen elsewhere."""
        self.names |= other.names
        self.records += other.records
        self.all_records &= other.all_records
        self.filled |= other.filled
        self.labels |= other.labels
        self.declared.update(other.declared)
        for name, formats in other.formats.items():
            self.formats.setdefault(name, set()).update(formats)

    @property
    def looked(self) -> str:
        """Which records they are."""
        return f"{'all' if self.all_records else 'the first'} {self.records} record{'' if self.records == 1 else 's'}"

    @property
    def listed(self) -> str:
        """The names of the features."""
        return (", ".join(sorted(self.names)[:_MAX_NAMED]) + (", …" if len(self.names) > _MAX_NAMED else "")) or "none"


def check_feature_names(options: JobOptions, summary: InputSummary) -> JobOptions:
    """Refuses names of features that no record has, as far as the first records of the first files tell.

    Each record has to have the features of images, so they have to be in each series of files of records. A feature
    that is to be dropped and is not there would stay under the name that it really has, so that is an error. One that
    is allowed may be rare: it is an error if all records were looked at, or if it is nearly the name of another; else a
    warning, for what is not allowed by its right name does not get out as an image. Inputs that are image files have no
    features but those that the job writes: names are compared with these alone.

    Args:
        options: the job's options.
        summary: what the inputs hold.

    Returns:
        The options, with the name of the one feature that holds images where files declare features and none is named.

    Raises:
        OptionError: naming the option, the name, the nearest one and those that were seen; of images, which features
            hold some; or a feature that an Example cannot hold.
    """
    boxes = BoxFeatures(options.boxes) if options.boxes and not is_box_file(options.boxes) else None
    splits = summary.splits.values()
    if not any(split.record_files for split in splits):
        _check_image_files(options, boxes)
        return options
    labels = boxes.labels if boxes else ()
    looked_into = [file for split in splits for file in split.first_record_files]
    look = partial(_look, roles=options.features, labels=labels)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        found = list(zip(looked_into, pool.map(look, looked_into), strict=True))
    seen = _Seen(all_records=len(looked_into) == sum(split.record_files for split in splits))
    of_series: dict[str, _Seen] = {}
    for file, there in found:
        seen.add(there)
        of_series.setdefault(series_of(file), _Seen()).add(there)
    options = _with_found_images(options, of_series.values())
    roles = options.features
    for file, there in found:
        _check_declared(file, there.declared.values(), roles)
    _tell_notes(seen.declared.values(), roles)
    if not seen.records:  # which the job will say, record by record
        return options
    for series, there in of_series.items():
        if there.records:
            there.all_records = seen.all_records
            where = f" of {series}" if len(of_series) > 1 else ""
            _check_images(roles, there, where)
    if boxes:
        _check_boxes(boxes, options.box_classes, seen)
    _check_others(roles, seen, {*roles.written(), *(OWN_FEATURES if any(split.images for split in splits) else ())})
    return options


def _check_image_files(options: JobOptions, boxes: BoxFeatures | None) -> None:
    own = {*options.features.written(), *OWN_FEATURES}
    for name in options.features.dropped:
        if name not in own and (close := _nearest(name, own, _TYPO)):
            raise OptionError(f"--drop_features {name}: image files get no such feature; did you mean {close}?")
    if boxes:
        raise OptionError(f"--boxes {options.boxes}: image files have no features; {_BOX_FILE}")


def _with_found_images(options: JobOptions, series: Iterable[_Seen]) -> JobOptions:
    """Takes the features with images that each series of files has, where all declare their features and none is named.

    That is those which are declared to hold images, else the only one that does.
    """
    roles = options.features
    found = set()
    for there in (each for each in series if each.records):
        named = {*roles.dropped, *roles.allowed}
        images = [each.name for each in there.declared.values() if each.holds_images and each.name not in named]
        seen = there.formats.keys() - named
        if not there.declared or not (images or len(seen) == 1) or roles.images[0] in there.names:
            return options
        found.add(tuple(images or seen))
    if roles.images != FeatureRoles.images or len(found) != 1:
        return options
    [names] = found
    _LOGGER.info("--image_feature is not given; images are in %s", ", ".join(names))
    return replace(options, image_feature=names)


def _check_declared(file: InputFile, declared: Iterable[Declared], roles: FeatureRoles) -> None:
    """Refuses what an Example cannot hold."""
    for feature in declared:
        if feature.refusal and not roles.is_left_out(feature.name):
            raise OptionError(f"{file.path}: {feature.advice}")


def _tell_notes(declared: Iterable[Declared], roles: FeatureRoles) -> None:
    """Tells what an Example holds otherwise."""
    names: dict[str, list[str]] = {}
    for feature in declared:
        if feature.note and not roles.is_left_out(feature.name):
            names.setdefault(feature.note, []).append(feature.name)
    for note, alike in names.items():
        shown = ", ".join(alike[:_MAX_NAMED]) + (", …" if len(alike) > _MAX_NAMED else "")
        _LOGGER.warning("%s: in column %s", note, shown)


def _check_others(roles: FeatureRoles, seen: _Seen, own: set[str]) -> None:
    """Refuses features that are to be dropped or allowed and that no record has."""
    if not roles.strict:  # else it goes anyway, whatever its name
        advice = (
            "If only later records have it, put a file that has it first, as an --input of its own, or use "
            "--strict_features, which leaves out whatever is not named"
        )
        for name in roles.dropped:
            _check("--drop_features", name, seen, seen.names | own, advice)
    for name in roles.allowed:
        if name not in seen.names and not seen.all_records and not _nearest(name, seen.names, _TYPO):
            _LOGGER.warning("--allow_features %s: none of the first %d records has it", name, seen.records)
        else:
            _check("--allow_features", name, seen, seen.names, "Leave it out if it is not needed")


def _check_images(roles: FeatureRoles, seen: _Seen, where: str) -> None:
    """Refuses features of images that no record of a series has, or that hold no image while others do."""
    others = {
        name: formats
        for name, formats in seen.formats.items()
        if name not in (*roles.images, *roles.dropped, *roles.allowed)
    }
    told = ", ".join(f"{name} ({', '.join(sorted(formats))})" for name, formats in sorted(others.items()))
    advice = (
        f"Images are in {told}: name those that are to be anonymized with --image_feature, the others with "
        "--drop_features or --allow_features"
        if told
        else "Each record has to have it; what holds no images is left out with --exclude"
    )
    for name in roles.images:
        _check("--image_feature", name, seen, seen.names, advice, where, others)
        if name not in seen.filled or (others and name not in seen.formats):
            what = "no image" if name in seen.filled else "no value of bytes"
            raise OptionError(f"--image_feature {name}: holds {what} in {seen.looked}{where}. {advice}")


def _check_boxes(boxes: BoxFeatures, classes: Sequence[str], seen: _Seen) -> None:
    """Refuses features of boxes that no record has, and classes that no box has."""
    for name in boxes.sides:
        _check("--boxes", name, seen, seen.names, f"If boxes are in a file, {_BOX_FILE}")
    for name in classes:
        if name in seen.labels:
            continue
        if not seen.all_records and not _nearest(name, seen.labels, _TYPO):
            _LOGGER.warning("--box_classes %s: no box of the first %d records is of it", name, seen.records)
        else:
            known = nearest_of(name, seen.labels)
            raise OptionError(f"--box_classes {name}: no box of {seen.looked} is of this class{known}")


def _check(
    option: str,
    name: str,
    seen: _Seen,
    known: set[str],
    advice: str,
    where: str = "",
    likely: Collection[str] = (),
) -> None:
    if name in known:
        return
    close = _nearest(name, likely or known, 0.6)
    raise OptionError(
        f"{option} {name}: is no feature of {seen.looked}{where}{f'; did you mean {close}?' if close else '.'} "
        f"They have: {seen.listed}. {advice}"
    )


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def _listed(values: Any) -> list[Any]:
    return [] if values is None else list(values)


def _look(file: InputFile, roles: FeatureRoles, labels: Collection[str] = ()) -> _Seen:
    """The features of the first records of a file; what cannot be read is left to the job."""
    seen = _Seen()
    try:
        kind = container_kind(storage.read_range(file.stored, 0, LOOKED_AT))
        container = CONTAINERS[kind or file.kind]
        seen.declared = {feature.name: feature for feature in container.declared(file.stored)}
        seen.names = set(seen.declared)
        refused = (feature.name for feature in seen.declared.values() if feature.refusal)
        known = replace(roles, dropped=(*roles.dropped, *refused), strict=False)
        records = container.read(file.stored, None, LONGEST_RECORD, known)
        for _, record in itertools.islice(records, RECORDS):
            seen.note(record, labels)
        seen.all_records &= next(records, None) is None
    except (AccessError, OSError):
        seen.all_records = False
    return seen
