import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil.pipeline.cli import UNREACHABLE, WRONG_OPTIONS, main
from tests.conftest import SKIMAGE_DATA

PHOTOS = 12


@pytest.fixture(scope="module")
def annotated(wider_dev: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first photos of wider-dev, and one that nobody annotated."""
    folder = tmp_path_factory.mktemp("annotated")
    lines = (wider_dev / "annotations.jsonl").read_text().splitlines(keepends=True)[:PHOTOS]
    (folder / "annotations.jsonl").write_text("".join(lines))
    (folder / "images").mkdir()
    for line in lines:
        shutil.copy(wider_dev / json.loads(line)["file"], folder / "images")
    shutil.copy(SKIMAGE_DATA / "coffee.png", folder / "images")
    return folder


def evaluate(*arguments: str | Path) -> int:
    return main(["evaluate", "detector", *map(str, arguments)])


def test_a_photo_set_is_measured(
    centerface: str, annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--annotations", annotated / "annotations.jsonl", "--images", annotated, "--output", tmp_path)
    assert evaluate(*arguments, "--model", centerface, "--score_threshold", "0.22", "--precision", "float32") == 0
    content = json.loads((tmp_path / "detector.json").read_text())
    assert (content["schema"], content["images"], content["images_without_annotations"]) == (1, PHOTOS, 1)
    assert content["settings"]["score_threshold"] == 0.22
    assert content["engines"][0]["precision"] == "float32"
    bands = {band["heights"]: band for band in content["bands"]}
    assert list(bands) == ["all", ">= 16", "0-16", "16-32", "32-64", ">= 64"]
    assert content["faces"] == bands["all"]["faces"] == bands["0-16"]["faces"] + bands[">= 16"]["faces"]
    assert bands[">= 16"]["average_precision"] > 0.9
    for band in bands.values():
        assert [row["threshold"] for row in band["table"]][2:4] == [0.2, 0.22]
        for measure in ("recall", "covered", "false_positives_per_image"):
            values = [point[measure] for point in band["curve"] if point[measure] is not None]
            assert values == sorted(values, reverse=True)
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 10
    told = capsys.readouterr().out
    assert f"{PHOTOS} images, {content['faces']} faces" in told
    assert "at score 0.22, by height" in told


def test_groups_are_compared(
    default_detector: tuple[str, ...], annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del default_detector
    lines = [json.loads(line) for line in (annotated / "annotations.jsonl").read_text().splitlines()]
    rows, counts = [], {"left": 0, "right": 0}
    for line in lines:
        for face in line["faces"]:
            x0, y0, x1, y1 = face["box"]
            side = "left" if x0 + x1 < line["width"] else "right"
            if not face["invalid"]:
                counts[side] += 1
                rows.append(f"{line['file']},{x0 + 1},{y0},{x1},{y1},{side},7")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,x0,y0,x1,y1,side,same", *rows[:-1], "other.jpg,1,1,2,2,left,7"]))
    counts[rows[-1].split(",")[-2]] -= 1
    data = ("--annotations", annotated / "annotations.jsonl", "--images", annotated, "--output", tmp_path)
    assert evaluate(*data, "--groups", table, "--groups", "label", "side") == 0
    told = capsys.readouterr()
    assert "labels.csv: 1 of its rows are of no annotated face" in told.err
    assert "by side, faces of all heights, at score 0.21" in told.out
    assert "by same" not in told.out
    label, _, side, _ = json.loads((tmp_path / "detector.json").read_text())["groups"]
    assert [group["group"] for group in label["groups"]] == ["face"]
    assert {group["group"]: group["faces"] for group in side["groups"]} == counts
    assert side["not_annotated"]["faces"] == 1
    content = json.loads((tmp_path / "detector.json").read_text())
    assert label["groups"][0]["average_precision"]["value"] == pytest.approx(content["bands"][0]["average_precision"])
    [difference] = side["differences"]["recall"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    capsys.readouterr()
    assert evaluate(*data, "--groups", table) == 0
    assert "by same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--score_threshold", "2"], WRONG_OPTIONS, "--score_threshold 2: must be more than 0 and at most 1"),
        (["--annotations", "gone.jsonl"], UNREACHABLE, "gone.jsonl: cannot be read"),
        (["--annotations", str(SKIMAGE_DATA / "coffee.png")], WRONG_OPTIONS, "coffee.png: is no text in UTF-8"),
        (["--format", "coco"], WRONG_OPTIONS, "annotations.jsonl: is no COCO JSON"),
        (["--images", "nowhere"], UNREACHABLE, "nowhere: does not exist"),
        (["--images", "*.jpg"], UNREACHABLE, "--images *.jpg: matches no image"),
        (["--images", str(SKIMAGE_DATA)], WRONG_OPTIONS, "gone.jpg is not among the"),
        (["--model", "nowhere"], UNREACHABLE, "--model nowhere: neither a SavedModel"),
        (["--groups", "skin"], WRONG_OPTIONS, "--groups skin: no annotated face has it; they have nothing but boxes"),
        (["--groups", "gone.csv"], UNREACHABLE, "--groups gone.csv: cannot be read"),
    ],
)
def test_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    file = tmp_path / "annotations.jsonl"
    name = "gone.jpg" if str(SKIMAGE_DATA) in arguments else "coffee.png"
    file.write_text(json.dumps({"file": name, "faces": [{"box": [0, 0, 9, 9]}]}))
    shutil.copy(SKIMAGE_DATA / "coffee.png", tmp_path)
    assert evaluate("--annotations", file, "--images", tmp_path, *arguments) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--annotations", "a", "--images", "b", "--method", "blur"], "--method: unrecognized argument of faceveil ev"),
        (["--images", "b"], "the following arguments are required: --annotations"),
    ],
)
def test_unknown_and_missing_options(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate(*arguments)
    assert ended.value.code == WRONG_OPTIONS
    assert message in capsys.readouterr().err
