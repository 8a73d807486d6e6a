"""Which files are found, on disks and in buckets, and which folders and files stop a job."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from faceveil.transforms.errors import AccessError, OwnOutputError
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.globs import translate_glob
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input, Inputs, list_inputs
from faceveil.transforms.inputs.summary import InputSummary, summarize_inputs
from tests.conftest import as_nobody
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
RECORDS = frame(b"one") + frame(b"two")
CONTENTS = {
    "image": (JPEG, "img a.jpg_large a.jpg.1 a.hif a.insp a.jps a.JPG~ a.dat a.jpg?w=1 0123abcd"),
    "tfrecord": (RECORDS, "train.record x.records x.tf_record x.tfr part-r-00000 train-0-of-8 train TRAIN"),
    "gzip": (gzip.compress(RECORDS), "train.record.gz part-00000.gz z"),
    "zlib": (zlib.compress(RECORDS), "train.record.zlib zz"),
    "text": (b"Some text.", "LICENSE notes.dat a.json .DS_Store ._a.jpg Thumbs.db desktop.ini .part-r-00000.crc"),
    "empty": (b"", "_SUCCESS part-r-00001"),
}
KINDS = {
    name: {"gzip": "tfrecord", "zlib": "tfrecord"}.get(content, content)
    for content, (_, names) in CONTENTS.items()
    if content not in ("text", "empty")
    for name in names.split()
}
IGNORED = sorted(name for content in ("text", "empty") for name in CONTENTS[content][1].split())


def inputs(*patterns: str, exclude: Sequence[str] = (), **more: object) -> list[Input]:
    return [
        Input("data", pattern.removeprefix("@"), is_list=pattern.startswith("@"), exclude=tuple(exclude), **more)  # type: ignore[arg-type]
        for pattern in patterns
    ]


def keys(*patterns: str, exclude: Sequence[str] = ()) -> list[str]:
    given = inputs(*patterns, exclude=exclude)
    return sorted(file.key for number in range(len(given)) for file in list_inputs(given, number))


def made(folder: Path, *names: str, data: bytes = JPEG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def summary_of(*patterns: str, exclude: Sequence[str] = (), output: str = "elsewhere", **more: object) -> InputSummary:
    return summarize_inputs(inputs(*patterns, exclude=exclude, **more), output)


def check_every_name(pattern: str) -> None:
    assert {file.key: file.kind for file in list_inputs(inputs(pattern), 0)} == KINDS
    summary = summary_of(pattern)
    assert summary.ignored == len(IGNORED) == sum(ending["files"] for ending in summary.ignored_files.values())
    examples = [key for ending in summary.ignored_files.values() for key in ending["examples"]]
    assert set(examples) <= set(IGNORED)
    assert {".json", ".crc", ".db", ".ini", ".jpg", ".dat", "no ending"} == set(summary.ignored_files)


def test_whatever_the_name_the_first_bytes_tell(tmp_path: Path) -> None:
    for data, names in CONTENTS.values():
        made(tmp_path, *names.split(), data=data)
    check_every_name(f"{tmp_path}/**")


def test_whatever_the_name_the_first_bytes_tell_in_buckets(
    object_store: Server, connect: Callable[..., FaultyProxy]
) -> None:
    connect(page_size=7)
    for data, names in CONTENTS.values():
        for name in names.split():
            object_store.put("inputs", f"names/{name}", data)
    check_every_name(f"{object_store.scheme}://inputs/names/**")


def test_a_name_that_tells_saves_the_look(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "x.tfrecord", "x.tfrecord-00000-of-00001", data=b"")
    assert summary_of(str(tmp_path)).splits["data"].images == 1
    assert summary_of(str(tmp_path)).splits["data"].record_files == 2


def test_a_file_that_is_named_is_looked_into_whatever_its_name(tmp_path: Path) -> None:
    made(tmp_path, "a.txt", "._b", ".c.json", "__MACOSX/d")
    for name in ("a.txt", "._b", ".c.json", "__MACOSX/d"):
        assert keys(f"{tmp_path}/{name}") == [name.rpartition("/")[2]]
    with pytest.raises(AccessError, match="matches 1 files, none with the ending of an image"):
        summary_of(f"{made(tmp_path, 'e.txt', data=b'text')}/e.txt")


def test_what_is_ignored_is_told_by_ending_with_reason_and_example(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "b.json", "a.json", "sub/c.JSON", "anna.weber")
    (tmp_path / "anna.weber").write_bytes(b"text")
    told = summary_of(str(tmp_path)).ignored_files
    assert told[".json"] == {
        "files": 3,
        "reasons": {"no image or TFRecord by its ending": 3},
        "examples": ["a.json", "b.json", "sub/c.JSON"],
    }
    assert told[".weber"]["examples"] == ["anna.weber"]


def test_names_of_ignored_files_are_hidden_where_all_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "a.jpg", "anna.json")
    made(tmp_path, "anna.weber", data=b"text")
    told = summary_of(str(tmp_path), key_hash=KeyHash(b"salt")).ignored_files
    assert set(told) == {".json", "other"}
    assert "anna" not in str(told) + caplog.text


def test_a_file_that_may_not_be_read_is_an_error_that_names_it(public_folder: Path) -> None:
    made(public_folder, "a.jpg", "b.jpg", "c.json")
    (public_folder / "b.jpg").chmod(0)
    (public_folder / "c.json").chmod(0)
    with as_nobody():
        with pytest.raises(AccessError, match=f"{public_folder}/b.jpg: cannot be read: Permission denied"):
            summary_of(str(public_folder))
        assert summary_of(str(public_folder), exclude=["b.*"]).ignored == 1


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_out_of_reach_stops_only_who_would_look_there(public_folder: Path, mode: int) -> None:
    made(public_folder, "a.jpg", "private/b.jpg", "sub/c.jpg", "lost+found/d.jpg")
    (public_folder / "private").chmod(mode)
    (public_folder / "lost+found").chmod(0)
    try:
        with as_nobody():
            for pattern in ("**", "*/*.jpg", "**/c.jpg", "", "priv*/b.jpg"):
                with pytest.raises(AccessError, match=f"{public_folder}/private: .*Permission denied"):
                    keys(f"{public_folder}/{pattern}")
            assert keys(f"{public_folder}/*.jpg") == ["a.jpg"]
            assert keys(f"{public_folder}/s*/**") == ["sub/c.jpg"]
            for glob in ("private", "private/**", f"{public_folder}/private", "priv*"):
                assert keys(f"{public_folder}/**", exclude=[glob]) == ["a.jpg", "sub/c.jpg"]
            # What systems keep for themselves is nobody's data.
            told = summary_of(f"{public_folder}/**", exclude=["private"]).ignored_files
            assert told["no ending"]["examples"] == ["lost+found"]
    finally:
        for name in ("private", "lost+found"):
            (public_folder / name).chmod(0o755)


@pytest.mark.parametrize("target", ["gone", "link"])
def test_a_link_to_nothing_that_may_have_led_to_a_folder_is_an_error_that_names_it(tmp_path: Path, target: str) -> None:
    made(tmp_path, "a.jpg")
    (tmp_path / "link").symlink_to(target)
    for pattern in ("**", "**/*.jpg", "*/*.jpg", ""):
        with pytest.raises(AccessError, match=f"{tmp_path}/link: is a link to nothing"):
            keys(f"{tmp_path}/{pattern}")
    assert keys(f"{tmp_path}/*.jpg") == keys(f"{tmp_path}/**", exclude=["link"]) == ["a.jpg"]


def test_a_link_to_nothing_with_the_name_of_a_file_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("gone")
    (tmp_path / "b.json").symlink_to("gone")
    assert keys(f"{tmp_path}/**") == ["a.jpg"]
    assert summary_of(f"{tmp_path}/**").ignored == 1


def test_what_is_no_file_is_accounted_for_and_never_waited_for(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "up").symlink_to(tmp_path)
    summary = summary_of(str(tmp_path))
    assert (summary.splits["data"].images, summary.ignored) == (2, 2)
    assert summary.ignored_files["no ending"]["reasons"] == {"no regular file": 2}


SPELLINGS = ("photos/**", "./photos/**", "{tmp}/photos/**", "link/**", "photos/../photos/**", "photos/")


@pytest.mark.parametrize("first", SPELLINGS)
@pytest.mark.parametrize("second", SPELLINGS)
def test_no_file_is_read_twice_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    made(tmp_path, "photos/a.jpg", "photos/sub/b.jpg")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "list").write_text(f"{second.format(tmp=tmp_path)}\nphotos/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    for again in (second.format(tmp=tmp_path), "@list"):
        assert len(keys(first.format(tmp=tmp_path), again)) == 2


def test_odd_names_are_matched_by_themselves(tmp_path: Path) -> None:
    names = [
        "a b.jpg",
        "a\nb.jpg",
        "😀.jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "x" * 251 + ".jpg",
        "a\\b.jpg",
        "-.jpg",
    ]
    names += ["*.jpg", "a?.jpg", "[a].jpg", "a=b.jpg", "@a.jpg", "~a.jpg", "#a.jpg", "%41.jpg", " .jpg", "\udcff.jpg"]
    made(tmp_path, *names)
    assert len(keys(f"{tmp_path}/**")) == len(names)
    for name in names:
        assert len(keys(f"{tmp_path}/{name}")) == 1, name
    (tmp_path / "list").write_bytes(b"\n".join(os.fsencode(tmp_path / name) for name in names if "\n" not in name))
    assert len(keys(f"@{tmp_path}/list")) == len(names) - 1


def test_a_list_gives_keys_below_what_its_lines_have_in_common(tmp_path: Path) -> None:
    made(tmp_path, "p/a.jpg", "p/b/a.jpg", "p/b/c.jpg", "p/d/e/f.jpg", "p/d/g.png")
    made(tmp_path, "p/d/h.json", data=b"{}")
    lines = ["p/a.jpg", "p/b/a.jpg", "p/b/a.jpg", "p/d/**", "p/d/e", "p/b/[c].jpg", "p/d/h.json"]
    (tmp_path / "list").write_text("\n".join(f"{tmp_path}/{line}" for line in lines))
    expected = ["a.jpg", "b/a.jpg", "b/c.jpg", "d/e/f.jpg", "d/g.png"]
    assert keys(f"@{tmp_path}/list") == expected
    assert keys(f"@{tmp_path}/list", f"{tmp_path}/p/**") == expected
    assert keys(f"@{tmp_path}/list", exclude=["*.png", "d/e"]) == ["a.jpg", "b/a.jpg", "b/c.jpg"]
    assert summary_of(f"@{tmp_path}/list").ignored == 1
    (tmp_path / "one").write_text(f"{tmp_path}/p/d/**")
    assert keys(f"@{tmp_path}/one") == keys(f"{tmp_path}/p/d/**")


@pytest.mark.parametrize(("line", "said"), [("gone.jpg", "does not exist"), ("gone/*.jpg", "does not exist")])
def test_a_line_of_a_list_that_leads_nowhere_is_named(tmp_path: Path, line: str, said: str) -> None:
    made(tmp_path, "a.jpg")
    (tmp_path / "list").write_text(f"{tmp_path}/a.jpg\n\n{tmp_path}/{line}\n")
    with pytest.raises(AccessError, match=rf"--input @{tmp_path}/list, line 3: {tmp_path}/gone.*: .*{said}"):
        keys(f"@{tmp_path}/list")


def test_paths_and_lists_in_buckets(object_store: Server, connect: Callable[..., FaultyProxy]) -> None:
    connect()
    bucket = f"{object_store.scheme}://inputs"
    names = ["a.jpg", "sub/b.jpg", "C:\\photos\\c.jpg", "odd[1].jpg", "d e.jpg", "sub/é.jpg"]
    for name in names:
        object_store.put("inputs", f"odd/{name}", JPEG)
    assert keys(f"{bucket}/odd/**") == keys(f"{bucket}/odd/") == keys(f"{bucket}/odd") == sorted(names)
    for name in names:
        assert keys(f"{bucket}/odd/{name}") == [name.rpartition("/")[2]]
    assert keys(f"{bucket}/odd/**", exclude=["sub", "c:*"]) == ["a.jpg", "d e.jpg", "odd[1].jpg"]
    assert keys(f"{bucket}/odd/sub/**", f"{bucket}/odd/**") == sorted(
        ["b.jpg", "é.jpg", *(name for name in names if not name.startswith("sub/"))]
    )
    lines = [f"{bucket}/odd/a.jpg", f"{bucket}/odd/sub/*", f"{bucket}/odd/a.jpg"]
    object_store.put("inputs", "lists/list.txt", "\n".join(lines).encode())
    assert keys(f"@{bucket}/lists/list.txt") == ["a.jpg", "sub/b.jpg", "sub/é.jpg"]
    object_store.put("inputs", "lists/list.txt", f"{bucket}/odd/gone.jpg".encode())
    with pytest.raises(AccessError, match=r"list.txt, line 1: .*gone.jpg: does not exist"):
        keys(f"@{bucket}/lists/list.txt")
    with pytest.raises(OwnOutputError, match="its own output"):
        summary_of(f"{bucket}/odd/**", output=f"{bucket}/odd/out")
    summary_of(f"{bucket}/odd/**", output=f"{bucket}/odd-out")
    summary_of(f"{bucket}/odd/*.jpg", output=f"{bucket}/odd/out")
    summary_of(f"{bucket}/odd/**", output=f"{bucket}/odd/out", exclude=["out"])


@pytest.fixture(scope="module")
def folders(object_store: Server) -> list[str]:
    """Names of objects in many folders of a bucket, nested and not."""
    names = [f"many/{folder:02}/{number:02}.jpg" for folder in range(12) for number in range(20)]
    names += [f"many/05/{sub}/{number}.jpg" for sub in ("thumbs", "raw") for number in range(15)]
    names += [f"many/{folder:02}/raw/x.jpg" for folder in range(5)]
    names += [f"many/{number}.jpg" for number in range(12)] + ["many/05/raw/a/b/c.jpg", "many/05-6/d.jpg"]
    for name in names:
        object_store.put("inputs", name, JPEG)
    return names


@pytest.mark.parametrize(
    ("pattern", "exclude"),
    [("**", ()), ("**", ("thumbs", "07")), ("*/*", ()), ("*", ()), ("*/raw/**", ()), ("0[0-4]*/**/*.jpg", ("raw",))],
)
def test_buckets_are_listed_side_by_side_and_by_workers_with_every_file_once(
    object_store: Server,
    connect: Callable[..., FaultyProxy],
    folders: list[str],
    pattern: str,
    exclude: tuple[str, ...],
) -> None:
    proxy = connect(page_size=10, share=0.05)
    top = f"{object_store.scheme}://inputs/"
    given = inputs(f"{top}many/1*.jpg", f"{top}many/{pattern}", exclude=exclude)
    expression = translate_glob(f"many/{pattern}")
    excluded = re.compile(rf"many/(.*/)?({'|'.join(exclude) or '(?!)'})(/.*)?")
    expected = {
        name
        for name in folders
        if expression.fullmatch(name) and not excluded.fullmatch(name) and not re.fullmatch(r"many/1[^/]*", name)
    }
    assert sorted(file.path.removeprefix(top) for file in list_inputs(given, 1)) == sorted(expected)
    assert proxy.requests < 150  # listed one after the other they are 30 pages
    if pattern == "*":  # what lies deeper is not asked for
        assert proxy.requests < 15
    some = Inputs(given)
    portions = [portion for portion in some.spread() if portion.number == 1]
    assert pattern == "*" or not object_store.has_pages or len(portions) > 4
    spread = [file.path.removeprefix(top) for each in portions for _, file in Inputs(given).files([each])]  # type: ignore[union-attr]
    assert sorted(spread) == sorted(expected)


def test_what_is_left_out_of_buckets_counts_alike_whatever_the_pages(
    object_store: Server, connect: Callable[..., FaultyProxy], folders: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert folders
    caplog.set_level("INFO")
    for page_size in (3, 10, 1000):
        connect(page_size=page_size)
        caplog.clear()
        summary_of(f"{object_store.scheme}://inputs/many/**", exclude=["raw", "07", "1.jpg"])
        assert "--exclude leaves out 9 files and folders" in caplog.text


def test_what_is_left_out_in_vain_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "a.jpg", "b.png", "c/d.jpg")
    caplog.set_level("INFO")
    summary_of(f"{tmp_path}/**", exclude=["*.png", "c", "Private"])
    assert "--exclude leaves out 2 files and folders" in caplog.text
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "--exclude Private: matches nothing that the inputs hold"
    ]
    with pytest.raises(AccessError, match="matches nothing but what --exclude leaves out"):
        summary_of(f"{tmp_path}/**", exclude=["*"])


def test_a_glob_that_matches_nothing_says_what_may_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "photos[1]/a.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AccessError, match=r"photos\[1\]/\*\*: matches no file; .*; \[ \] stand for one .*, \[\[\] for"):
        summary_of("photos[1]/**")
    assert keys("photos[[]1]/**") == keys(r"photos\[1]/**") == ["photos[1]/a.jpg"]
    assert keys("photos[1]") == ["a.jpg"]
    with pytest.raises(
        AccessError, match="2024/ does not exist; it is read as the split date, a path would begin with"
    ):
        summarize_inputs([Input("date", "2024/**", True)], "elsewhere")
