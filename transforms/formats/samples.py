"""Samples of WebDataset, made of Examples: the members that they have in a tar, and their names.

A sample's members lie one behind the other and are called ``<key>.<name>``; readers take for the key what comes before
the first dot of the last part of the path (https://github.com/webdataset/webdataset#the-webdataset-format). So keys are
spelt with ``%2E`` for a dot, as in URLs, and with escapes for what readers, or programs that unpack tars, would trip
over; ``urllib.parse.unquote`` gives the names of files back.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from faceveil.transforms.codecs.signatures import sniff
from faceveil.transforms.formats.columns import Columns, column_of, is_list
from faceveil.transforms.formats.example import Example, ReadValues
from faceveil.transforms.formats.kinds import CONVERTED_ENDINGS, IMAGE_ENDINGS, ending_of
from faceveil.transforms.formats.tar_files import SAMPLE_KEY
from faceveil.transforms.quarantine import Quarantine, Reason

_ENDINGS = {"jpeg": "jpg", "tiff": "tif", "heif": "heic"}
_NETPBM = {b"P1": "pbm", b"P4": "pbm", b"P2": "pgm", b"P5": "pgm"}
_MEMBER = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_TOLD, _TOLD_BESIDE = "json", "faces.json"
_NUMBERED = re.compile(r"(\d{5,})-(\d{6,})")
# Slashes that lead nowhere, folders that lead upwards or that WebDataset passes over, signs that are not to be seen.
_ESCAPED = re.compile(r"[\0-\x1f\x7f\udc80-\udcff]|^/|/(?=/|$)|(?<![^/])\.+(?=/)|^_(?=_[^/]*__(/|$))")


def file_sample_name(key: str) -> str:
    """The name of the sample that an image file makes: its key, without the ending that says it is an image.

    Example usage::

        >>> file_sample_name("people/anna.jpg"), file_sample_name("v1.2/anna.m.jpg"), file_sample_name("anna.m")
        ('people/anna', 'v1.2/anna%2Em', 'anna%2Em')
    """
    ending = ending_of(key)
    return spelt_key((key[: -len(ending)] if ending in IMAGE_ENDINGS else key).replace("%", "%25"))


def spelt_key(key: str) -> str:
    """A key as all readers of WebDataset take it for one; those that they do are left as they are.

    Example usage::

        >>> spelt_key("a/b.c"), spelt_key("../x"), spelt_key("/a//b"), spelt_key("00001-000002")
        ('a/b%2Ec', '%2E%2E/x', '%2Fa%2F/b', '00001%2D000002')
    """
    spelt = _ESCAPED.sub(lambda match: _percent(match[0]), key)
    folders, slash, last = spelt.rpartition("/")
    spelt = folders + slash + last.replace(".", "%2E")
    return spelt.replace("-", "%2D") if _NUMBERED.fullmatch(spelt) else spelt


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def sample_of(example: Example, images: Sequence[str], columns: Columns, name: str | None = None) -> bytes:
    """An Example's sample, as an Example again: each feature is a member, but for ``__key__``, which it may lack.

    Images end as their format says; a single value of bytes whose name may be an ending is a member as it is, as in the
    tars that are read; all else lies in one of JSON.

    Args:
        example: with anonymized images.
        images: the features that hold them, the main one first.
        columns: which other features hold one value each.
        name: of the sample; else the Example tells it, or it has none.

    Raises:
        Quarantine: it cannot be told in JSON, or two members would have one name.
        InvalidExampleError: a feature cannot be parsed.
    """
    if example.lists:
        raise _refused(f"feature {min(example.lists)} is a list of features, which a sample has no member for")
    key = example.bytes_values(SAMPLE_KEY)
    if name is None and key:
        name = spelt_key(key[0].decode("utf-8", "surrogateescape"))
    members: dict[str, bytes] = {}
    told: dict[str, Any] = {}
    for feature in example.names():
        values = example.values(feature)
        if feature == SAMPLE_KEY or values is None:
            continue
        found = dict(_members(feature, values, images))
        if not found:
            told[feature] = _told(feature, values, columns.get(column_of(feature), "list<>"))
        if not found.keys().isdisjoint(members):
            raise _refused(f"feature {feature}: two members of the sample would be called {min(found)}")
        members |= found
    # What the input has of that name stays.
    told_as = _TOLD_BESIDE if _TOLD in members else _TOLD
    if told:
        members[told_as] = json.dumps(told, sort_keys=True, ensure_ascii=False).encode()
    return Example.empty().with_features({**({SAMPLE_KEY: name.encode()} if name else {}), **members})


def _refused(why: str) -> Quarantine:
    return Quarantine(Reason.INVALID_EXAMPLE, f"--format webdataset: {why}")


def _members(feature: str, values: ReadValues, images: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The members of a feature, if it is not told in JSON."""
    if not isinstance(values, list):
        return
    if feature not in images:
        if len(values) == 1 and _MEMBER.fullmatch(feature):
            yield feature, values[0]
        return
    named = feature.replace("/", ".").lower()
    if ending_of(f"x.{named}") in IMAGE_ENDINGS - CONVERTED_ENDINGS and len(values) == 1:
        yield named, values[0]
        return
    for number, value in enumerate(values):
        parts = [*([named] if feature != images[0] else []), *([str(number)] if len(values) > 1 else [])]
        yield ".".join([*parts, _image_ending(value)]), value


def _image_ending(image: bytes) -> str:
    found = str(sniff(image))
    return _NETPBM.get(image[:2], "ppm") if found == "netpbm" else _ENDINGS.get(found, found)


def _told(feature: str, values: ReadValues, column_type: str) -> Any:
    """A feature as JSON has it."""
    try:
        told = [value.decode() for value in values] if isinstance(values, list) else values.tolist()
    except UnicodeDecodeError as error:
        raise _refused(f"feature {feature} holds bytes that are no text, which JSON cannot hold") from error
    if is_list(column_type) or len(told) > 1:
        return told
    return told[0] if told else None


def numbered_name(shard: int, number: int, addition: int = 0) -> str:
    """The name of a sample that has none, of no sample that has one.

    Args:
        shard: its number.
        number: of the sample in it.
        addition: which update has added the shard; 0 for none.

    Example usage::

        >>> numbered_name(3, 12), numbered_name(3, 12, addition=1)
        ('00003-000012', '00100003-000012')
    """
    return f"{f'{addition:03}' if addition else ''}{shard:05}-{number:06}"


def write_member(name: str, data: bytes) -> bytes:
    """A member of a tar; its header tells name and size, and nothing of times, owners or machines."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return b"".join((header, data, bytes(-len(data) % tarfile.BLOCKSIZE)))


def end_of_tar(size: int) -> bytes:
    """What ends a tar that has so many bytes: two blocks of zeros, and as many as fill a record."""
    return bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def read_samples(file: BinaryIO) -> Iterator[bytes]:
    """The samples of a tar, as ``sample_of`` has made them.

    Raises:
        OSError: it cannot be read.
    """
    last, members = None, dict[str, bytes]()
    with tarfile.open(fileobj=file, mode="r|*", encoding="utf-8") as tar:
        for info in tar:
            folders, slash, member = info.name.rpartition("/")
            stem, _, name = member.partition(".")
            key = folders + slash + stem
            if key != last and last is not None:
                yield _read_sample(last, members)
                members = {}
            last = key
            content = tar.extractfile(info)
            assert content is not None
            members[name] = content.read()
    if last is not None:
        yield _read_sample(last, members)


def _read_sample(key: str, members: dict[str, bytes]) -> bytes:
    named = {} if _NUMBERED.fullmatch(key) else {SAMPLE_KEY: key.encode()}
    return Example.empty().with_features({**named, **members})
