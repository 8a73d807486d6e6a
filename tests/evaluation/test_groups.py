import io
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.annotations import AnnotatedImage, parse_annotations
from faceveil.evaluation.groups import (
    MAX_GROUPS,
    GroupError,
    LabelledFace,
    group_by,
    is_label_table,
    read_labels,
    with_labels,
)
from tests.conftest import shared_data

JSONL = [
    {"file": "a.jpg", "faces": [{"box": [0, 0, 9, 9], "skin": "dark", "age": 3}, {"box": [20, 0, 29, 9], "age": 10.0}]},
    {"file": "b.jpg", "faces": [{"box": [0, 0, 9, 9], "skin": " light ", "age": "adult"}]},
    {"file": "none.jpg", "faces": []},
]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "none.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 1, "bbox": [0, 0, 9, 9], "attributes": {"skin": "dark"}, "age": 3},
        {"id": 2, "image_id": 1, "bbox": [20, 0, 9, 9], "skin": None, "age": 10},
        {"id": 3, "image_id": 2, "bbox": [0, 0, 9, 9], "skin": "light", "age": "adult"},
    ],
}


def images(*faces: list[dict[str, Any]]) -> list[AnnotatedImage]:
    return [
        AnnotatedImage(
            f"{number}.jpg",
            np.array([[20 * place, 0, 20 * place + 10, 10] for place in range(len(group))], np.float32).reshape(-1, 4),
            np.zeros(len(group), bool),
            attributes=tuple(group),
        )
        for number, group in enumerate(faces)
    ]


@pytest.mark.parametrize("text", ["\n".join(map(json.dumps, JSONL)), json.dumps(COCO)], ids=["jsonl", "coco"])
def test_annotations_have_groups(text: str) -> None:
    annotated = parse_annotations(text)
    skin, age = group_by(annotated, "skin"), group_by(annotated, "age")
    assert (skin.feature, skin.groups) == ("skin", ("dark", "light"))
    assert [list(members) for members in skin.members] == [[0, -1], [1], []]
    assert age.groups == ("3", "10", "adult")
    assert [list(members) for members in age.members] == [[0, 1], [2], []]


def test_wider_has_groups_of_its_own() -> None:
    annotated = parse_annotations("a.jpg\n2\n0 0 9 9 2 0 1 0 0 0\n20 0 9 9 0 0 1 0 2 0\n")
    assert group_by(annotated, "blur").groups == ("0", "2")
    assert list(group_by(annotated, "occlusion").members[0]) == [0, 1]


def test_real_annotations_have_groups() -> None:
    grouping = group_by(parse_annotations((shared_data("masks") / "annotations.jsonl").read_text()), "label")
    counts = np.bincount(np.concatenate(grouping.members))
    assert dict(zip(grouping.groups, counts.tolist(), strict=True)) == {
        "mask_weared_incorrect": 123,
        "with_mask": 3232,
        "without_mask": 717,
    }


@given(st.lists(st.lists(st.sampled_from([None, "", "x", " x", "y", 1, 1.0, True, float("nan")]), max_size=5)))
def test_groups_partition_the_faces(values: list[list[Any]]) -> None:
    annotated = images(*([{"group": value} for value in faces] for faces in values))
    if all(value in (None, "") or value != value for faces in values for value in faces):
        with pytest.raises(GroupError, match="no annotated face has it"):
            group_by(annotated, "group")
        return
    grouping = group_by(annotated, "group")
    assert [len(members) for members in grouping.members] == [len(faces) for faces in values]
    for members, faces in zip(grouping.members, values, strict=True):
        for member, value in zip(members, faces, strict=True):
            name = grouping.groups[member] if member >= 0 else None
            assert name == {"x": "x", " x": "x", "y": "y", 1: "1"}.get(value) or (value is True and name == "true")
    assert set(np.concatenate(grouping.members)) - {-1} == set(range(len(grouping.groups)))


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ([{"skin": 1}], "no annotated face has it; they have skin"),
        ([{"group": ["a"]}], 'a face has ["a"]; a group is a text or a number'),
        ([{"group": number} for number in range(MAX_GROUPS + 1)], "has 21 values, such as 0; at most 20 are groups"),
    ],
)
def test_what_are_no_groups(faces: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(GroupError, match=re.escape(f"group: {message}")):
        group_by(images(faces), "group")


CSV = 'file,x0,y0,x1,y1,skin,age\n0.jpg,20,0,30,10,"dark, brown",3\n./0.jpg,0,0,10,9,,4\n'
ROWS: list[dict[str, Any]] = [
    {"file": "0.jpg", "box": [20, 0, 30, 10], "skin": "dark, brown", "age": "3"},
    {"file": "0.jpg", "box": [0, 0, 10, 9], "skin": None, "age": "4"},
]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (CSV.encode(), "labels.csv"),
        (CSV.replace("\n", "\r\n").encode("utf-8-sig"), "LABELS.CSV"),
        ("\n".join(map(json.dumps, ROWS)).encode(), "labels.jsonl"),
        (parquet(ROWS), "gs://bucket/labels.parquet"),
    ],
)
def test_tables_label_the_faces_that_their_boxes_overlap(data: bytes, name: str) -> None:
    assert is_label_table(name)
    labelled, names, left = with_labels(images([{}, {}], [{}]), read_labels(data, name))
    assert (names, left) == (["skin", "age"], 0)
    assert group_by(labelled, "skin").groups == ("dark, brown",)
    assert [list(members) for members in group_by(labelled, "skin").members] == [[-1, 0], [-1]]
    assert [list(members) for members in group_by(labelled, "age").members] == [[1, 0], [-1]]


def test_a_face_gets_the_labels_of_the_box_that_overlaps_it_most() -> None:
    rows = [LabelledFace("0.jpg", (0, 0, 10, 8), {"g": "near"}), LabelledFace("0.jpg", (0, 0, 10, 10), {"g": "same"})]
    labelled, _, left = with_labels(images([{"g": "before"}, {"g": "kept"}]), rows)
    assert [face["g"] for face in labelled[0].attributes] == ["same", "kept"]
    assert left == 1


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "a.csv", "holds no row"),
        (b"\xff\xfe", "a.csv", "cannot be read"),
        (b"not parquet", "a.parquet", "cannot be read"),
        (b"{", "a.jsonl", "cannot be read"),
        (b"[1]", "a.jsonl", "row 1 is not one value for each name"),
        (b"file,x0,y0,x1,y1\n0.jpg,1,2,3", "a.csv", "row 1 lacks a file or the four numbers of a box"),
        (b"file,x0,y0,x1,y1\n0.jpg,1,2,3,nan", "a.csv", "row 1 lacks a file or the four numbers of a box"),
        (b"file,x0,y0,x1,y1\n0.jpg,1,2,3,4,5", "a.csv", "row 1 is not one value for each name"),
        (b"name,x0,y0,x1,y1\n0.jpg,1,2,3,4", "a.csv", "row 1 lacks a file"),
        (b"file,x0,y0,x1,y1\n0.jpg,1,2,3,4\n0.jpg,1,2,3,4.0", "a.csv", "rows 1 and 2 label the same box of 0.jpg"),
    ],
)
def test_what_are_no_tables(data: bytes, name: str, message: str) -> None:
    with pytest.raises(GroupError, match=re.escape(message)):
        read_labels(data, name)


def test_a_table_of_other_images_is_refused() -> None:
    with pytest.raises(GroupError, match=r"none of its 1 boxes is an annotated face: .* such as 0\.jpg"):
        with_labels(images([{}]), [LabelledFace("0.jpg", (0, 0, 0.5, 0.5), {"skin": "dark"})])
