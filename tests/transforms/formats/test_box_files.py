import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import BOX_SIDES
from faceveil.transforms.formats.box_files import BoxFileError, read_box_file

CSV = "key,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3.5,4,plate\nb.jpg,,,,,\na.jpg,5,6,7,8,7\n"
COCO: dict[str, Any] = {
    "images": [{"id": 3, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 3, "bbox": [1, 2, 2.5, 2], "category_id": 1, "iscrowd": 1, "segmentation": [[1, 2]]},
        {"id": 2, "image_id": 3, "bbox": [5, 6, 2, 2], "category_id": 7},
    ],
    "categories": [{"id": 1, "name": "plate"}],
}


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def as_table(**more: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "key": ["a.jpg", "b.jpg", "a.jpg"],
        "xmin": [1, None, 5],
        "ymin": [2, None, 6],
        "xmax": [3.5, None, 7],
        "ymax": [4.0, None, 8],
        "label": ["plate", None, "7"],
        "other": [None, [1], []],
    }
    return pa.table({name: values for name, values in {**columns, **more}.items() if values is not None})


LAYOUTS = {
    "boxes.csv": CSV,
    "quoted.CSV": '﻿"label","ymin","key","xmin","xmax","ymax","z"\n'
    '"plate","2","a.jpg","1","3.5","4","\n"\n"","","b.jpg","","","","x"\n"7","6","a.jpg","5","7","8",""\n',
    "boxes.parquet": as_table(),
    "dictionaries.parquet": as_table(key=pa.array(["a.jpg", "b.jpg", "a.jpg"]).dictionary_encode()),
    "large.parquet": as_table(key=pa.array(["a.jpg", "b.jpg", "a.jpg"], pa.large_string())),
    "coco.json": COCO,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_the_same(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, LAYOUTS[name])
    for classes, expected in (
        ((), [[1, 2, 3.5, 4], [5, 6, 7, 8]]),
        (("plate",), [[1, 2, 3.5, 4]]),
        (("7",), [[5, 6, 7, 8]]),
        (("7", "plate"), [[1, 2, 3.5, 4], [5, 6, 7, 8]]),
    ):
        read = read_box_file(path, classes)
        found, empty = read.table.find("a.jpg"), read.table.find("b.jpg")
        assert found is not None
        assert empty is not None
        assert found.tolist() == expected
        assert len(empty) == 0
        assert read.table.find("c.jpg") is None
        assert set(read.keys) == {"a.jpg", "b.jpg"}
    assert read_box_file(path).table.digest == read_box_file(written(tmp_path, "0.csv", CSV)).table.digest


@pytest.mark.parametrize(("labels", "count"), [([1, 2, 1], 2), ([1.0, None, 2.0], 1)], ids=["int", "float"])
def test_labels_may_be_numbers_and_pandas_makes_floats_of_them(labels: list[Any], count: int, tmp_path: Path) -> None:
    read = read_box_file(written(tmp_path, "x.parquet", as_table(label=labels)), ("1",))
    assert len(read.table.boxes) == count


def test_coco_categories_are_chosen_by_number_too(tmp_path: Path) -> None:
    path = written(tmp_path, "x.json", COCO)
    assert read_box_file(path, ("1",)).table.digest == read_box_file(path, ("plate",)).table.digest


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.json"])
def test_files_may_tell_the_size_of_the_image_that_was_drawn_on(name: str, tmp_path: Path) -> None:
    first, second = COCO["images"]
    contents = {
        "x.csv": "key,width,height,xmin,ymin,xmax,ymax\na.jpg,640,480,1,2,3,4\na.jpg,,480,5,6,7,8\nb.jpg,,,,,,\n",
        "x.parquet": as_table(width=[640, None, 640], height=[480.0, None, 480.0]),
        "x.json": {**COCO, "images": [{**first, "width": 640, "height": 480}, {**second, "width": None}]},
    }
    table = read_box_file(written(tmp_path, name, contents[name])).table
    assert (table.size("a.jpg"), table.size("b.jpg")) == ((640, 480), None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "key,xmin,ymin,xmax,ymax\na.jpg,1,2,,4\n"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\na.jpg,nan,nan,nan,nan\n"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\na.jpg,1,2,inf,4\n"),
        ("x.parquet", pa.table({"key": ["a.jpg"], **{side: [math.nan] for side in BOX_SIDES}})),
        (
            "x.json",
            {**COCO, "annotations": [{"image_id": 3, "bbox": [0, 0, math.nan, 1], "category_id": 1}]},
        ),
    ],
    ids=["three of four", "nan", "inf", "NaN is not null", "COCO's NaN"],
)
def test_what_is_no_box_is_kept_so_that_its_image_is_refused(name: str, content: Any, tmp_path: Path) -> None:
    found = read_box_file(written(tmp_path, name, content)).table.find("a.jpg")
    assert found is not None
    [box] = found.tolist()
    assert not all(map(math.isfinite, box))


@pytest.mark.parametrize(
    ("name", "content", "classes", "said"),
    [
        ("x.csv", "", (), "cannot be read as such a file"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\n", (), "names no image"),
        ("x.csv", "key,xmin,ymin,xmax\na,1,2,3\n", (), "needs a column ymax, once; it has key, xmin, ymin, xmax"),
        ("x.csv", "key,xmin,ymin,xmax,ymax,xmin\na,1,2,3,4,5\n", (), "needs a column xmin, once"),
        ("x.csv", "key;xmin;ymin;xmax;ymax\na;1;2;3;4\n", (), "needs a column key, once; it has key;xmin"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\na,1,2,3\n", (), "Expected 5 columns, got 4"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\na,1,2,3,four\n", (), "invalid value 'four'"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\n,1,2,3,4\n", (), "has a row without a key"),
        ("x.csv", CSV, ("plat",), "no box is of class plat; did you mean plate? There are: 7, plate"),
        ("x.csv", CSV, ("Plate ",), "no box is of class Plate ; did you mean plate?"),
        ("x.csv", CSV.replace("7\n", "\n"), ("plate",), "a.jpg has a box without a label"),
        ("x.csv", "key,xmin,ymin,xmax,ymax\na,1,2,3,4\n", ("1",), "has no column label"),
        (
            "x.csv",
            "key,xmin,ymin,xmax,ymax,width,height\nb,1,2,3,4,9,9\na,1,2,3,4,9,9\na,1,2,3,4,9,8\n",
            (),
            "a is of two sizes",
        ),
        ("x.parquet", "PAR1 but no Parquet", (), "cannot be read as such a file"),
        ("x.parquet", as_table(xmin=["1", "2", "3"]), (), "its column xmin holds no numbers, but string"),
        ("x.parquet", as_table(key=["a", None, "b"]), (), "has a row without a key"),
        ("x.parquet", as_table(key=None), (), "needs a column key, once; it has xmin"),
        ("x.parquet", as_table(label=[1.5, None, 2.0]), (), "cannot be read as such a file"),
        ("x.json", "[1, 2", (), "is no COCO JSON of images and annotations"),
        ("x.json", "[" * 10**5, (), "is no COCO JSON of images and annotations"),
        ("x.json", "[]", (), "is no COCO JSON of images and annotations"),
        ("x.json", {**COCO, "images": COCO["images"] * 2}, (), "two images have the same id"),
        ("x.json", {**COCO, "images": [{**COCO["images"][0], "width": 10**400}]}, (), "is no COCO JSON"),
        ("x.json", {"images": []}, (), "is no COCO JSON of images and annotations: 'annotations' is missing"),
        ("x.json", {"images": [], "annotations": []}, (), "names no image"),
        (
            "x.json",
            {**COCO, "images": COCO["images"][1:]},
            (),
            "is no COCO JSON of images and annotations: 3 is missing",
        ),
        ("x.json", {**COCO, "annotations": [{"image_id": 3, "bbox": [1, 2, 3]}]}, (), "is no COCO JSON"),
        ("x.json", {**COCO, "annotations": [{"image_id": 3, "bbox": [1, 2, 3, 4]}]}, ("1",), "a box without a label"),
        ("x.json", COCO, ("plates",), "no box is of class plates; did you mean plate? There are: 1, 7, plate"),
    ],
)
def test_a_file_that_is_none_says_why(
    name: str, content: Any, classes: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(BoxFileError) as raised:
        read_box_file(path, classes)
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)


def test_a_file_that_cannot_be_read_is_another_error(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("gone.csv", "gone.parquet", "gone.json", "folder.csv"):
        with pytest.raises(AccessError, match=f"{name}: cannot be read: "):
            read_box_file(str(tmp_path / name))
