"""Images of finished shards, as they were written: the one way to look at an output's pixels, in any format."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Row, Status, read_placed_rows, read_stamp
from faceveil.transforms.formats.columns import IMAGE_TYPE, arrow_schema, column_of, item_of, read_row
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import IMAGE_ENDINGS, ending_of
from faceveil.transforms.formats.layout import OutputLayout
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
            yield from shard_format.read_back(name, output, stamp.result)
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
    if output.format == "webdataset":
        return tuple(_members(Example.parse(data), image_features))
    values = (
        functools.partial(_column, data, output) if output.format == "parquet" else Example.parse(data).bytes_values
    )
    # The Example of an image file has that feature, whichever ones were named for Examples that are read.
    for names in (image_features, FeatureRoles().images):
        images = [value for name in names for value in values(name) or ()]
        if images:
            return tuple(images)
    return ()


def _column(row: bytes, output: OutputLayout, feature: str) -> list[bytes]:
    """The images of a feature in a row."""
    column = column_of(feature)
    if item_of(output.columns.get(column, "")) != IMAGE_TYPE:
        return []
    [value] = read_row(row, arrow_schema(output.columns)).column(column).to_pylist()
    images = value if isinstance(value, list) else [value]
    return [image["bytes"] for image in images if image]


def _members(sample: Example, image_features: Sequence[str]) -> Iterator[bytes]:
    """The members of a sample that are images; the main one's name is an ending and a number at most."""
    names = [name for name in sample.names() if ending_of(f"x.{name}") in IMAGE_ENDINGS]
    order = {name: place for place, name in enumerate(image_features)}
    for name in sorted(names, key=lambda name: (order.get(name, len(order)), name.count("."), name)):
        yield from sample.bytes_values(name) or ()
