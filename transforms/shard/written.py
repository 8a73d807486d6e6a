"""Images of finished shards, as they were written: the one way to look at an output's pixels, in any format."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Row, Status, read_placed_rows, read_stamp
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.shard.compose import decomposer
from faceveil.transforms.shard.shard_format import SHARD_FORMATS


@dataclass(frozen=True)
class WrittenRecord:
    """A record as it lies in the output.

    Attributes:
        row: what became of it.
        images: compressed, the main one first, which the row's width, height and faces speak of.
    """

    row: Row
    images: tuple[bytes, ...]


def read_written(
    name: str, output: OutputLayout, wanted: Collection[str], image_features: Sequence[str]
) -> Iterator[WrittenRecord]:
    """The images of some records of a finished shard, in the shard's order.

    Of a file that is not the one that was written there is none; so nothing comes from here that the job has not made.

    Args:
        name: the shard's.
        output: where it lies.
        wanted: keys of records; those that were quarantined or copied have no images.
        image_features: of Examples, those that hold images, the main one first.

    Raises:
        AccessError: storage cannot be reached.
        OSError: the shard cannot be read.
        ValueError: its audit file or a record is damaged.
    """
    left = set(wanted)
    for row, data in _read_records(name, output, wanted):
        if row.key in left:
            left.remove(row.key)
            if row.status in (Status.ANONYMIZED, Status.NO_FACES):
                yield WrittenRecord(row, _images(data, output, image_features))
        if not left:
            return


def _read_records(name: str, output: OutputLayout, wanted: Collection[str]) -> Iterator[tuple[Row, bytes]]:
    shard_format = SHARD_FORMATS[output.format]
    audit = output.audit_path(name)
    if not shard_format.has_files:
        if stamp := read_stamp(audit):
            for row, data in shard_format.read_back(name, output, stamp.result):
                if data is not None:
                    yield row, data
        return
    # A file of its own can be read without all the others.
    for row, place in read_placed_rows(audit):
        if row.key in wanted and place is not None:
            with suppress(OSError):
                data = storage.read_bytes(storage.join(output.directory, place.file))
                if hashlib.sha256(data).hexdigest() == place.sha256:
                    yield row, data


def _images(data: bytes, output: OutputLayout, image_features: Sequence[str]) -> tuple[bytes, ...]:
    """What a record holds, as it was given to the shard's writer."""
    if SHARD_FORMATS[output.format].has_files:
        return (data,)
    decompose = decomposer(output.format, output.columns, FeatureRoles(tuple(image_features)))
    example = Example.parse(decompose(data))
    # The Example of an image file has that feature, whichever ones were named for Examples that are read.
    for names in (image_features, FeatureRoles().images):
        if images := [value for name in names for value in example.bytes_values(name) or ()]:
            return tuple(images)
    return ()
