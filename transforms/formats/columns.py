"""Columns: the features of Examples in a table whose parts all have the same columns, and single rows of it.

An Example's feature is a list of any length, and another Example need not have it. A table's columns have types, so
these are settled before any row is made: `Columns`. Images lie in structs of ``bytes`` and ``path``, and the schema's
metadata say so, as Hugging Face's data sets have it
(https://huggingface.co/docs/datasets/about_dataset_features#image-feature).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from faceveil.transforms.formats.example import Example, ReadValues
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.storage.base import one_line

Columns = Mapping[str, str]
"""The types of columns by their names, in order: one of those below, or ``list<…>`` of one."""

IMAGE_TYPE = "image"
_OF_INTEGERS = {
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": pa.bool_(),
}
_OF_FLOATS = {"float": pa.float32(), "halffloat": pa.float16()}
_OF_BYTES = {"binary": pa.binary(), "string": pa.string()}
_TYPES = {
    **_OF_INTEGERS,
    **_OF_FLOATS,
    **_OF_BYTES,
    IMAGE_TYPE: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}
_MAIN_IMAGE, _MAIN_COLUMN = "image/encoded", "image"
_PATH = "/path"


def column_of(feature: str) -> str:
    """The column of a feature: of its name, but for the main image of records that came without a name for it.

    Example usage::

        >>> column_of("image/encoded"), column_of("image/height")
        ('image', 'image/height')
    """
    return _MAIN_COLUMN if feature == _MAIN_IMAGE else feature


def with_main_image(example: bytes, images: Sequence[str], allowed: Collection[str] = ()) -> bytes:
    """An Example whose features are called as columns are, with the main image called as it was before ``column_of``.

    Args:
        example: serialised.
        images: the features that held images; a record that lacks one of them is one that an image file has made.
        allowed: features that are no images for the job.

    Raises:
        InvalidExampleError: it is no Example.

    Example usage::

        >>> row = Example.empty().with_features({"image": b"...", "label": [3]})
        >>> Example.parse(with_main_image(row, ("image/encoded",))).names()
        ['label', 'image/encoded']
        >>> Example.parse(with_main_image(row, ("image",))).names(), with_main_image(row, ("image", "right")) == row
        (['image', 'label'], False)
    """
    parsed = Example.parse(example)
    names = parsed.names()
    images_held = parsed.bytes_values(_MAIN_COLUMN)
    is_named = _MAIN_COLUMN in allowed or (_MAIN_COLUMN in images and set(images) <= set(names))
    if images_held is None or is_named:
        return example
    return parsed.with_features({_MAIN_IMAGE: np.array(images_held, object)}, {_MAIN_COLUMN})


def list_of(single: str) -> str:
    """The type of lists of a type.

    Example usage::

        >>> list_of("int64"), item_of(list_of("int64")), item_of("int64")
        ('list<int64>', 'int64', 'int64')
    """
    return f"list<{single}>"


def item_of(column_type: str) -> str:
    """The type of a column's single values."""
    return column_type.removeprefix("list<").removesuffix(">")


def is_list(column_type: str) -> bool:
    """Whether a column holds lists."""
    return column_type.startswith("list<")


def merged_type(one: str, other: str) -> str | None:
    """The type of a column that holds values of two types; None where there is none.

    Example usage::

        >>> merged_type("int8", "list<int64>"), merged_type("string", "binary"), merged_type("string", "float")
        ('list<int64>', 'binary', None)
    """
    if one == other:
        return one
    items = item_of(one), item_of(other)
    single = items[0] if items[0] == items[1] else None
    for alike, widest in ((_OF_INTEGERS, "int64"), (_OF_FLOATS, "float"), (_OF_BYTES, "binary")):
        if single is None and alike.keys() >= set(items):
            single = widest
    return list_of(single) if single and (is_list(one) or is_list(other)) else single


def path_column(name: str, columns: Columns) -> str | None:
    """The column of images whose paths a feature holds, where it has no column of its own.

    Example usage::

        >>> path_column("left/path", {"left": "image"}), path_column("label/path", {"label": "string"})
        ('left', None)
    """
    image = name.removesuffix(_PATH)
    is_path = name.endswith(_PATH) and name not in columns and item_of(columns.get(image, "")) == IMAGE_TYPE
    return image if is_path else None


def arrow_schema(columns: Columns) -> pa.Schema:
    """The schema of a table with these columns; Hugging Face's libraries find the images by its metadata."""
    return _schema(tuple(columns.items()))


@functools.lru_cache(maxsize=8)
def _schema(columns: tuple[tuple[str, str], ...]) -> pa.Schema:
    fields = [pa.field(name, _arrow_type(column_type)) for name, column_type in columns]
    images = {
        name: {"_type": "Sequence", "feature": {"_type": "Image"}} if is_list(column_type) else {"_type": "Image"}
        for name, column_type in columns
        if item_of(column_type) == IMAGE_TYPE
    }
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": images}})})


def _arrow_type(column_type: str) -> pa.DataType:
    single = _TYPES[item_of(column_type)]
    return pa.list_(single) if is_list(column_type) else single


def row_of(example: Example, columns: Columns) -> bytes:
    """An Example as a row, which ``read_row`` reads.

    Raises:
        Quarantine: it has a feature without a column, or values that its column cannot hold.
        InvalidExampleError: a feature cannot be parsed.
    """
    if example.lists:
        raise _refused(f"feature {min(example.lists)} is a list of features, which a table has no column for")
    found: dict[str, ReadValues] = {}
    paths: dict[str, ReadValues] = {}
    for name in example.names():
        values = example.values(name)
        column = column_of(name)
        if image := path_column(column, columns):
            paths[image] = [] if values is None else values
        elif column not in columns:
            advice = f"--drop_features {name} leaves it out, or put a file that has it first, as an --input of its own"
            raise _refused(f"feature {name} has no column, since none of the first records has it; {advice}")
        elif column in found:
            raise _refused(
                f"features {_MAIN_IMAGE} and {_MAIN_COLUMN} would be one column; --drop_features leaves one out"
            )
        elif values is not None:
            found[column] = values
    schema = arrow_schema(columns)
    row = {
        name: [_value(name, column_type, found[name], paths.get(name)) if name in found else None]
        for name, column_type in columns.items()
    }
    serialized: bytes = pa.record_batch(row, schema=schema).serialize().to_pybytes()
    return serialized


def read_row(row: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """A row of ``row_of``, as a batch of one."""
    return pa.ipc.read_record_batch(pa.py_buffer(row), schema)


def _refused(why: str) -> Quarantine:
    return Quarantine(Reason.INVALID_EXAMPLE, why)


def _value(name: str, column_type: str, values: ReadValues, paths: ReadValues | None) -> Any:
    """The values of a feature as a column of this type holds them.

    Raises:
        Quarantine: it cannot.
    """
    if not is_list(column_type) and len(values) > 1:
        raise _refused(f"feature {name} has {len(values)} values, and one in the first records")
    item = item_of(column_type)
    if item == IMAGE_TYPE:
        made = [{"bytes": value, "path": path} for value, path in zip(values, _paths(name, values, paths), strict=True)]
    else:
        made = _items(name, item, values)
    return made if is_list(column_type) else (made[0] if made else None)


def _paths(name: str, images: ReadValues, paths: ReadValues | None) -> list[str | None]:
    if paths is None or not len(paths):
        return [None] * len(images)
    if len(paths) != len(images):
        raise _refused(f"feature {name}{_PATH} has {len(paths)} values for {len(images)} images")
    return _items(name + _PATH, "string", paths)


def _items(name: str, item: str, values: ReadValues) -> list[Any]:
    if not len(values):  # whose kind says nothing
        return []
    held = "O" if isinstance(values, list) else values.dtype.kind
    wanted = next(kind for kind, types in _HELD.items() if item in types)
    if held != wanted:
        raise _refused(f"feature {name} holds {_WORDS[held]}, and {_WORDS[wanted]} in the first records")
    try:
        if isinstance(values, list):
            return [value.decode() for value in values] if item == "string" else values
        if item == "bool" and not set(values.tolist()) <= {0, 1}:
            raise _refused(f"feature {name} holds other numbers than 0 and 1, and truth values in the first records")
        made: list[Any] = pa.array(values).cast(_TYPES[item]).to_pylist()
    except UnicodeDecodeError as error:
        raise _refused(f"feature {name} holds bytes that are no text, and texts in the first records") from error
    except pa.ArrowInvalid as error:
        raise _refused(f"feature {name}: {one_line(error)}") from error
    return made


_HELD: dict[str, Mapping[str, Any]] = {"i": _OF_INTEGERS, "f": _OF_FLOATS, "O": _OF_BYTES}
_WORDS = {"i": "integers", "f": "floats", "O": "bytes"}
