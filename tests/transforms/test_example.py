from contextlib import suppress

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.example import Example, InvalidExampleError


def tf_example(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


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
