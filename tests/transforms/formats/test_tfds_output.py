"""What an output declares to TensorFlow Datasets; that it reads it, `tests/readers` shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.tfds_output import (
    declaration_of_images,
    declaration_of_output,
    foreign_info,
    remove_info,
    write_info,
)
from tests.transforms.formats.test_tfds import LABEL, dictionary, image, sequence

FACES = {f"image/face/{name}" for name in ("count", "score", "bbox/xmin", "bbox/ymin", "bbox/xmax", "bbox/ymax")}


def names(node: dict[str, Any]) -> dict[str, Any]:
    """The names that are declared, nested as they are."""
    if "featuresDict" in node:
        return {name: names(inner) for name, inner in node["featuresDict"]["features"].items()}
    return {"*": names(node["sequence"]["feature"])} if "sequence" in node else {}


def test_what_is_left_out_of_examples_is_not_declared_and_faces_are() -> None:
    steps = sequence(dictionary(view=image(), secret=LABEL, paths=sequence(LABEL)))
    given = dictionary(image=image(), label=LABEL, thumb=image(), steps=steps, only=dictionary(secret=LABEL))
    dropped = ("thumb", "steps/secret", "only/secret", "steps/paths/ragged_row_lengths_0", "image/face/score")
    roles = FeatureRoles(images=("image", "steps/view"), dropped=dropped)
    found = names(declaration_of_output(given, roles))
    second: dict[str, Any] = {name.replace("image", "steps/view", 1): {} for name in FACES}
    assert found == {
        **{"image": {}, "label": {}, "steps": {"*": {"view": {}}}},
        **{name: {} for name in FACES - {"image/face/score"}},
        **second,
    }
    strict = FeatureRoles(images=("image",), allowed=("label",), strict=True)
    assert names(declaration_of_output(given, strict)).keys() == {"image", "label", *FACES}


def test_no_words_are_taken_over() -> None:
    given = dictionary(image=image() | {"description": {"description": "photos of Anna"}})
    given["description"] = {"description": "of Anna"}
    assert "Anna" not in json.dumps(declaration_of_output(given, FeatureRoles(images=("image",))))


def test_image_files_have_the_features_that_are_not_dropped() -> None:
    roles = FeatureRoles(images=("left", "right"), dropped=("image/filename", "image/face/count"), strict=True)
    found = names(declaration_of_images(roles))
    own = {"image/encoded", "image/format", "image/height", "image/width"}
    assert found.keys() == own | FACES - {"image/face/count"}


def test_the_files_of_others_are_neither_taken_for_its_own_nor_removed(tmp_path: Path) -> None:
    declaration = declaration_of_images(FeatureRoles())
    assert foreign_info(str(tmp_path)) is None
    write_info(str(tmp_path), declaration, {"train": [(3, 10), (0, 0)], "val": [(1, 5)]})
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert [(split["name"], split["shardLengths"], split["numBytes"]) for split in info["splits"]] == [
        ("train", ["3", "0"], "10"),
        ("val", ["1"], "5"),
    ]
    assert foreign_info(str(tmp_path)) is None
    remove_info(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    for name, text in (("features.json", "{}"), ("dataset_info.json", '{"name": "lfw"}'), ("dataset_info.json", "[1]")):
        (tmp_path / name).write_text(text)
        remove_info(str(tmp_path))
        assert foreign_info(str(tmp_path)) == str(tmp_path / name)
        (tmp_path / name).unlink()


def test_what_a_killed_job_leaves_is_known_as_its_own(tmp_path: Path) -> None:
    write_info(str(tmp_path), declaration_of_images(FeatureRoles()), {})
    (tmp_path / "features.json").unlink()  # which is written last
    assert foreign_info(str(tmp_path)) is None
