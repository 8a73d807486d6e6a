"""Names that cannot all lie in one folder are found before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from faceveil.pipeline import mirrored_names
from faceveil.pipeline.mirrored_names import MirroredNames, ignores_case
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.inputs.match import InputFile


def check(monkeypatch: pytest.MonkeyPatch, files: Sequence[InputFile], output: str = "out") -> None:
    monkeypatch.setattr(mirrored_names, "list_inputs", lambda _: iter(files))
    names = MirroredNames(JobOptions(input=("in/**",), output=output, format="images"))
    for file in files:
        names.note(file)
    names.check_inputs()


def image(key: str, folder: str = "/in") -> InputFile:
    return InputFile("data", key, f"{folder}/{key}", 1, "1.0", "image")


@pytest.mark.parametrize(
    "keys", [[], ["a.jpg"], ["a.jpg", "A.jpg", "b/a.jpg", "a.jpg.d/a.jpg"], ["a/b/c", "a/b.jpg", "a/bc"], ["x" * 255]]
)
def test_names_that_differ_are_fine(monkeypatch: pytest.MonkeyPatch, keys: list[str]) -> None:
    check(monkeypatch, [image(key) for key in keys])


def test_two_of_one_name_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [image(f"{number}.jpg") for number in range(1000)]
    with pytest.raises(OptionError, match=r"/in/7\.jpg and /other/7\.jpg would both need the name 7\.jpg"):
        check(monkeypatch, [*files, image("7.jpg", "/other")])


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_where_another_needs_a_folder_is_named(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    files = [image("a/b"), image("a/b/c/d.jpg", "gs://in")][::order]
    with pytest.raises(OptionError, match=r"/in/a/b and gs://in/a/b/c/d\.jpg would both need the name a/b in"):
        check(monkeypatch, files)


@pytest.mark.parametrize(
    "keys", [("a.jpg", "A.JPG"), ("caf\u00e9/a", "cafe\u0301/a"), ("a", "A/b"), ("stra\u00dfe", "STRASSE")]
)
def test_on_disks_that_ignore_case_spellings_are_one(monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str]) -> None:
    files = list(map(image, keys))
    check(monkeypatch, files)
    monkeypatch.setattr(mirrored_names, "ignores_case", lambda _: True)
    check(monkeypatch, files, "gs://bucket/out")
    with pytest.raises(OptionError, match="would both need the name"):
        check(monkeypatch, files)


@pytest.mark.parametrize("name", ["a.dcm", "a.JP2", "a", "1.2.840", "a.hdr"])
def test_a_place_is_kept_for_an_image_that_may_be_written_as_png(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(OptionError, match="would both need the name"):
        check(monkeypatch, [image(name), image(f"{name}.png")])
    check(monkeypatch, [image("a.jpg"), image("a.jpg.png"), image("a.png"), image("a.png.png")])


def test_this_disk_minds_case(tmp_path: Path) -> None:
    (tmp_path / "lower").mkdir()
    assert ignores_case(str(tmp_path / "lower" / "yet to come")) == (tmp_path / "LOWER").exists()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("../up.jpg", "no name of a file"),
        ("a/../../up.jpg", "no name of a file"),
        ("/root.jpg", "no name of a file"),
        ("a//b.jpg", "no name of a file"),
        ("./a.jpg", "no name of a file"),
        ("manifest.json", "or one of the job's own"),
        (".faceveil-lock.json", "or one of the job's own"),
        ("\\xe9" * 64 + ".jpg", "its name is too long for a file on disk"),
    ],
)
def test_names_that_are_none_of_a_file_below_the_output_are_refused(
    monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    """Objects may be called so."""
    with pytest.raises(OptionError, match=f"--format images: gs://in/.*{said}"):
        check(monkeypatch, [image(key, "gs://in")])


def test_tfrecords_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="--format images: /in/x holds records"):
        check(monkeypatch, [InputFile("data", "x", "/in/x", 1, "1.0", "tfrecord")])
