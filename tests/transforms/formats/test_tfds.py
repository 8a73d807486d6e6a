"""Which features TensorFlow Datasets declares as images; declarations as its published format has them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceveil.transforms.formats.tfds import declared_beside
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

PACKAGE = "tensorflow_datasets.core.features"


def dictionary(**features: Any) -> dict[str, Any]:
    return {"pythonClassName": f"{PACKAGE}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def sequence(feature: dict[str, Any]) -> dict[str, Any]:
    kind = f"{PACKAGE}.sequence_feature.Sequence"
    return {"pythonClassName": kind, "sequence": {"feature": feature, "length": "-1"}}


def image(kind: str = "image_feature.Image") -> dict[str, Any]:
    shape = {"dimensions": ["-1", "-1", "3"]}
    content = {"shape": shape, "dtype": "uint8", "encodingFormat": "jpeg"}
    return {"pythonClassName": f"{PACKAGE}.{kind}", "image": content}


VIDEO = {"pythonClassName": f"{PACKAGE}.video_feature.Video", "video": {"shape": {}, "encodingFormat": "png"}}
LABEL = {"pythonClassName": f"{PACKAGE}.class_label_feature.ClassLabel", "classLabel": {"numClasses": "3"}}
TEXT = {"pythonClassName": f"{PACKAGE}.text_feature.Text", "text": {}}


def write(folder: Path, declaration: Any) -> str:
    (folder / "features.json").write_text(json.dumps(declaration))
    return str(folder / "mnist-train.tfrecord-00000-of-00001")


def test_names_are_put_together_and_images_are_known(tmp_path: Path) -> None:
    steps = sequence(dictionary(observation=dictionary(wrist=image(), state=TEXT), crops=sequence(image())))
    mask = image("labeled_image_feature.LabeledImage")
    path = write(
        tmp_path,
        dictionary(image=image(), label=LABEL, frames=sequence(image()), steps=steps, clip=VIDEO, clips=sequence(VIDEO))
        | {"description": "x"},
    )
    found = {each.name: each.holds_images for each in declared_beside(path)}
    assert found == {
        "image": True,
        "label": False,
        "frames": True,
        "steps/observation/wrist": True,
        "steps/observation/state": False,
        "steps/crops/ragged_flat_values": True,
        "clip": True,
        "clips/ragged_flat_values": True,
    }
    assert [each.holds_images for each in declared_beside(write(tmp_path, dictionary(mask=mask)))] == [False]
    assert [each.name for each in declared_beside(write(tmp_path, dictionary()))] == []


def test_other_files_declare_nothing(tmp_path: Path) -> None:
    assert declared_beside(str(tmp_path / "x.tfrecord")) == ()
    assert declared_beside("x.tfrecord") == ()


def deep(levels: int) -> dict[str, Any]:
    return image() if levels == 0 else dictionary(a=deep(levels - 1))


BROKEN = [b"{", b"[]", b"null", b"\xff", b'{"sequence": {}}', b'{"featuresDict": []}']
LARGE = [b"[" * 100_000, json.dumps(deep(40)).encode(), b" " * (16 * 2**20 + 1)]


@pytest.mark.parametrize("declaration", [*BROKEN, *LARGE])
def test_a_declaration_that_is_none_is_told_and_does_not_count(
    tmp_path: Path, declaration: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "features.json").write_bytes(declaration)
    with caplog.at_level(logging.WARNING):
        assert declared_beside(str(tmp_path / "x.tfrecord")) == ()
    assert "features.json: is no declaration of features by TensorFlow Datasets" in caplog.text


def test_declarations_in_buckets(object_store: Server, connect: Callable[..., FaultyProxy]) -> None:
    connect()
    object_store.put("inputs", "declared/features.json", json.dumps(dictionary(image=image())).encode())
    for folder, names in (("declared", ["image"]), ("other", [])):
        declared = declared_beside(f"{object_store.scheme}://inputs/{folder}/x.tfrecord")
        assert [each.name for each in declared] == names
