"""Whole jobs, programs and sub-commands with detectors that come as ONNX files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceveil import Anonymizer
from faceveil.pipeline.cli import main
from faceveil.transforms.detectors.declaration import parse_declaration
from tests import onnx_exports
from tests.test_end_to_end import faceveil, files, rows

ULTRALYTICS: dict[str, Any] = {"names": "{0: 'nothing', 1: 'face'}", "kpt_shape": "[5, 3]"}
FACE = (178, 63, 268, 176)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YuNet-s as YOLO for poses exports it, of two classes, with faces in the second."""
    path = tmp_path_factory.mktemp("yolo") / "faces.onnx"
    return Path(onnx_exports.export(path, "yolo", classes=2, **ULTRALYTICS))


@pytest.fixture(scope="module")
def people(photos: Path) -> str:
    return f"{photos}/people/**"


def boxes(output: Path) -> Mapping[str, Any]:
    """The faces of each image: boxes, scores and keypoints."""
    return {
        key: [[*(face[side] for side in ("x0", "y0", "x1", "y1")), *face["keypoints"]] for face in row["faces"]]
        for key, row in rows(output).items()
    }


def test_a_job_finds_what_one_with_the_saved_model_finds(yolo: Path, people: str, tmp_path: Path) -> None:
    job = ("run", "--input", people, "--quality", "fast", "--precision", "float32", "--method", "bar")
    assert faceveil(*job, "--output", tmp_path / "onnx", "--model", yolo) == 0
    assert faceveil(*job, "--output", tmp_path / "saved", "--model", "yunet-s") == 0
    found, expected = boxes(tmp_path / "onnx"), boxes(tmp_path / "saved")
    assert [len(faces) for faces in expected.values()] == [1, 1, 1]
    for key, faces in expected.items():
        np.testing.assert_allclose(found[key], faces, atol=0.5)
    manifest = json.loads((tmp_path / "onnx" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "faces.onnx"
    assert manifest["job"]["engine"] == "openvino"


def test_the_file_and_its_declaration_decide_about_resuming(yolo: Path, people: str, tmp_path: Path) -> None:
    model = Path(shutil.copy(yolo, tmp_path / "faces.onnx"))
    job = ("run", "--input", people, "--output", tmp_path / "out", "--quality", "fast", "--model", model)
    assert faceveil(*job, "--verifier", "yunet-s") == 0
    before = files(tmp_path / "out")
    assert faceveil(*job, "--verifier", "yunet-s") == 0
    model.with_suffix(".yaml").write_text("pad: 0")
    assert faceveil(*job, "--verifier", "yunet-s") == 4
    model.with_suffix(".yaml").unlink()
    model.write_bytes(model.read_bytes() + b"\x12\0")  # the producer's name, once more
    assert faceveil(*job, "--verifier", "yunet-s") == 4
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("declaration", "options", "message"),
    [
        ("layout: yolo9", (), "faces.yaml: layout: 'yolo9' must be one of rows, boxes"),
        ("size: 320\nunits: shares", (), "declare another `layout`, or the `units`"),
        ("tests: [{image: gone.jpg, boxes: []}]", (), "gone.jpg, an image with known answers, cannot be read"),
        (None, ("--classes", "2"), "--classes 2: "),
        (None, ("--engine", "tensorflow"), "--engine tensorflow: "),
        (None, ("--model", "gone.onnx"), "--model gone.onnx: neither a SavedModel"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(
    yolo: Path,
    people: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    declaration: str | None,
    options: tuple[str, ...],
    message: str,
) -> None:
    model = Path(shutil.copy(yolo, tmp_path / "faces.onnx"))
    if declaration:
        model.with_suffix(".yaml").write_text(declaration)
    job = ("run", "--input", people, "--output", tmp_path / "out", "--quality", "fast", "--model", model)
    assert faceveil(*job, *options) == 5
    assert not (tmp_path / "out").exists()
    [said] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("faceveil: ")]
    assert message in said


def test_programs_take_them(yolo: Path, photos: Path, tmp_path: Path) -> None:
    portrait = (photos / "people" / "portrait.jpeg").read_bytes()
    other = onnx_exports.export(tmp_path / "scrfd.onnx", "scrfd", mean=(127.5,) * 3, scale=(128,) * 3)
    anonymizer = Anonymizer(model=[yolo, other], quality="fast", classes=[1], threads=1)
    [face] = anonymizer.find_faces(portrait).boxes
    np.testing.assert_allclose(face + np.array([60, 0, 60, 0], np.float32), FACE, atol=12)
    salted = tmp_path / "salt"
    salted.write_text("0123456789abcdef0123456789abcdef")
    drawing = Anonymizer(model=yolo, quality="fast", method="synthesize", salt_file=salted, threads=1)
    assert drawing.anonymize(portrait, "portrait") != portrait
    assert len(drawing.find_faces(portrait)) == 1
    verified = Anonymizer(model="yunet-s", verifier=yolo, quality="fast", threads=1).find_faces(portrait)
    np.testing.assert_allclose(verified.boxes[0] + np.array([60, 0, 60, 0], np.float32), FACE, atol=12)
    # Of the class that nothing belongs to.
    assert len(Anonymizer(model=yolo, quality="fast", classes=[0], threads=1).find_faces(portrait)) == 0


def test_they_are_measured(yolo: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = {"file": "people/space/astronaut.png", "width": 512, "height": 512, "faces": [{"box": [178, 63, 90, 113]}]}
    (tmp_path / "faces.jsonl").write_text(json.dumps(line))
    data = ("--annotations", tmp_path / "faces.jsonl", "--images", f"{photos}/**")
    assert faceveil("evaluate", "detector", *data, "--model", yolo, "--quality", "fast") == 0
    assert "faces.onnx" in capfd.readouterr().out


def test_how_one_is_read_can_be_printed_and_declared(
    yolo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copy(yolo, tmp_path / "faces.onnx"))
    assert main(["models", "describe", str(model)]) == 0
    said = capsys.readouterr().out
    assert parse_declaration(said.encode(), "m.yaml")["classes"] == ("nothing", "face")
    model.with_suffix(".yaml").write_text(said)
    assert main(["models", "describe", str(model)]) == 0
    assert capsys.readouterr().out == said
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    model.with_suffix(".yaml").write_text(f"{said}\ntests: [{{image: black.png, boxes: [[1, 1, 9, 9]]}}]")
    assert main(["models", "describe", str(model)]) == 5
    assert "finds nothing at 1, 1, 9, 9 in black.png, the known answer" in capsys.readouterr().err
    assert main(["models", "describe", "centerface"]) == 5
    assert "centerface is no ONNX file" in capsys.readouterr().err
