import json
import subprocess
import sys
from pathlib import Path

import pytest

from faceveil.pipeline.cli import UNREACHABLE, WRONG_OPTIONS, main
from tests.conftest import SKIMAGE_DATA


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "annotations.jsonl"
    lines = [
        {"file": "astronaut.png", "faces": [{"box": [170, 60, 270, 185], "label": "with_mask"}]},
        {"file": "coffee.png", "faces": []},
        {"file": "chelsea.png", "faces": []},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--config", "d9"], WRONG_OPTIONS, "--config d9: must be one of small, d0, d1"),
        (["--epochs", "0"], WRONG_OPTIONS, "--epochs 0: must be at least 1"),
        (["--epochs", "many"], WRONG_OPTIONS, "--epochs many: must be a whole number"),
        (["--batch_size", "-1"], WRONG_OPTIONS, "--batch_size -1: must be at least 1"),
        (["--learning_rate", "nan"], WRONG_OPTIONS, "--learning_rate nan: must be more than 0"),
        (["--learning_rate", "0"], WRONG_OPTIONS, "--learning_rate 0: must be more than 0"),
        (["--image_size", "200"], WRONG_OPTIONS, "--image_size 200: must be a multiple of 32"),
        (["--image_size", "100000"], WRONG_OPTIONS, "--image_size 100000: must be at least 128"),
        (["--validation_share", "1"], WRONG_OPTIONS, "--validation_share 1: must be at least 0 and at most 0.9"),
        (["--validation", "a", "--validation_share", "0.1"], WRONG_OPTIONS, "is for trainings without --validation"),
        (["--merge_labels", " "], WRONG_OPTIONS, "--merge_labels: must be a name, such as FACE"),
        (["--init", "gone.npz"], WRONG_OPTIONS, "--init gone.npz: is no file"),
        (["--backbone_weights", "gone.h5"], WRONG_OPTIONS, "--backbone_weights gone.h5: is no file"),
        (["--output", "gs://bucket/out"], WRONG_OPTIONS, "--output gs://bucket/out: must be on this machine's disk"),
        (["--images", "nowhere"], UNREACHABLE, "nowhere: does not exist"),
        (["--data", "gone.jsonl"], UNREACHABLE, "gone.jsonl: does not exist"),
        (["--data", str(SKIMAGE_DATA / "coffee.png")], WRONG_OPTIONS, "coffee.png: is no text in UTF-8"),
        (["--validation_share", "0.9"], WRONG_OPTIONS, "leaves no photo with a face to train on"),
    ],
)
def test_refusals(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    base = ["--data", str(data), "--images", str(SKIMAGE_DATA), "--output", str(tmp_path / "out")]
    assert main(["train-detector", *base, *arguments]) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_validation_needs_the_labels_of_the_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"file": "rocket.jpg", "faces": [{"box": [1, 1, 9, 9], "label": "dog"}]}))
    base = ["--data", str(data), "--images", str(SKIMAGE_DATA), "--validation", str(other)]
    assert main(["train-detector", *base, "--output", str(tmp_path / "out")]) == WRONG_OPTIONS
    assert "--validation: has labels that --data has not: dog" in capsys.readouterr().err


def test_a_folder_with_other_things_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--data", str(data), "--images", str(SKIMAGE_DATA), "--validation_share", "0"]
    assert main(["train-detector", *base, "--output", str(tmp_path)]) == 4
    assert "and no training; name another folder" in capsys.readouterr().err


def test_help_and_refusals_load_no_tensorflow() -> None:
    script = (
        "import sys\n"
        "from faceveil.pipeline.cli import main\n"
        "try:\n    main(['train-detector', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "main(['train-detector', '--data', 'gone', '--output', 'out'])\n"
        "assert 'tensorflow' not in sys.modules\nassert 'keras' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "faceveil train-detector --data masks/annotations.jsonl --output detector" in ended.stdout
