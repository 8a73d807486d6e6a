import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.onnx_file import (
    check_beside,
    find_yaml,
    onnx_digest,
    parse_onnx,
    read_onnx,
    refuse_misnamed,
)

CENTERFACE = KNOWN_MODELS["centerface"].weights.read_bytes()


def make(
    path: Path,
    tensor: TensorProto | None = None,
    *,
    returns: int = TensorProto.FLOAT,
    outputs: int = 1,
    deep: bool = False,
) -> Path:
    """A file with one weight, in the graph or deep within it."""
    tensor = tensor or numpy_helper.from_array(np.ones(4, np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    if deep:
        within = helper.make_graph([helper.make_node("Constant", [], ["v"], value=tensor)], "within", [], [])
        node = helper.make_node("If", ["x"], ["y"], then_branch=within, else_branch=within)
    given_, returned = (helper.make_tensor_value_info(name, kind, [4]) for name, kind in (("x", 1), ("y", returns)))
    graph = helper.make_graph([node], "graph", [given_], [returned] * outputs, [] if deep else [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def external(location: str, *, size: int = 16) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size // 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_what_the_exporter_notes_is_read(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(make(tmp_path / "m.onnx").read_bytes())
    helper.set_model_props(model, {"names": "{0: 'plate'}", "task": "detect"})
    found = parse_onnx(model.SerializeToString(), "m.onnx")
    assert found.metadata == {"names": "{0: 'plate'}", "task": "detect"}
    assert found.external == {}


# What follows the graph tells versions alone, and OpenVINO sees whether they are there.
@given(st.integers(0, len(CENTERFACE) - 1000))
def test_a_file_that_ends_early_is_told(length: int) -> None:
    with pytest.raises(ModelError, match=r"m\.onnx is no ONNX file, or not all of one; export or copy it again"):
        parse_onnx(CENTERFACE[:length], "m.onnx")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told(data: bytes) -> None:
    said = ""
    try:
        parse_onnx(data, "m.onnx")
    except ModelError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "location",
    ["../../etc/passwd", "/etc/passwd", "", ".", "a/../../b", "C:\\weights", "file:///etc/passwd", "a\nb", "a\0"],
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str, deep: bool) -> None:
    path = make(tmp_path / "m.onnx", external(location), deep=deep)
    with pytest.raises(ModelError, match=r"keeps weights in .* outside its folder; put that file there") as told:
        read_onnx(str(path))
    assert "\n" not in str(told.value)


def test_a_link_out_of_the_folder_is_refused_unless_the_file_is_linked_too(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    folder.mkdir()
    blobs.mkdir()
    (blobs / "w.bin").write_bytes(bytes(16))
    path = make(folder / "m.onnx", external("w.bin"))
    with pytest.raises(ModelError, match=r"keeps weights in w\.bin, which is missing"):
        read_onnx(str(path))
    os.symlink(blobs / "w.bin", folder / "w.bin")
    with pytest.raises(ModelError, match=r"keeps weights in w\.bin, a link out of its folder"):
        read_onnx(str(path))
    # As in the Hub's cache: file and weights lie side by side elsewhere.
    path.rename(blobs / "m.onnx")
    os.symlink(blobs / "m.onnx", path)
    assert read_onnx(str(path)).external == {"w.bin": 16}
    (blobs / "w.bin").write_bytes(bytes(15))
    with pytest.raises(ModelError, match=r"keeps weights in w\.bin, which ends before byte 16; copy that file again"):
        read_onnx(str(path))


def test_more_values_than_a_file_can_hold_are_told(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**40, 2**20])
    with pytest.raises(ModelError, match=r"is damaged: it has \d+ bytes, and its tensor 'w' is of shape"):
        read_onnx(str(make(tmp_path / "m.onnx", tensor)))


def test_no_outputs_and_texts_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no outputs"):
        read_onnx(str(make(tmp_path / "m.onnx", outputs=0)))
    with pytest.raises(ModelError, match="returns texts as 'y'; a detector returns numbers"):
        read_onnx(str(make(tmp_path / "m.onnx", returns=TensorProto.STRING)))


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "pipe.onnx")
    for name in ("gone.onnx", "folder.onnx", "pipe.onnx"):
        with pytest.raises(ModelError, match="is no file"):
            read_onnx(str(tmp_path / name))


def test_the_digest_is_that_of_everything_that_decides(tmp_path: Path) -> None:
    alone = make(tmp_path / "m.onnx")
    sha256 = hashlib.sha256(alone.read_bytes()).hexdigest()
    assert onnx_digest(str(alone)) == sha256
    seen = {sha256}
    for declaration in ("layout: yolo", "layout: rows", ""):
        (tmp_path / "m.yaml").write_text(declaration)
        seen.add(onnx_digest(str(alone)))
    assert len(seen) == 4
    kept = make(tmp_path / "kept.onnx", external("w.bin"))
    for content in (bytes(16), bytes(15) + b"\1"):
        (tmp_path / "w.bin").write_bytes(content)
        seen.add(onnx_digest(str(kept)))
    assert len(seen) == 6
    (tmp_path / "other").mkdir()
    moved = kept.rename(tmp_path / "other" / "renamed.onnx")
    (tmp_path / "w.bin").rename(tmp_path / "other" / "w.bin")
    assert onnx_digest(str(moved)) in seen


def test_a_declaration_of_another_name_is_no_silence() -> None:
    for other in ("m.yml", "m.onnx.yaml", "m.onnx.yml"):
        with pytest.raises(ModelError, match=r"must be called m\.yaml to be the declaration of m\.onnx; rename it"):
            refuse_misnamed("m.onnx", {other}.__contains__)
        refuse_misnamed("m.onnx", {other, "m.yaml"}.__contains__)


def test_a_declaration_that_is_no_file_is_told(tmp_path: Path) -> None:
    make(tmp_path / "m.onnx")
    assert find_yaml(str(tmp_path / "m.onnx")) is None
    os.symlink(tmp_path / "gone", tmp_path / "m.yaml")
    for found in (find_yaml, onnx_digest):
        with pytest.raises(ModelError, match=r"m\.yaml: is no file, and lies where the declaration of"):
            found(str(tmp_path / "m.onnx"))


def test_paths_below_are_kept() -> None:
    assert check_beside("./a//b.bin", "m.onnx", "keeps weights in") == "a/b.bin"
    assert check_beside("gewichte-ä.bin", "m.onnx", "keeps weights in") == "gewichte-ä.bin"
