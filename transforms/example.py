"""tf.train.Example without TensorFlow: features that are not ours pass through as the bytes they were.

On the wire a map field is a repeated message of key and value, and a message field reads as bytes just as well
(https://protobuf.dev/programming-guides/encoding/#maps). So the schema below leaves each feature's value
serialised: what is not looked into is neither parsed nor written anew, and keeps its place. Field numbers are those
of tensorflow/core/example/{example,feature}.proto. A SequenceExample differs from an Example by its second field alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

FeatureValue = bytes | Sequence[bytes] | Sequence[int] | Sequence[float]


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
    add(
        "Example",
        ("features", 1, field.TYPE_MESSAGE, one, ".faceveil.Features"),
        ("feature_lists", 2, field.TYPE_BYTES, many, None),  # repeated, so that empty ones are seen too
    )
    add("BytesList", ("value", 1, field.TYPE_BYTES, many, None))
    # Numbers are packed or not: readers take either, so each is kept as it is.
    for suffix in ("", "Unpacked"):
        add(f"FloatList{suffix}", ("value", 1, field.TYPE_FLOAT, many, None))
        add(f"Int64List{suffix}", ("value", 1, field.TYPE_INT64, many, None))
        for declared in file.message_type[-2:]:
            declared.field[0].options.packed = not suffix
        add(
            f"Feature{suffix}",
            ("bytes_list", 1, field.TYPE_MESSAGE, one, ".faceveil.BytesList"),
            ("float_list", 2, field.TYPE_MESSAGE, one, f".faceveil.FloatList{suffix}"),
            ("int64_list", 3, field.TYPE_MESSAGE, one, f".faceveil.Int64List{suffix}"),
        )
        kinds = file.message_type[-1]
        kinds.oneof_decl.add(name="kind")
        for kind in kinds.field:
            kind.oneof_index = 0
    # A pool of its own: TensorFlow, where it is loaded too, registers its messages in the default one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = (pool.FindMessageTypeByName(f"faceveil.{name}") for name in ("Example", "Feature", "FeatureUnpacked"))
    return tuple(message_factory.GetMessageClass(found) for found in classes)


_Example, _Feature, _FeatureUnpacked = _messages()


class Example:
    """One tf.train.Example whose features can be read and replaced by name.

    Example usage::

        >>> serialized = Example.empty().with_features({"label": [3], "image/encoded": b"..."})
        >>> changed = Example.parse(serialized).with_features({"image/encoded": b"!"})
        >>> Example.parse(changed).bytes_values("image/encoded"), Example.parse(changed).names()
        ([b'!'], ['label', 'image/encoded'])
    """

    def __init__(self, parsed: Any) -> None:
        self._parsed = parsed

    @classmethod
    def parse(cls, serialized: bytes) -> Example:
        """Reads a serialised Example.

        Of a feature given twice the last counts, as in any map field; an earlier value, which no reader would see, is
        dropped, so that nothing passes that nobody has looked at. Fields that an Example does not have are dropped too.

        Raises:
            InvalidExampleError: it is none.
        """
        parsed: Any = _Example()
        try:
            parsed.ParseFromString(serialized)
        except message.DecodeError as error:
            raise InvalidExampleError(str(error)) from error
        parsed.DiscardUnknownFields()
        entries = parsed.features.feature
        last = {entry.key: index for index, entry in enumerate(entries)}
        for index in reversed([i for i, entry in enumerate(entries) if last[entry.key] != i]):
            del entries[index]
        return cls(parsed)

    @classmethod
    def empty(cls) -> Example:
        """An Example without features."""
        return cls(_Example())

    @property
    def is_sequence(self) -> bool:
        """Whether it is a tf.train.SequenceExample, which has feature lists beside its features."""
        return bool(self._parsed.feature_lists)

    def names(self) -> list[str]:
        """The names of all features, in their order."""
        return [entry.key for entry in self._parsed.features.feature]

    def bytes_values(self, name: str) -> list[bytes] | None:
        """The values of a bytes feature; None where there is no such feature or it is not of bytes.

        Raises:
            InvalidExampleError: the feature cannot be parsed.
        """
        feature = self._feature(name)
        return list(feature.bytes_list.value) if feature is not None and feature.HasField("bytes_list") else None

    def number_values(self, name: str) -> NDArray[np.float32] | NDArray[np.int64] | None:
        """The values of a feature of floats or integers, 1-D; None where there is no such feature or it is of bytes.

        Raises:
            InvalidExampleError: the feature cannot be parsed.
        """
        feature = self._feature(name)
        if feature is None or feature.WhichOneof("kind") in (None, "bytes_list"):
            return None
        if feature.HasField("int64_list"):
            integers = feature.int64_list.value
            return np.fromiter(integers, np.int64, len(integers))
        floats = feature.float_list
        # Packed, floats stand at the end as they are: 4 bytes each, little-endian.
        serialized = floats.SerializeToString()
        return np.frombuffer(serialized, "<f4", len(floats.value), len(serialized) - 4 * len(floats.value))

    def _feature(self, name: str) -> Any:
        for entry in self._parsed.features.feature:
            if entry.key == name:
                return _parsed_feature(_value(entry), name)
        return None

    def with_features(self, features: Mapping[str, FeatureValue], without: Collection[str] = ()) -> bytes:
        """This Example, serialised, with these features replaced where they stand or added at the end.

        All others keep their bytes, unless these hold what no reader sees: then they are written anew without that.

        Args:
            features: one bytes value, or a list of bytes, int or float values each; an empty list is one of floats.
            without: names of features that are left out, these ones included.

        Raises:
            InvalidExampleError: a feature that stays cannot be parsed.
        """
        result: Any = _Example()
        result.CopyFrom(self._parsed)
        entries = result.features.feature
        for index in reversed([i for i, entry in enumerate(entries) if entry.key in without]):
            del entries[index]
        for entry in entries:
            if entry.key in features:
                entry.value[:] = [_serialize(features[entry.key])]
            elif entry.value:
                entry.value[:] = [_without_unknown(_value(entry), entry.key)]
        present = {entry.key for entry in entries}
        for name, value in features.items():
            if name not in present and name not in without:
                entries.add(key=name, value=[_serialize(value)])
        serialized_example: bytes = result.SerializeToString(deterministic=True)
        return serialized_example


def _value(entry: Any) -> bytes:
    """An entry's serialised feature, its parts joined where it is given in several."""
    parts = entry.value
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parsed_feature(serialized: bytes, name: str, schema: Any = _Feature) -> Any:
    feature = schema()
    try:
        feature.ParseFromString(serialized)
    except message.DecodeError as error:
        raise InvalidExampleError(f"feature {name}: {error}") from error
    return feature


def _without_unknown(serialized: bytes, name: str) -> bytes:
    """A serialised feature as it is, if that is one way of writing what readers see of it; else written anew.

    Raises:
        InvalidExampleError: it cannot be parsed.
    """
    for schema in (_Feature, _FeatureUnpacked):
        feature = _parsed_feature(serialized, name, schema)
        feature.DiscardUnknownFields()
        written: bytes = feature.SerializeToString(deterministic=True)
        if written == serialized:
            return serialized
    anew = _parsed_feature(serialized, name)
    anew.DiscardUnknownFields()
    serialized_anew: bytes = anew.SerializeToString(deterministic=True)
    return serialized_anew


def _serialize(value: FeatureValue) -> bytes:
    feature: Any = _Feature()
    if isinstance(value, bytes):
        feature.bytes_list.value.append(value)
    elif len(value) and isinstance(value[0], bytes):
        feature.bytes_list.value.extend(value)
    elif len(value) and isinstance(value[0], int):
        feature.int64_list.value.extend(value)
    else:
        feature.float_list.SetInParent()
        feature.float_list.value.extend(value)
    serialized: bytes = feature.SerializeToString(deterministic=True)
    return serialized
