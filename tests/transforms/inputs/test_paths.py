"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.globs import translate_glob
from faceveil.transforms.inputs.paths import as_path, read_path_list


def test_a_tilde_is_the_home_folder_unless_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert as_path("~/photos/**", glob=True) == "/home/somebody/photos/**"
    assert as_path("~") == "/home/somebody"
    assert as_path("a~/b") == "a~/b"
    assert as_path("~nobody-of-this-name/a") == "~nobody-of-this-name/a"
    (tmp_path / "~").mkdir()
    assert as_path("~/photos") == "~/photos"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_the_url_of_any_path_is_that_path(path: str) -> None:
    path = "/" + path.lstrip("/")
    for start in ("file://", "FILE://", "file://localhost"):
        assert as_path(start + quote(path)) == path
        assert translate_glob(as_path(start + quote(path), glob=True)).fullmatch(path)


def test_what_a_url_does_not_encode_is_special() -> None:
    assert as_path("file:///a/*%2A[1].jpg", glob=True) == "/a/*[*][1].jpg"
    assert as_path("file://host/a") == "file://host/a"
    assert as_path("gs://bucket/a%20b") == "gs://bucket/a%20b"
    assert as_path("a%20b") == "a%20b"


def test_a_list_has_one_path_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa.jpg\r\n\n  b c.jpg \n#d.jpg\nfile:///e%20f\n".encode() + b"\xff.jpg")
    assert read_path_list(str(path)) == ["a.jpg", "", "  b c.jpg ", "#d.jpg", "/e f", "\udcff.jpg"]


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "holds no path"), (b"\n\r\n", "holds no path"), (b"\xff\xd8\xff\0", "is no list of paths")]
)
def test_what_is_no_list_is_an_error_that_names_it(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(AccessError, match=f"--input @{tmp_path}/list: {said}"):
        read_path_list(str(tmp_path / "list"))
    with pytest.raises(AccessError, match="--input @nowhere: cannot be read"):
        read_path_list("nowhere")
