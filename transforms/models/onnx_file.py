"""ONNX files: what belongs to one, what identifies it, and what no engine is to read.

An ONNX file is a protobuf message. Its weights lie in it, or as "external data" in files that it names. Since those may
be any of this machine's, they are looked at before an engine is. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from faceveil.transforms.errors import ModelError

if TYPE_CHECKING:
    from google.protobuf import message

_SUFFIX = ".onnx"
_MAX_BYTES = 2**31 - 1
"""Of a protobuf message; larger models keep their weights outside it."""

_EXTERNAL, _STRING = 1, 8
"""In the schema: where a tensor's values lie, and what they are."""

_MAX_VALUES_PER_BYTE = 4
"""The smallest kinds of numbers have two bits."""


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself.

    Attributes:
        external: the files with its weights, as paths below its folder, and how many bytes each must have.
        metadata: what its exporter notes, by name.
    """

    external: Mapping[str, int]
    metadata: Mapping[str, str]


def is_onnx(path: str | Path) -> bool:
    """Whether a path is that of an ONNX file, by its ending.

    Example usage::

        >>> is_onnx("plates.onnx"), is_onnx("saved_model")
        (True, False)
    """
    return str(path).lower().endswith(_SUFFIX)


def yaml_beside(path: str) -> str:
    """Where the YAML lies that says how an ONNX file is to be read, if there is one.

    Example usage::

        >>> yaml_beside("models/plates.onnx")
        'models/plates.yaml'
    """
    return f"{path[: -len(_SUFFIX)]}.yaml"


def find_yaml(path: str) -> Path | None:
    """The declaration beside an ONNX file on this machine's disk; None where there is none.

    Raises:
        ModelError: what has its name is no file, or something was meant as one and has another name.
    """
    refuse_misnamed(path, os.path.lexists)
    declaration = Path(yaml_beside(path))
    if not os.path.lexists(declaration):
        return None
    if not declaration.is_file():
        raise ModelError(f"{declaration}: is no file, and lies where the declaration of {path} does; move it away")
    return declaration


def refuse_misnamed(path: str, exists: Callable[[str], bool]) -> None:
    """Refuses what was meant as a declaration and would not count.

    Args:
        path: of the ONNX file.
        exists: whether there is a file.

    Raises:
        ModelError: naming the file, and what it has to be called.
    """
    declaration = yaml_beside(path)
    for other in (f"{declaration[:-5]}.yml", f"{path}.yaml", f"{path}.yml"):
        if exists(other) and not exists(declaration):
            raise ModelError(f"{other}: must be called {declaration} to be the declaration of {path}; rename it")


def parse_onnx(data: bytes, path: str) -> OnnxFile:
    """Reads what an ONNX file says, without an engine.

    Args:
        data: the file.
        path: its name, for messages.

    Raises:
        ModelError: it is none, names files outside its folder, declares more values than it has, or returns texts.
    """
    from google.protobuf.message import DecodeError

    model: Any = _schema()()
    try:
        model.ParseFromString(data)
    except DecodeError:
        model.Clear()
    if not model.HasField("graph"):
        raise ModelError(f"{path} is no ONNX file, or not all of one; export or copy it again")
    if not model.graph.output:
        raise ModelError(f"{path} has no outputs; export it again, with those of the detector")
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == _STRING:
            raise ModelError(f"{path} returns texts as {_text(output.name)!r}; a detector returns numbers")
    external: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == _EXTERNAL:
            name, end = _location(tensor, path)
            external[name] = max(end, external.get(name, 0))
        elif math.prod(tensor.dims) > _MAX_VALUES_PER_BYTE * len(data):
            raise ModelError(
                f"{path} is damaged: it has {len(data)} bytes, and its tensor {_text(tensor.name)!r} is of shape "
                f"{list(tensor.dims)}; export or copy it again"
            )
    return OnnxFile(external, {_text(entry.key): _text(entry.value) for entry in model.metadata})


def read_onnx(path: str) -> OnnxFile:
    """The same of a file on this machine's disk, with its external data.

    Raises:
        ModelError: as `parse_onnx`, or a file is missing or lies elsewhere.
    """
    file = Path(path)
    found = parse_onnx(_bytes_of(file), path)
    # A link as the Hub's cache has them leads to where the weights lie beside the true file.
    folders = {file.parent.resolve(), file.resolve().parent}
    for name, size in found.external.items():
        weights = file.parent / name
        if not weights.is_file():
            raise ModelError(f"{path} keeps weights in {name}, which is missing; put that file beside it")
        if weights.stat().st_size < size:
            raise ModelError(f"{path} keeps weights in {name}, which ends before byte {size}; copy that file again")
        if not any(weights.resolve().is_relative_to(folder) for folder in folders):
            raise ModelError(f"{path} keeps weights in {name}, a link out of its folder; put the file itself there")
    return found


def onnx_digest(path: str) -> str:
    """The sha256 that identifies an ONNX file: its own, or with its declaration and external data that of all.

    Raises:
        ModelError: as `read_onnx`.
    """
    file, declaration = Path(path), find_yaml(path)
    external = read_onnx(path).external
    parts = {"": file, **{name: file.parent / name for name in external}}
    if declaration:
        parts["\0yaml"] = declaration
    digests = {name: _digest(part) for name, part in sorted(parts.items())}
    if len(digests) == 1:
        return digests[""]
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in digests.items()).encode()).hexdigest()


def check_beside(name: str, path: str, what: str) -> str:
    """A path below a file's folder, refused where it is none.

    Args:
        name: the path as it was found.
        path: the file that names it.
        what: what it names, for the message.

    Raises:
        ModelError: it leads elsewhere.

    Example usage::

        >>> check_beside("weights/a.bin", "plates.onnx", "keeps weights in")
        'weights/a.bin'
        >>> check_beside("../a.bin", "a.onnx", "has data in")
        Traceback (most recent call last):
        faceveil.transforms.errors.ModelError: a.onnx: has data in '../a.bin', outside its folder; put that file there
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in name or ":" in name or not name.isprintable():
        raise ModelError(f"{path}: {what} {name!r}, outside its folder; put that file there")
    return "/".join(parts)


def _bytes_of(file: Path) -> bytes:
    if not file.is_file():
        raise ModelError(f"{file} is no file")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{file} has more than 2 GiB; export it with its weights as external data")
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _location(tensor: Any, path: str) -> tuple[str, int]:
    """Where a tensor's values are: a file, and the byte behind the last of them, as far as that is told."""
    told = {entry.key: _text(entry.value) for entry in tensor.external_data}
    start, length = (
        int(text) if text.isdecimal() and len(text) < 20 else 0
        for text in (told.get(key, "") for key in (b"offset", b"length"))
    )
    return check_beside(told.get(b"location", ""), path, "keeps weights in"), start + length


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor with values: of the graph, of graphs within it and of functions."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        if hasattr(graph, "initializer"):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                graphs += [attribute.g, *attribute.graphs]


@functools.cache
def _schema() -> type[message.Message]:
    """The message of a file, with those of its fields that count here; a file's others are skipped."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="faceveil/onnx.proto", package="faceveil_onnx", syntax="proto2")
    # Name, number, and a kind of numbers or texts or another message; with a star those of which there are many.
    messages = {
        "Entry": "key 1 text, value 2 text",
        "Dimension": "dim_value 1 number",
        "Shape": "dim 1 Dimension*",
        "TensorType": "elem_type 1 number, shape 2 Shape",
        "Type": "tensor_type 1 TensorType",
        "ValueInfo": "name 1 text, type 2 Type",
        "Tensor": "dims 1 number*, name 8 text, external_data 13 Entry*, data_location 14 number",
        "SparseTensor": "values 1 Tensor, indices 2 Tensor",
        "Attribute": "t 5 Tensor, g 6 Graph, tensors 10 Tensor*, graphs 11 Graph*, sparse_tensor 22 SparseTensor, "
        "sparse_tensors 23 SparseTensor*",
        "Node": "attribute 5 Attribute*",
        "Graph": "node 1 Node*, initializer 5 Tensor*, output 12 ValueInfo*, sparse_initializer 15 SparseTensor*",
        "Function": "node 7 Node*",
        "Model": "graph 7 Graph, metadata 14 Entry*, functions 25 Function*",
    }
    kinds = {"text": field.TYPE_BYTES, "number": field.TYPE_INT64}
    for name, fields in messages.items():
        declared = file.message_type.add(name=name)
        for each in fields.split(", "):
            field_name, number, kind = each.split()
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = declared.field.add(name=field_name, number=int(number), label=label)
            added.type = kinds.get(kind, field.TYPE_MESSAGE)
            if kind not in kinds:
                added.type_name = f".faceveil_onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("faceveil_onnx.Model"))
