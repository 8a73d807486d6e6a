"""WebDataset's tars as containers of records: each sample is an Example; divided by bytes, unless compressed.

A sample is the members, one behind the other, whose paths are alike up to the first dot in the last part. What follows
that dot, in lower case, names the feature, as https://github.com/webdataset/webdataset#the-webdataset-format has it;
``__key__`` is what comes before. Of a sample with one image, this is the main image whatever its ending.

Members are read where they lie, and nothing is ever extracted: no name is a path here. The layout of headers is POSIX's
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06), with GNU's long names. `tarfile`
parses single headers; it is not left to walk them, for it reads extended headers of any length, and holds all.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, cast

from faceveil.transforms import storage
from faceveil.transforms.formats.container import (
    Container,
    CorruptRecordError,
    FilePart,
    NumberedRecord,
    divide_by_bytes,
    rest_from,
)
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import IMAGE_ENDINGS, is_of_system
from faceveil.transforms.quarantine import Quarantine, Reason, too_large
from faceveil.transforms.storage.base import StoredFile

_BLOCK = tarfile.BLOCKSIZE
_LONGEST_HEADER = 2**20  # of extended ones
_MAX_SIZE = 2**62
_PIECE = 2**20
_SPARSE_GOES_ON, _SPARSE_BLOCK_GOES_ON = 482, 504  # bytes that say that a block of GNU's sparse maps follows
_GZIP_MAGIC = b"\x1f\x8b"
_MAIN_IMAGE = FeatureRoles.images[0]
SAMPLE_KEY = "__key__"
"""The feature that holds what the names of a sample's members have in common."""
_PAX_RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")


def begins_as_tar(start: bytes) -> bool:
    """Whether a file that begins so is a tar, plain or in gzip: the checksum of its first header has to be right.

    Example usage::

        >>> begins_as_tar(tarfile.TarInfo("a.jpg").tobuf()), begins_as_tar(bytes(512))
        (True, False)
    """
    if start.startswith(_GZIP_MAGIC):
        try:
            start = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(start, _BLOCK)
        except zlib.error:
            return False
    try:
        _parsed(start[:_BLOCK])
    except CorruptRecordError:
        return False
    return True


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise CorruptRecordError(str(error)) from error
    if not 0 <= info.size < _MAX_SIZE:
        raise CorruptRecordError(f"the size is {info.size}")
    return info


class Member(NamedTuple):
    """A member of a tar.

    Attributes:
        name: its path.
        kind: of tarfile's types; ``GNUTYPE_SPARSE`` for any that is sparse.
        start: where its first header begins.
        place: where its content begins.
        size: of its content.
    """

    name: str
    kind: bytes
    start: int
    place: int
    size: int


class BehindEndError(CorruptRecordError):
    """An archive has ended, and its file has not."""


def read_members(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """The members that begin in a range of bytes; the file is only ever read forwards.

    Raises:
        CorruptRecordError: a header is damaged, or the file ends before the archive does.
        BehindEndError: the file goes on behind the archive's end.
        OSError: the file cannot be read.
    """
    place = start
    extended: dict[str, bytes] = {}
    while stop is None or start < stop:
        file.seek(place)
        block = _read_exactly(file, _BLOCK, place)
        if not block.strip(b"\0"):
            _check_end(file, place)
            return
        try:
            info = _parsed(block)
        except CorruptRecordError as error:
            raise CorruptRecordError(f"the header at byte {place}: {error}") from error
        content = place + _BLOCK
        kind = info.type
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            found = _extended(file, info, content)
            if kind != tarfile.XGLTYPE:
                extended |= found
            elif not found.keys().isdisjoint(("path", "size")) or _is_sparse(found):
                raise CorruptRecordError(f"the header at byte {place} changes the names or sizes of all members")
            place = content + _padded(info.size)
            continue
        if kind == tarfile.GNUTYPE_LONGLINK:
            place = content + _padded(info.size)
            continue
        size = _number(extended.get("size", b"%d" % info.size), place)
        name = extended["path"].decode("utf-8", "surrogateescape") if "path" in extended else info.name
        goes_on = kind == tarfile.GNUTYPE_SPARSE and block[_SPARSE_GOES_ON]
        while goes_on:
            goes_on = _read_exactly(file, _BLOCK, content)[_SPARSE_BLOCK_GOES_ON]
            content += _BLOCK
        if _is_sparse(extended):
            kind = tarfile.GNUTYPE_SPARSE
        has_content = info.isreg() or kind not in tarfile.SUPPORTED_TYPES
        yield Member(name, kind, start, content, size)
        place = content + (_padded(size) if has_content else 0)
        start, extended = place, {}


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _read_exactly(file: BinaryIO, size: int, place: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise CorruptRecordError(f"the file ends behind byte {place}, before the archive does")
    return data


def _check_end(file: BinaryIO, place: int) -> None:
    """An archive ends with blocks of zeros; readers ignore whatever is behind them."""
    while piece := file.read(_PIECE):
        if piece.strip(b"\0"):
            raise BehindEndError(f"the archive ends at byte {place}, and something follows")


def _extended(file: BinaryIO, info: tarfile.TarInfo, place: int) -> dict[str, bytes]:
    """What an extended header says of the next member: its long name, or records of pax."""
    if info.size > _LONGEST_HEADER:
        raise CorruptRecordError(f"the extended header at byte {place} has {info.size} bytes")
    data = _read_exactly(file, info.size, place)
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0]}
    records = {}
    start, end = 0, len(data.rstrip(b"\0"))
    while start < end:
        match = _PAX_RECORD.match(data, start)
        stop = start + int(match[1]) if match else 0
        if match is None or not match.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise CorruptRecordError(f"the extended header at byte {place} is damaged")
        records[match[2].decode("utf-8", "backslashreplace")] = data[match.end() : stop - 1]
        start = stop
    return records


def _is_sparse(extended: dict[str, bytes]) -> bool:
    return any(name.startswith("GNU.sparse.") for name in extended)


def _number(text: bytes, place: int) -> int:
    if not (text.isdigit() and len(text) < 20 and int(text) < _MAX_SIZE):
        raise CorruptRecordError(f"the size of the member at byte {place} is wrong")
    return int(text)


@dataclass
class _Sample:
    """A sample whose members are being read.

    Attributes:
        number: of the sample in the file.
        key: what its members have in common; None where a member belongs to no sample.
        start: where it begins.
        features: the content of its members, of those that are left out none.
        nbytes: of all of it.
        refusal: why it is quarantined, if it is.
    """

    number: int
    key: str | None
    start: int
    features: dict[str, bytes] = field(default_factory=dict)
    nbytes: int = 0
    refusal: Quarantine | None = None


def _named(member: Member) -> tuple[str | None, str]:
    """The key of a member's sample, and the name of its feature."""
    folder, slash, last = member.name.rpartition("/")
    stem, _, ending = last.partition(".")
    return (folder + slash + stem, ending.lower()) if stem and ending else (None, "")


def _is_data(member: Member) -> bool:
    """Whether a member is more than a folder or what a system leaves behind, such as AppleDouble files."""
    return member.kind != tarfile.DIRTYPE and not is_of_system(member.name.rpartition("/")[2])


def _continues(key: str | None, last: str | None) -> bool:
    return key is not None and key == last


def _max_parts(file: StoredFile) -> int:
    """Any number, unless the file is compressed."""
    start = storage.read_range(file, 0, _BLOCK)
    return 1 if start.startswith(_GZIP_MAGIC) or not begins_as_tar(start) else file.size


def _divide(file: StoredFile, count: int) -> list[FilePart]:
    return divide_by_bytes(_sample_starts(file), file.size, count)


def _sample_starts(file: StoredFile) -> Iterator[int]:
    """Found from one header to the next."""
    last = None
    with storage.open_to_read(file.path, file.version, file.size) as opened:
        for member in filter(_is_data, read_members(opened)):
            key, _ = _named(member)
            if not _continues(key, last):
                yield member.start
            last = key


@contextmanager
def _opened(file: StoredFile, part: FilePart | None) -> Iterator[BinaryIO]:
    """A tar, decompressed on the way; one that is compressed has no parts.

    Raises:
        CorruptRecordError: compressed data are damaged.
    """
    until = part.stop if part else file.size
    with storage.open_to_read(file.path, file.version, file.size, until) as opened:
        is_compressed = part is None and opened.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        opened.seek(0)
        try:
            yield cast("BinaryIO", gzip.GzipFile(fileobj=opened)) if is_compressed else opened
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorruptRecordError(f"the compressed data are damaged: {error}") from error


def _read(file: StoredFile, part: FilePart | None, max_bytes: int, roles: FeatureRoles) -> Iterator[NumberedRecord]:
    """A sample that damage follows, which may have been its own, is lost with all behind it."""
    number = part.first if part else 0
    sample = None
    try:
        with _opened(file, part) as opened:
            for member in filter(_is_data, read_members(opened, *((part.start, part.stop) if part else ()))):
                key, name = _named(member)
                if not (sample and _continues(key, sample.key)):
                    if sample:
                        number += 1
                        yield sample.number, _as_record(sample, roles)
                    sample = _Sample(number, key, member.start)
                _add(sample, member, name, opened, max_bytes, roles)
            if sample:
                number += 1
                yield sample.number, _as_record(sample, roles)
    except CorruptRecordError as error:
        yield number, Quarantine(Reason.CORRUPT_RECORD, f"{rest_from(number, part)}: {error}")


def _add(sample: _Sample, member: Member, name: str, file: BinaryIO, max_bytes: int, roles: FeatureRoles) -> None:
    """Adds a member; where that cannot be, the sample is refused, with a place and no name, which may be secret."""
    wanted = not roles.is_left_out(name) or (_is_image(name) and name not in roles.dropped)
    # Headers count too, so that members without content do not fill the memory.
    sample.nbytes += _BLOCK + (member.size if wanted else 0)
    if sample.refusal:
        return
    why = _why_refused(sample, member, name)
    if sample.nbytes > max_bytes:
        where = f"record {sample.number}, at byte {sample.start},"
        sample.refusal = too_large(f"{where} has more than {max_bytes} bytes")
    elif why:
        sample.refusal = Quarantine(Reason.INVALID_EXAMPLE, f"the member at byte {member.start} {why}")
    else:
        file.seek(member.place)
        sample.features[name] = _read_exactly(file, member.size, member.place) if wanted else b""
        return
    sample.features.clear()


def _why_refused(sample: _Sample, member: Member, name: str) -> str:
    if member.kind not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        return "is a link, a device, sparse, or of an unknown type"
    if sample.key is None:
        return "belongs to no sample: its name has no ending"
    if name in (*sample.features, SAMPLE_KEY):
        return "has the name of another one of its sample"
    return "" if name == name.encode("utf-8", "replace").decode() else "has a name that is not UTF-8"


def _is_image(name: str) -> bool:
    return f".{name.rpartition('.')[2]}" in IMAGE_ENDINGS


def _as_record(sample: _Sample, roles: FeatureRoles) -> bytes | Quarantine:
    if sample.refusal or sample.key is None:
        return sample.refusal or Quarantine(Reason.INVALID_EXAMPLE)
    named = {*roles.images, *roles.dropped, *roles.allowed}
    images = [name for name in sample.features if _is_image(name) and name not in named]
    main = images[0] if len(images) == 1 and _MAIN_IMAGE in roles.images else None
    features = {_MAIN_IMAGE if name == main else name: data for name, data in sample.features.items()}
    key = {} if roles.hides_names else {SAMPLE_KEY: sample.key.encode("utf-8", "surrogateescape")}
    return Example.empty().with_features({**key, **features})


TAR_FILES = Container(
    begins=begins_as_tar,
    why_ignored=lambda _: "",
    max_parts=_max_parts,
    divide=_divide,
    declared=lambda _: (),
    read=_read,
)
