"""Tars of WebDataset through the command; outputs are read with TensorFlow."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from tests.conftest import noise_image
from tests.test_end_to_end import FAST, examples, faceveil, files, rows
from tests.test_example_features import png
from tests.transforms.formats.test_tar_files import of_kind, packed

pytestmark = pytest.mark.usefixtures("centerface")
COUNT = 12


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tar of twelve samples, one of which has a link, and three more, compressed."""
    folder = tmp_path_factory.mktemp("webdataset")
    originals = sorted(photos.rglob("*.*"))
    members: list[tuple[str, bytes] | tarfile.TarInfo] = []
    for number in range(COUNT):
        path = originals[number % len(originals)]
        members += [(f"set/{number:04}.cls", b"%d" % number), (f"set/{number:04}{path.suffix}", path.read_bytes())]
    members.insert(11, of_kind("set/0005.txt", tarfile.SYMTYPE, linkname="/etc/passwd"))
    (folder / "a-000.tar").write_bytes(packed(*members))
    (folder / "a-001.tgz").write_bytes(gzip.compress(packed(*members[:6])))
    return folder


def job(inputs: object, output: Path, *more: object) -> int:
    return faceveil("run", "--input", inputs, "--output", output, "--method", "solid", *FAST, *more)


@pytest.fixture(scope="module")
def divided(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("divided") / "out"
    assert job(folder, output, *options(folder)) == 0
    return output


def options(folder: Path) -> list[object]:
    return ["--shard_bytes", (folder / "a-000.tar").stat().st_size // 3 + 1, "--max_quarantined", 1]


def test_samples_come_out_with_their_members(divided: Path) -> None:
    found, trail = examples(divided), rows(divided)
    keys = [f"a-000.tar#{number}" for number in range(COUNT)] + [f"a-001.tgz#{number}" for number in range(3)]
    assert list(trail) == keys
    assert list(found) == [key for key in keys if key != "a-000.tar#5"]
    assert (trail["a-000.tar#5"]["reason"], trail["a-000.tar#5"]["shard"]) == ("invalid_example", None)
    for key, feature in found.items():
        number = int(key.partition("#")[2])
        assert feature["__key__"].bytes_list.value == [b"set/%04d" % number]
        assert feature["cls"].bytes_list.value == [b"%d" % number]
        assert feature["image/face/count"].int64_list.value[0] == len(trail[key]["faces"])
        assert feature["image/encoded"].bytes_list.value[0]
    manifest = json.loads((divided / "manifest.json").read_text())
    totals = manifest["totals"]
    assert totals["records"] == totals["anonymized"] + totals["no_faces"] + totals["quarantined"] == COUNT + 3
    assert [shard["records"] > 0 for shard in manifest["shards"]] == [True] * 4
    assert totals["anonymized"] > 0


@pytest.mark.workers
def test_however_a_tar_is_divided_and_by_whom(divided: Path, folder: Path, tmp_path: Path) -> None:
    assert job(folder, tmp_path / "whole", "--shard_bytes", "1GiB", "--max_quarantined", 1) == 0
    assert list(examples(tmp_path / "whole").items()) == list(examples(divided).items())
    processes = ("--direct_running_mode", "multi_processing", "--direct_num_workers", 2)
    assert job(folder, tmp_path / "two", *options(folder), *processes) == 0
    assert files(tmp_path / "two") == files(divided)


def test_with_hashed_keys_no_name_of_a_sample_gets_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "a salt of sixteen bytes and more")
    assert job(folder, tmp_path / "out", "--hash_keys", "--max_quarantined", 1) == 0
    for feature in examples(tmp_path / "out").values():
        assert "__key__" not in feature
    for path in (tmp_path / "out").rglob("*.*"):
        assert b"set/000" not in path.read_bytes()


def test_several_images_in_a_sample_have_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = (png(noise_image(40, 40, seed)) for seed in (1, 2))
    (tmp_path / "x.tar").write_bytes(packed(("0.left.png", left), ("0.right.png", right), ("0.json", b"{}")))
    assert job(tmp_path / "x.tar", tmp_path / "out") == 2
    assert "Images are in left.png (png), right.png (png): name those that are" in capsys.readouterr().err
    assert job(tmp_path / "x.tar", tmp_path / "out", "--image_feature", "left.png", "right.png") == 0
    [feature] = examples(tmp_path / "out").values()
    assert feature["left.png"].bytes_list.value == [left]
    assert feature["right.png/face/count"].int64_list.value == [0]
    assert job(tmp_path / "x.tar", tmp_path / "one", "--drop_features", "right.png") == 0
    [feature] = examples(tmp_path / "one").values()
    assert feature["image/encoded"].bytes_list.value == [left]
    assert "right.png" not in feature


def test_a_tar_without_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(packed(("a/setup.py", b"code"), ("a/b.py", b"code")))
    assert job(tmp_path / "x.tar", tmp_path / "out") == 2
    assert "--image_feature image/encoded: is no feature of all 2 records" in capsys.readouterr().err
