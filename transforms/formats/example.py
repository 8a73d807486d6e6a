"""tf.train.Example and SequenceExample without TensorFlow: features that are not ours pass as the bytes they were.

On the wire a map field is a repeated message of key and value, and a message field reads as bytes just as well
(https://protobuf.dev/programming-guides/encoding/#maps). So the schema below leaves each feature's value
serialised: what is not looked into is neither parsed nor written anew, and keeps its place. Field numbers are those
of tensorflow/core/example/{example,feature}.proto. A SequenceExample differs from an Example by its second field alone:
lists of features, one for each step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray

FeatureValue = bytes | Sequence[bytes] | Sequence[int] | Sequence[float] | NDArray[Any]


class InvalidExampleError(ValueError):
    """The bytes are no serialised tf.train.Example."""


def _messages() -> tuple[type[message.Message], ...]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="faceveil/example.proto", package="faceveil", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, int, int, str | None]) -> None:
        declared = file.message_type.add(name=name)
        for field_name, number, kind, label, type_name in fields:
            declared.field.add(name=field_name, number=number, type=kind, label=label, type_name=type_name)

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    # A value is repeated, for one that is given in parts is merged: its parts, joined, say the same.
    add("Entry", ("key", 1, field.TYPE_STRING, one, None), ("value", 2, field.TYPE_BYTES, many, None))
    add("Features", ("feature", 1, field.TYPE_MESSAGE, many, ".faceveil.Entry"))
    add("FeatureList", ("feature", 1, field.TYPE_BYTES, many, None))
    add("FeatureLists", ("feature_list", 1, field.TYPE_MESSAGE, many, ".faceveil.Entry"))
    add(
        "Example",
        ("features", 1, field.TYPE_MESSAGE, one, ".faceveil.Features"),
        ("feature_lists", 2, field.TYPE_MESSAGE, one, ".faceveil.FeatureLists"),
    )
    add("BytesList", ("value", 1, field.TYPE_BYTES, many, None))
    add("FloatList", ("value", 1, field.TYPE_FLOAT, many, None))
    add("Int64List", ("value", 1, field.TYPE_INT64, many, None))
    add(
        "Feature",
        ("bytes_list", 1, field.TYPE_MESSAGE, one, ".faceveil.BytesList"),
        ("float_list", 2, field.TYPE_MESSAGE, one, ".faceveil.FloatList"),
        ("int64_list", 3, field.TYPE_MESSAGE, one, ".faceveil.Int64List"),
    )
    kinds = file.message_type[-1]
    kinds.oneof_decl.add(name="kind")
    for kind in kinds.field:
        kind.oneof_index = 0
    # A pool of its own: TensorFlow, where it is loaded too, registers its messages in the default one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("Example", "Feature", "FeatureList")
    return tuple(message_factory.GetMessageClass(pool.FindMessageTypeByName(f"faceveil.{name}")) for name in names)


_Example, _Feature, _FeatureList = _messages()

# A number of up to 64 bits in as few bytes as it takes.
_VARINT = rb"(?:[\0-\x7f]|[\x80-\xff]{1,8}[\x01-\x7f]|[\x80-\xff]{9}\x01)"
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a\x12\x1a"  # tags of a Feature's fields
_VALUES = 0x0A  # the tag of a value of bytes, or of all numbers, packed
_PACKED, _SINGLE = (
    {
        _FLOAT_LIST: re.compile(rb"(?:%b.{4})+" % float_tag, re.DOTALL),
        _INT64_LIST: re.compile(rb"(?:%b%b)+" % (integer_tag, _VARINT), re.DOTALL),
    }
    for float_tag, integer_tag in ((b"", b""), (b"\\x0d", b"\\x08"))
)


class Example:
    """One tf.train.Example whose features can be read and replaced by name, or one SequenceExample.

    A list of features is one feature here, whose values are those of all its steps.

    Example usage::

        >>> serialized = Example.empty().with_features({"label": [3], "image/encoded": b"..."})
        >>> changed = Example.parse(serialized).with_features({"image/encoded": b"!"})
        >>> Example.parse(changed).bytes_values("image/encoded"), Example.parse(changed).names()
        ([b'!'], ['label', 'image/encoded'])
    """

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed
        self._entries = {entry.key: entry for entry in parsed.features.feature}
        self._lists = {entry.key: entry for entry in parsed.feature_lists.feature_list}

    @classmethod
    def parse(cls, serialized: bytes) -> Example:
        """Reads a serialised Example.

        Of a feature given twice the last counts, as in any map field; an earlier value, which no reader would see, is
        dropped, so that nothing passes unseen. Fields that an Example does not have are dropped too.

        Raises:
            InvalidExampleError: it is none.
        """
        parsed: Any = _Example()
        try:
            parsed.ParseFromString(serialized)
        except message.DecodeError as error:
            raise InvalidExampleError(str(error)) from error
        parsed.DiscardUnknownFields()
        for entries in (parsed.features.feature, parsed.feature_lists.feature_list):
            last = {entry.key: index for index, entry in enumerate(entries)}
            for index in reversed([i for i, entry in enumerate(entries) if last[entry.key] != i]):
                del entries[index]
        return cls(parsed)

    @classmethod
    def empty(cls) -> Example:
        """An Example without features."""
        return cls(_Example())

    def names(self) -> list[str]:
        """The names of all features, in their order."""
        return [*self._entries, *self._lists]

    @property
    def lists(self) -> Collection[str]:
        """The names of those that are lists of features."""
        return self._lists.keys()

    def bytes_values(self, name: str) -> list[bytes] | None:
        """The values of a bytes feature; None where there is no such feature or it is not of bytes.

        Raises:
            InvalidExampleError: the feature cannot be parsed.
        """
        values = self.values(name)
        return values if isinstance(values, list) else None

    def values(self, name: str) -> ReadValues | None:
        """The values of a feature, numbers as a 1-D array; None where there is no such feature or it holds no list.

        Raises:
            InvalidExampleError: the feature cannot be parsed, its steps hold values of several kinds, or both a feature
                and a list have this name.
        """
        if name in self._entries and name in self._lists:
            raise InvalidExampleError(f"{name} is both a feature and a list of features")
        steps = self.values_of_steps(name)
        if len(steps) < 2:
            return steps[0] if steps else None
        if len({getattr(values, "dtype", bytes) for values in steps}) > 1:
            raise InvalidExampleError(f"feature {name}: its steps hold values of several kinds")
        if isinstance(steps[0], list):
            return [value for values in steps for value in values]
        return np.concatenate(steps)

    def values_of_steps(self, name: str) -> list[ReadValues]:
        """The values of each step of a list of features, of those that have any; of a single feature all at once.

        Raises:
            InvalidExampleError: a feature cannot be parsed.
        """
        features = [_value(self._entries[name])] if name in self._entries else []
        features += _steps(self._lists[name]) if name in self._lists else []
        return [values for feature in features if (values := _values(feature, name)) is not None]

    def with_features(self, features: Mapping[str, FeatureValue], without: Collection[str] = ()) -> bytes:
        """This Example, serialised, with these features replaced where they stand or added at the end.

        A list of features gets bytes values in the steps that it had, as many as there were in each. All others keep
        their bytes, unless these hold what no reader sees: then they are written anew without that.

        Args:
            features: one bytes value, or a list of bytes, int or float values each; an empty list is one of floats. Of
                an array the type tells, also of an empty one: int64, float32, or object for bytes.
            without: names of features that are left out, these ones included.

        Raises:
            InvalidExampleError: a feature that stays cannot be parsed.
        """
        result: Any = _Example()
        if self._parsed.HasField("features"):
            result.features.SetInParent()
        entries = result.features.feature
        added = dict(features)
        for name, entry in self._entries.items():
            if name in without:
                continue
            if name in features:
                entries.add(key=name, value=[_serialize(added.pop(name))])
            else:
                entries.add(key=name, value=[_without_unknown(_value(entry), name)] if entry.value else [])
        self._add_lists(result, added, without)
        for name, value in added.items():
            if name not in without:
                entries.add(key=name, value=[_serialize(value)])
        serialized_example: bytes = result.SerializeToString(deterministic=True)
        return serialized_example

    def _add_lists(self, result: Any, features: dict[str, FeatureValue], without: Collection[str]) -> None:
        """Adds lists of features; takes those that are replaced out of the features."""
        if self._parsed.HasField("feature_lists"):
            result.feature_lists.SetInParent()
        for name, entry in self._lists.items():
            if name in without:
                continue
            steps = _steps(entry)
            value = features.get(name)
            if isinstance(value, list) and len(value) == len(self.bytes_values(name) or ()) > 0:
                steps = list(_replaced(steps, features.pop(name), name))
            elif value is not None:  # which takes its name
                continue
            else:
                steps = [_without_unknown(step, name) for step in steps]
            made: Any = _FeatureList(feature=steps)
            result.feature_lists.feature_list.add(key=name, value=[made.SerializeToString(deterministic=True)])


ReadValues = list[bytes] | FloatArray | NDArray[np.int64]
"""Of a feature: bytes, or numbers as a 1-D array."""


def _values(serialized: bytes, name: str) -> ReadValues | None:
    feature = _parsed_feature(serialized, name)
    kind = feature.WhichOneof("kind")
    if kind is None:
        return None
    values = getattr(feature, kind).value
    if kind == "bytes_list":
        return list(values)
    if kind == "int64_list":
        return np.fromiter(values, np.int64, len(values))
    return np.fromiter(values, np.float32, len(values))


def _steps(entry: Any) -> list[bytes]:
    """The serialised features of a list."""
    steps: Any = _FeatureList()
    try:
        steps.ParseFromString(_value(entry))
    except message.DecodeError as error:
        raise InvalidExampleError(f"feature {entry.key}: {error}") from error
    return list(steps.feature)


def _replaced(steps: Iterable[bytes], values: Any, name: str) -> Iterator[bytes]:
    """The steps of a list with other bytes values, as many in each."""
    remaining = iter(values)
    for step in steps:
        before = _values(step, name)
        if isinstance(before, list):
            yield _serialize(np.array(list(itertools.islice(remaining, len(before))), object))
        else:
            yield _without_unknown(step, name)


def _value(entry: Any) -> bytes:
    """An entry's serialised feature, its parts joined where it is given in several."""
    parts = entry.value
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parsed_feature(serialized: bytes, name: str) -> Any:
    feature: Any = _Feature()
    try:
        feature.ParseFromString(serialized)
    except message.DecodeError as error:
        raise InvalidExampleError(f"feature {name}: {error}") from error
    return feature


def _without_unknown(serialized: bytes, name: str) -> bytes:
    """A serialised feature as it is, if readers see all of it; else written anew with what they see.

    Raises:
        InvalidExampleError: it cannot be parsed.
    """
    if _is_all_seen(serialized):
        return serialized
    feature = _parsed_feature(serialized, name)
    feature.DiscardUnknownFields()
    written: bytes = feature.SerializeToString(deterministic=True)
    return written


def _is_all_seen(feature: bytes) -> bool:
    """Whether a serialised feature holds one list and nothing else, each number in as few bytes as it takes.

    Its numbers are packed together, or each is single, as some writers have them. Other ways to part them would be
    read too, but could say something beside the numbers.
    """
    if not feature:
        return True
    kind = feature[0]
    start, end = _extent(feature, 1)
    if kind not in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST) or end != len(feature):
        return False
    if start == end:
        return True
    if kind == _BYTES_LIST:
        while start < end and feature[start] == _VALUES:
            start = _extent(feature, start + 1)[1]
        return start == end
    if feature[start] == _VALUES:
        start, stop = _extent(feature, start + 1)
        return stop == end and _PACKED[kind].fullmatch(feature, start) is not None
    return _SINGLE[kind].fullmatch(feature, start) is not None


def _extent(data: bytes, place: int) -> tuple[int, int]:
    """Where what follows its length begins and ends; the end is behind that of the data if the length is none."""
    length = 0
    for index, byte in enumerate(data[place : place + 5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return place + index + 1, place + index + 1 + length if byte or not index else len(data) + 1
    return place, len(data) + 1


def _serialize(value: FeatureValue) -> bytes:
    feature: Any = _Feature()
    if isinstance(value, bytes):
        feature.bytes_list.value.append(value)
    elif isinstance(value, np.ndarray):
        kinds = {"O": feature.bytes_list, "i": feature.int64_list, "f": feature.float_list}
        kinds[value.dtype.kind].SetInParent()
        kinds[value.dtype.kind].value.extend(value.tolist())
    elif len(value) and isinstance(value[0], bytes):
        feature.bytes_list.value.extend(value)
    elif len(value) and isinstance(value[0], int):
        feature.int64_list.value.extend(value)
    else:
        feature.float_list.SetInParent()
        feature.float_list.value.extend(value)
    serialized: bytes = feature.SerializeToString(deterministic=True)
    return serialized
