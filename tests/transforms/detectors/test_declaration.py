import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.detectors.declaration import KEYS, as_yaml, parse_declaration
from faceveil.transforms.errors import ModelError
from tests.conftest import ROOT

WHOLE = """\
layout: rows
size: [384, 640]
fit: letterbox-corner
pad: 0
channels: BGR
mean: [103.5, 116.28, 123.675]
scale: 57.5
axes: NHWC
columns: [-, x0, y0, x1, y1, class, score]
boxes: cxcywh
units: shares
scores: sigmoid
background: true
classes: [plate, "Nummernschild \\xE4"]
keypoints: [nose, left_eye, right_eye]
strides: [8, 16]
outputs: {boxes: dets, scores: "14"}
tests:
  - {image: street.jpg, boxes: [[10, 20, 30.5, 40]]}
  - {image: empty/sky.png, boxes: []}
"""


def said(text: str | bytes) -> str:
    with pytest.raises(ModelError) as told:
        parse_declaration(text.encode() if isinstance(text, str) else text, "m.yaml")
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("m.yaml: ")
    return str(told.value)


def test_every_key_is_read_and_written_again() -> None:
    values = parse_declaration(WHOLE.encode(), "m.yaml")
    assert values.keys() == KEYS.keys()
    assert values["size"] == (384, 640)
    assert values["scale"] == (57.5, 57.5, 57.5)
    assert values["classes"] == ("plate", "Nummernschild ä")
    assert values["tests"][1].image == "empty/sky.png"
    assert parse_declaration("\n".join(as_yaml(values)).encode(), "m.yaml") == values


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_nothing_may_be_declared(text: str) -> None:
    assert parse_declaration(text.encode(), "m.yaml") == {}


def test_numbers_stand_for_names() -> None:
    assert parse_declaration(b"classes: 2", "m.yaml") == {"classes": ("0", "1")}
    assert parse_declaration(b"keypoints: 5", "m.yaml")["keypoints"][:2] == ("right_eye", "left_eye")
    assert parse_declaration(b"keypoints: 0", "m.yaml") == {"keypoints": ()}
    assert parse_declaration(b"size: any", "m.yaml") == {"size": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layuot: yolo", "'layuot' is no key; there are layout, size"),
        ("1: yolo", "1 is no key"),
        ("layout: yolo9", "layout: 'yolo9' must be one of rows, boxes"),
        ("layout: [yolo]", "layout: ['yolo'] must be one of"),
        ("layout:", "layout: None must be one of"),
        ("size: 8", "size: 8 must be a side in pixels, [height, width], or any"),
        ("size: 100000", "must be a side"),
        ("size: [640]", "must be a side"),
        ("size: true", "must be a side"),
        ("scale: 0", "scale: 0 must be a number above 0 or three"),
        ("scale: .inf", "must be a number above 0"),
        ("scale: 1e3", "'1e3' must be a number"),  # a text in YAML 1.1
        ("mean: [1, 2]", "mean: [1, 2] must be a number or three"),
        ("mean: .nan", "must be a number"),
        ("pad: 300", "pad: 300 must be a grey from 0 to 255"),
        ("pad: 11.4", "must be a grey"),
        ("columns: [x0, y0, x1, y1]", "must be a list of x0, y0, x1, y1 or cx, cy, w, h, with score"),
        ("columns: [x0, y0, x1, y1, score, score]", "must be a list"),
        ("columns: [x0, y0, w, h, score]", "must be a list"),
        ("columns: [[x0], y0, x1, y1, score]", "must be a list"),
        ("background: 1", "must be true or false"),
        ("classes: 0", "must be a list of names, or their number"),
        ("classes: [1]", "must be a list of names"),
        ("classes: []", "must be a list of names"),
        ("strides: [16, 8]", "must be a list of pixels, growing"),
        ("strides: []", "must be a list of pixels"),
        ("outputs: {scores: a}", "must be names of outputs by boxes, scores and classes"),
        ("outputs: {boxes: a, faces: b}", "must be names of outputs"),
        ("tests: []", "must be up to 20 of {image: FILE"),
        ("tests: [{image: a.jpg}]", "must be up to 20"),
        ("tests: [{image: a.jpg, boxes: [[3, 4, 1, 2]]}]", "must be up to 20"),
        ("tests: [{image: ../a.jpg, boxes: []}]", "m.yaml: tests '../a.jpg', outside its folder"),
        ("- layout: yolo", "must have lines such as `layout: yolo`; it is a list"),
        ("layout", "it is a str"),
        ("layout: yolo\nlayout: rows", "'layout' is declared twice"),
        ("outputs: {boxes: a, boxes: b}", "'boxes' is declared twice"),
        ("a: &a [x]\nb: [*a, *a]", "has an alias (*name); write the value out instead"),
        ("layout: *gone", "has an alias"),
        ("layout: yolo\n\tsize: 3", "is no YAML in line 2"),
        ("layout: [yolo", "is no YAML in line"),
        ("layout: yolo\n---\nlayout: rows", "is no YAML"),
        ("layout: !!python/object/apply:os.system [ls]", "is no YAML in line 1"),
        ("? [a]\n: b", "is no YAML"),
        ("[" * 20_000, "has lists within lists within lists"),
        ("- " * 20_000, "has lists within lists within lists"),
        ("pad: " + "9" * 10_000, "is no YAML of a detector"),
        ("#" * 70_000, "has 70000 bytes"),
        (b"layout: \xff\xfe\xfa", "is no YAML"),
        (b"\x00\x01", "is no YAML"),
        ("layout: 2026-01-01", "must be one of"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str | bytes, message: str) -> None:
    assert message in said(text)


def test_little_text_cannot_become_much() -> None:
    names = "abcdefghi"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]" for before, name in itertools.pairwise(names)
    ]
    assert "has an alias" in said("\n".join(lines))


@given(st.one_of(st.text(max_size=100), st.binary(max_size=100)))
def test_any_text_is_read_or_told_in_a_line(text: str | bytes) -> None:
    message = ""
    try:
        parse_declaration(text.encode(errors="surrogatepass") if isinstance(text, str) else text, "m.yaml")
    except ModelError as error:
        message = str(error)
    assert "\n" not in message


def test_the_page_has_every_key() -> None:
    page = Path(ROOT / "docs" / "onnx.md").read_text()
    assert [key for key in KEYS if f"\n| `{key}` |" not in page] == []
