"""Maps of labels beside photos, as data sets have them: quarantined where the detector sees a face in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.test_end_to_end import examples, faceveil, rows
from tests.transforms.codecs.test_label_maps import coloured, face_parsing, segments

pytestmark = pytest.mark.usefixtures("centerface")
SMALL = ["--detect_size", "320"]


@pytest.fixture(scope="module")
def data_set(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with a map of classes beside each: of a head, and of something that no detector takes for one."""
    folder = tmp_path_factory.mktemp("labels")
    for number, (photo, labels) in enumerate(
        [
            ("people/portrait.jpeg", face_parsing()),
            ("things/coffee.jpg", segments(Image.open(photos / "things" / "coffee.jpg"), 12, 3)),
        ]
    ):
        shutil.copy(photos / photo, folder / f"{number}.jpg")
        coloured(labels).save(folder / f"{number}.png")
    return folder


def test_a_map_in_which_a_face_is_seen_is_held_back_and_what_allows_it_is_named(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ("run", "--input", data_set, "--output", tmp_path, "--max_quarantined", 1, *SMALL)
    assert faceveil(*job) == 0
    found = rows(tmp_path)
    assert {key: row["reason"] for key, row in found.items()} == {
        **{"0.jpg": None, "0.png": "label_map"},
        **{"1.jpg": None, "1.png": None},
    }
    assert found["0.png"]["detail"] == (
        "a face found in even areas of 7 values; --allow_label_maps masks faces all the same"
    )
    assert "0.png" not in examples(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["quarantined_for"] == {"label_map": 1}
    assert "allow_label_maps" not in manifest["job"]

    assert faceveil(*job, "--retry_quarantined", "--allow_label_maps") == 0
    assert rows(tmp_path)["0.png"]["status"] == "anonymized"
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["job"]["allow_label_maps"] is True
    assert manifest["totals"]["quarantined"] == 0
    capsys.readouterr()
    assert faceveil(*job) == 4
    assert "allow_label_maps: True there, False here" in capsys.readouterr().err
    assert faceveil(*job, "--retry_quarantined") == 4
    assert "allow_label_maps: True there, less here" in capsys.readouterr().err


def test_where_it_is_allowed_a_fresh_job_masks_it(data_set: Path, tmp_path: Path) -> None:
    assert faceveil("run", "--input", data_set, "--output", tmp_path, "--allow_label_maps", *SMALL) == 0
    assert rows(tmp_path)["0.png"]["status"] == "anonymized"
