"""tf.train.Example without TensorFlow: features that are not ours pass through as the bytes they were.

On the wire a map field is a repeated message of key and value, and a message field reads as bytes just as well
(https://protobuf.dev/programming-guides/encoding/#maps). So the schema below leaves each feature's value
serialised: what is not looked into is neither parsed nor written anew, and keeps its place. Field numbers are those
of tensorflow/core/example/{example,feature}.proto. A SequenceExample differs from an Example by its second field alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

FeatureValue = bytes | Sequence[bytes] | Sequence[int] | Sequence[float]


class InvalidExampleError(ValueError):
    """The bytes are no serialised tf.train.Example."""


def _messages() -> tuple[type[message.Message], type[message.Message]]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="faceveil/example.proto", package="faceveil", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, int, int, str | None]) -> None:
        declared = file.message_type.add(name=name)
        for field_name, number, kind, label, type_name in fields:
            declared.field.add(name=field_name, number=number, type=kind, label=label, type_name=type_name)

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    add("Entry", ("key", 1, field.TYPE_STRING, one, None), ("value", 2, field.TYPE_BYTES, one, None))
    add("Features", ("feature", 1, field.TYPE_MESSAGE, many, ".faceveil.Entry"))
    add(
        "Example",
        ("features", 1, field.TYPE_MESSAGE, one, ".faceveil.Features"),
        ("feature_lists", 2, field.TYPE_BYTES, many, None),  # repeated, so that empty ones are seen too
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
    # A pool of its own: TensorFlow, where it is loaded too, registers its messages in the default one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = (pool.FindMessageTypeByName(f"faceveil.{name}") for name in ("Example", "Feature"))
    example, feature = (message_factory.GetMessageClass(found) for found in classes)
    return example, feature


_Example, _Feature = _messages()


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
        dropped, so that nothing passes that nobody has looked at.

        Raises:
            InvalidExampleError: it is none.
        """
        parsed: Any = _Example()
        try:
            parsed.ParseFromString(serialized)
        except message.DecodeError as error:
            raise InvalidExampleError(str(error)) from error
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
        for entry in self._parsed.features.feature:
            if entry.key == name:
                feature: Any = _Feature()
                try:
                    feature.ParseFromString(entry.value)
                except message.DecodeError as error:
                    raise InvalidExampleError(f"feature {name}: {error}") from error
                return list(feature.bytes_list.value) if feature.HasField("bytes_list") else None
        return None

    def with_features(self, features: Mapping[str, FeatureValue], without: Collection[str] = ()) -> bytes:
        """This Example, serialised, with these features replaced where they stand or added at the end.

        Args:
            features: one bytes value, or a list of bytes, int or float values each; an empty list is one of floats.
            without: names of features that are left out, these ones included.
        """
        result: Any = _Example()
        result.CopyFrom(self._parsed)
        entries = result.features.feature
        present = {entry.key: entry for entry in entries}
        for name, value in features.items():
            if name in present:
                present[name].value = _serialize(value)
            else:
                entries.add(key=name, value=_serialize(value))
        for index in reversed([i for i, entry in enumerate(entries) if entry.key in without]):
            del entries[index]
        serialized_example: bytes = result.SerializeToString(deterministic=True)
        return serialized_example


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
