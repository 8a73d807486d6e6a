from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.formats.example import Example, InvalidExampleError


def tf_example(**features: tf.train.Feature) -> bytes:
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def bytes_feature(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def float_feature(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def int_feature(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def test_reads_what_tensorflow_writes() -> None:
    example = Example.parse(tf_example(a=bytes_feature(b"x", b"y"), b=int_feature(1)))
    assert example.names() == ["a", "b"]
    assert example.bytes_values("a") == [b"x", b"y"]
    assert example.bytes_values("b") is None
    assert example.bytes_values("c") is None


def test_tensorflow_reads_what_is_written() -> None:
    serialized = Example.empty().with_features(
        {"image": b"data", "sizes": [3, -4], "scores": [0.5], "none": [], "names": [b"a", b"b"]}
    )
    feature = tf.train.Example.FromString(serialized).features.feature
    assert feature["image"].bytes_list.value == [b"data"]
    assert feature["sizes"].int64_list.value == [3, -4]
    assert feature["scores"].float_list.value == [0.5]
    assert feature["none"].WhichOneof("kind") == "float_list"
    assert feature["names"].bytes_list.value == [b"a", b"b"]


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "image"),
        st.one_of(
            st.lists(st.binary(max_size=8), max_size=3).map(lambda v: bytes_feature(*v)),
            st.lists(st.floats(width=32), max_size=3).map(lambda v: float_feature(*v)),
            st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(lambda v: int_feature(*v)),
        ),
        max_size=4,
    )
)
def test_other_features_pass_through_bit_by_bit(features: dict[str, tf.train.Feature]) -> None:
    before = tf_example(**features, image=bytes_feature(b"face"))
    after = Example.parse(before).with_features({"image": b"veil", "image/face/count": [1]})
    parsed = tf.train.Example.FromString(after).features.feature
    assert parsed.keys() == {*features, "image", "image/face/count"}
    for name, feature in features.items():
        assert parsed[name].SerializeToString() == feature.SerializeToString()


def test_features_can_be_left_out() -> None:
    before = tf_example(a=bytes_feature(b"x"), b=int_feature(1), c=float_feature(2))
    after = Example.parse(before).with_features({"c": [3.0], "d": [4]}, without={"b", "d", "unknown"})
    assert after == tf_example(a=bytes_feature(b"x"), c=float_feature(3))


def test_replacing_with_the_same_changes_nothing() -> None:
    serialized = tf_example(label=int_feature(7), image=bytes_feature(b"x"), name=bytes_feature(b"y"))
    assert Example.parse(serialized).with_features({"image": b"x"}) == serialized


def test_of_a_feature_given_twice_the_last_counts_and_no_old_value_stays() -> None:
    twice = tf_example(image=bytes_feature(b"old face")) + tf_example(image=bytes_feature(b"new face"))
    example = Example.parse(twice)
    assert example.bytes_values("image") == [b"new face"]
    assert b"face" not in example.with_features({"image": b"veil"})


def varint(number: int, longer: int = 0) -> bytes:
    """A number in 7 bits a byte, in `longer` more bytes than it takes."""
    digits = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)] + [0] * longer
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def field(number: int, content: bytes, longer: int = 0) -> bytes:
    return varint(number << 3 | 2, longer) + varint(len(content), longer) + content


def group(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 3) + content + varint(number << 3 | 4)


def entry(value: bytes, name: bytes = b"a") -> bytes:
    return field(1, name) + field(2, value)


def example_of(*entries: bytes) -> bytes:
    return field(1, b"".join(field(1, each) for each in entries))


SECRET = b"\xff\xd8\xff\xe0 A PORTRAIT OF ANNA"
FIXED = varint(1 << 3 | 1) + b"PORTRAIT"  # 64 bits where there should be a list
BYTES = field(1, field(1, SECRET))
INTEGERS = field(3, field(1, b"\x01"))
FLOATS = field(2, field(1, bytes(4)))


@pytest.mark.parametrize(
    "data",
    [
        example_of(entry(INTEGERS)) + field(9, SECRET),
        example_of(entry(INTEGERS)) + field(2**28, SECRET),
        example_of(entry(INTEGERS)) + group(9, field(1, SECRET)),
        example_of(entry(INTEGERS)) + group(1, field(1, SECRET)),
        example_of(entry(INTEGERS)) + FIXED,
        field(1, field(1, entry(INTEGERS)) + field(2, SECRET)),
        field(1, field(1, entry(INTEGERS)) + group(1, SECRET[:0] + field(3, SECRET))),
        field(1, field(1, entry(INTEGERS)) + FIXED),
        example_of(entry(INTEGERS) + field(3, SECRET)),
        example_of(field(1, b"PORTRAIT") + entry(INTEGERS)),
        example_of(entry(INTEGERS) + varint(2 << 3 | 1) + b"PORTRAIT"),
        example_of(entry(BYTES), entry(INTEGERS)),
        example_of(entry(BYTES)) + example_of(entry(INTEGERS)),
        example_of(entry(INTEGERS + field(4, SECRET))),
        example_of(entry(field(4, SECRET) + INTEGERS)),
        example_of(entry(INTEGERS + group(1, field(1, SECRET)))),
        example_of(entry(BYTES + INTEGERS)),
        example_of(entry(BYTES + FLOATS + INTEGERS)),
        example_of(entry(INTEGERS + BYTES + INTEGERS)),
        example_of(entry(field(3, field(1, b"\x01") + field(2, SECRET)))),
        example_of(entry(field(3, field(1, b"\x01") + FIXED))),
        example_of(entry(field(3, varint(1 << 3) + b"\x01" + group(1, field(1, SECRET))))),
        example_of(field(1, b"a") + field(2, BYTES) + field(2, INTEGERS)),
    ],
)
def test_what_no_reader_sees_does_not_pass(data: bytes) -> None:
    assert b"PORTRAIT" in data
    written = Example.parse(data).with_features({"image": b"veil"})
    assert b"PORTRAIT" not in written
    assert set(tf.train.Example.FromString(written).features.feature["a"].int64_list.value) == {1}


@pytest.mark.parametrize(
    "inner", [field(1, b"x") + field(7, SECRET), field(1, b"x") + group(1, field(2, SECRET)), field(1, b"x") + FIXED]
)
@pytest.mark.parametrize("kind", [1, 2])
def test_what_no_reader_sees_in_a_list_does_not_pass(kind: int, inner: bytes) -> None:
    inner = inner if kind == 1 else inner.replace(field(1, b"x"), field(1, bytes(4)))
    written = Example.parse(example_of(entry(field(kind, inner)))).with_features({})
    assert b"PORTRAIT" not in written
    values = tf.train.Example.FromString(written).features.feature["a"]
    assert (list(values.bytes_list.value), list(values.float_list.value)) == (
        ([b"x"], []) if kind == 1 else ([], [0.0])
    )


@pytest.mark.parametrize("longer", [1, 2, 3])
def test_numbers_that_are_longer_than_they_need_be_are_written_anew(longer: int) -> None:
    value = field(3, field(1, varint(5, longer), longer), longer)
    data = field(1, field(1, field(1, b"a", longer) + field(2, value, longer), longer), longer)
    assert Example.parse(data).with_features({}) == tf_example(a=int_feature(5))
    spare_bits = field(3, field(1, b"\xff" * 9 + b"\x7f"))
    assert Example.parse(example_of(entry(spare_bits))).with_features({}) == tf_example(a=int_feature(-1))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        *(field(kind, b"") for kind in (1, 2, 3)),
        field(1, field(1, b"") + field(1, SECRET)),
        field(2, field(1, bytes.fromhex("0100a07f 4523c1ff"))),  # NaNs that say something
        field(2, b"\x0d\x01\x00\xa0\x7f\x0d\x00\x00\x80\x3f"),
        field(3, field(1, varint(300) + varint(2**64 - 1) + b"\x00")),
        field(3, b"\x08" + varint(300) + b"\x08" + varint(2**64 - 1) + b"\x08\x00"),
    ],
)
def test_numbers_pass_bit_by_bit_packed_or_not(value: bytes) -> None:
    data = example_of(entry(value))
    assert Example.parse(data).with_features({}) == data
    values = Example.parse(data).values("a")
    seen = tf.train.Example.FromString(data).features.feature["a"]
    kind = seen.WhichOneof("kind")
    assert (values is None) == (kind is None)
    if isinstance(values, np.ndarray):
        np.testing.assert_array_equal(values, list(getattr(seen, kind).value))


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x05hello", bytes(range(256))])
def test_what_is_no_example_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidExampleError):
        Example.parse(data)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_an_example_or_said_to_be_none(noise: bytes, behind_one: bool) -> None:
    data = Example.empty().with_features({"a": b"1", "b": [2]}) + noise if behind_one else noise
    with suppress(InvalidExampleError):
        example = Example.parse(data)
        for name in example.names():
            example.bytes_values(name)
        assert Example.parse(example.with_features({"c": b"3"})).bytes_values("c") == [b"3"]


VALUES = st.one_of(
    st.lists(st.binary(max_size=5)), st.lists(st.integers(-9, 9)), st.lists(st.sampled_from([0.5, -2.0]))
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(VALUES, max_size=4)),
    st.dictionaries(st.sampled_from("xyz"), VALUES),
    st.data(),
)
def test_sequence_examples_are_as_they_were_but_for_what_is_replaced(
    lists: dict[str, list[list[Any]]], context: dict[str, list[Any]], data: st.DataObject
) -> None:
    made = tf.train.SequenceExample()
    made.feature_lists.SetInParent()
    made.context.SetInParent()

    def fill(feature: tf.train.Feature, values: list[Any]) -> None:
        kinds = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
        if values:
            kinds[type(values[0])].value.extend(values)

    for name, values in context.items():
        fill(made.context.feature[name], values)
    for name, steps in lists.items():
        made.feature_lists.feature_list[name].SetInParent()
        for values in steps:
            fill(made.feature_lists.feature_list[name].feature.add(), values)
    example = Example.parse(made.SerializeToString())
    assert sorted(example.names()) == sorted([*lists, *context])
    assert tf.train.SequenceExample.FromString(example.with_features({})) == made
    replaced = data.draw(st.sets(st.sampled_from("abcxyz")))
    features = {}
    for name in sorted(replaced & {*lists, *context}):
        kinds = {type(value) for values in lists.get(name, [context.get(name, [])]) for value in values}
        if kinds == {bytes}:
            features[name] = [bytes(reversed(value)) + b"!" for value in example.bytes_values(name) or ()]
    result = tf.train.SequenceExample.FromString(example.with_features(features, without={"z"}))
    every = list(made.context.feature.items())
    for name, steps in made.feature_lists.feature_list.items():
        every += [(name, step) for step in steps.feature]
    for name, feature in every:
        if name in features and feature.WhichOneof("kind"):
            feature.bytes_list.value[:] = [bytes(reversed(value)) + b"!" for value in feature.bytes_list.value]
    made.context.feature.pop("z", None)
    assert result == made


def test_what_no_reader_of_a_sequence_example_sees_is_gone() -> None:
    made = tf.train.SequenceExample()
    made.feature_lists.feature_list["a"].feature.add().bytes_list.value.append(b"1")
    serialized = made.SerializeToString()
    other = tf.train.SequenceExample()
    other.feature_lists.feature_list["a"].feature.add().bytes_list.value.append(b"2")
    hidden = b"\x12\x06\x7a\x04SECR"  # field 15 of the lists
    twice = serialized + other.SerializeToString() + hidden
    result = Example.parse(twice).with_features({})
    assert tf.train.SequenceExample.FromString(result) == other
    assert b"SECR" not in result
    step = b"\x0a\x05\x0a\x03\x0a\x01x" + b"\x7a\x03SEC"  # a feature, and a field that lists do not have
    entry = b"\x0a\x01a\x12" + bytes([len(step)]) + step
    lists = b"\x0a" + bytes([len(entry)]) + entry
    result = Example.parse(b"\x12" + bytes([len(lists)]) + lists).with_features({})
    assert Example.parse(result).bytes_values("a") == [b"x"]
    assert b"SEC" not in result
