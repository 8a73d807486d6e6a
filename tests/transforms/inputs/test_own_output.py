"""Jobs that would read what they write."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from faceveil.transforms.errors import OwnOutputError
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
    made(tmp_path, f"{output}/records/data-00000-of-00001.parquet")
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
        own = OwnOutput(output, f"{output}/records", ["data"])
        listing = Listing([select(pattern, "")], exclusion=Exclusion(shlex.split(glob)), own=own)
        list(list_portions([listing], [listing.portion(0)]))


def test_an_audit_trail_that_a_glob_matches_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "photos/a.jpg")
    with pytest.raises(OwnOutputError, match=f"{tmp_path}/photos/trail, where the job writes"):
        summarize_inputs(inputs(f"{tmp_path}/photos/**"), str(tmp_path / "out"), str(tmp_path / "photos" / "trail"))
