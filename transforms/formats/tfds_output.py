"""What makes TFRecords a data set that `tfds.builder_from_directory` reads: ``features.json``, ``dataset_info.json``.

The first declares features, see `tfds`; the second lists splits with the number of records in each shard, as JSON of
https://github.com/tensorflow/datasets/blob/master/tensorflow_datasets/core/proto/dataset_info.proto. Neither takes
anything over that somebody has written in words: descriptions, citations, names of data sets and of labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.features import FACE_INDEX, FeatureRoles
from faceveil.transforms.formats.tfds import FEATURES_NAME

_INFO_NAME = "dataset_info.json"
_DATA_SET = "faceveil"  # by which its own files are known
_SHARDS = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"
_MODULE = "tensorflow_datasets.core.features"
_KEPT = {"pythonClassName", "jsonFeature", "featuresDict", "tensor", "classLabel", "image", "video", "audio"}
_KEPT |= {"boundingBox", "text", "translation", "sequence"}

Declaration = Mapping[str, Any]
"""The tree of ``features.json``."""


def declaration_of_output(declaration: Declaration, roles: FeatureRoles) -> dict[str, Any]:
    """What is declared of a job's Examples.

    Args:
        declaration: of its inputs.
        roles: what becomes of the features.
    """
    features = _pruned(declaration, "", 0, roles)["featuresDict"]["features"]
    for prefix in roles.prefixes():
        for name in roles.face_features(prefix):
            # Not every record has one, and TensorFlow Datasets knows no features that may be missing.
            if not name.endswith(f"/{FACE_INDEX}") and name not in roles.dropped:
                features[name] = _tensor("int64") if name.endswith("count") else _tensor("float32", -1)
    return _dictionary(features)


def declaration_of_images(roles: FeatureRoles) -> dict[str, Any]:
    """What is declared of the Examples of image files."""
    texts = {name: _tensor("string") for name in ("image/format", "image/filename")}
    sizes = {name: _tensor("int64") for name in ("image/height", "image/width")}
    image = {"pythonClassName": f"{_MODULE}.image_feature.Image"}
    image |= {"image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}}}  # type: ignore[dict-item]
    of_files = FeatureRoles(dropped=roles.dropped)
    return declaration_of_output(_dictionary({of_files.images[0]: image, **texts, **sizes}), of_files)


def _dictionary(features: Mapping[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{_MODULE}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def _tensor(dtype: str, *dimensions: int) -> dict[str, Any]:
    shape = {"dimensions": list(map(str, dimensions))} if dimensions else {}
    tensor = {"dtype": dtype, "encoding": "none", "shape": shape}
    return {"pythonClassName": f"{_MODULE}.tensor_feature.Tensor", "tensor": tensor}


def _pruned(node: Declaration, name: str, lists: int, roles: FeatureRoles) -> dict[str, Any]:
    """A node without words, and without features that are left out; empty where nothing is left of it."""
    kept = {key: value for key, value in node.items() if key in _KEPT}
    if "featuresDict" in node:
        features = {}
        for below, inner in node["featuresDict"].get("features", {}).items():
            if made := _pruned(inner, f"{name}/{below}" if name else below, lists, roles):
                features[below] = made
        return {**kept, "featuresDict": {"features": features}} if features or not name else {}
    if "sequence" in node:
        inner = _pruned(node["sequence"]["feature"], name, lists + 1, roles)
        return {**kept, "sequence": {**node["sequence"], "feature": inner}} if inner else {}
    return {} if _is_left_out(name, lists + ("video" in node), roles) else kept


def _is_left_out(name: str, lists: int, roles: FeatureRoles) -> bool:
    """Whether not all is left of what a feature of so many lists has in an Example."""
    if lists < 2:
        return name not in roles.images and roles.is_left_out(name)
    parts = [f"{name}/ragged_flat_values", *(f"{name}/ragged_row_lengths_{number}" for number in range(lists - 1))]
    return any(part not in roles.images and roles.is_left_out(part) for part in parts)


def write_info(directory: str, declaration: Declaration, splits: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    """Makes an output a data set.

    Args:
        directory: the output.
        declaration: of its features.
        splits: the records and bytes of each shard of each split, in order.

    Raises:
        AccessError: it cannot be written.
    """
    told = [
        {
            "name": name,
            "shardLengths": [str(records) for records, _ in shards],
            "numBytes": str(sum(nbytes for _, nbytes in shards)),
            "filepathTemplate": _SHARDS,
        }
        for name, shards in splits.items()
    ]
    info = {"name": _DATA_SET, "version": "1.0.0", "fileFormat": "tfrecord", "splits": told}
    # By the first that is written both are known to be the job's.
    for name, content in ((_INFO_NAME, info), (FEATURES_NAME, declaration)):
        storage.write_bytes(storage.join(directory, name), json.dumps(content, indent=2).encode() + b"\n")


def read_declaration(directory: str) -> Declaration | None:
    """What a job has declared of an output's features; None where it has not.

    Raises:
        AccessError: it cannot be read, or is damaged.
    """
    path = storage.join(directory, FEATURES_NAME)
    if not is_data_set(directory) or not storage.exists(path):
        return None
    try:
        declaration: Declaration = json.loads(storage.read_bytes(path))
    except (ValueError, OSError) as error:
        raise AccessError(f"{path}: cannot be read: {error}; the job's own command makes it anew") from error
    return declaration


def remove_info(directory: str) -> None:
    """Removes both files if an earlier job has written them.

    Raises:
        AccessError: they cannot be read or removed.
    """
    if is_data_set(directory):
        storage.delete([storage.join(directory, name) for name in (FEATURES_NAME, _INFO_NAME)])


def foreign_info(directory: str) -> str | None:
    """The path of one of the two files that no job has written; None where there is none.

    Raises:
        AccessError: it cannot be read.
    """
    paths = [storage.join(directory, name) for name in (FEATURES_NAME, _INFO_NAME)]
    return None if is_data_set(directory) else next(filter(storage.exists, paths), None)


def is_data_set(directory: str) -> bool:
    """Whether a job has made an output a data set.

    Raises:
        AccessError: storage cannot be reached.
    """
    path = storage.join(directory, _INFO_NAME)
    try:
        return storage.exists(path) and json.loads(storage.read_bytes(path)).get("name") == _DATA_SET
    except (ValueError, AttributeError, OSError):
        return False
