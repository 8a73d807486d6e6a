"""What TensorFlow Datasets says of its TFRecord files: ``features.json``, beside them.

Its format is JSON of the messages in
https://github.com/tensorflow/datasets/blob/master/tensorflow_datasets/core/proto/feature.proto. Names of nested
features are put together with slashes; a list within a list is flattened, and has its values in
``<name>/ragged_flat_values``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.formats.columns import list_of
from faceveil.transforms.formats.container import Declared

_LOGGER = logging.getLogger(__name__)
FEATURES_NAME = "features.json"
_MAX_BYTES = 16 * 2**20
_DEEPEST = 32
# Maps of labels are no images to look for faces in.
_LABELS = ".LabeledImage"
_TYPES = {name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")}
_TYPES |= {"float32": "float", "float64": "float", "string": "binary"}


def declared_beside(path: str) -> Sequence[Declared]:
    """The features that TensorFlow Datasets declares of a TFRecord file; none where it is not one of its files.

    Args:
        path: of the file.

    Raises:
        OSError: the declaration cannot be read.
        AccessError: storage cannot be reached.
    """
    return list(_features(tree, "", 0, 0)) if (tree := declaration_beside(path)) else ()


def declaration_beside(path: str) -> dict[str, Any] | None:
    """The same as its file has it, a tree that is known to be whole; None where there is none."""
    folder, slash, _ = path.rpartition("/")
    beside = folder + slash + FEATURES_NAME
    if not storage.exists(beside):
        return None
    data = storage.read_bytes(beside, _MAX_BYTES + 1)
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        tree: dict[str, Any] = json.loads(data)
        list(_features(tree, "", 0, 0))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _LOGGER.warning("%s: is no declaration of features by TensorFlow Datasets: %s", beside, error)
        return None
    return tree


def _features(node: Any, name: str, lists: int, depth: int) -> Iterator[Declared]:
    """The features below a node.

    Args:
        node: of the declaration.
        name: of its feature.
        lists: how many lists it lies in.
        depth: how many nodes are above it.
    """
    if depth > _DEEPEST or not isinstance(node, dict):
        raise ValueError(f"it is more than {_DEEPEST} levels deep, or holds something else than features")
    if "featuresDict" in node:
        for below, inner in node["featuresDict"].get("features", {}).items():
            yield from _features(inner, f"{name}/{below}" if name else below, lists, depth + 1)
    elif "sequence" in node:
        yield from _features(node["sequence"]["feature"], name, lists + 1, depth + 1)
    else:
        is_video = "video" in node
        is_image = "image" in node and not str(node.get("pythonClassName", "")).endswith(_LABELS)
        ragged = "/ragged_flat_values" if lists + is_video > 1 else ""
        yield Declared(name + ragged, holds_images=is_image or is_video, type=_column_type(node, lists))


def _column_type(node: dict[str, Any], lists: int) -> str:
    """The type of a column of a feature's values, if that is known."""
    tensor = node.get("tensor") or node.get("boundingBox") or {}
    name = str(tensor.get("dtype", "")) if tensor else "int64" if "classLabel" in node else ""
    single = "string" if "text" in node else _TYPES.get(name, "")
    return list_of(single) if single and (lists or tensor.get("shape", {}).get("dimensions")) else single
