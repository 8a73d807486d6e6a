"""The whole comparison, tiny: photos cut from NASA's portrait of Eileen Collins, one epoch, two seeds."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.pipeline.cli import DONE, OUTPUT_TAKEN, UNREACHABLE, WRONG_OPTIONS, main
from faceveil.training.architectures import ARCHITECTURES
from tests.conftest import ROOT, SKIMAGE_DATA
from tests.training.conftest import TINY, cut

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
SALT = "0123456789abcdef0123456789abcdef"
TRAINED, TESTED = 4, 2
TURNED = 1
"""The photo whose stored pixels lie on their side."""


def write_photo(folder: Path, number: int) -> dict[str, Any]:
    """A photo and its line of annotations, boxes in pixels of the stored image."""
    pixels, (x0, y0, x1, y1) = cut(number)
    exif = Image.Exif()
    if number == TURNED:
        width = pixels.shape[1]
        pixels, (x0, y0, x1, y1) = np.rot90(pixels), (y0, width - x1, y1, width - x0)
        exif[0x0112] = 6  # readers turn it clockwise
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number}.png", exif=exif)
    size = {"width": pixels.shape[1], "height": pixels.shape[0]}
    boxes = [[float(side) for side in (x0, y0, x1, y1)]]
    # A box without an area, as there are some in WIDER, and one that reaches far beyond the image.
    boxes += [[5.0, 5.0, 5.0, 9.0], [size["width"] - 12.0, -40.0, size["width"] + 60.0, 9.0]]
    faces = [{"box": box, "invalid": int(place > 0)} for place, box in enumerate(boxes)]
    return {"file": f"{number}.png", **size, "faces": faces}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos to train on and two to test on."""
    folder = tmp_path_factory.mktemp("data")
    lines = [write_photo(folder, number) for number in range(TRAINED + TESTED)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines[:TRAINED])))
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, lines[TRAINED:])))
    return folder


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    given = ["--data", str(data / "train.jsonl"), "--test", str(data / "test.jsonl"), "--output", str(output)]
    tiny = ["--config", "tiny", "--epochs", "1", "--batch_size", "4", "--seeds", "2"]
    return ["evaluate", "anonymizers", *given, *tiny, *more]


@contextmanager
def tiny_trainings() -> Iterator[None]:
    """Trainings of a tiny detector, without graphs: to build one costs ten times as much as these few steps do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", TINY)
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)


@pytest.fixture
def tiny() -> Iterator[None]:
    with tiny_trainings():
        yield


@pytest.fixture(scope="module")
def compared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compared [1]") / "out"
    with tiny_trainings():
        assert main(arguments(data, output, "--methods", "none,solid")) == DONE
    return output


def content_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "anonymizers.json").read_text())
    return content


def states(output: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*.npz")}


def test_each_method_is_trained_with_each_seed_and_tested(compared: Path) -> None:
    assert sorted(path.name for path in (compared / "trainings").iterdir()) == [
        *("none-0", "none-1"),
        *("solid-0", "solid-1"),
    ]
    content = content_of(compared)
    assert content["training"] == {"photos": TRAINED, "faces": TRAINED}
    assert content["test"] == {"photos": TESTED, "faces": TESTED}
    assert [method["method"] for method in content["methods"]] == ["none", "solid"]
    # The face and what is within the image of the box beyond; the one without an area is none.
    assert [method["faces"] for method in content["methods"]] == [2 * TRAINED, 2 * TRAINED]
    whole = content["bands"][0]
    none, solid = whole["methods"]
    assert none["loss"] is None
    for place in range(2):
        lost = none["average_precision"]["seeds"][place] - solid["average_precision"]["seeds"][place]
        assert solid["loss"]["seeds"][place] == pytest.approx(lost)
    for found in (none["average_precision"], solid["average_precision"], solid["loss"]):
        assert found["low"] <= found["over_images"]["low"] <= found["value"] <= found["over_images"]["high"]
        assert found["value"] == pytest.approx(np.mean(found["seeds"]))


def test_photos_are_masked_and_boxes_stay(compared: Path, data: Path) -> None:
    lines = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    seen = set()
    [*files] = (compared / "photos" / "solid").glob("*.tfrecord")
    for record in tf.data.TFRecordDataset([str(file) for file in files]):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        line = lines[int(example["image/source_id"].bytes_list.value[0])]
        seen.add(line["file"])
        before = Image.open(data / line["file"])
        after = Image.open(io.BytesIO(example["image/encoded"].bytes_list.value[0]))
        assert after.getexif().get(0x0112, 1) == before.getexif().get(0x0112, 1)
        x0, y0, x1, y1 = (round(side) for side in line["faces"][0]["box"])
        assert not np.asarray(after)[y0 + 20 : y1 - 20, x0 + 20 : x1 - 20].any()
        assert np.array_equal(np.asarray(after)[-40:, :40], np.asarray(before)[-40:, :40])
        size = {"x": line["width"], "y": line["height"]}
        told = {
            side: [value * size[side[0]] for value in example[f"image/object/bbox/{side}"].float_list.value]
            for side in ("xmin", "ymin", "xmax", "ymax")
        }
        assert [told[side][0] for side in told] == pytest.approx(line["faces"][0]["box"], abs=1e-3)
        assert [told[side][1] for side in told] == pytest.approx([size["x"] - 12, 0, size["x"], 9], abs=1e-3)
        assert list(example["image/object/difficult"].int64_list.value) == [0, 1]
    assert seen == {line["file"] for line in lines}


def test_the_copies_are_the_photos(compared: Path, data: Path) -> None:
    for number, record in enumerate(tf.data.TFRecordDataset(str(compared / "photos" / "none" / "photos.tfrecord"))):
        example = tf.train.Example.FromString(record.numpy()).features.feature
        assert example["image/encoded"].bytes_list.value[0] == (data / f"{number}.png").read_bytes()


def test_the_page_says_what_the_json_says_and_loads_nothing(compared: Path) -> None:
    page = (compared / "anonymizers.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:)|https?://|<script|@import|url\(', page)
    [picture] = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L")).std() > 10
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in re.findall(r"<tr[^>]*>(<td>.*?)</tr>", page)
    ]
    content = content_of(compared)
    wanted = []
    for band in content["bands"]:
        for method in band["methods"]:
            cells = [
                f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})" if found else ""
                for found in (method["average_precision"], method["loss"])
            ]
            sure = "" if not method["loss"] else "sure" if method["loss"]["sure"] else "may be chance"
            wanted.append([method["method"], *cells, sure])
    assert wanted
    assert rows[: len(wanted)] == wanted


@pytest.mark.usefixtures("tiny")
def test_what_is_done_is_not_done_again_and_methods_may_be_added(
    compared: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, content = states(compared), content_of(compared)
    assert main(arguments(data, compared, "--methods", "none", "solid")) == DONE
    assert "resuming: 4 of 4 trainings are done" in capsys.readouterr().err
    assert states(compared) == before
    assert content_of(compared) == content
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    assert main(arguments(data, compared, "--methods", "synthesize")) == DONE
    said = capsys.readouterr().err
    assert "training 3 of 4: synthesize, seed 0" in said
    assert "training 4 of 4: synthesize, seed 1; 0:" in said
    assert {name: state for name, state in states(compared).items() if name in before} == before
    added = content_of(compared)
    assert added["bands"][0]["methods"][0] == content["bands"][0]["methods"][0]
    assert added["methods"][1]["fallback_faces"] >= TRAINED  # the box at the edge shows no face
    manifest = json.loads((compared / "photos" / "synthesize" / "manifest.json").read_text())
    assert (manifest["job"]["boxes_mode"], manifest["job"]["method"]) == ("add", "synthesize")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--epochs", "2"], "epochs was 1, not 2"),
        (["--image_size", "160"], "image_size was 128, not 160"),
        (["--config", "small"], "config was tiny, not small"),
    ],
)
def test_other_settings_are_refused_by_name(
    compared: Path, data: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(arguments(data, compared, *more, "--methods", "solid")) == OUTPUT_TAKEN
    assert f"holds another comparison of anonymizers: {told}" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_other_photos_are_refused(compared: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = ["--test", str(data / "train.jsonl"), "--data", str(data / "test.jsonl"), "--methods", "solid"]
    assert main(arguments(data, compared, *swapped)) == OUTPUT_TAKEN
    assert "holds another comparison of anonymizers: data was" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--methods", "none,smear"], WRONG_OPTIONS, "--methods smear: must be one of none, blur"),
        (["--methods", "none"], WRONG_OPTIONS, "--methods none: leaves nothing to compare with it"),
        (["--methods", "synthesize"], WRONG_OPTIONS, "--method synthesize: needs a secret salt"),
        (["--methods", "blur", "--salt_file", "x"], WRONG_OPTIONS, "--salt_file: is for --methods synthesize"),
        (["--seeds", "1"], WRONG_OPTIONS, "--seeds 1: must be at least 2"),
        (["--seeds", "few"], WRONG_OPTIONS, "--seeds few: must be a whole number"),
        (["--config", "d9"], WRONG_OPTIONS, "--config d9: must be one of"),
        (["--epochs", "0"], WRONG_OPTIONS, "--epochs 0: must be at least 1"),
        (["--batch_size", "0"], WRONG_OPTIONS, "--batch_size 0: must be at least 1"),
        (["--image_size", "200"], WRONG_OPTIONS, "--image_size 200: must be a multiple of 32"),
        (["--init", "gone.npz"], WRONG_OPTIONS, "--init gone.npz: is no file"),
        (["--output", "gs://bucket/out"], WRONG_OPTIONS, "--output gs://bucket/out: must be on this machine's disk"),
        (["--data", "gone.jsonl"], UNREACHABLE, "gone.jsonl: does not exist"),
        (["--test", "gone.jsonl"], UNREACHABLE, "gone.jsonl: does not exist"),
        (["--test_images", "nowhere"], UNREACHABLE, "nowhere: does not exist"),
        (["--test", str(SKIMAGE_DATA / "coffee.png")], WRONG_OPTIONS, "--test "),
        (["--data", "TEST"], WRONG_OPTIONS, "leaves no photo with a face"),
    ],
)
def test_refusals(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.delenv("FACEVEIL_SALT", raising=False)
    given = ["--methods", "solid", *(str(data / "test.jsonl") if name == "TEST" else name for name in more)]
    assert main(arguments(data, tmp_path / "out", *given)) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("tiny")
def test_a_folder_with_other_things_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert main(arguments(data, tmp_path, "--methods", "solid")) == OUTPUT_TAKEN
    assert "holds letter.txt, and no comparison of anonymizers" in capsys.readouterr().err


SCRIPT = """
import sys
from faceveil.training.architectures import ARCHITECTURES
from tests.training.conftest import TINY
ARCHITECTURES["tiny"] = TINY
from faceveil.pipeline.supervise import main
sys.exit(main())
"""


def test_ctrl_c_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    begun = output / "trainings" / "none-0" / "training.json"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments(data, output, "--methods", "solid")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not begun.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "interrupted; the same command resumes where this one stopped" in said


@pytest.mark.usefixtures("tiny")
def test_what_is_not_finished_is_taken_up(compared: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(data, compared, "--methods", "solid")) == DONE
    before, content = states(compared), content_of(compared)
    lost = compared / "trainings" / "solid-0" / "test.npz"
    lost.unlink()
    capsys.readouterr()
    assert main(arguments(data, compared, "--methods", "solid")) == DONE
    said = capsys.readouterr().err
    assert "resuming: 3 of 4 trainings are done" in said
    assert "training 4 of 4: solid, seed 0" in said
    # Its weights were there already, so that only the test was left.
    assert {name for name, state in states(compared).items() if state != before[name]} == {str(lost)}
    for wanted, found in zip(content["bands"], content_of(compared)["bands"], strict=True):
        for one, other in zip(wanted["methods"], found["methods"], strict=True):
            assert one["average_precision"]["seeds"] == pytest.approx(other["average_precision"]["seeds"])


@pytest.mark.usefixtures("tiny")
def test_a_training_on_other_photos_does_not_count(
    compared: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when a method that is added quarantines a photo that others have learnt from."""
    description = compared / "trainings" / "none-0" / "training.json"
    before = description.read_text()
    description.write_text(json.dumps({**json.loads(before), "photos": {"count": 5, "sha256": "x"}}))
    try:
        assert main(arguments(data, compared, "--methods", "solid")) == OUTPUT_TAKEN
    finally:
        description.write_text(before)
    assert "none-0: holds another training: photos was {'count': 5" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from faceveil.pipeline.cli import main\n"
        "try:\n    main(['evaluate', 'anonymizers', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'keras', 'apache_beam', 'numpy'} & set(sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "faceveil evaluate anonymizers --data train.jsonl" in ended.stdout
