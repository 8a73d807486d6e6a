"""How an ONNX detector is to be read: recognised by its outputs' names and shapes, or declared.

The layouts are those of the exports that people have; `onnx_outputs.py` reads each of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from faceveil.transforms.detectors.declaration import FACE_KEYPOINTS, KEYS, MAX_SIDE, KnownAnswer
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import Port, Signature

_YOLO_STRIDES = (8, 16, 32)
_YOLOV5_ANCHORS = 3
_MIN_SIDE = 16
_FEW_ROWS = 2000
"""Of an output that holds chosen boxes; cells of a network there are more."""

_MAX_METADATA = 100_000
"""Characters of a value; more is no list of names."""

_XYXY = ("x0", "y0", "x1", "y1")
_OBJECT_DETECTION = {"detection_boxes", "detection_scores", "num_detections"}
_NAMED = {
    "boxes": ("boxes", "det_boxes", "bboxes", "pred_boxes"),
    "scores": ("scores", "det_scores", "confidences", "logits"),
    "classes": ("labels", "classes", "det_classes", "class_ids"),
}
"""What exports call the outputs of the layout ``boxes``."""


@dataclass(frozen=True)
class Reading:
    """How images are shown to an ONNX detector and what its outputs mean; the keys of a declaration, each with a value.

    Attributes:
        layout: which outputs there are.
        size: height and width in pixels that the model takes; None for any.
        fit: how an image is brought to a size: ``letterbox``, in the middle of a grey canvas; ``letterbox-corner``, in
            its upper left corner; ``stretch``.
        pad: the canvas's grey.
        channels: their order, ``RGB`` or ``BGR``.
        mean: is subtracted from each channel.
        scale: each channel is divided by it after that.
        axes: of the input.
        columns: of a row, where the layout has rows.
        boxes: what the four numbers of a box are.
        units: of boxes and keypoints: pixels of the input, or shares of its sides.
        scores: what they are before they are probabilities.
        background: whether the first class is that there is nothing.
        classes: their names; none where they are not known.
        keypoints: their names.
        strides: pixels of the input by cell of each level.
        outputs: names by roles, where the layout goes by names.
        tests: images with known answers.
    """

    layout: str
    size: tuple[int, int] | None
    axes: str
    fit: str = "letterbox"
    pad: int = 114
    channels: str = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    columns: tuple[str, ...] = ()
    boxes: str = "xyxy"
    units: str = "pixels"
    scores: str = "probabilities"
    background: bool = False
    classes: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    outputs: Mapping[str, str] | None = None
    tests: tuple[KnownAnswer, ...] = ()

    def as_declaration(self) -> dict[str, Any]:
        """The keys that count with this layout, and their values."""
        keys = (each for each in KEYS if each in _EVERYWHERE or each in LAYOUTS[self.layout].keys)
        values = {key: getattr(self, key) for key in keys}
        return {key: value for key, value in values.items() if key == "size" or (value is not None and value != ())}


@dataclass(frozen=True)
class ExportLayout:
    """A layout of outputs.

    Attributes:
        what: they are, in a few words.
        keys: of a declaration that count with it, beside those that always do.
        defaults: values of keys.
    """

    what: str
    keys: frozenset[str]
    defaults: Mapping[str, Any]


_EVERYWHERE = frozenset({"layout", "size", "axes", "fit", "pad", "channels", "mean", "scale", "classes", "tests"})
_UNIT = (255.0, 255.0, 255.0)
_CORNER: Mapping[str, Any] = {"fit": "letterbox-corner", "pad": 0}


def _layout(what: str, keys: str = "", **defaults: Any) -> ExportLayout:
    return ExportLayout(what, frozenset(keys.split()), defaults)


LAYOUTS: Mapping[str, ExportLayout] = {
    "rows": _layout(
        "one output [N, columns] or [1, N, columns], a row for a box",
        "columns units scores keypoints outputs",
        scale=_UNIT,
        columns=(*_XYXY, "score", "class"),
    ),
    "boxes": _layout(
        "outputs boxes [N, 4], scores [N] or [N, classes], and perhaps classes [N]",
        "boxes units scores background outputs",
        **_CORNER,
        scale=_UNIT,
    ),
    "ssd": _layout(
        "one output [1, 1, N, 7]: image, class, score, x0, y0, x1, y1 as shares", "units", units="shares", fit="stretch"
    ),
    "yolo": _layout(
        "one output [1, 4 + classes + keypoints, cells]: cx, cy, w, h, scores", "units scores keypoints", scale=_UNIT
    ),
    "yolov5": _layout(
        "one output [1, cells, 5 + classes + keypoints]: cx, cy, w, h, score, scores of classes",
        "units scores keypoints",
        scale=_UNIT,
    ),
    "yolov5-face": _layout(
        "one output [1, cells, 16]: cx, cy, w, h, score, five keypoints, score of the class",
        scale=_UNIT,
        keypoints=FACE_KEYPOINTS,
    ),
    "scrfd": _layout(
        "for each stride outputs [cells, 1], [cells, 4] and perhaps [cells, 10]",
        "strides scores",
        **_CORNER,
        mean=(127.5, 127.5, 127.5),
        scale=(128.0, 128.0, 128.0),
        strides=_YOLO_STRIDES,
        keypoints=FACE_KEYPOINTS,
    ),
    "retinaface": _layout(
        "three outputs [1, cells, 4], [1, cells, 2] and [1, cells, 10]",
        "scores",
        **_CORNER,
        channels="BGR",
        mean=(104.0, 117.0, 123.0),
        strides=_YOLO_STRIDES,
        keypoints=FACE_KEYPOINTS,
    ),
    "yunet": _layout(
        "for each stride outputs cls_8 [1, cells, 1], obj_8, bbox_8 [1, cells, 4] and kps_8 [1, cells, 10]",
        **_CORNER,
        channels="BGR",
        strides=_YOLO_STRIDES,
        keypoints=FACE_KEYPOINTS,
    ),
    "centerface": _layout(
        "maps [1, 1, h, w], [1, 2, h, w], [1, 2, h, w] and [1, 10, h, w]",
        **_CORNER,
        size=None,
        keypoints=FACE_KEYPOINTS,
    ),
    "object-detection-api": _layout(
        "detection_boxes [1, N, 4] as shares y0, x0, y1, x1, detection_scores, num_detections", **_CORNER
    ),
}
"""All layouts by their names."""


def complete(
    signature: Signature,
    axes: str,
    size: tuple[int, int] | None,
    metadata: Mapping[str, str],
    declared: Mapping[str, Any],
    path: str,
) -> Reading:
    """How a model is to be read: as declared, and where nothing is declared, as recognised.

    Args:
        signature: what it takes and returns.
        axes: of its input, as `input_axes` has found them.
        size: height and width that it takes; None for any.
        metadata: what its exporter notes in it.
        declared: as `parse_declaration` returns it.
        path: of its file, for messages.

    Raises:
        ModelError: it is not recognised, or what is declared does not fit it.
    """
    noted = _noted(metadata)
    recognised = {} if "layout" in declared else _recognised(signature.outputs, size, noted, path)
    layout = declared.get("layout") or recognised["layout"]
    if idle := sorted(declared.keys() - _EVERYWHERE - LAYOUTS[layout].keys):
        counting = ", ".join(key for key in KEYS if key in _EVERYWHERE | LAYOUTS[layout].keys)
        raise ModelError(
            f"{path}: {idle[0]} says nothing of the layout {layout}; of it, these are declared: {counting}"
        )
    known = {key: value for key, value in noted.items() if key == "classes" or key in LAYOUTS[layout].keys}
    defaults = {"axes": axes, "size": size, **LAYOUTS[layout].defaults, **known}
    if signature.inputs[0].kind == "uint8":
        defaults["scale"] = (1.0, 1.0, 1.0)  # what is done to bytes is done within the model
    if layout == "boxes" and "outputs" not in declared:
        defaults["outputs"] = _roles(signature.outputs, path)
    values = {**defaults, **recognised, **declared}
    return Reading(**{field.name: values[field.name] for field in fields(Reading) if field.name in values})


def input_axes(signature: Signature, declared: Mapping[str, Any], path: str) -> tuple[str, tuple[int, int] | None]:
    """The axes of a model's one input, and its height and width; None for any.

    Args:
        signature: what it takes and returns.
        declared: as `parse_declaration` returns it.
        path: of its file, for messages.

    Raises:
        ModelError: it takes no images.
    """
    names = [_printable(port.names[0]) if port.names else "?" for port in signature.inputs]
    if len(names) != 1:
        raise ModelError(f"{path} must have one input, an image; it has {', '.join(names) or 'none'}")
    [(_, kind, shape)] = signature.inputs
    if kind not in ("uint8", "float16", "float32"):
        raise ModelError(f"{path} must take pixels as uint8 or floats; it takes {kind}; export it for these")
    axes = declared.get("axes") or _axes(shape)
    if axes is None or shape is None or len(shape) != len(axes) or shape[axes.index("C")] not in (3, None):
        told = "anything" if shape is None else list(shape)
        raise ModelError(f"{path} must take colour images, [1, 3, H, W] or as `axes` declares; it takes {told}")
    sides = tuple(shape[axes.index(side)] for side in "HW")
    if "size" in declared:
        return axes, declared["size"]
    if None in sides and sides != (None, None):
        raise ModelError(f"{path} takes images of {_sides(sides)}; declare their `size`, [height, width], or any")
    height, width = sides
    if height is None or width is None:
        return axes, None
    if not all(_MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise ModelError(
            f"{path} takes images of {_sides(sides)}, and may take some of {_MIN_SIDE} to {MAX_SIDE} pixels; declare "
            "their `size`, [height, width], or any"
        )
    return axes, (height, width)


def _axes(shape: Sequence[int | None] | None) -> str | None:
    if shape is None or len(shape) not in (3, 4):
        return None
    last = shape[-1] == 3 and shape[-3] != 3
    return ("N" if len(shape) == 4 else "") + ("HWC" if last else "CHW")


def _noted(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What Ultralytics' exporter notes in a file, as keys of a declaration; of others nothing."""
    noted: dict[str, Any] = {}
    names = _literal(metadata.get("names"))
    if isinstance(names, dict) and names.keys() == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and names:
        noted["classes"] = tuple(_printable(name) for name in names)
    points = _literal(metadata.get("kpt_shape"))
    if isinstance(points, (list, tuple)) and len(points) == 2 and isinstance(points[0], int):
        noted["keypoints"] = FACE_KEYPOINTS if points[0] == len(FACE_KEYPOINTS) else tuple(map(str, range(points[0])))
    noted["end2end"] = metadata.get("end2end") == "True"
    if metadata.get("task") in ("segment", "obb", "classify"):
        noted["task"] = metadata["task"]
    return noted


def _literal(text: str | None) -> Any:
    if text is None or len(text) > _MAX_METADATA:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _recognised(
    outputs: Sequence[Port], size: tuple[int, int] | None, noted: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """The layout of outputs, and what else their names and shapes say.

    Raises:
        ModelError: they are those of no layout, or of several.
    """
    names = {name for port in outputs for name in port.names}
    shapes = [tuple(port.shape or ()) for port in outputs]
    ends = sorted((shape[-1] or 0) if shape else 0 for shape in shapes)
    if "task" in noted:
        raise ModelError(f"{path} is no detector: it was exported for the task {noted['task']}; export it for detect")
    if names >= _OBJECT_DETECTION:
        return {"layout": "object-detection-api"}
    if levels := [name[4:] for name in names if re.fullmatch(r"cls_\d+", name)]:
        return {"layout": "yunet", "strides": tuple(sorted(map(int, levels)))}
    if [len(shape) for shape in shapes] == [4] * 4 and sorted(shape[1] or 0 for shape in shapes) == [1, 2, 2, 10]:
        return {"layout": "centerface"}
    if len(outputs) == 3 and ends == [2, 4, 10]:
        return {"layout": "retinaface"}
    for levels_of, kinds in ((each, kind) for each in (3, 5) for kind in ([1, 4], [1, 4, 10])):
        if ends == sorted(kinds * levels_of):
            return {"layout": "scrfd", "strides": tuple(8 * 2**level for level in range(levels_of))}
    if len(outputs) > 1 and names & set(_NAMED["boxes"]) and names & set(_NAMED["scores"]):
        return _recognised_boxes(outputs)
    if len(outputs) <= 2 and shapes[0] and shapes[0][-1] == 5 and names & {"dets", "labels"}:
        roles = {"boxes": outputs[0].names[0], **({"classes": outputs[1].names[0]} if len(outputs) == 2 else {})}
        return {"layout": "rows", "columns": (*_XYXY, "score"), "outputs": roles}
    if len(outputs) == 1 and (found := _recognised_table(shapes[0], size, noted)):
        return found
    raise ModelError(
        f"{path} has outputs of no layout that is known by its shapes: {_told(outputs)}; say in "
        f"{path[:-5]}.yaml how they are to be read, as in `layout: yolo` (there are {', '.join(LAYOUTS)})"
    )


def _recognised_boxes(outputs: Sequence[Port]) -> dict[str, Any]:
    scores = next(port for port in outputs if set(port.names) & set(_NAMED["scores"]))
    if scores.shape and len(scores.shape) == 3 and scores.shape[-1] == 2 and len(outputs) == 2:
        # The light detectors of the ONNX model zoo: https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB
        light = {"mean": (127.0,) * 3, "scale": (128.0,) * 3, "fit": "stretch", "units": "shares"}
        return {"layout": "boxes", "background": True, **light}
    return {"layout": "boxes"}


def _recognised_table(
    shape: tuple[int | None, ...], size: tuple[int, int] | None, noted: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The layout of a single output; None where its shape does not tell."""
    if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == 7:
        return {"layout": "ssd"}
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, None)):
        return None
    rows, columns = shape[-2:]
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in _YOLO_STRIDES) if size else None
    classes, points = len(noted.get("classes", ())), len(noted.get("keypoints", ()))
    if len(shape) == 3 and rows is not None:
        # Exporters note what there is; else the columns are as many as the cells of an image of this size.
        if classes and rows in (4 + classes + points * numbers for numbers in (2, 3)) and rows != columns:
            return {"layout": "yolo"}
        if cells and columns == cells and rows > 4:
            return {"layout": "yolo"}
        if columns is None and 4 < rows < _FEW_ROWS:
            return {"layout": "yolo"}
    if len(shape) == 3 and columns is not None and columns > 5:
        if cells and rows == _YOLOV5_ANCHORS * cells:
            return {"layout": "yolov5"}
        if rows is None and classes and columns == 5 + classes and columns > 7:
            return {"layout": "yolov5"}
    # Of any number of rows for any size of image nobody knows whether they are cells.
    are_chosen = len(shape) == 2 or size or noted.get("end2end") if rows is None else rows < _FEW_ROWS
    if are_chosen and (rows is None or rows != cells):
        if columns == 6 or (columns is not None and points and columns in (6 + points * 2, 6 + points * 3)):
            return {"layout": "rows"}
        if columns == 7:
            return {"layout": "rows", "columns": ("-", *_XYXY, "class", "score")}
    return None


def _roles(outputs: Sequence[Port], path: str) -> dict[str, str]:
    """Which outputs of the layout ``boxes`` are what, by their names."""
    found = {}
    for role, names in _NAMED.items():
        for port in outputs:
            if set(port.names) & set(names):
                found[role] = port.names[0]
    if not {"boxes", "scores"} <= found.keys():
        raise ModelError(
            f"{path} has no outputs called boxes and scores, but {_told(outputs)}; declare which they are, as in "
            "`outputs: {boxes: NAME, scores: NAME}`"
        )
    return found


def _told(outputs: Sequence[Port]) -> str:
    named = (f"{_printable(port.names[0] if port.names else '?')} {_sides(port.shape)}" for port in outputs[:12])
    return ", ".join(named) + (f" and {len(outputs) - 12} more" if len(outputs) > 12 else "")


def _printable(name: object) -> str:
    text = str(name)[:100]
    return text if text.isprintable() else ascii(text)


def _sides(shape: Sequence[int | None] | None) -> str:
    return "[…]" if shape is None else "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"
