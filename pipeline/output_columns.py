"""The types of an output's columns, found by options and by a look at the first records before a job does any work."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from faceveil.pipeline.feature_names import LONGEST_RECORD, RECORDS
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.columns import (
    IMAGE_TYPE,
    Columns,
    column_of,
    is_list,
    item_of,
    list_of,
    merged_type,
    path_column,
)
from faceveil.transforms.formats.containers import CONTAINERS, container_kind
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FACE_INDEX, FeatureRoles
from faceveil.transforms.formats.kinds import LOOKED_AT
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.summary import InputSummary
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.shard.compose import OWN_FEATURES

_FILES_AT_ONCE = 8
_OWN_TYPES = dict(zip(OWN_FEATURES, ("string", "string", "int64", "int64"), strict=True))
_ANY = "any"  # what holds values of several kinds


def find_columns(options: JobOptions, summary: InputSummary) -> dict[str, str]:
    """The columns of a job's output, images first and all others by name; none where its format needs no types.

    What a file says of a feature itself counts; of any other that its records have, it is a list.

    Args:
        options: the job's options, with the features that hold images.
        summary: what the inputs hold.

    Raises:
        OptionError: a feature holds values of several kinds, or steps of a sequence, and the format has no place for
            that.
    """
    if options.format not in ("parquet", "webdataset"):
        return {}
    roles = options.features
    splits = summary.splits.values()
    found: dict[str, str] = {}
    if any(split.images for split in splits):
        own = {column_of(FeatureRoles.images[0]): IMAGE_TYPE, **_OWN_TYPES}
        found = {name: kind for name, kind in own.items() if name not in roles.dropped}
    files = list(dict.fromkeys(file for split in splits for file in split.first_record_files))
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for file, types in zip(files, pool.map(partial(_look, roles=roles), files), strict=True):
            for name, kind in types:
                found[name] = _merged(name, found.get(name, kind), kind, file, options)
    found |= _faces(roles, found, is_of_files=not files)
    images = [name for name in map(column_of, roles.images) if name in found]
    found = {name: found[name] for name in dict.fromkeys([*images, *sorted(found)])}
    return {name: kind for name, kind in found.items() if not (options.format == "parquet" and _is_path(name, found))}


def _is_path(name: str, found: Columns) -> bool:
    """Whether a feature lies in the structs of a column of images."""
    others = {other: kind for other, kind in found.items() if other != name}
    return path_column(name, others) is not None and item_of(found[name]) in ("string", "binary")


def _merged(name: str, one: str, other: str, file: InputFile, options: JobOptions) -> str:
    merged = merged_type(one, other)
    if merged is None and options.format == "parquet":
        raise OptionError(
            f"--format parquet: feature {name} of {file.path} holds {item_of(other)}, and {item_of(one)} elsewhere, "
            f"which cannot be one column; --drop_features {name} leaves it out"
        )
    return merged or list_of(_ANY)


def _faces(roles: FeatureRoles, found: Columns, is_of_files: bool) -> dict[str, str]:
    """What the job says of the faces of each image."""
    types: dict[str, str] = {}
    for prefix, image in list(zip(roles.prefixes(), roles.images, strict=True))[: 1 if is_of_files else None]:
        for name in roles.face_features(prefix):
            types[name] = "int64" if name.endswith("count") else list_of("float")
        index = f"{prefix}/face/{FACE_INDEX}"
        if is_list(found.get(column_of(image), "")):
            types[index] = list_of("int64")
        else:
            del types[index]
    return {name: kind for name, kind in types.items() if name not in roles.dropped}


def _look(file: InputFile, roles: FeatureRoles) -> Iterable[tuple[str, str]]:
    """The columns of the first records of a file, and their types; what cannot be read is left to the job."""
    declared: dict[str, str] = {}
    seen: dict[str, str] = {}
    try:
        kind = container_kind(storage.read_range(file.stored, 0, LOOKED_AT))
        container = CONTAINERS[kind or file.kind]
        features = [feature for feature in container.declared(file.stored) if _is_written(feature.name, roles)]
        declared = {feature.name: feature.type for feature in features if feature.type and not feature.refusal}
        refused = tuple(feature.name for feature in features if feature.refusal)
        known = replace(roles, dropped=(*roles.dropped, *refused))
        for _, record in itertools.islice(container.read(file.stored, None, LONGEST_RECORD, known), RECORDS):
            for name, found in () if isinstance(record, Quarantine) else _types(record, roles, file.path):
                seen[name] = merged_type(seen.get(name, found), found) or list_of(_ANY)
    except (AccessError, OSError):
        pass
    for name in seen.keys() & set(roles.images):
        if is_list(declared.get(name, "")):
            seen[name] = list_of(IMAGE_TYPE)
    types = {**seen, **{name: kind for name, kind in declared.items() if name not in roles.images}}
    return [(column_of(name), kind) for name, kind in types.items()]


def _is_written(name: str, roles: FeatureRoles) -> bool:
    return name in roles.images or not roles.is_left_out(name)


def _types(record: bytes, roles: FeatureRoles, path: str) -> Iterator[tuple[str, str]]:
    """The features of a record that are written, and the types of columns that hold them.

    Raises:
        OptionError: it is a sequence.
    """
    try:
        example = Example.parse(record)
        found = {name: example.values(name) for name in example.names() if _is_written(name, roles)}
    except InvalidExampleError:
        return
    if lists := sorted(found.keys() & set(example.lists)):
        raise OptionError(
            f"{path} holds SequenceExamples; their lists, such as {lists[0]}, have a place in --format tfrecord alone"
        )
    for name, values in found.items():
        if values is None or not len(values):  # of an empty list the kind says nothing
            continue
        kind = "binary" if isinstance(values, list) else "int64" if values.dtype == np.int64 else "float"
        own = _OWN_TYPES.get(name)
        if name in roles.images:
            yield name, IMAGE_TYPE if len(values) == 1 else list_of(IMAGE_TYPE)
        elif own and len(values) == 1 and merged_type(own, kind):
            yield name, own
        else:
            yield name, list_of(kind)
