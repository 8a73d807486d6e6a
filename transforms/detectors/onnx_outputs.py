"""What the outputs of an ONNX detector say: boxes, scores and keypoints in pixels of its input, a function a layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.candidates import Candidates, read_candidates
from faceveil.transforms.detectors.declaration import FACE_KEYPOINTS
from faceveil.transforms.detectors.onnx_layouts import LAYOUTS, Reading
from faceveil.transforms.errors import ModelError

_Array = NDArray[Any]

_SCORE_SLACK = 0.01
"""How far beyond 0 and 1 arithmetic in bfloat16 may bring a probability."""

_PIXELS_AT_LEAST = 1.5
"""Boxes in pixels reach further than this somewhere; those that do not are shares of the image's sides."""

_RETINAFACE_SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
_RETINAFACE_VARIANCES = 0.1, 0.2
"""Pixels of the prior boxes by stride, and what their offsets and sizes are multiplied by:
https://github.com/biubug6/Pytorch_Retinaface/blob/master/data/config.py"""

_CENTERFACE_STRIDE = 4


@dataclass(frozen=True)
class Found:
    """What a model has found in an input.

    Attributes:
        boxes: ``[N, 4]``: x0, y0, x1, y1 in pixels of the input.
        scores: ``[N]``.
        classes: ``[N]``, or None where the model tells none.
        keypoints: ``[N, K, 2]``: x, y in pixels of the input, or None.
    """

    boxes: FloatArray
    scores: FloatArray
    classes: NDArray[np.int64] | None = None
    keypoints: FloatArray | None = None


def read_outputs(
    reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float
) -> Candidates:
    """Copies what is found with at least a score out of a model's outputs.

    Args:
        reading: how.
        outputs: arrays by names, in the model's order.
        size: height and width of the input in pixels.
        min_score: others are left out.

    Returns:
        Boxes and keypoints as shares of the input's sides; a candidate has one class, so a box may come several times.

    Raises:
        ModelError: the outputs are none of this layout, or hold no such values.
    """
    if reading.layout == "object-detection-api":
        return read_candidates(outputs, 1, min_score)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            found = _READERS[reading.layout](reading, _numbers(outputs), size, min_score)
        except (IndexError, KeyError, ValueError) as error:
            raise _misfit(reading, outputs) from error
    extent = np.array(size, np.float32)
    keypoints = None
    if found.keypoints is not None and (order := _face_order(reading.keypoints)):
        keypoints = (found.keypoints[:, order, ::-1] / extent).astype(np.float32)
    boxes = (found.boxes[:, [1, 0, 3, 2]] / np.tile(extent, 2)).astype(np.float32)
    return Candidates(boxes, found.scores.astype(np.float32), found.classes, keypoints)


def _misfit(reading: Reading, outputs: Mapping[str, _Array]) -> ModelError:
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in list(outputs.items())[:12])
    classes = f", with {len(reading.classes)} classes" if reading.classes else ""
    points = f", with {len(reading.keypoints)} keypoints" if reading.keypoints else ""
    return ModelError(
        f"the layout {reading.layout} is {LAYOUTS[reading.layout].what}{classes}{points}; the model returned {shapes}; "
        "declare another layout, size, classes or keypoints"
    )


def _numbers(outputs: Mapping[str, _Array]) -> dict[str, _Array]:
    for name, value in outputs.items():
        if not np.issubdtype(value.dtype, np.number):
            raise ModelError(f"the model's outputs must be numbers; {name} is {value.dtype}")
    return {name: value.astype(np.float32, copy=False) for name, value in outputs.items()}


def _face_order(names: Sequence[str]) -> list[int] | None:
    """Where the keypoints of a face lie among those of a model; None where it does not tell both eyes.

    Example usage::

        >>> _face_order(("nose", "left_eye", "right_eye", "left_ear"))
        [2, 1, 0]
    """
    order = [names.index(name) for name in FACE_KEYPOINTS if name in names]
    return order if {"left_eye", "right_eye"} <= set(names) else None


def _probabilities(reading: Reading, scores: _Array, lowest: float = 0.0) -> _Array:
    """Scores as probabilities; refuses others.

    Args:
        reading: what they are.
        scores: of cells, or of cells by classes.
        lowest: of one; where chosen boxes are filled up to a number, rows of no box may have -1.
    """
    if reading.scores == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    elif reading.scores == "softmax":
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
    if np.isnan(scores).any():
        raise ModelError("the model returned scores that are no numbers")
    if scores.size and not (scores.min() >= lowest - _SCORE_SLACK and scores.max() <= 1 + _SCORE_SLACK):
        raise ModelError(
            f"the model returned scores from {scores.min():g} to {scores.max():g} where they must be from 0 to 1; "
            "declare what they are, as in `scores: sigmoid`, or another `layout`, or its `keypoints` and `classes`"
        )
    return scores


def _chosen(scores: _Array, min_score: float) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Which cells have which class, of scores ``[N, classes]``."""
    cells, classes = np.nonzero(scores >= min_score)
    return cells, classes.astype(np.int64)


def _edges(boxes: _Array, kind: str) -> FloatArray:
    """Boxes ``[N, 4]`` as x0, y0, x1, y1."""
    if kind == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if kind == "xywh":
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    if kind == "cxcywh":
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return boxes


def _in_pixels(reading: Reading, values: _Array, size: tuple[int, int]) -> _Array:
    """Numbers ``[N, M]``, x and y by turns, in pixels of the input.

    Raises:
        ModelError: they are shares, and should be pixels.
    """
    if reading.units == "shares":
        return values * np.resize(np.array(size[::-1], np.float32), values.shape[1])
    if len(values) and np.abs(values[:, :4]).max() <= _PIXELS_AT_LEAST:
        raise ModelError(
            f"the model returned boxes such as {', '.join(f'{side:g}' for side in values[0, :4])}, which are no "
            "pixels; declare `units: shares`"
        )
    return values


def _points(reading: Reading, values: _Array, size: tuple[int, int]) -> FloatArray | None:
    """Keypoints from columns ``[N, 2 K]`` or, with what each is worth, ``[N, 3 K]``."""
    if not reading.keypoints:
        return None
    count = len(reading.keypoints)
    points = values.reshape(len(values), count, values.shape[1] // count)[:, :, :2]
    return points * np.array(size[::-1], np.float32) if reading.units == "shares" else points


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError


def _read_yolo(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    [table] = outputs.values()
    _check(table.ndim == 3 and len(table) == 1)
    classes = _class_count(reading, len(table[0]) - 4)
    scores = _probabilities(reading, table[0, 4 : 4 + classes].T)
    cells, kinds = _chosen(scores, min_score)
    boxes = _in_pixels(reading, _edges(table[0, :4, cells], "cxcywh"), size)
    return Found(boxes, scores[cells, kinds], kinds, _points(reading, table[0, 4 + classes :, cells], size))


def _class_count(reading: Reading, columns: int) -> int:
    """How many of the columns behind the box are scores of classes; the others are keypoints."""
    points = len(reading.keypoints)
    if reading.classes:
        _check(columns - len(reading.classes) in (points * 2, points * 3))
        return len(reading.classes)
    # What a keypoint is worth is told by a third number; where the classes are not known, there is one.
    counts = [columns - points * numbers for numbers in (3, 2) if columns > points * numbers]
    _check(bool(counts))
    return 1 if points and 1 in counts else counts[0]


def _read_yolov5(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    [table] = outputs.values()
    _check(table.ndim == 3 and len(table) == 1)
    classes = _class_count(reading, table.shape[2] - 5)
    scores = _probabilities(reading, table[0, :, 4 : 5 + classes])
    scores = scores[:, :1] * scores[:, 1:]
    cells, kinds = _chosen(scores, min_score)
    boxes = _in_pixels(reading, _edges(table[0, cells, :4], "cxcywh"), size)
    return Found(boxes, scores[cells, kinds], kinds, _points(reading, table[0, cells, 5 + classes :], size))


def _read_yolov5_face(
    reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float
) -> Found:
    [table] = outputs.values()
    _check(table.ndim == 3 and len(table) == 1 and table.shape[2] == 16)
    scores = _probabilities(reading, table[0][:, [4, 15]]).prod(axis=1)
    cells = np.flatnonzero(scores >= min_score)
    rows = table[0, cells]
    boxes = _in_pixels(reading, _edges(rows[:, :4], "cxcywh"), size)
    return Found(boxes, scores[cells], None, rows[:, 5:15].reshape(-1, 5, 2))


def _read_rows(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    named = reading.outputs or {}
    [table] = [outputs[named["boxes"]]] if named else outputs.values()
    table = _without_batch(table, 2)
    of, places = reading.columns, len(reading.columns)
    _check(table.shape[1] - places in (len(reading.keypoints) * 2, len(reading.keypoints) * 3))
    scores = _probabilities(reading, table[:, of.index("score")], lowest=-1)
    chosen = np.flatnonzero(scores >= min_score)
    rows = table[chosen]
    by_edges = "x0" in of
    box = [of.index(name) for name in (("x0", "y0", "x1", "y1") if by_edges else ("cx", "cy", "w", "h"))]
    boxes = _in_pixels(reading, _edges(rows[:, box], "xyxy" if by_edges else "cxcywh"), size)
    classes = rows[:, of.index("class")] if "class" in of else None
    if "classes" in named:
        classes = _without_batch(outputs[named["classes"]], 1)[chosen]
    return Found(boxes, scores[chosen], _whole(classes), _points(reading, rows[:, places:], size))


def _read_boxes(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    named = reading.outputs or {}
    boxes = _without_batch(outputs[named["boxes"]], 2)
    scores = outputs[named["scores"]]
    if scores.size == len(boxes) and not reading.background:
        scores = _probabilities(reading, scores.reshape(-1), lowest=-1)
        chosen, kinds = np.flatnonzero(scores >= min_score), None
        best = scores[chosen]
        if "classes" in named:
            kinds = _whole(outputs[named["classes"]].reshape(len(boxes))[chosen])
    else:
        scores = _probabilities(reading, _without_batch(scores, 2))
        _check(len(scores) == len(boxes))
        scores = scores[:, int(reading.background) :]
        chosen, kinds = _chosen(scores, min_score)
        best = scores[chosen, kinds]
    _check(boxes.shape[1] == 4)
    return Found(_in_pixels(reading, _edges(boxes[chosen], reading.boxes), size), best, kinds)


def _read_ssd(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    [table] = outputs.values()
    rows = table.reshape(-1, 7)
    rows = rows[rows[:, 0] >= 0]  # behind the last one, the image's number is -1
    scores = _probabilities(reading, rows[:, 2])
    chosen = np.flatnonzero(scores >= min_score)
    rows = rows[chosen]
    return Found(_in_pixels(reading, rows[:, 3:7], size), scores[chosen], _whole(rows[:, 1]))


def _read_scrfd(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    by_width: dict[int, list[_Array]] = {}
    for value in outputs.values():
        by_width.setdefault(value.shape[-1], []).append(value.reshape(-1, value.shape[-1]))
    levels = {width: sorted(arrays, key=len, reverse=True) for width, arrays in by_width.items()}
    _check(levels.keys() in ({1, 4}, {1, 4, 10}))
    _check(all(len(arrays) == len(reading.strides) for arrays in levels.values()))
    boxes, scores, points = [], [], []
    for level, stride in enumerate(reading.strides):
        likely = _probabilities(reading, levels[1][level][:, 0])
        cells = np.flatnonzero(likely >= min_score)
        corners = _cells(size, stride, len(likely))[cells] * np.float32(stride)
        away = levels[4][level][cells] * np.float32(stride)
        boxes.append(np.concatenate([corners - away[:, :2], corners + away[:, 2:]], axis=1))
        scores.append(likely[cells])
        if 10 in levels:
            points.append(corners[:, None] + levels[10][level][cells].reshape(-1, 5, 2) * np.float32(stride))
    return Found(np.concatenate(boxes), np.concatenate(scores), None, np.concatenate(points) if points else None)


def _read_yunet(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    boxes, scores, points = [], [], []
    for stride in reading.strides:
        face, thing, box, landmarks = (
            outputs[f"{kind}_{stride}"].reshape(-1, width)
            for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        )
        likely = np.sqrt(np.clip(_probabilities(reading, face) * _probabilities(reading, thing), 0, 1))[:, 0]
        chosen = np.flatnonzero(likely >= min_score)
        corners = _cells(size, stride, len(likely))[chosen]
        middles, sides = corners + box[chosen, :2], np.exp(box[chosen, 2:])
        boxes.append(_edges(np.concatenate([middles, sides], axis=1) * np.float32(stride), "cxcywh"))
        scores.append(likely[chosen])
        points.append((corners[:, None] + landmarks[chosen].reshape(-1, 5, 2)) * np.float32(stride))
    return Found(np.concatenate(boxes), np.concatenate(scores), None, np.concatenate(points))


def _read_retinaface(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    by_width = {value.shape[-1]: value.reshape(-1, value.shape[-1]) for value in outputs.values()}
    offsets, scores, landmarks = by_width[4], _probabilities(reading, by_width[2])[:, 1], by_width[10]
    middles, sides = _priors(size)
    _check(len(middles) == len(scores) == len(offsets) == len(landmarks))
    chosen = np.flatnonzero(scores >= min_score)
    centre, side = middles[chosen], sides[chosen, None]
    place, growth = _RETINAFACE_VARIANCES
    middle = centre + offsets[chosen, :2] * np.float32(place) * side
    boxes = np.concatenate([middle, side * np.exp(offsets[chosen, 2:] * np.float32(growth))], axis=1)
    points = centre[:, None] + landmarks[chosen].reshape(-1, 5, 2) * np.float32(place) * side[:, None]
    return Found(_edges(boxes, "cxcywh"), scores[chosen], None, points)


def _priors(size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """The centres x, y ``[N, 2]`` and sides ``[N]`` of RetinaFace's prior boxes, in pixels."""
    middles, all_sides = [], []
    for stride, sides in _RETINAFACE_SIDES.items():
        rows, columns = (-(-side // stride) for side in size)
        cells = _cells((rows * stride, columns * stride), stride, rows * columns * len(sides))
        middles.append((cells + np.float32(0.5)) * np.float32(stride))
        all_sides.append(np.tile(np.array(sides, np.float32), rows * columns))
    return np.concatenate(middles), np.concatenate(all_sides)


def _read_centerface(reading: Reading, outputs: Mapping[str, _Array], size: tuple[int, int], min_score: float) -> Found:
    one, sizes, offsets, ten = sorted(outputs.values(), key=lambda value: value.shape[1])
    _check([value.shape[1] for value in (one, sizes, offsets, ten)] == [1, 2, 2, 10])
    likely = _probabilities(reading, one[0, 0])
    rows, columns = np.nonzero(likely >= min_score)
    _check(likely.shape == tuple(-(-side // _CENTERFACE_STRIDE) for side in size))
    side = np.exp(sizes[0][:, rows, columns]).T * np.float32(_CENTERFACE_STRIDE)
    cells = np.stack([rows, columns], axis=1).astype(np.float32)
    middle = (cells + np.float32(0.5) + offsets[0][:, rows, columns].T) * np.float32(_CENTERFACE_STRIDE)
    low, high = middle - side / 2, middle + side / 2
    points = ten[0][:, rows, columns].T.reshape(-1, 5, 2) * side[:, None] + low[:, None]
    boxes = np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1)
    return Found(boxes, likely[rows, columns], None, points[..., ::-1])


def _cells(size: tuple[int, int], stride: int, count: int) -> FloatArray:
    """Column and row ``[count, 2]`` of each candidate of a level; those of a cell follow each other."""
    rows, columns = (-(-side // stride) for side in size)
    _check(rows * columns > 0 and count % (rows * columns) == 0)
    down, across = np.mgrid[:rows, :columns]
    places = np.stack([across, down], axis=-1).reshape(-1, 2).astype(np.float32)
    return np.repeat(places, count // (rows * columns), axis=0)


def _without_batch(values: _Array, rank: int) -> _Array:
    if values.ndim == rank + 1:
        _check(len(values) == 1)
        values = values[0]
    _check(values.ndim == rank)
    return values


def _whole(classes: _Array | None) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    _check(bool(np.isfinite(classes).all()))
    return np.rint(classes).astype(np.int64)


_READERS: Mapping[str, Callable[[Reading, Mapping[str, _Array], tuple[int, int], float], Found]] = {
    "rows": _read_rows,
    "boxes": _read_boxes,
    "ssd": _read_ssd,
    "yolo": _read_yolo,
    "yolov5": _read_yolov5,
    "yolov5-face": _read_yolov5_face,
    "scrfd": _read_scrfd,
    "retinaface": _read_retinaface,
    "yunet": _read_yunet,
    "centerface": _read_centerface,
}
