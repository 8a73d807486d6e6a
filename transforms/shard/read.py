"""Reading: the files of a shard in, one source per record out; then a source's compressed images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from faceveil.transforms import storage
from faceveil.transforms.arrays import RGB, check_rgb
from faceveil.transforms.codecs.signatures import IMAGES, sniff
from faceveil.transforms.formats.container import FilePart, rest_from
from faceveil.transforms.formats.containers import CONTAINERS, container_kind
from faceveil.transforms.formats.embedded import Contents, examine
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import LOOKED_AT, Kind, unreadable
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Quarantine, Reason, too_large
from faceveil.transforms.runtime.memory import is_out_of_memory
from faceveil.transforms.shard.record import Outcome, quarantined
from faceveil.transforms.storage.base import StoredFile

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
        serialized: the tf.train.Example's bytes; None for a file, which is yet to be read.
        nbytes: about what it will hold when it is decoded.
        version: of the file that is yet to be read; no other is taken.
        size: of that file in bytes, which tells versions apart on disk.
        part: which part of the file is read, where it is not the whole.
        content: of a file that was read ahead.
        kind: of the file.
    """

    key: str
    path: str
    serialized: bytes | None
    nbytes: int
    version: str | None = None
    size: int | None = None
    part: FilePart | None = None
    content: bytes | None = None
    kind: Kind = "image"


def array_source(key: str, image: RGB, max_bytes: int) -> Source | Outcome:
    """The record of decoded pixels, as if they lay in a file: with a header before them, see `codecs/netpbm.py`.

    Too many are quarantined before they are copied.

    Raises:
        ValueError: as ``check_rgb``.
    """
    check_rgb(image)
    if image.nbytes > max_bytes:
        return quarantined(key, too_large(f"{image.nbytes} bytes of pixels"))
    height, width, _ = image.shape
    return image_source(key, b"P6\n%d %d\n255\n" % (width, height) + image.tobytes())


def array_of(image: bytes, shape: Sequence[int]) -> RGB:
    """The pixels of the anonymized image that was made of an ``array_source``, as an array of their own."""
    return np.frombuffer(image, np.uint8)[-math.prod(shape) :].reshape(shape).copy()


def example_source(key: str, serialized: bytes, max_bytes: int) -> Source | Outcome:
    """The record of a serialised Example that is in memory already; one that is too large is quarantined."""
    if len(serialized) > max_bytes:
        return quarantined(key, too_large(f"it has {len(serialized)} bytes"))
    return Source(key, "", serialized, len(serialized) * _DECODED)


class HoldsRecords(Exception):
    """A file that was taken for an image by its ending holds records; ``read_records_of`` reads them."""


def read_sources(plan: ShardPlan, roles: FeatureRoles, max_bytes: int) -> Iterator[Source | Outcome]:
    """The records of a shard, in their order; image files are not opened yet, so that this can run in parallel.

    Args:
        plan: the shard.
        roles: what the features of records are.
        max_bytes: no larger image file or record is read into memory.

    Raises:
        AccessError: as ``read_records_of``.
    """
    for file in plan.files:
        source = _unread(file, max_bytes)
        if plan.kind == "image":
            yield source
        else:
            yield from read_records_of(replace(source, part=plan.part), roles, max_bytes)


def begin_reading(plan: ShardPlan, roles: FeatureRoles, max_bytes: int, thread: Executor) -> Iterator[Source | Outcome]:
    """As ``read_sources``; what comes first is read at once by a thread, while the caller does other things."""
    sources = read_sources(plan, roles, max_bytes)
    first = thread.submit(next, sources, None)

    def all_of_them() -> Iterator[Source | Outcome]:
        if (source := first.result()) is not None:
            yield source
            yield from sources

    return all_of_them()


def _unread(file: InputFile, max_bytes: int) -> Source:
    # One that is too large is not read, so it counts for no more than may be read of it.
    nbytes = min(file.size, max_bytes) * _DECODED
    return Source(file.key, file.path, None, nbytes, version=file.version, size=file.size, kind=file.kind)


def image_source(key: str, data: bytes) -> Source:
    """The record of an encoded image that is in memory already."""
    return Source(key, "", None, len(data) * _DECODED, content=data)


def read_records_of(file: Source, roles: FeatureRoles, max_bytes: int) -> Iterator[Source | Outcome]:
    """The records of a file, in their order; of one that is an image, in spite of its name, the file itself.

    What its first bytes are decides how it is read. Records that cannot be read are quarantined: each that is known,
    and one that says where the damage is, for those that are lost in it.

    Args:
        file: the file.
        roles: what the features of records are.
        max_bytes: no larger record is read into memory.

    Raises:
        AccessError: it may not be read, is not the file that was listed, or storage cannot be reached.
    """
    part = file.part
    if part and part.records == 0:
        return
    following = part.first if part else 0
    assert file.size is not None
    assert file.version is not None
    stored = StoredFile(file.path, file.size, file.version)
    try:
        kind: Kind | None = file.kind
        if not part:
            start = storage.read_range(stored, 0, LOOKED_AT)
            kind = container_kind(start)
            if kind is None and sniff(start) in IMAGES:
                yield file
                return
        # A file of no kind is left to the reader of what it was taken for, which says what is wrong with it.
        container = CONTAINERS.get(kind or file.kind, CONTAINERS["tfrecord"])
        for number, record in container.read(stored, part, max_bytes, roles):
            following = number + 1
            if not isinstance(record, Quarantine):
                yield Source(f"{file.key}#{number}", file.path, record, len(record) * _DECODED)
                continue
            if record.reason is Reason.CORRUPT_RECORD:
                _check_unchanged(file)
            yield quarantined(f"{file.key}#{number}", record)
        _check_unchanged(file)
    except PermissionError as error:
        raise unreadable(file.path, error) from error
    except OSError as error:
        if is_out_of_memory(error):
            raise
        yield quarantined(f"{file.key}#{following}", _unreadable(error, f"{rest_from(following, part)}: "))


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
        The images, the main one first, as ``image_names`` tells their features; what they came in, None for an image
        file, which is one image; and what each feature holds that no option names, for ``refuse_pixels``.

    Raises:
        Quarantine: one is missing, it is larger than ``max_bytes``, or the Example holds other images that nobody
            asked to anonymize.
        HoldsRecords: an image file is none, but holds records.
        AccessError: a file may not be read, is not the one that was listed, or storage cannot be reached.
    """
    if source.serialized is None:
        return (read_file(source, max_bytes),), None, {}
    try:
        example = Example.parse(source.serialized)
        others = _without_pictures(example, roles)
        images = tuple(image for name in roles.images for image in _images(example, name))
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
    if container_kind(data[:LOOKED_AT]):
        raise HoldsRecords
    if len(data) > max_bytes:
        raise too_large(f"more than {max_bytes} bytes")
    return data


def image_names(example: Example | None, roles: FeatureRoles) -> list[str]:
    """The features of a record's images, one for each image; what is named first for an image file."""
    if example is None:
        return [roles.images[0]]
    return [name for name in roles.images for _ in example.bytes_values(name) or ()]


def _images(example: Example, name: str) -> list[bytes]:
    values = example.bytes_values(name)
    if values is None:
        names = ", ".join(example.names()) or "none"
        raise Quarantine(Reason.MISSING_IMAGE, f"no bytes feature {name}; the Example's features: {names}")
    if not values:
        raise Quarantine(Reason.MISSING_IMAGE, f"feature {name} holds no value")
    return values


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
        for step in example.values_of_steps(name) if name in example.lists else ():
            contents.add(examine(step))
        if contents.picture:
            options = "--image_feature, --drop_features or --allow_features"
            raise Quarantine(
                Reason.EMBEDDED_IMAGE,
                f"feature {name} holds an image too; name it with {options} (it looks like {contents.picture})",
            )
        if contents.byte_counts or contents.counts:
            searched[name] = contents
    return searched


def refuse_pixels(
    others: Mapping[str, Contents], sizes: Iterable[tuple[int, int]], numbers: Iterable[int] = ()
) -> None:
    """Quarantines a record of which another feature has as many values as one of its images has pixels, or several.

    Args:
        others: what each feature holds that no option names.
        sizes: width and height of each of its images.
        numbers: of images, that each of its features has.

    Raises:
        Quarantine: EMBEDDED_IMAGE; the feature may be the image once more, or a mask that shows its outlines.
    """
    alike = list(itertools.product(dict.fromkeys(sizes), sorted({1, *numbers})))
    for name, contents in others.items():
        for (width, height), images in alike:
            if count := contents.size_of(width, height, images):
                pixels = f"{f'{images} images of ' if images > 1 else ''}{width} x {height} px"
                raise Quarantine(
                    Reason.EMBEDDED_IMAGE,
                    f"feature {name} may hold an image too; name it with --drop_features or --allow_features (it has "
                    f"{count}, as many as the raw pixels of {pixels}, or of a reduction, would have)",
                )
