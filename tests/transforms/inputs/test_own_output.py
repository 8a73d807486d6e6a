"""Jobs that would read what they write."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from faceveil.transforms.errors import OwnOutputError
from faceveil.transforms.formats.layout import audit_directory_beside
from faceveil.transforms.inputs.listing import Listing, list_portions
from faceveil.transforms.inputs.own_output import OwnOutput
from faceveil.transforms.inputs.selection import Exclusion, select
from faceveil.transforms.inputs.summary import summarize_inputs
from tests.transforms.inputs.test_listing import inputs, made, summary_of


@pytest.mark.parametrize(
    ("pattern", "output", "exclude"),
    [
        ("photos/**", "out", ()),
        ("photos/**", "photos-out", ()),
        ("photos/*", "photos/out", ()),
        ("photos/*.jpg", "photos/out", ()),
        ("photos/**/*.jpg", "photos/out", ()),
        ("photos/**", "photos/out", ("out",)),
        ("photos/**", "photos/out/deep", ("photos/out/**",)),
        ("**", "photos/out", ("{tmp}/photos/out",)),
        ("**/a*", "out", ()),
        ("photos/sub", "photos/out", ()),
    ],
)
def test_an_output_that_no_glob_can_match_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, output: str, exclude: tuple[str, ...]
) -> None:
    made(tmp_path, "photos/a.jpg", "photos/sub/a.jpg")
    monkeypatch.chdir(tmp_path)
    exclude = tuple(glob.format(tmp=tmp_path) for glob in exclude)
    before = summary_of(pattern, output=output, exclude=exclude)
    for name in ("manifest.json", ".faceveil-lock.json", "data-00000-of-00001.tfrecord"):
        made(tmp_path, f"{output}/{name}")
    for name in ("data-00000-of-00001.parquet", ".data-00000-of-00001.attempt", "_ignored.json", "_report.html"):
        made(tmp_path, f"{output}.audit/{name}")
    assert summary_of(pattern, output=output, exclude=exclude) == before


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("photos/**", "photos/out"),
        ("photos/**", "photos/new/deep/out"),
        ("photos", "photos"),
        ("photos/", "./photos/out/"),
        ("photos/**", "{tmp}/photos/out"),
        ("{tmp}/photos/**", "photos/out"),
        ("photos/**/*.tfrecord", "photos/out"),
        ("photos/out/data-*", "photos/out"),
        ("**", "out"),
        ("../{name}/**", "out"),
        ("link/**", "photos/out"),
        ("photos/**", "link/out"),
        ("there/**", "elsewhere/new/out"),
        ("there/*/new/out/*", "elsewhere/new/out"),
        ("photos/*.jpg", "photos"),
        ("photos/sub/*.jpg", "photos"),
        ("link/sub/*.jpg", "photos"),
    ],
)
def test_an_output_that_a_glob_matches_is_refused_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, output: str
) -> None:
    made(tmp_path, "photos/a.jpg", "photos/sub/b.jpg", "elsewhere/c.jpg", "there/d.jpg", "photos/out/data-1.jpg")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "there" / "linked").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    pattern, output = (text.format(tmp=tmp_path, name=tmp_path.name) for text in (pattern, output))
    with pytest.raises(OwnOutputError, match="its own output") as caught:
        summary_of(pattern, output=output)
    _, told, glob = str(caught.value).partition("--exclude ")
    if told:  # what the message says to do helps, though some of these globs match nothing else
        own = OwnOutput(output, audit_directory_beside(output), ["data"])
        listing = Listing([select(pattern, "")], exclusion=Exclusion(shlex.split(glob)), own=own)
        list(list_portions([listing], [listing.portion(0)]))


@pytest.mark.parametrize("place", ["photos/trail", "photos/out.audit", "photos/out/records"])
def test_files_of_the_audit_trail_are_passed_over_wherever_it_lies(tmp_path: Path, place: str) -> None:
    made(tmp_path, "photos/sub/a.jpg", f"{place}/data-00000-of-00001.parquet", f"{place}/.data-00000-of-00001.attempt")
    made(tmp_path, f"{place}/..data-00000-of-00001.attempt.0123abcd.partial", f"{place}/_ignored.json")
    made(tmp_path, f"{place}/_report.html", f"{place}/._report.html.0123abcd.partial")
    given = inputs(f"{tmp_path}/photos/**", exclude=["out"])
    summary = summarize_inputs(given, f"{tmp_path}/photos/out", f"{tmp_path}/{place}")
    assert (summary.splits["data"].images, summary.ignored) == (1, 0)


def test_other_files_in_its_folder_are_refused_not_lost(tmp_path: Path) -> None:
    made(tmp_path, "photos/sub/a.jpg", "photos/trail/b.jpg")
    with pytest.raises(OwnOutputError, match=f"b.jpg in {tmp_path}/photos/trail, where the job writes"):
        summarize_inputs(inputs(f"{tmp_path}/photos/**"), f"{tmp_path}/out", f"{tmp_path}/photos/trail")
