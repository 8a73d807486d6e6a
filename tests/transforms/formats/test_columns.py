"""Rows of tables: whatever an Example holds comes back from its row, or the record is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats.columns import arrow_schema, list_of, merged_type, read_row, row_of
from faceveil.transforms.formats.example import Example
from faceveil.transforms.quarantine import Quarantine

FLOATS = st.floats(width=32, allow_nan=False)
VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint8": st.integers(0, 255),
    "bool": st.booleans(),
    "float": FLOATS,
    "binary": st.binary(max_size=20),
    "string": st.text("a \0\n\u00e9\U0001f600", max_size=20),
}


def row(features: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    example = Example.parse(Example.empty().with_features(features))
    [made] = read_row(row_of(example, columns), arrow_schema(columns)).to_pylist()
    return dict(made)


def as_feature(values: list[Any]) -> Any:
    if values and isinstance(values[0], str):
        return [value.encode() for value in values]
    return [int(value) if isinstance(value, bool) else value for value in values]


@given(st.data())
def test_values_come_back_as_they_were(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(VALUES)))
    values = data.draw(st.lists(VALUES[kind], max_size=4))
    assert row({"x": as_feature(values)}, {"x": list_of(kind)}) == {"x": values}
    if len(values) < 2:
        assert row({"x": as_feature(values)}, {"x": kind}) == {"x": values[0] if values else None}


def test_a_feature_that_a_record_lacks_is_null() -> None:
    columns = {"image": "image", "a": "int64", "b": list_of("string")}
    assert row({"image/encoded": b"1"}, columns) == {"image": {"bytes": b"1", "path": None}, "a": None, "b": None}


def test_paths_lie_beside_the_bytes_as_hugging_face_has_it() -> None:
    columns = {"image": "image", "views": list_of("image")}
    made = row({"image": b"1", "image/path": b"a.jpg", "views": [b"2", b"3"], "views/path": [b"b", b"c"]}, columns)
    assert made["image"] == {"bytes": b"1", "path": "a.jpg"}
    assert made["views"] == [{"bytes": b"2", "path": "b"}, {"bytes": b"3", "path": "c"}]


def test_the_schema_says_which_columns_hold_images() -> None:
    schema = arrow_schema({"image": "image", "views": list_of("image"), "label": "int64"})
    told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert told == {"image": {"_type": "Image"}, "views": {"_type": "Sequence", "feature": {"_type": "Image"}}}
    assert schema.field("label").type == pa.int64()


REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no column": ({"x": [1]}, {}, "feature x has no column, since none of the first records has it; --drop_features x"),
    "several": ({"x": [1, 2]}, {"x": "int64"}, "feature x has 2 values, and one in the first records"),
    "another kind": ({"x": [b"a"]}, {"x": "int64"}, "feature x holds bytes, and integers in the first records"),
    "floats": ({"x": [0.5]}, {"x": list_of("string")}, "feature x holds floats, and bytes in the first records"),
    "no text": ({"x": [b"\xff"]}, {"x": "string"}, "feature x holds bytes that are no text, and texts in the first"),
    "too large": ({"x": [300]}, {"x": "uint8"}, "feature x: Integer value 300 not in range"),
    "no truth value": ({"x": [2]}, {"x": "bool"}, "feature x holds other numbers than 0 and 1"),
    "two of one name": ({"image": b"1", "image/encoded": b"2"}, {"image": "image"}, "would be one column"),
    "paths": ({"x": [b"1", b"2"], "x/path": b"a"}, {"x": list_of("image")}, "x/path has 1 values for 2 images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_is_refused_and_never_lost(name: str) -> None:
    features, columns, said = REFUSED[name]
    with pytest.raises(Quarantine) as refusal:
        row(features, columns)
    assert said in str(refusal.value.detail)


def test_steps_of_a_sequence_are_refused() -> None:
    import tensorflow as tf

    steps = tf.train.FeatureList(feature=[tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"1"]))])
    lists = tf.train.FeatureLists(feature_list={"frames": steps})
    example = Example.parse(tf.train.SequenceExample(feature_lists=lists).SerializeToString())
    with pytest.raises(Quarantine, match="frames is a list of features"):
        row_of(example, {"frames": list_of("image")})


def test_an_empty_list_of_any_kind_is_an_empty_list() -> None:
    for empty in (np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, object)):
        assert row({"x": empty}, {"x": list_of("string")}) == {"x": []}


def test_types_that_do_not_go_together_have_none_in_common() -> None:
    assert merged_type("uint8", "int32") == "int64"
    assert merged_type("list<string>", "binary") == "list<binary>"
    assert merged_type("image", "list<image>") == "list<image>"
    assert merged_type("image", "binary") is None
    assert merged_type("list<any>", "int64") is None
