"""What is declared of an ONNX detector in the YAML beside it: how images are shown to it, and what its outputs mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.onnx_file import check_beside

_MAX_BYTES = 64 * 2**10
"""Of a declaration: a hundred times the size of a long one."""

_MAX_DEPTH = 6
_MAX_NAMES = 10_000
MAX_SIDE = 8192
"""Pixels of an input."""

_MAX_ANSWERS = 20

BOX_COLUMNS = (("x0", "y0", "x1", "y1"), ("cx", "cy", "w", "h"))
"""How a box is told in columns: by its edges, or by its centre and sides."""

COLUMNS = ("x0", "y0", "x1", "y1", "cx", "cy", "w", "h", "score", "class", "-")
"""What a column of the layout ``rows`` may be; ``-`` is of no use."""

FACE_KEYPOINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""The person's own, in the order that detectors of faces have them in: the eye on the image's left is the right one."""


@dataclass(frozen=True)
class KnownAnswer:
    """An image, and where its faces are.

    Attributes:
        image: its file's path below the folder of the model.
        boxes: x0, y0, x1, y1 of each, in pixels of the upright image; none where there is nothing to find.
    """

    image: str
    boxes: tuple[tuple[float, ...], ...]


def parse_declaration(text: bytes, path: str) -> dict[str, Any]:
    """The values of a declaration by their keys, each of the type that ``KEYS`` says.

    Args:
        text: YAML, without aliases, which could make much of little.
        path: its file, for messages.

    Raises:
        ModelError: it is no such YAML, or has a key or a value that there is not.

    Example usage::

        >>> parse_declaration(b"{layout: yolo, scale: 255, classes: [face]}", "faces.yaml")
        {'layout': 'yolo', 'scale': (255.0, 255.0, 255.0), 'classes': ('face',)}
    """
    declared = _mapping(text, path)
    values: dict[str, Any] = {}
    for key, value in declared.items():
        if key not in KEYS:
            raise ModelError(f"{path}: {_short(key)} is no key; there are {', '.join(KEYS)}")
        wanted, parse = KEYS[key]
        try:
            values[key] = parse(value)
        except (TypeError, ValueError, OverflowError):
            raise ModelError(f"{path}: {key}: {_short(value)} must be {wanted}") from None
    for answer in values.get("tests", ()):
        check_beside(answer.image, path, "tests")
    return values


def _mapping(text: bytes, path: str) -> dict[Any, Any]:
    if len(text) > _MAX_BYTES:
        raise ModelError(f"{path}: has {len(text)} bytes; the declaration of a detector has a few lines")
    import yaml

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ModelError(f"{path}: has an alias (*name); write the value out instead")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:  # the parser takes minutes for thousands
                raise ModelError(f"{path}: has lists within lists within lists; a declaration has none")
        _refuse_twice(yaml.compose(text, yaml.SafeLoader), path)
        declared = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise ModelError(f"{path}: is no YAML{place}: {getattr(error, 'problem', None) or 'not a text'}") from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise ModelError(f"{path}: is no YAML of a detector: {_short(error)}") from error
    if declared is None:
        return {}
    if not isinstance(declared, dict):
        raise ModelError(f"{path}: must have lines such as `layout: yolo`; it is a {type(declared).__name__}")
    return declared


def _refuse_twice(node: Any, path: str) -> None:
    """Refuses keys that are given twice, of which YAML's parsers take the last without a word."""
    nodes = [node] if node is not None else []
    while nodes:
        inner = nodes.pop()
        if inner.id == "mapping":
            names = [key.value for key, _ in inner.value if key.id == "scalar"]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ModelError(f"{path}: {_short(twice)} is declared twice")
            nodes += [each for pair in inner.value for each in pair]
        elif inner.id == "sequence":
            nodes += inner.value


def _short(value: object) -> str:
    text = str(value) if isinstance(value, Exception) else repr(value)
    text = "".join(each if each.isprintable() else " " for each in text)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _fail() -> Any:
    raise ValueError


def _number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else _fail()


def _whole(value: Any, low: int, high: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return int(value) if is_whole else _fail()


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value and len(value) <= 200 and value.isprintable() else _fail()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) and len(value) <= _MAX_NAMES else _fail()


def _size(value: Any) -> tuple[int, int] | None:
    if value == "any":
        return None
    height, width = (_whole(side, 16, MAX_SIDE) for side in (value if isinstance(value, list) else [value, value]))
    return height, width


def _channels(value: Any) -> tuple[float, ...]:
    numbers = tuple(map(_number, value if isinstance(value, list) else [value] * 3))
    return numbers if len(numbers) == 3 else _fail()


def _scale(value: Any) -> tuple[float, ...]:
    numbers = _channels(value)
    return numbers if min(numbers) > 0 else _fail()


def _names(value: Any) -> tuple[str, ...]:
    """Names, or as many numbers as names."""
    if isinstance(value, list):
        return tuple(map(_text, value)) if value else _fail()
    return tuple(map(str, range(_whole(value, 1, _MAX_NAMES))))


def _keypoints(value: Any) -> tuple[str, ...]:
    if value == 0 and not isinstance(value, bool):
        return ()
    if value == len(FACE_KEYPOINTS):
        return FACE_KEYPOINTS
    return _names(value)


def _columns(value: Any) -> tuple[str, ...]:
    columns = tuple(_list(value))
    told = [each for each in columns if each != "-"]
    is_box = sum(set(box) <= set(told) for box in BOX_COLUMNS) == 1
    is_known = set(told) <= set(COLUMNS) and len(told) == len(set(told)) and len(columns) <= 100
    return columns if is_box and is_known and "score" in told and len(set(told) - {"score", "class"}) == 4 else _fail()


def _outputs(value: Any) -> dict[str, str]:
    named = {_one_of(*ROLES)(role): _text(name) for role, name in value.items()} if isinstance(value, dict) else _fail()
    return named if "boxes" in named else _fail()


def _strides(value: Any) -> tuple[int, ...]:
    strides = tuple(_whole(each, 1, 256) for each in _list(value))
    return strides if strides and list(strides) == sorted(set(strides)) else _fail()


def _answers(value: Any) -> tuple[KnownAnswer, ...]:
    answers = tuple(map(_answer, _list(value)))
    return answers if 0 < len(answers) <= _MAX_ANSWERS else _fail()


def _answer(value: Any) -> KnownAnswer:
    if not isinstance(value, dict) or value.keys() != {"image", "boxes"}:
        return _fail()  # type: ignore[no-any-return]
    boxes = tuple(tuple(map(_number, _list(box))) for box in _list(value["boxes"]))
    has_area = all(len(box) == 4 and 0 <= box[0] < box[2] and 0 <= box[1] < box[3] for box in boxes)
    return KnownAnswer(_text(value["image"]), boxes) if has_area else _fail()


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else _fail()


def _one_of(*allowed: str) -> Callable[[Any], str]:
    return lambda value: value if value in allowed else _fail()


def _choice(*allowed: str) -> tuple[str, Callable[[Any], Any]]:
    return f"one of {', '.join(allowed)}", _one_of(*allowed)


LAYOUT_NAMES = (
    *("rows", "boxes", "ssd", "yolo", "yolov5", "yolov5-face", "scrfd", "retinaface", "yunet", "centerface"),
    "object-detection-api",
)
ROLES = ("boxes", "scores", "classes")
"""Of outputs, where the layout goes by their names."""

KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "layout": _choice(*LAYOUT_NAMES),
    "size": ("a side in pixels, [height, width], or any", _size),
    "fit": _choice("letterbox", "letterbox-corner", "stretch"),
    "pad": ("a grey from 0 to 255", lambda value: _whole(value, 0, 255)),
    "channels": _choice("RGB", "BGR"),
    "mean": ("a number or three", _channels),
    "scale": ("a number above 0 or three", _scale),
    "axes": _choice("NCHW", "NHWC", "CHW", "HWC"),
    "columns": (
        f"a list of x0, y0, x1, y1 or cx, cy, w, h, with score, and class or - ({', '.join(COLUMNS)})",
        _columns,
    ),
    "boxes": _choice("xyxy", "yxyx", "cxcywh", "xywh"),
    "units": _choice("pixels", "shares"),
    "scores": _choice("probabilities", "sigmoid", "softmax"),
    "background": ("true or false", _flag),
    "classes": ("a list of names, or their number", _names),
    "keypoints": ("a list of names, or their number", _keypoints),
    "strides": ("a list of pixels, growing, such as [8, 16, 32]", _strides),
    "outputs": ("names of outputs by boxes, scores and classes, of which boxes is needed", _outputs),
    "tests": ("up to 20 of {image: FILE, boxes: [[x0, y0, x1, y1], …]}", _answers),
}
"""All keys: what their value has to be, and what checks it."""


def as_yaml(values: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a declaration with these values, as `parse_declaration` reads them."""
    import yaml

    for key, value in values.items():
        plain = _plain(value) if value is not None else "any"
        dumped = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=2**20, allow_unicode=True)
        value_alone = dumped.removesuffix("...\n").strip()
        yield f"{key}: {value_alone}"


def _plain(value: Any) -> Any:
    if isinstance(value, KnownAnswer):
        return {"image": value.image, "boxes": [list(box) for box in value.boxes]}
    return list(map(_plain, value)) if isinstance(value, tuple) else value
