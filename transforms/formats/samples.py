"""Samples of WebDataset, made of Examples, and these made of samples again: their members in a tar, and their names.

A sample's members lie one behind the other and are called ``<key>.<name>``; readers take for the key what comes before
the first dot of the last part of the path (https://github.com/webdataset/webdataset#the-webdataset-format). So keys are
spelt with ``%2E`` for a dot, as in URLs, and with escapes for what readers, or programs that unpack tars, would trip
over; ``urllib.parse.unquote`` gives the names of files back.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from faceveil.transforms.codecs.signatures import sniff
from faceveil.transforms.formats.columns import Columns, column_of, is_list
from faceveil.transforms.formats.example import Example, FeatureValue, InvalidExampleError, ReadValues
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import CONVERTED_ENDINGS, IMAGE_ENDINGS, ending_of
from faceveil.transforms.formats.tar_files import SAMPLE_KEY
from faceveil.transforms.quarantine import Quarantine, Reason

_ENDINGS = {"jpeg": "jpg", "tiff": "tif", "heif": "heic"}
_NETPBM = {b"P1": "pbm", b"P4": "pbm", b"P2": "pgm", b"P5": "pgm"}
_MEMBER = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_TOLD, _TOLD_BESIDE = "json", "faces.json"
_OWN_IMAGE = FeatureRoles.images[0]
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
    return spelt.replace("-", "%2D") if is_numbered(spelt) else spelt


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
        if told_as in members:
            raise _refused(
                f"its members {_TOLD} and {_TOLD_BESIDE} leave no name for what else is told of it; drop one"
            )
        members[told_as] = _as_json(told)
    return Example.empty().with_features({**({SAMPLE_KEY: name.encode()} if name else {}), **members})


def _as_json(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, ensure_ascii=False).encode()


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


def is_numbered(key: str) -> bool:
    """Whether a sample's name is one that ``numbered_name`` gives.

    Example usage::

        >>> is_numbered("00003-000012"), is_numbered("anna")
        (True, False)
    """
    return _NUMBERED.fullmatch(key) is not None


def example_of_sample(sample: bytes, images: Sequence[str], allowed: Collection[str] = ()) -> bytes:
    """The Example that a sample was made of, by what ``sample_of`` does, undone; serialised.

    Members that are images become the features again that they were, by their names; what JSON tells becomes features,
    too, unless it is not what ``sample_of`` writes. Of an image file's sample the feature is ``image/encoded``.

    Args:
        sample: as ``read_samples`` gives it.
        images: the features that held images, the main one first.
        allowed: features that are members as they were, whatever they hold.

    Raises:
        InvalidExampleError: it is no Example of members, or one that is no image is called as images are.

    Example usage::

        >>> of = Example.parse(Example.empty().with_features({"right": b"P5 1 1", "left": b"P5 1 1", "label": [3]}))
        >>> made = Example.parse(example_of_sample(sample_of(of, ("left", "right"), {}), ("left", "right")))
        >>> made.names(), made.values("label")
        (['right', 'left', 'label'], array([3]))
    """
    parsed = Example.parse(sample)
    members = {name: b"".join(parsed.bytes_values(name) or ()) for name in parsed.names()}
    features: dict[str, FeatureValue] = {}
    found = _image_members(list(members), images, allowed)
    feature_of = {member: feature for feature, alike in found.items() for member in alike}
    if taken := (members.keys() - feature_of.keys()) & found.keys():
        raise InvalidExampleError(f"the member {min(taken)} has the name of a feature of images")
    for member, content in members.items():
        feature = feature_of.get(member)
        features[feature or member] = [members[each] for each in found[feature]] if feature else content
    told_as = _TOLD_BESIDE if _TOLD_BESIDE in members else _TOLD
    told = _read_told(members.get(told_as, b""))
    if told is not None and told.keys().isdisjoint(features):
        del features[told_as]
        features |= told
    return Example.empty().with_features(features)


def _image_members(names: Sequence[str], images: Sequence[str], allowed: Collection[str]) -> dict[str, list[str]]:
    """The members of each feature of images. A record has all of these, so what has not is the sample of a file."""
    found = {name: _members_of(name, names, name == images[0], allowed) for name in images}
    if not all(found.values()) and (of_file := _members_of(_OWN_IMAGE, names, True, allowed)):
        return {_OWN_IMAGE: of_file}
    return {feature: members for feature, members in found.items() if members}


def _members_of(feature: str, names: Sequence[str], is_main: bool, allowed: Collection[str]) -> list[str]:
    """The members of one feature of images, in their order."""
    named = feature.replace("/", ".").lower()
    if ending_of(f"x.{named}") in IMAGE_ENDINGS and named in names:
        return [named]
    pattern = re.compile(rf"{'' if is_main else re.escape(named) + '[.]'}(?:(\d+)[.])?([a-z0-9]+)")
    matches = [match for name in names if (match := pattern.fullmatch(name)) and f".{match[2]}" in IMAGE_ENDINGS]
    matches = [match for match in matches if match[0] not in allowed] or matches
    single = [match[0] for match in matches if match[1] is None]
    numbered = sorted((int(match[1]), match[0]) for match in matches if match[1] is not None)
    return single[:1] or [name for _, name in numbered]


def _read_told(data: bytes) -> dict[str, FeatureValue] | None:
    """The features that JSON tells as ``sample_of`` has it; None of any other."""
    try:
        told = json.loads(data)
        if not isinstance(told, dict) or _as_json(told) != data:
            return None
        return {name: _values_told(value) for name, value in told.items()}
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _values_told(value: Any) -> FeatureValue:
    """The values of a feature that JSON tells.

    Raises:
        ValueError, OverflowError: an Example cannot hold them.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    kinds = {type(each) for each in values}
    if kinds == {str}:
        return np.array([each.encode() for each in values], object)
    if kinds == {int}:
        return np.array(values, np.int64)
    if not kinds <= {float} or any(each != _as_float(each) and each == each for each in values):
        raise ValueError("no values of one kind")
    return np.array(values, np.float32)


def _as_float(value: float) -> float:
    """A number as 32 bits hold it.

    Raises:
        OverflowError: they cannot.
    """
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found
