"""The columns of a Parquet table as features, and its rows as Examples; `parquet_files` says what becomes of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faceveil.transforms.formats.columns import list_of
from faceveil.transforms.formats.container import Declared
from faceveil.transforms.formats.example import Example, FeatureValue
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.storage.base import one_line

_DEEPEST = 16  # structs within each other


@dataclass(frozen=True)
class Column(Declared):
    """What becomes a feature.

    Attributes:
        place: of the column among the table's, then of each field of a struct among that one's.
        inside: of a list of structs, the same within each of these; None of all else.
    """

    place: tuple[int, ...] = ()
    inside: tuple[int, ...] | None = None


def columns_of(schema: Any) -> list[Column]:
    """The features of a table's rows, by its schema (pyarrow's)."""
    found = [each for place, field in enumerate(schema) for each in _leaves(field.name, (place,), field.type)]
    times = Counter(column.name for column in found)
    twice = "is the name of two columns, which would be one feature"
    return [replace(column, refusal=twice) if times[column.name] > 1 else column for column in found]


def _leaves(name: str, place: tuple[int, ...], kind: Any, inside: tuple[int, ...] | None = None) -> Iterator[Column]:
    """The features of a column, or of a field: of a list of structs each field is a list."""
    import pyarrow as pa

    kind = _stored_type(kind)
    single = _item_type(kind) if inside is None else kind
    if not (pa.types.is_struct(single) and single.num_fields and len(place + (inside or ())) < _DEEPEST):
        column_type = _column_type(kind, is_in_list=inside is not None)
        yield Column(name, *_judged(kind, inside is not None), type=column_type, place=place, inside=inside)
        return
    fields = [single.field(number) for number in range(single.num_fields)]
    is_image = {field.name for field in fields} == {"bytes", "path"} and len(fields) == 2
    for number, field in enumerate(fields):
        below = name if is_image and field.name == "bytes" else f"{name}/{field.name}"
        if inside is None and single is kind:
            yield from _leaves(below, (*place, number), field.type)
        else:
            yield from _leaves(below, place, field.type, (*(inside or ()), number))


def _stored_type(kind: Any) -> Any:
    """What an extension type is stored as, and a dictionary's values are."""
    import pyarrow as pa

    while isinstance(kind, (pa.BaseExtensionType, pa.DictionaryType)):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
    return kind


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _item_type(kind: Any) -> Any:
    return _stored_type(kind.value_type) if _is_list(kind) else kind


def _judged(kind: Any, is_in_list: bool) -> tuple[str, str]:
    """Why an Example cannot hold values of a type, and what it holds otherwise."""
    import pyarrow as pa

    single = kind if is_in_list else _item_type(kind)
    if pa.types.is_float64(single):
        return "", "doubles become floats of 32 bits, with fewer digits"
    if (
        pa.types.is_floating(single)
        or pa.types.is_integer(single)
        or pa.types.is_boolean(single)
        or pa.types.is_null(single)
        or _is_bytes(single)
    ):
        return "", ""
    return f"is of the type {one_line(kind)}, which an Example cannot hold", ""


def _column_type(kind: Any, is_in_list: bool) -> str:
    """The type of a column that holds values of a type as an Example does."""
    import pyarrow as pa

    single = kind if is_in_list else _item_type(kind)
    if _is_bytes(single):
        is_text = pa.types.is_string(single) or pa.types.is_large_string(single) or pa.types.is_string_view(single)
        name = "string" if is_text else "binary"
    elif pa.types.is_null(single):
        return ""
    else:
        name = "float" if pa.types.is_float64(single) else str(single)
    return list_of(name) if is_in_list or _is_list(kind) else name


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
    )


RowValues = dict[str, Any] | Quarantine
"""The values of each feature, in Arrow's arrays."""


def rows_of(batch: Any, columns: Sequence[Column]) -> Iterator[RowValues]:
    """The rows of a batch (pyarrow's RecordBatch), of which an Example can hold these columns."""
    arrays = [(column, _array(batch, column.place)) for column in columns if not column.refusal]
    for row in range(batch.num_rows):
        try:
            yield {each.name: found for each, array in arrays if (found := _values(each, array, row)) is not None}
        except Quarantine as error:
            yield error


def _array(batch: Any, place: tuple[int, ...]) -> Any:
    column = _stored(batch.column(place[0]))
    for number in place[1:]:
        column = _stored(column.flatten()[number])  # null where the struct is
    return column


def _stored(array: Any) -> Any:
    """An array without extension types and dictionaries."""
    import pyarrow as pa

    while isinstance(array, (pa.ExtensionArray, pa.DictionaryArray)):
        array = array.storage if isinstance(array, pa.ExtensionArray) else array.dictionary_decode()
    return array


def _values(column: Column, array: Any, row: int) -> Any:
    """The values of a feature; None where it is null, or of a list of structs the field of each.

    Raises:
        Quarantine: an Example cannot hold them.
    """
    import pyarrow as pa

    scalar = array[row]
    if not scalar.is_valid:
        return None
    values = _stored(scalar.values if _is_list(array.type) else array.slice(row, 1))
    for number in column.inside or ():
        values = _stored(values.flatten()[number])
    if column.inside is not None and 0 < values.null_count == len(values):
        return None
    if values.null_count:
        detail = f"column {column.name}: a list with a null, which an Example cannot hold"
        raise Quarantine(Reason.INVALID_EXAMPLE, detail)
    is_float = pa.types.is_floating(values.type)
    held_as = pa.binary() if _is_bytes(values.type) else pa.float32() if is_float else pa.int64()
    try:
        return values.cast(held_as)
    except pa.ArrowInvalid as error:
        raise Quarantine(Reason.INVALID_EXAMPLE, f"column {column.name}: {one_line(error)}") from error


def _as_feature(values: Any) -> FeatureValue:
    if _is_bytes(values.type):
        return np.array(values.to_pylist(), object)
    numbers: FeatureValue = values.to_numpy(zero_copy_only=False)
    return numbers


def example_of_row(row: Any) -> bytes:
    """A row, given as a batch of one (pyarrow's RecordBatch), as its reader gives it: a serialised Example.

    Raises:
        Quarantine: an Example cannot hold its values.
    """
    [features] = rows_of(row, columns_of(row.schema))
    if isinstance(features, Quarantine):
        raise features
    return example_of(features)


def example_of(features: dict[str, Any]) -> bytes:
    """The values of a row as a serialised Example."""
    return Example.empty().with_features({name: _as_feature(values) for name, values in features.items()})
