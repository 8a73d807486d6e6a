"""Whether the features that options name are there: a look at the first records, before a job does any work."""

from __future__ import annotations

import difflib
import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from faceveil.pipeline.options import JobOptions, OptionError
from faceveil.transforms import storage
from faceveil.transforms.compose import OWN_FEATURES
from faceveil.transforms.errors import AccessError
from faceveil.transforms.example import Example, InvalidExampleError
from faceveil.transforms.inputs import MOST_SAMPLED, InputFile, InputSummary
from faceveil.transforms.tfrecord import CorruptRecordError, read_limited_records

_LOGGER = logging.getLogger(__name__)
_RECORDS = 16  # of each file
_LONGEST_RECORD = 64 * 2**20  # longer ones are passed over
_MOST_NAMED = 40  # features in a message
_TYPO = 0.85  # difflib's ratio above which a name that is not there is surely another one, misspelt


@dataclass
class _Seen:
    """The features of the records that were looked at.

    Attributes:
        names: of all their features.
        records: how many there were.
        all_records: whether the inputs hold no others.
    """

    names: set[str] = field(default_factory=set)
    records: int = 0
    all_records: bool = True


def check_feature_names(options: JobOptions, summary: InputSummary) -> None:
    """Refuses names of features that no record has, as far as the first records of the first TFRecord files tell.

    A feature that is to be dropped and is not there would stay under the name that it really has, so that is an error,
    and so is an image's. One that is allowed may be rare: it is an error if all records were looked at, or if it is
    nearly the name of another; else a warning, for what is not allowed by its right name does not get out as an image.
    Inputs that are image files have no features but those that the job writes: names are compared with these alone.

    Args:
        options: the job's options.
        summary: what the inputs hold.

    Raises:
        OptionError: naming the option, the name, the nearest one and those that were seen.
    """
    roles = options.features
    splits = summary.splits.values()
    own = {*roles.written(), *(OWN_FEATURES if any(split.images for split in splits) else ())}
    if not any(split.tfrecords for split in splits):
        for name in roles.dropped:
            if name not in own and (close := _nearest(name, own, _TYPO)):
                raise OptionError(f"--drop_features {name}: image files get no such feature; did you mean {close}?")
        return
    seen = _look(split.first_tfrecords for split in splits)
    seen.all_records &= all(split.tfrecords <= MOST_SAMPLED for split in splits)
    if not seen.records:  # which the job will say, record by record
        return
    for name in roles.images:
        _check("--image_feature", name, seen, seen.names, "Each record has to have it")
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


def _check(option: str, name: str, seen: _Seen, known: set[str], advice: str) -> None:
    if name in known:
        return
    close = _nearest(name, known, 0.6)
    looked = f"{'all' if seen.all_records else 'the first'} {seen.records} records"
    names = ", ".join(sorted(seen.names)[:_MOST_NAMED]) + (", …" if len(seen.names) > _MOST_NAMED else "")
    raise OptionError(
        f"{option} {name}: is no feature of {looked}{f'; did you mean {close}?' if close else '.'} "
        f"They have: {names or 'none'}. {advice}"
    )


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def _look(files_of_splits: Iterable[list[InputFile]]) -> _Seen:
    """The features of the first records of some files; what cannot be read is left to the job."""
    seen = _Seen()
    for file in itertools.chain.from_iterable(files_of_splits):
        try:
            with storage.open_to_read(file.path, file.version) as opened:
                records = read_limited_records(opened, _LONGEST_RECORD)
                for record in itertools.islice(records, _RECORDS):
                    _note(record, seen)
                seen.all_records &= next(records, None) is None
        except (AccessError, CorruptRecordError, OSError):
            seen.all_records = False
    return seen


def _note(record: object, seen: _Seen) -> None:
    if isinstance(record, bytes):
        try:
            example = Example.parse(record)
        except InvalidExampleError:
            return
        if not example.is_sequence:
            seen.records += 1
            seen.names.update(example.names())
    else:
        seen.all_records = False
