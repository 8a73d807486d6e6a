"""Files of annotated boxes: CSV and Parquet with a row for each box, and COCO's JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats import BOX_SIDES
from faceveil.transforms.formats.box_table import BoxTable

_KEY = "key"
_LABELS = ("label", "number")
_SIZE = ("width", "height")
_MAX_NAMED = 20


class BoxFileError(ValueError):
    """A file of annotated boxes cannot be understood, or has not what is asked for."""


@dataclass(frozen=True)
class BoxFile:
    """What a file of annotated boxes says.

    Attributes:
        table: the boxes that are wanted.
        keys: the images that it names.
    """

    table: BoxTable
    keys: list[str]


def read_box_file(
    path: str, classes: Sequence[str] = (), names: Callable[[str], Iterable[str]] = lambda key: (key,)
) -> BoxFile:
    """Reads a file of annotated boxes, whole; by its ending it is one of these:

    * ``.csv`` or ``.parquet``: a row for each box with the columns ``key`` (the record's), ``xmin``, ``ymin``,
      ``xmax``, ``ymax`` (pixels of the stored image) and maybe ``label``, a name or a number, and ``width`` and
      ``height`` of the image that they were drawn on; others do not matter. A row without any of the four sides says
      that its image is known; if it has no other row, it has no boxes.
    * ``.json``: COCO's, https://cocodataset.org/#format-data: ``images`` (``id``, ``file_name``: the record's key,
      ``width``, ``height``),
      ``annotations`` (``image_id``, ``bbox``: x, y, width, height in pixels, ``category_id``), ``categories``
      (``id``, ``name``). Images without annotations are known to have no boxes.

    A box that is none (NaN, three numbers of four) is kept, for whoever uses it to refuse its image.

    Args:
        path: on disk or in an object store.
        classes: labels, by name or number, whose boxes are wanted; none for all.
        names: under which keys the record of a key is found.

    Raises:
        AccessError: it cannot be read.
        BoxFileError: it is no such file, or has no box of a class.
    """
    try:
        rows = _READERS[path.lower().rpartition(".")[2]](path)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise BoxFileError(f"{path}: cannot be read as such a file: {error}") from error
    if not rows.num_rows:
        raise BoxFileError(f"{path}: names no image")
    if rows.column(_KEY).null_count:
        raise BoxFileError(f"{path}: has a row without a key")
    keys = rows.column(_KEY).combine_chunks().dictionary_encode()
    boxes = np.column_stack([rows.column(side).to_numpy() for side in BOX_SIDES])
    empty = np.logical_and.reduce([pc.is_null(rows.column(side)).to_numpy() for side in BOX_SIDES])
    wanted = ~empty & _of_classes(rows, classes, ~empty, path) if classes else ~empty
    images = keys.indices.to_numpy().astype(np.int64)
    named = keys.dictionary.to_pylist()
    sizes = _sizes(rows, images, named, path)
    return BoxFile(BoxTable.of(named, images[wanted], boxes[wanted].astype(np.float32), names, sizes), named)


def _sizes(rows: pa.Table, images: NDArray[np.int64], keys: Sequence[str], path: str) -> NDArray[np.int32]:
    """Width and height of each image, 0 where no row tells."""
    sizes = np.zeros((len(keys), len(_SIZE)), np.int32)
    if not set(_SIZE) <= set(rows.schema.names):
        return sizes
    told = np.column_stack([pc.fill_null(rows.column(name), 0).to_numpy() for name in _SIZE])
    is_told = (told > 0).all(axis=1)
    images, told = images[is_told], told[is_told]
    sizes[images] = told
    differ = (sizes[images] != told).any(axis=1)
    if differ.any():
        raise BoxFileError(f"{path}: {keys[images[np.argmax(differ)]]} is of two sizes")
    return sizes


def _of_classes(rows: pa.Table, classes: Sequence[str], boxes: Any, path: str) -> Any:
    """Which rows are boxes of some classes, by any of their labels."""
    columns = [rows.column(name) for name in _LABELS if name in rows.schema.names]
    if not columns:
        raise BoxFileError(f"{path}: has no column label, by which boxes could be chosen")
    unlabelled = boxes & np.logical_and.reduce([pc.is_null(column).to_numpy() for column in columns])
    if unlabelled.any():
        key = rows.column(_KEY)[int(np.argmax(unlabelled))]
        raise BoxFileError(f"{path}: {key} has a box without a label, so nobody knows whether it is wanted")
    known = {label for column in columns for label in pc.unique(column.filter(pa.array(boxes))).to_pylist()} - {None}
    for name in classes:
        if name not in known:
            raise BoxFileError(f"{path}: no box is of class {name}{nearest_of(name, known)}")
    values = pa.array(list(classes), pa.string())
    return np.logical_or.reduce([pc.is_in(column, values).to_numpy() for column in columns])


def nearest_of(name: str, known: Iterable[str]) -> str:
    """What a name that is not known may mean, and which are known, for a message.

    Example usage::

        >>> nearest_of("plat", {"plate", "person"})
        '; did you mean plate? There are: person, plate'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    listed = (", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")) or "none"
    return f"{f'; did you mean {close[0]}?' if close else '.'} There are: {listed}"


def _read_csv(path: str) -> pa.Table:
    types = {**dict.fromkeys((_KEY, _LABELS[0]), pa.string()), **dict.fromkeys(_SIZE, pa.int32())}
    # Only what is empty is missing: what says nan has failed somewhere.
    convert = csv.ConvertOptions(
        column_types={**types, **dict.fromkeys(BOX_SIDES, pa.float64())}, null_values=[""], strings_can_be_null=True
    )
    with storage.open_to_read(path) as opened:
        table = csv.read_csv(opened, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=convert)
    return table.select(_columns(table.schema, path))


def _read_parquet(path: str) -> pa.Table:
    with storage.open_to_read(path) as opened, parquet.ParquetFile(opened) as file:
        table = file.read(_columns(file.schema_arrow, path))
    columns = {name: _as_text(table.column(name)) for name in (_KEY, _LABELS[0]) if name in table.schema.names}
    for side in BOX_SIDES:
        kind = table.schema.field(side).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise BoxFileError(f"{path}: its column {side} holds no numbers, but {kind}")
        columns[side] = table.column(side).cast(pa.float64())
    columns |= {name: table.column(name).cast(pa.int32()) for name in _SIZE if name in table.schema.names}
    return pa.table(columns)


def _as_text(column: Any) -> Any:
    # pandas makes floats of integers of which some are missing.
    whole = column.cast(pa.int64()) if pa.types.is_floating(column.type) else column
    return whole.cast(pa.string())


def _columns(schema: pa.Schema, path: str) -> list[str]:
    for name in (_KEY, *BOX_SIDES):
        if schema.names.count(name) != 1:
            has = ", ".join(schema.names[:_MAX_NAMED])
            raise BoxFileError(f"{path}: needs a column {name}, once; it has {has}")
    return [name for name in (_KEY, *BOX_SIDES, _LABELS[0], *_SIZE) if name in schema.names]


def _read_coco(path: str) -> pa.Table:
    with _explained(path):
        content = json.loads(storage.read_bytes(path))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        if len(files) < len(content["images"]):
            raise ValueError("two images have the same id")
        categories = {category["id"]: str(category["name"]) for category in content.get("categories", ())}
        sizes = [[int(image.get(name) or 0) for name in _SIZE] for image in content["images"]]
        keys, numbers = list(files.values()), [None for _ in files]
        boxes: list[list[float | None]] = [[None] * len(BOX_SIDES) for _ in files]
        for annotation in content["annotations"]:
            x, y, width, height = map(float, annotation["bbox"])
            keys.append(files[annotation["image_id"]])
            boxes.append([x, y, x + width, y + height])
            numbers.append(annotation.get("category_id"))
            sizes.append([0] * len(_SIZE))
        sides = zip(*boxes, strict=True) if boxes else [()] * len(BOX_SIDES)
        columns: dict[str, Any] = {
            _KEY: pa.array(keys, pa.string()),
            **{side: pa.array(values, pa.float64()) for side, values in zip(BOX_SIDES, sides, strict=True)},
            _LABELS[0]: pa.array([categories.get(number) for number in numbers], pa.string()),
            _LABELS[1]: pa.array([None if number is None else str(number) for number in numbers], pa.string()),
        }
        columns |= {name: pa.array([size[place] for size in sizes], pa.int32()) for place, name in enumerate(_SIZE)}
        return pa.table(columns)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else error
        raise BoxFileError(f"{path}: is no COCO JSON of images and annotations: {said}") from error


_READERS = {"csv": _read_csv, "parquet": _read_parquet, "json": _read_coco}
