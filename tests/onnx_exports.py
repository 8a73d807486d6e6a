"""YuNet-s as an ONNX file in the layouts of other detectors' exports, so that each finds what its SavedModel finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto

from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.detectors.yunet import _LOGIT_BIAS, _LOGIT_FACTOR, STRIDES
from tests.onnx_graph import Graph


def export(
    path: Path,
    layout: str,
    *,
    size: tuple[int, int] | None = None,
    bgr: bool = False,
    mean: Sequence[float] = (0, 0, 0),
    scale: Sequence[float] = (255, 255, 255),
    axes: str = "NCHW",
    kind: int = TensorProto.FLOAT,
    classes: int = 1,
    shares: bool = False,
    **metadata: str,
) -> str:
    """Writes YuNet-s with the outputs of a layout.

    Args:
        path: the file.
        layout: one of ``_HEADS``.
        size: height and width, or None for any.
        bgr: whether it takes blue first.
        mean: that has been subtracted from what it takes.
        scale: by which that has been divided.
        axes: of what it takes.
        kind: of its numbers.
        classes: how many there are; the faces are of the last.
        shares: whether boxes are shares of the input's sides.
        metadata: what an exporter notes.
    """
    graph = Graph()
    sides: dict[str, int | str] = {"N": 1, "C": 3, **dict(zip("HW", size or ("height", "width"), strict=True))}
    levels = _network(graph, axes, bgr, mean, scale)
    parts = [_candidates(graph, level, stride) for level, stride in zip(levels, STRIDES, strict=True)]
    outputs = _HEADS[layout](graph, parts, classes)
    if shares:
        outputs = _as_shares(graph, outputs, size)
    return graph.save(path, [sides[axis] for axis in axes], outputs, kind, **metadata)


def _network(graph: Graph, axes: str, bgr: bool, mean: Sequence[float], scale: Sequence[float]) -> list[str]:
    """The heads' numbers for each stride, ``[1, 16, h, w]``: face, thing, dx, dy, log w, log h, five x, y."""
    with np.load(KNOWN_MODELS["yunet-s"].weights) as arrays:
        weights = {name: arrays[name] for name in arrays}
    x = graph.add("Cast", "images", to=TensorProto.FLOAT)
    if "N" not in axes:
        x = graph.add("Unsqueeze", x, graph.constant([0], np.int64))
    if axes.endswith("C"):
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.add("Mul", x, graph.constant(np.reshape(scale, (1, 3, 1, 1))))
    x = graph.add("Add", x, graph.constant(np.reshape(mean, (1, 3, 1, 1))))
    if bgr:
        x = graph.add("Gather", x, graph.constant([2, 1, 0], np.int64), axis=1)

    def conv(x: str, name: str, stride: int = 1, pad: int = 0) -> str:
        kernel = weights[f"{name}/kernel"]
        deep = name.endswith("_dw")
        kernel = kernel.transpose((2, 3, 0, 1) if deep else (3, 2, 0, 1))
        named = graph.constant(kernel), graph.constant(weights[f"{name}/bias"])
        return str(graph.add("Conv", x, *named, group=len(kernel) if deep else 1, strides=[stride] * 2, pads=[pad] * 4))

    def separable(x: str, name: str) -> str:
        return conv(conv(x, f"{name}_pw"), f"{name}_dw", pad=1)

    def stage(x: str, number: int) -> str:
        for part in (1, 2):
            x = graph.add("Relu", separable(x, f"backbone__model{number}_dp{part}"))
        return x

    def halved(x: str) -> str:
        return str(graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))

    x = graph.add("Relu", conv(x, "backbone__model0_pw", stride=2, pad=1))
    x = halved(graph.add("Relu", separable(x, "backbone__model0_dp")))
    levels = [stage(halved(stage(stage(x, 1), 2)), 3)]
    levels += [stage(halved(levels[0]), 4)]
    levels += [stage(halved(levels[1]), 5)]
    for number in (2, 1, 0):
        levels[number] = graph.add("Relu", separable(levels[number], f"neck__lateral_convs__{number}"))
        if number:
            doubled = graph.constant([1, 1, 2, 2])
            larger = graph.add(
                "Resize", levels[number], "", doubled, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
            levels[number - 1] = graph.add("Add", levels[number - 1], larger)
    return [separable(level, f"heads__{number}") for number, level in enumerate(levels)]


class Level:
    """What a level says of its cells, each ``[1, cells, M]``.

    Attributes:
        stride: pixels by cell.
        score: as the SavedModel's.
        offset: dx, dy of the centre from the cell's corner, in cells.
        log_size: of width and height in cells.
        points: five x, y from the corner, in cells.
        corner: x, y in cells.
    """

    def __init__(self, graph: Graph, table: str, corner: str, stride: int) -> None:
        self.stride = stride
        face, thing = (graph.add("Sigmoid", graph.columns(table, at, at + 1)) for at in (0, 1))
        score = graph.add("Sqrt", graph.add("Mul", face, thing))
        rest = graph.add("Sub", graph.constant(1), score)
        logit = graph.add("Sub", graph.add("Log", score), graph.add("Log", rest))
        logit = graph.add("Mul", logit, graph.constant(_LOGIT_FACTOR))
        self.score = graph.add("Sigmoid", graph.add("Add", logit, graph.constant(_LOGIT_BIAS)))
        self.offset, self.log_size = graph.columns(table, 2, 4), graph.columns(table, 4, 6)
        self.points, self.corner = graph.columns(table, 6, 16), corner


def _candidates(graph: Graph, level: str, stride: int) -> Level:
    rows = graph.add("Transpose", level, perm=[0, 2, 3, 1])
    table = graph.add("Reshape", rows, graph.constant([1, -1, 16], np.int64))
    one = graph.columns(rows, 0, 1, axis=3)
    ones = graph.add("Add", graph.add("Mul", one, graph.constant(0)), graph.constant(1))
    places = []
    for axis in (2, 1):  # x, then y
        sums = graph.add("CumSum", ones, graph.constant(axis, np.int64))
        places.append(graph.add("Sub", sums, graph.constant(1)))
    corner = graph.add("Reshape", graph.add("Concat", *places, axis=3), graph.constant([1, -1, 2], np.int64))
    return Level(graph, table, corner, stride)


def _centre_size(graph: Graph, level: Level) -> tuple[str, str]:
    """x, y and width, height in pixels."""
    stride = graph.constant(level.stride)
    centre = graph.add("Mul", graph.add("Add", level.corner, level.offset), stride)
    return centre, graph.add("Mul", graph.add("Exp", level.log_size), stride)


def _edges(graph: Graph, level: Level) -> str:
    """x0, y0, x1, y1 in pixels."""
    centre, size = _centre_size(graph, level)
    half = graph.add("Div", size, graph.constant(2))
    return str(graph.add("Concat", graph.add("Sub", centre, half), graph.add("Add", centre, half), axis=2))


def _places(graph: Graph, level: Level) -> str:
    """Five x, y in pixels."""
    corners = graph.add("Concat", *[level.corner] * 5, axis=2)
    return str(graph.add("Mul", graph.add("Add", corners, level.points), graph.constant(level.stride)))


def _all(graph: Graph, parts: Sequence[Level], part: Callable[[Level], str]) -> str:
    return str(graph.add("Concat", *map(part, parts), axis=1))


def _scores(graph: Graph, parts: Sequence[Level], classes: int = 1) -> str:
    """Of all cells, ``[1, cells, classes]``: 0 for all classes but the last."""
    score = _all(graph, parts, lambda level: level.score)
    nothing = graph.add("Mul", score, graph.constant(0))
    return str(graph.add("Concat", *[nothing] * (classes - 1), score, axis=2))


def _cells_by_columns(graph: Graph, parts: Sequence[Level], *columns: Callable[[Level], str]) -> str:
    return str(graph.add("Concat", *(_all(graph, parts, column) for column in columns), axis=2))


def _yolo(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    box = _all(graph, parts, lambda level: graph.add("Concat", *_centre_size(graph, level), axis=2))
    points = _all(graph, parts, lambda level: _with_worth(graph, level))
    table = graph.add("Concat", box, _scores(graph, parts, classes), points, axis=2)
    return {"output0": graph.add("Transpose", table, perm=[0, 2, 1])}


def _with_worth(graph: Graph, level: Level) -> str:
    """Five x, y, visibility."""
    places = _places(graph, level)
    return str(
        graph.add(
            "Concat",
            *(each for at in range(5) for each in (graph.columns(places, 2 * at, 2 * at + 2), level.score)),
            axis=2,
        )
    )


def _yolov5(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    """Three candidates of a cell: two of no score before the one with it."""
    tables = []
    for level in parts:
        box = graph.add("Concat", *_centre_size(graph, level), axis=2)
        nothing = graph.add("Mul", level.score, graph.constant(0))
        certain = graph.add("Add", nothing, graph.constant(1))
        kinds = [*[nothing] * (classes - 1), certain]
        empty = graph.add("Concat", box, nothing, *kinds, axis=2)
        tables += [empty, empty, graph.add("Concat", box, level.score, *kinds, axis=2)]
    return {"output": graph.add("Concat", *tables, axis=1)}


def _yolov5_face(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    del classes
    table = _cells_by_columns(
        graph,
        parts,
        lambda level: graph.add("Concat", *_centre_size(graph, level), axis=2),
        lambda level: level.score,
        lambda level: _places(graph, level),
        lambda level: graph.add("Add", graph.add("Mul", level.score, graph.constant(0)), graph.constant(1)),
    )
    return {"output": table}


def _selected(graph: Graph, parts: Sequence[Level]) -> tuple[str, str]:
    """Boxes ``[N, 4]`` and scores ``[N, 1]`` of the cells that ONNX's own suppression leaves."""
    boxes = _all(graph, parts, lambda level: _edges(graph, level))
    scores = graph.add("Transpose", _scores(graph, parts), perm=[0, 2, 1])
    limits = graph.constant([1000], np.int64), graph.constant([0.6]), graph.constant([0.05])
    chosen = graph.columns(graph.add("NonMaxSuppression", boxes, scores, *limits), 2, 3, axis=1)
    chosen = graph.add("Squeeze", chosen, graph.constant([1], np.int64))
    flat = [
        graph.add("Squeeze", each, graph.constant([0], np.int64))
        for each in (boxes, graph.add("Transpose", scores, perm=[0, 2, 1]))
    ]
    return graph.add("Gather", flat[0], chosen, axis=0), graph.add("Gather", flat[1], chosen, axis=0)


def _rows6(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    boxes, scores = _selected(graph, parts)
    return {"output0": graph.add("Concat", boxes, scores, _constant_like(graph, scores, classes - 1), axis=1)}


def _rows7(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    boxes, scores = _selected(graph, parts)
    kinds = _constant_like(graph, scores, classes - 1)
    return {"output": graph.add("Concat", _constant_like(graph, scores, 0), boxes, kinds, scores, axis=1)}


def _constant_like(graph: Graph, scores: str, value: float) -> str:
    return str(graph.add("Add", graph.add("Mul", scores, graph.constant(0)), graph.constant(value)))


def _boxes(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    boxes, scores = _selected(graph, parts)
    flat = graph.add("Squeeze", scores, graph.constant([1], np.int64))
    return {"boxes": boxes, "labels": _constant_like(graph, flat, classes - 1), "scores": flat}


def _egoblur(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    named = _boxes(graph, parts, classes)
    return {"12": named["boxes"], "13": named["labels"], "14": named["scores"], "15": graph.constant([512, 512])}


def _scrfd(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    """Two candidates of a cell, of which the first has no score; outputs by kinds, as InsightFace's."""
    del classes
    named: dict[str, dict[str, str]] = {"score": {}, "bbox": {}, "kps": {}}
    for level in parts:
        half = graph.add("Div", graph.add("Exp", level.log_size), graph.constant(2))
        before, after = graph.add("Sub", half, level.offset), graph.add("Add", half, level.offset)
        of_cell = {"score": (level.score, 1), "bbox": (graph.add("Concat", before, after, axis=2), 4)}
        of_cell["kps"] = level.points, 10
        for kind, (value, width) in of_cell.items():
            first = graph.add("Mul", value, graph.constant(0))
            pairs = graph.add("Concat", first, value, axis=2)
            named[kind][f"{kind}_{level.stride}"] = graph.add("Reshape", pairs, graph.constant([-1, width], np.int64))
    return {name: value for kind in named.values() for name, value in kind.items()}


def _retinaface(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    """Two prior boxes of a cell, of which the second has no score."""
    del classes
    tables: dict[str, list[str]] = {"loc": [], "conf": [], "landms": []}
    for level in parts:
        side = level.stride * (2.0 if level.stride == 8 else 4.0 if level.stride == 16 else 8.0)
        cells = graph.constant(level.stride / side / 0.1)
        half = graph.constant(0.5)
        centre = graph.add("Mul", graph.add("Sub", level.offset, half), cells)
        growth = graph.add("Add", level.log_size, graph.constant(np.log(level.stride / side)))
        growth = graph.add("Div", growth, graph.constant(0.2))
        points = graph.add("Mul", graph.add("Sub", level.points, half), cells)
        rest = graph.add("Sub", graph.constant(1), level.score)
        nothing = graph.add("Mul", level.score, graph.constant(0))
        values = {
            "loc": (graph.add("Concat", centre, growth, axis=2), None, 4),
            "landms": (points, None, 10),
            "conf": (graph.add("Concat", rest, level.score, axis=2), True, 2),
        }
        for name, (value, is_score, width) in values.items():
            none = graph.add("Concat", _constant_like(graph, nothing, 1), nothing, axis=2) if is_score else value
            pairs = graph.add("Concat", value, none, axis=2)
            tables[name].append(graph.add("Reshape", pairs, graph.constant([1, -1, width], np.int64)))
    return {name: graph.add("Concat", *values, axis=1) for name, values in tables.items()}


def _yunet(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    del classes
    named = {}
    for level in parts:
        named[f"cls_{level.stride}"] = graph.add("Mul", level.score, level.score)
        named[f"obj_{level.stride}"] = _constant_like(graph, level.score, 1)
        named[f"bbox_{level.stride}"] = graph.add("Concat", level.offset, level.log_size, axis=2)
        named[f"kps_{level.stride}"] = level.points
    return named


def _ssd(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    boxes, scores = _selected(graph, parts)
    number, kinds = _constant_like(graph, scores, 0), _constant_like(graph, scores, classes)
    rows = graph.add("Concat", number, kinds, scores, boxes, axis=1)
    return {"detections": graph.add("Unsqueeze", rows, graph.constant([0, 1], np.int64))}


def _object_detection_api(graph: Graph, parts: Sequence[Level], classes: int) -> dict[str, str]:
    boxes = _all(graph, parts, lambda level: _edges(graph, level))
    scores = graph.add("Squeeze", _scores(graph, parts), graph.constant([2], np.int64))
    return {
        "detection_boxes": graph.add("Gather", boxes, graph.constant([1, 0, 3, 2], np.int64), axis=2),
        "detection_scores": scores,
        "detection_classes": _constant_like(graph, scores, classes - 1),
        "num_detections": graph.add(
            "ReduceSum", _constant_like(graph, scores, 1), graph.constant([1], np.int64), keepdims=0
        ),
    }


def _as_shares(graph: Graph, outputs: dict[str, str], size: tuple[int, int] | None) -> dict[str, str]:
    """With the last four columns, or all of a table of four, divided by the input's sides."""
    assert size is not None
    made = {}
    for name, value in outputs.items():
        factors = np.array([1 / size[1], 1 / size[0]] * 2, np.float32)
        if name == "detections":
            factors = np.concatenate([np.ones(3, np.float32), factors])
        if name == "detection_boxes":
            factors = factors[[1, 0, 3, 2]]
        is_box = name in ("boxes", "detections", "detection_boxes")
        made[name] = graph.add("Mul", value, graph.constant(factors)) if is_box else value
    return made


_HEADS: Mapping[str, Callable[[Graph, Sequence[Level], int], dict[str, str]]] = {
    "rows6": _rows6,
    "rows7": _rows7,
    "boxes": _boxes,
    "egoblur": _egoblur,
    "yolo": _yolo,
    "yolov5": _yolov5,
    "yolov5-face": _yolov5_face,
    "scrfd": _scrfd,
    "retinaface": _retinaface,
    "yunet": _yunet,
    "ssd": _ssd,
    "object-detection-api": _object_detection_api,
}
