"""Reading: the files of a shard in, one source per record out; then a source's compressed images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from faceveil.transforms import storage
from faceveil.transforms.codecs.signatures import DECODED, sniff
from faceveil.transforms.formats.embedded import Contents, examine
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import LOOKED_AT, unreadable
from faceveil.transforms.formats.tfrecord import (
    CorruptRecordError,
    OversizedRecord,
    begins_as_tfrecords,
    read_limited_records,
    read_plain_records,
)
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.parts import FilePart
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory
from faceveil.transforms.shard.record import Outcome, quarantined

# Pixels and views take a multiple of the compressed bytes. Counted before decoding, this keeps large photos from being
# taken on all at once; afterwards the true size counts.
_DECODED = 8
_LONGEST_NAME = 100  # of a feature, that cannot spell an image


@dataclass(frozen=True)
class Source:
    """One record before anything of it is looked at.

    Attributes:
        key: the record's key.
        path: the file it comes from.
        serialized: the tf.train.Example's bytes; None for an image file, which is yet to be read.
        nbytes: about what it will hold when it is decoded.
        version: of the file that is yet to be read; no other is taken.
        size: of that file in bytes, which tells versions apart on disk.
        part: which part of the file is read, where it is not the whole.
        content: of a file that was read ahead.
        is_other: whether it is no image, but to be copied.
    """

    key: str
    path: str
    serialized: bytes | None
    nbytes: int
    version: str | None = None
    size: int | None = None
    part: FilePart | None = None
    content: bytes | None = None
    is_other: bool = False


class HoldsRecords(Exception):
    """A file that was taken for an image by its ending holds TFRecords; ``read_tfrecord_sources`` reads them."""


def read_sources(plan: ShardPlan, max_bytes: int) -> Iterator[Source | Outcome]:
    """The records of a shard, in their order; image files are not opened yet, so that this can run in parallel.

    Args:
        plan: the shard.
        max_bytes: no larger image file or record is read into memory.

    Raises:
        AccessError: as ``read_tfrecord_sources``.
    """
    for file in plan.files:
        source = _image_file(file, max_bytes)
        if plan.kind == "image":
            yield source
        else:
            yield from read_tfrecord_sources(replace(source, part=plan.part), max_bytes)


def _image_file(file: InputFile, max_bytes: int) -> Source:
    # One that is too large is not read, so it counts for no more than may be read of it.
    nbytes = min(file.size, max_bytes) * _DECODED
    is_other = file.kind == "other"
    return Source(file.key, file.path, None, nbytes, version=file.version, size=file.size, is_other=is_other)


def image_source(key: str, data: bytes) -> Source:
    """The record of an encoded image that is in memory already."""
    return Source(key, "", None, len(data) * _DECODED, content=data)


def read_tfrecord_sources(file: Source, max_bytes: int) -> Iterator[Source | Outcome]:
    """The records of a TFRecord file, in their order; of one that is an image, in spite of its name, the file itself.

    A file that is damaged gives the records before the damage, and one that is quarantined and says where it is. A
    record that is too large is quarantined.

    Args:
        file: the file.
        max_bytes: no larger record is read into memory.

    Raises:
        AccessError: it may not be read, is not the file that was listed, or storage cannot be reached.
    """
    key, path, part = file.key, file.path, file.part
    if part and part.start == part.stop:
        return
    index = part.first if part else 0
    rest = f" up to record {part.first + part.records - 1}" if part and part.records else " and what follows"
    try:
        with storage.open_to_read(path, file.version, file.size) as opened:
            if part:
                records = read_plain_records(opened, max_bytes, part.start, part.stop)
            elif _is_image(opened):
                yield file
                return
            else:
                records = read_limited_records(opened, max_bytes)
            for record in records:
                if isinstance(record, OversizedRecord):
                    detail = f"record {index}, at byte {record.offset}, has {record.length} bytes"
                    yield quarantined(f"{key}#{index}", _too_large(detail))
                else:
                    yield Source(f"{key}#{index}", path, record, len(record) * _DECODED)
                index += 1
        _check_unchanged(file)
    except CorruptRecordError as error:
        _check_unchanged(file)
        damage = Quarantine(Reason.CORRUPT_RECORD, f"record {index}{rest}: {error}")
        yield quarantined(f"{key}#{index}", damage)
    except PermissionError as error:
        raise unreadable(path, error) from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        yield quarantined(f"{key}#{index}", _unreadable(error, f"record {index}{rest}: "))


def _is_image(opened: BinaryIO) -> bool:
    """Whether a file that was taken for TFRecords is an image.

    Raises:
        CorruptRecordError: it is something else that has a name; says what.
    """
    start = cast("io.BufferedReader", opened).peek(LOOKED_AT)[:LOOKED_AT]
    if begins_as_tfrecords(start):
        return False
    found = sniff(start)
    if found not in (None, "gzip", "zlib", *DECODED):
        raise CorruptRecordError(
            f"the file begins as {found} does; TFRecords are read plain, or compressed by gzip or zlib"
        )
    return found in DECODED


def _check_unchanged(file: Source) -> None:
    if file.version is not None and file.size is not None:
        storage.check_unchanged(file.path, file.version, file.size)


@dataclass(frozen=True)
class ReadAhead:
    """A record on its way to be decoded, with its file's content already if it could be read."""

    item: Source | Outcome

    @property
    def nbytes(self) -> int:
        """Bytes held, or that its file will hold."""
        if isinstance(self.item, Outcome):
            return self.item.nbytes
        return len(self.item.content) if self.item.content is not None else self.item.nbytes // _DECODED


def read_ahead(ahead: ReadAhead, max_bytes: int) -> ReadAhead:
    """Reads an image file before it is needed; one that cannot be read is left to ``load``, which says why.

    Raises:
        AccessError: storage cannot be reached, or the file is not the one that was listed.
    """
    source = ahead.item
    if isinstance(source, Outcome) or source.serialized is not None:
        return ahead
    try:
        return ReadAhead(replace(source, content=_content(source, max_bytes)))
    except (OSError, MemoryError):
        return ahead


def _content(source: Source, max_bytes: int) -> bytes:
    return storage.read_bytes(source.path, max_bytes + 1, source.version, source.size)


def load(
    source: Source, roles: FeatureRoles, max_bytes: int
) -> tuple[tuple[bytes, ...], Example | None, Mapping[str, Contents]]:
    """Gets the compressed images of a record, from its file or from its Example's image features.

    Returns:
        The images, the main one first; what they came in, None for an image file, which is one image; and what each
        feature holds that no option names, for ``refuse_pixels``.

    Raises:
        Quarantine: one is missing, it is larger than ``max_bytes``, or the Example holds other images that nobody
            asked to anonymize.
        HoldsRecords: an image file is none, but holds TFRecords.
        AccessError: a file may not be read, is not the one that was listed, or storage cannot be reached.
    """
    if source.serialized is None:
        return (read_file(source, max_bytes),), None, {}
    try:
        example = Example.parse(source.serialized)
        if example.is_sequence:
            raise Quarantine(Reason.SEQUENCE_EXAMPLE, "it has feature lists, which are not looked at")
        others = _without_pictures(example, roles)
        images = tuple(_image(example, name) for name in roles.images)
    except InvalidExampleError as error:
        raise Quarantine(Reason.INVALID_EXAMPLE, str(error)) from error
    return images, example, others


def read_file(source: Source, max_bytes: int) -> bytes:
    """The content of a record that is a file of its own; raises as ``load`` does."""
    try:
        data = _content(source, max_bytes) if source.content is None else source.content
    except PermissionError as error:
        raise unreadable(source.path, error) from error
    except OSError as error:
        raise _unreadable(error) from error
    if begins_as_tfrecords(data[:LOOKED_AT]):
        raise HoldsRecords
    if len(data) > max_bytes:
        raise _too_large(f"more than {max_bytes} bytes")
    return data


def _image(example: Example, name: str) -> bytes:
    values = example.bytes_values(name)
    if values is None:
        names = ", ".join(example.names()) or "none"
        raise Quarantine(Reason.MISSING_IMAGE, f"no bytes feature {name}; the Example's features: {names}")
    if len(values) != 1:
        raise Quarantine(Reason.MISSING_IMAGE, f"feature {name} holds {len(values)} values, not one")
    return values[0]


def _too_large(detail: str) -> Quarantine:
    return Quarantine(Reason.TOO_LARGE, f"{detail} (--max_image_bytes allows more)")


def _unreadable(error: Exception, where: str = "") -> Quarantine:
    # Without the path: the key says which file, and where the data lies is no part of the output. What object stores
    # say quotes it in many spellings, so of that there is only the kind of error.
    said = error.strerror if isinstance(error, OSError) else None
    return Quarantine(Reason.UNREADABLE_FILE, where + (said or type(error.__cause__ or error).__name__))


def _without_pictures(example: Example, roles: FeatureRoles) -> dict[str, Contents]:
    """What each feature holds that no option names, of those that may yet be pixels by their number."""
    searched = {}
    for name in example.names():
        if roles.is_left_out(name) or name in roles.images:
            continue
        values = example.values(name)
        if name in roles.allowed:
            continue
        if len(name) > _LONGEST_NAME and examine([name.encode()]).picture:
            raise Quarantine(Reason.EMBEDDED_IMAGE, f"the name of a feature holds an image: {name[:_LONGEST_NAME]}…")
        if values is None:
            continue
        contents = examine(values)
        if contents.picture:
            options = "--image_feature, --drop_features or --allow_features"
            raise Quarantine(
                Reason.EMBEDDED_IMAGE,
                f"feature {name} holds an image too; name it with {options} (it looks like {contents.picture})",
            )
        if contents.byte_counts or contents.counts:
            searched[name] = contents
    return searched


def refuse_pixels(others: Mapping[str, Contents], sizes: Iterable[tuple[int, int]]) -> None:
    """Quarantines a record of which another feature has as many values as one of its images has pixels.

    Args:
        others: what each feature holds that no option names.
        sizes: width and height of each of its images.

    Raises:
        Quarantine: EMBEDDED_IMAGE; the feature may be the image once more, or a mask that shows its outlines.
    """
    for name, contents in others.items():
        for width, height in sizes:
            if count := contents.size_of(width, height):
                raise Quarantine(
                    Reason.EMBEDDED_IMAGE,
                    f"feature {name} may hold an image too; name it with --drop_features or --allow_features (it has "
                    f"{count}, as many as the raw pixels of {width} x {height} px, or of a reduction, would have)",
                )
