import json
import re

import numpy as np
import pytest

from faceveil.evaluation import AnnotationFormat
from faceveil.evaluation.annotations import (
    AnnotatedImage,
    AnnotationError,
    locate_images,
    parse_annotations,
)
from tests.conftest import shared_data

JSONL = """\
{"file": "images/a.jpg", "width": 64, "height": 48, "faces": [{"box": [1, 2, 11.5, 22], "label": "face", "invalid": 0}]}

{"file": "images/b.jpg", "width": 64,"height": 48,"faces": [{"box": [5, 5, 9, 9], "invalid": 1}, {"box": [0, 0, 8, 8]}]}
{"file": "images/none.jpg", "faces": []}
"""
COCO = {
    "images": [
        {"id": 7, "file_name": "images/a.jpg", "width": 64, "height": 48},
        {"id": 3, "file_name": "images/b.jpg", "width": 64, "height": 48},
        {"id": 4, "file_name": "images/none.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 2, "bbox": [5, 5, 4, 4], "iscrowd": 1},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10.5, 20], "iscrowd": 0},
        {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 8, 8], "ignore": 0},
    ],
    "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "mask"}],
}
WIDER = """\
images/a.jpg
1
1 2 10.5 20 0 0 0 0 0 0
images/b.jpg
2
5 5 4 4 2 0 0 1 0 0
0 0 8 8 0 0 1 0 2 0
images/none.jpg
0
0 0 0 0 0 0 0 0 0 0
"""


VOC = """\
<?xml version="1.0"?>
<annotation>
  <folder>images</folder><filename>a.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
  <object><name>with_mask</name><difficult>0</difficult><bndbox>
    <xmin>1</xmin><ymin>2</ymin><xmax>11.5</xmax><ymax>22</ymax></bndbox></object>
  <object><name>face</name><difficult>1</difficult><bndbox>
    <xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>
"""


@pytest.mark.parametrize("annotation_format", ["auto", "own"])
@pytest.mark.parametrize(
    ("own", "text"),
    [
        ("jsonl", JSONL),
        ("coco", json.dumps(COCO)),
        ("coco", json.dumps(COCO, indent=2)),
        ("wider", WIDER),
        ("wider", WIDER.replace("\n", "\r\n")),
        ("jsonl", "\ufeff" + JSONL),
    ],
)
def test_all_formats_say_the_same(annotation_format: str, own: AnnotationFormat, text: str) -> None:
    first, second, empty = parse_annotations(text, own if annotation_format == "own" else "auto")
    assert [image.file for image in (first, second, empty)] == ["images/a.jpg", "images/b.jpg", "images/none.jpg"]
    assert first.boxes.tolist() == [[1, 2, 11.5, 22]]
    assert first.ignored.tolist() == [False]
    assert second.boxes.tolist() == [[5, 5, 9, 9], [0, 0, 8, 8]]
    assert second.ignored.tolist() == [True, False]
    assert empty.boxes.shape == (0, 4)
    assert first.size == (None if own == "wider" else (64, 48))
    assert empty.size is None


def test_pascal_voc_is_an_image_a_text() -> None:
    [image] = parse_annotations(VOC)
    assert (image.file, image.size, image.labels) == ("a.jpg", (64, 48), ("with_mask", "face"))
    assert image.boxes.tolist() == [[1, 2, 11.5, 22], [5, 5, 9, 9]]
    assert image.ignored.tolist() == [False, True]
    assert parse_annotations(VOC.replace("64<", "0<"))[0].size is None


def test_labels_are_those_of_the_annotations() -> None:
    assert [image.labels for image in parse_annotations(json.dumps(COCO))] == [("face",), ("mask", "face"), ()]
    assert [image.labels for image in parse_annotations(WIDER)] == [("face",), ("face", "face"), ()]
    assert parse_annotations(JSONL.replace('"label": "face"', '"label": "mask"'))[0].labels == ("mask",)


def test_boxes_without_area_are_ignored() -> None:
    [image] = parse_annotations("a.jpg\n3\n1 2 0 5 0 0 0 0 0 0\n1 2 3 0 0 0 0 0 0 0\n1 2 3 4 0 0 0 0 0 0\n")
    assert image.ignored.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("annotation_format", "text", "message"),
    [
        ("auto", "", "holds no annotated image"),
        ("auto", JSONL + JSONL, "names images/a.jpg twice"),
        ("jsonl", "\n" + '{"file": "a.jpg"}', "line 2: is no annotated image: 'faces' is missing"),
        ("jsonl", '{"file": "a.jpg", "faces": [{"box": [1, 2, 3]}]}', "line 1: is no annotated image"),
        ("jsonl", '{"file": "a.jpg", "faces": [{"box": [1, 2, 3, NaN]}]}', "a.jpg has a box that is no four numbers"),
        ("jsonl", JSONL + "{", "line 5: is no annotated image"),
        ("coco", "{}", "is no COCO JSON of images and annotations: 'images' is missing"),
        ("coco", json.dumps({**COCO, "images": []}), "is no COCO JSON of images and annotations: 3 is missing"),
        ("wider", "a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", "line 3: the text ends within the faces of an image"),
        ("wider", "a.jpg\n", "line 1: the text ends within the faces of an image"),
        ("wider", "a.jpg\n1\n1 2 3 4\n", "line 3: is not WIDER's text: a face is ten numbers, not 4"),
        ("auto", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a document type, which may define"),
        ("auto", "<annotation>&b;</annotation>", "is no XML: undefined entity"),
        ("auto", "<annotation><filename>a", "is no XML"),
        ("voc", "<annotation/>", "is no XML of Pascal VOC: 'annotation/filename' is missing"),
        ("voc", VOC.replace("xmin>", "left>"), "is no XML of Pascal VOC: 'object/bndbox/xmin' is missing"),
        ("voc", VOC.replace("11.5", "wide"), "is no XML of Pascal VOC: could not convert string to float: 'wide'"),
        ("voc", VOC.replace("11.5", "nan"), "a.jpg has a box that is no four numbers"),
        ("auto", "name,x,y\na.jpg,1,2\n", "line 2: is not WIDER's text"),
    ],
)
def test_errors_say_where_and_what(annotation_format: AnnotationFormat, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=re.escape(message)):
        parse_annotations(text, annotation_format)


def annotated(file: str) -> AnnotatedImage:
    return AnnotatedImage(file, np.zeros((0, 4), np.float32), np.zeros(0, bool))


def test_images_are_found_by_path_and_else_by_name() -> None:
    paths = {"a/1.jpg": "/photos/a/1.jpg", "b/1.jpg": "/photos/b/1.jpg", "b/2.jpg": "/photos/b/2.jpg"}
    assert locate_images([annotated("b/1.jpg"), annotated("c/2.jpg")], paths) == ["/photos/b/1.jpg", "/photos/b/2.jpg"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("3.jpg", "3.jpg is not among the 2 images"),
        ("1.jpg", "1.jpg is not among the 2 images; of that name there are /p/a/1.jpg and /p/b/1.jpg"),
    ],
)
def test_missing_and_ambiguous_images_are_errors(file: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=re.escape(message)):
        locate_images([annotated(file)], {"a/1.jpg": "/p/a/1.jpg", "b/1.jpg": "/p/b/1.jpg"})


def test_one_image_does_not_stand_for_two() -> None:
    with pytest.raises(AnnotationError, match=r"a/1\.jpg and b/1\.jpg are both annotated, but only /p/1\.jpg is there"):
        locate_images([annotated("a/1.jpg"), annotated("b/1.jpg")], {"1.jpg": "/p/1.jpg"})


def test_the_development_data() -> None:
    images = parse_annotations((shared_data("wider-dev") / "annotations.jsonl").read_text())
    assert len(images) == 200
    assert sum(len(image.boxes) for image in images) == 1002
    assert sum(int(image.ignored.sum()) for image in images) == 3
