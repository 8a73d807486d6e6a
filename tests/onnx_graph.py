"""ONNX graphs that tests make: node by node, or models that return the same for every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17


class Graph:
    """An ONNX graph that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node and returns its output's name, or those of several."""
        names = [f"{kind}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        """Adds a weight and returns its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def columns(self, table: str, start: int, end: int, axis: int = 2) -> str:
        """Some columns of a tensor."""
        bounds = [self.constant([each], np.int64) for each in (start, end, axis)]
        return str(self.add("Slice", table, *bounds))

    def save(
        self,
        path: Path,
        shape: Sequence[int | str | None],
        outputs: Mapping[str, str],
        kind: int = TensorProto.FLOAT,
        **metadata: str,
    ) -> str:
        """Writes a file with an input ``images`` and outputs that are called so."""
        for name, node in outputs.items():
            self.nodes.append(helper.make_node("Identity", [node], [name]))
        given = helper.make_tensor_value_info("images", kind, shape)
        returned = [helper.make_empty_tensor_value_info(name) for name in outputs]
        for output in returned:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "detector", [given], returned, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
        helper.set_model_props(model, metadata)
        onnx.save(model, str(path))
        return str(path)


def export_values(
    path: Path, outputs: Mapping[str, np.ndarray], shape: Sequence[int | str | None] = (1, 3, 64, 64), **metadata: str
) -> str:
    """Writes a model that returns these arrays for every image.

    Args:
        path: the file.
        outputs: arrays by names.
        shape: of what it takes.
        metadata: what an exporter notes.
    """
    graph = Graph()
    nothing = graph.add("Mul", graph.add("ReduceSum", "images", keepdims=0), graph.constant(0))
    values = {}
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        values[name] = graph.add("Add", graph.constant(value, value.dtype), graph.add("Cast", nothing, to=kind))
    return graph.save(path, shape, values, TensorProto.FLOAT, **metadata)
