"""Which layout outputs are taken for, by their names and shapes; what declarations change; what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from faceveil.transforms.detectors.onnx_layouts import LAYOUTS, Reading, complete, input_axes
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import Port, Signature

Shape = list[int | None]
S640: Shape = [1, 3, 640, 640]
ANY: Shape = [1, 3, None, None]
ULTRALYTICS = {"names": "{0: 'face'}", "task": "pose", "kpt_shape": "[5, 3]", "stride": "32"}


def read(
    returned: dict[str, Any],
    shape: Shape,
    /,
    kind: str = "float32",
    metadata: dict[str, str] | None = None,
    **declared: Any,
) -> Reading:
    ports = tuple(Port((name,), "float32", list(shape)) for name, shape in returned.items())
    signature = Signature((Port(("images",), kind, shape),), ports)
    axes, size = input_axes(signature, declared, "m.onnx")
    return complete(signature, axes, size, metadata or {}, declared, "m.onnx")


def maps(strides: tuple[int, ...], anchors: int, *widths: int) -> dict[str, Shape]:
    return {f"{width}/{s}": [anchors * (640 // s) ** 2, width] for width in widths for s in strides}


YUNET = {
    f"{kind}_{s}": [1, (640 // s) ** 2, w]
    for kind, w in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for s in (8, 16, 32)
}


@pytest.mark.parametrize(
    ("outputs", "shape", "layout"),
    [
        ({"output0": [1, 84, 8400]}, S640, "yolo"),
        ({"output0": [1, 5, 8400]}, S640, "yolo"),
        ({"output0": [1, 6, 8400]}, S640, "yolo"),
        ({"output0": [1, 7, 8400]}, S640, "yolo"),
        ({"output0": [1, 84, None]}, ANY, "yolo"),
        ({"output": [1, 25200, 85]}, S640, "yolov5"),
        ({"output": [1, 25200, 6]}, S640, "yolov5"),
        ({"output": [1, 25200, 7]}, S640, "yolov5"),
        ({"output0": [1, 300, 6]}, S640, "rows"),
        ({"output0": [300, 6]}, S640, "rows"),
        ({"output0": [None, 6]}, ANY, "rows"),
        ({"output0": [1, None, 6]}, S640, "rows"),
        ({"output": [None, 7]}, S640, "rows"),
        ({"output": [100, 7]}, ANY, "rows"),
        ({"dets": [1, None, 5], "labels": [1, None]}, ANY, "rows"),
        ({"detection_out": [1, 1, 200, 7]}, [1, 3, 300, 300], "ssd"),
        ({"boxes": [None, 4], "labels": [None], "scores": [None]}, [3, None, None], "boxes"),
        ({"scores": [1, 4420, 2], "boxes": [1, 4420, 4]}, [1, 3, 240, 320], "boxes"),
        (maps((8, 16, 32), 2, 1, 4, 10), S640, "scrfd"),
        (maps((8, 16, 32), 2, 1, 4), S640, "scrfd"),
        (maps((8, 16, 32, 64, 128), 1, 1, 4, 10), S640, "scrfd"),
        ({"loc": [1, 16800, 4], "conf": [1, 16800, 2], "landms": [1, 16800, 10]}, S640, "retinaface"),
        (YUNET, S640, "yunet"),
        ({"537": [1, 1, 8, 8], "538": [1, 2, 8, 8], "539": [1, 2, 8, 8], "540": [1, 10, 8, 8]}, [10, 3, 32, 32],
         "centerface"),
        ({"num_detections": [1], "detection_boxes": [1, 9, 4], "detection_scores": [1, 9]}, [1, None, None, 3],
         "object-detection-api"),
    ],
)  # fmt: skip
def test_layouts_are_recognised(outputs: dict[str, Any], shape: Shape, layout: str) -> None:
    assert read(outputs, shape).layout == layout
    # What is recognised may be declared as well.
    found = read(outputs, shape)
    assert read(outputs, shape, **found.as_declaration()) == found


@pytest.mark.parametrize(
    ("outputs", "shape"),
    [
        ({"output": [1, 8400, 85]}, S640),  # decoded, or YOLOX's offsets
        ({"output": [1, None, 6]}, ANY),  # cells of one class, or chosen boxes
        ({"output": [1, None, 85]}, ANY),
        ({"output": [1, None, None]}, ANY),
        ({"output": [1, 3, 80, 80, 85]}, S640),
        ({"output": [1, 1000]}, [1, 3, 224, 224]),
        ({"output": [1, 8400]}, S640),
        ({"output": []}, S640),
        ({"a": [1, 5, 4], "b": [1, 5, 3]}, S640),
        ({f"o{number}": [1, 2, 3] for number in range(50)}, S640),
        ({"a\nb": [1, 2, 3]}, S640),
    ],
)
def test_what_is_ambiguous_has_to_be_declared(outputs: dict[str, Any], shape: Shape) -> None:
    with pytest.raises(ModelError, match=r"of no layout that is known by its shapes: .*; say in m\.yaml how") as told:
        read(outputs, shape)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 800


def test_ultralytics_notes_are_heeded() -> None:
    found = read({"output0": [1, 20, None]}, ANY, metadata=ULTRALYTICS)
    assert (found.layout, found.classes, len(found.keypoints)) == ("yolo", ("face",), 5)
    plates = {"names": "{0: 'a', 1: 'b', 2: 'plate'}", "task": "detect"}
    assert read({"output0": [1, None, 8]}, ANY, metadata=plates).layout == "yolov5"
    ended = read({"output0": [1, None, 6]}, ANY, metadata={**plates, "end2end": "True"})
    assert (ended.layout, ended.classes) == ("rows", ("a", "b", "plate"))
    # What is declared counts more, and notes that are none do not count.
    assert read({"output0": [1, 20, None]}, ANY, metadata=ULTRALYTICS, classes=("x",), keypoints=("a",)).classes == (
        "x",
    )
    for names in ("{0: ", "[" * 5000, "__import__('os')", "{1: 'a'}", "3", "{'a': 1}", "'" * 200_000, "[]"):
        assert read({"output0": [1, 6, 8400]}, S640, metadata={"names": names}).classes == ()
    assert read({"output0": [1, 6, 8400]}, S640, metadata={"names": r"['a\nb', 2]"}).classes == (r"'a\nb'", "2")


@pytest.mark.parametrize("task", ["segment", "obb", "classify"])
def test_models_for_other_tasks_are_told(task: str) -> None:
    with pytest.raises(ModelError, match=f"exported for the task {task}; export it for detect"):
        read({"output0": [1, 37, 8400]}, S640, metadata={"task": task})


@pytest.mark.parametrize(
    ("shape", "declared", "axes", "size"),
    [
        (S640, {}, "NCHW", (640, 640)),
        ([1, 480, 640, 3], {}, "NHWC", (480, 640)),
        ([3, 480, 640], {}, "CHW", (480, 640)),
        ([None, None, None, 3], {}, "NHWC", None),
        ([None, None, None, None], {}, "NCHW", None),
        (ANY, {"size": (64, 96)}, "NCHW", (64, 96)),
        ([10, 3, 32, 32], {"size": None}, "NCHW", None),
        ([1, 3, 640, None], {"size": (640, 320)}, "NCHW", (640, 320)),
        ([1, 3, 3, 3], {"axes": "NHWC", "size": (32, 32)}, "NHWC", (32, 32)),
    ],
)
def test_axes_and_sizes(shape: Shape, declared: dict[str, Any], axes: str, size: tuple[int, int] | None) -> None:
    signature = Signature((Port(("images",), "float32", shape),), ())
    assert input_axes(signature, declared, "m.onnx") == (axes, size)


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ([], "must have one input, an image; it has none"),
        ([("images", "float32", S640), ("sizes", "int64", [1, 2])], "it has images, sizes"),
        ([("tokens", "int64", S640)], "must take pixels as uint8 or floats; it takes int64"),
        ([("images", "float32", [1, 1, 64, 64])], r"must take colour images, .* it takes \[1, 1, 64, 64\]"),
        ([("images", "float32", [1, 4, 64, 64])], "must take colour images"),
        ([("images", "float32", None)], "it takes anything"),
        ([("images", "float32", [1, 3])], "must take colour images"),
        ([("images", "float32", [1, 3, 640, None])], r"takes images of \[640, \?\]; declare their `size`"),
        ([("images", "float32", [1, 3, 10**6, 10**6])], r"takes images of \[1000000, 1000000\], and may take some of"),
        ([("images", "float32", [1, 3, 0, 0])], "may take some of 16 to 8192 pixels"),
    ],
)  # fmt: skip
def test_inputs_that_are_no_images_are_told(ports: list[tuple[str, str, Shape | None]], message: str) -> None:
    signature = Signature(tuple(Port((name,), kind, shape) for name, kind, shape in ports), ())
    with pytest.raises(ModelError, match=message):
        input_axes(signature, {}, "m.onnx")


def test_keys_that_say_nothing_of_a_layout_are_told() -> None:
    with pytest.raises(ModelError, match=r"columns says nothing of the layout yolo; of it, these are declared: layout"):
        read({"output0": [1, 6, 8400]}, S640, columns=("x0", "y0", "x1", "y1", "score"))


def test_outputs_of_other_names_have_to_be_declared() -> None:
    outputs = {"12": [None, 4], "13": [None], "14": [None]}
    with pytest.raises(ModelError, match=r"no outputs called boxes and scores, but 12 \[\?, 4\], .* `outputs: \{boxes"):
        read(outputs, [3, None, None], layout="boxes")
    roles = {"boxes": "12", "scores": "14"}
    assert read(outputs, [3, None, None], layout="boxes", outputs=roles).outputs == roles


def test_bytes_are_scaled_within_the_model() -> None:
    assert read({"output0": [1, 6, 8400]}, S640, kind="uint8").scale == (1, 1, 1)
    assert read({"output0": [1, 6, 8400]}, S640).scale == (255, 255, 255)


def test_each_layout_has_its_row_in_the_docs() -> None:
    from tests.conftest import ROOT

    page = (ROOT / "docs" / "onnx.md").read_text()
    assert [name for name in LAYOUTS if f"\n| `{name}` |" not in page] == []
