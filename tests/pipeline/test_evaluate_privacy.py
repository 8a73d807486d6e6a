import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.synthetic_identities import write_identities
from faceveil.pipeline.cli import UNREACHABLE, WRONG_OPTIONS, main
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from tests.conftest import SKIMAGE_DATA, shared_data

PERSONS, PHOTOS = 40, 6


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of forty persons who do not exist."""
    folder = tmp_path_factory.mktemp("people")
    write_identities(shared_data("synthetic-faces.tar"), folder, PERSONS, PHOTOS, seed=0)
    return folder


def evaluate(*arguments: str | Path) -> int:
    return main(["evaluate", "privacy", *map(str, arguments)])


def read_shares(output: Path) -> dict[str, dict[str, float]]:
    results = json.loads((output / "privacy.json").read_text())["results"]
    return {
        result["label"]: {setting: found["recognised"] for setting, found in result["settings"].items()}
        for result in results
    }


def test_who_is_recognised_and_who_is_not(
    default_detector: tuple[str, ...], people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That attackers recognise what is not anonymized, or weakly, is what makes the other figures worth something."""
    del default_detector
    assert evaluate("--identities", people, "--methods", "solid", "blur", "--output", tmp_path) == 0
    before = (tmp_path / "privacy.json").read_text()
    assert evaluate("--identities", people, "--methods", "blur", "--strength", "0.2", "--output", tmp_path) == 0
    told = capsys.readouterr()
    assert "resuming: 4 ways to anonymize are done" in told.err
    content = json.loads((tmp_path / "privacy.json").read_text())
    assert content["results"][:4] == json.loads(before)["results"]
    assert (content["persons"], content["photos_known"], content["photos_published"]) == (PERSONS, 160, 80)
    shares = read_shares(tmp_path)
    assert list(shares) == ["none", "surroundings", "solid", "blur", "blur, strength 0.2"]
    chance = content["chance"]
    for setting in ("same_photo", "another_photo", "averaged_frames"):
        assert shares["none"][setting] >= 0.9
        assert shares["blur, strength 0.2"][setting] >= 0.5 > 20 * chance - 0.01
        assert shares["solid"][setting] == pytest.approx(chance)
    assert shares["blur"]["another_photo"] < 0.25
    for result in content["results"]:
        for found in result["settings"].values():
            assert found["low"] <= found["recognised"] <= found["high"]
            assert found["recognised"] == max(attack["recognised"] for attack in found["attacks"])
    assert np.asarray(Image.open(tmp_path / "privacy.png").convert("L")).std() > 10
    assert "40 persons, 160 photos that the attacker has, 80 published (0 without a face left out)" in told.out
    written = os.stat(tmp_path / "privacy.json").st_mtime_ns
    assert evaluate("--identities", people, "--methods", "blur", "--output", tmp_path) == 0
    assert os.stat(tmp_path / "privacy.json").st_mtime_ns == written  # all is done


def test_examples_are_read_and_other_photos_start_anew(
    default_detector: tuple[str, ...], people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del default_detector
    examples = [
        Example.empty().with_features({"who": photo.parent.name.encode(), "image/encoded": photo.read_bytes()})
        for person in sorted(people.iterdir())[:12]
        for photo in sorted(person.iterdir())[:3]
    ]
    (tmp_path / "people.tfrecord").write_bytes(b"".join(map(frame, examples)))
    output = tmp_path / "out"
    output.mkdir()
    earlier: dict[str, Any] = {"data_sha256": "another", "version": "0", "results": []}
    (output / "privacy.json").write_text(json.dumps(earlier))
    records = ("--identities", tmp_path / "people.tfrecord", "--identity_feature", "who")
    assert evaluate(*records, "--methods", "synthesize", "--output", output) == 0
    assert "is of other photos or another version; starting anew" in capsys.readouterr().err
    shares = read_shares(output)
    assert list(shares) == ["none", "surroundings", "synthesize"]
    assert shares["none"]["same_photo"] == 1
    assert shares["synthesize"]["another_photo"] < 0.6


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--strength", "2"], WRONG_OPTIONS, "--strength 2: must be more than 0 and at most 1"),
        (["--methods", "solid", "bar", "--strength", "0.2"], WRONG_OPTIONS, "--strength: is for blur and pixelate"),
        (
            ["--methods", "blur", "--generator", "x"],
            WRONG_OPTIONS,
            "--generator: is for --methods synthesize, not blur",
        ),
        (["--image_feature", "x"], WRONG_OPTIONS, "--image_feature: is for Examples, which need --identity_feature"),
        (["--identities", "nowhere"], UNREACHABLE, "nowhere: does not exist"),
        (["--identity_feature", "who"], WRONG_OPTIONS, "holds no TFRecord file"),
        (["--generator", "nowhere"], UNREACHABLE, "--generator: "),
        (["--methods", "blur"], WRONG_OPTIONS, "1 persons have 3 photos with a face or more; 10 persons are needed"),
        (["--output", "OUT"], WRONG_OPTIONS, "privacy.json is no result of faceveil evaluate privacy"),
    ],
)
def test_errors(
    default_detector: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    del default_detector
    (tmp_path / "in" / "one").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "in" / "one" / f"{number}.png").write_bytes((SKIMAGE_DATA / "astronaut.png").read_bytes())
    (tmp_path / "privacy.json").write_text("{}")
    given = [str(tmp_path) if argument == "OUT" else argument for argument in arguments]
    assert evaluate("--identities", tmp_path / "in", *given) == status
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_photo_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    assert evaluate("--identities", tmp_path) == UNREACHABLE
    assert "one/broken.jpg: cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["none", "nothing"])
def test_not_to_anonymize_is_no_method(capsys: pytest.CaptureFixture[str], method: str) -> None:
    for command in (["evaluate", "privacy", "--identities", "x", "--methods", method],):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == WRONG_OPTIONS
        assert f"invalid choice: '{method}'" in capsys.readouterr().err
    assert main(["run", "--input", "x", "--output", "y", "--method", method]) == WRONG_OPTIONS
    assert f"--method {method}: must be one of" in capsys.readouterr().err
