"""A file for each image: at any time all that lies in the output is listed, and nothing that is quarantined does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms import storage
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, ShardResult, Status
from faceveil.transforms.formats.layout import OutputLayout, is_mirrored_name
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.image_shard import listed_files
from faceveil.transforms.shard.record import Outcome, quarantined
from faceveil.transforms.shard.resume import finished_shard, kept_records
from faceveil.transforms.shard.write import write_shard

KEYS = ["a.jpg", "deep/b.png", "deep/er/c", "d.jpg"]


@pytest.fixture
def output(tmp_path: Path) -> OutputLayout:
    return OutputLayout(str(tmp_path / "out"), str(tmp_path / "trail"), "settings", "images")


def plan_of(keys: Sequence[str] = KEYS) -> ShardPlan:
    files = tuple(InputFile("data", key, f"/in/{key}", 1, "1.0", "image") for key in keys)
    return ShardPlan("data", 0, 1, "image", files, "inputs")


def outcome(key: str, bad: Collection[str] = ()) -> Outcome:
    if key in bad:
        return quarantined(key, Quarantine(Reason.EMPTY))
    return Outcome(Row(key, Status.NO_FACES, None, 10, 20, Faces.none()), f"image of {key}".encode())


def write(output: OutputLayout, keys: Sequence[str] = KEYS, bad: Collection[str] = ()) -> ShardResult:
    plan = plan_of(keys)
    result = ShardResult(plan.name, "data", inputs_digest="inputs")
    return write_shard(plan, [outcome(key, bad) for key in keys], output, result, "blur", lambda _: None)()


def content(output: OutputLayout) -> dict[str, bytes]:
    top = Path(output.directory)
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def trail(output: OutputLayout) -> list[str]:
    return sorted(path.name for path in Path(output.audit_directory).iterdir())


def test_a_shard_is_its_files_and_its_rows_say_so(output: OutputLayout) -> None:
    result = write(output, bad=["d.jpg"])
    assert content(output) == {key: f"image of {key}".encode() for key in KEYS[:3]}
    assert trail(output) == ["data-00000-of-00001.parquet"]
    rows = pq.read_table(output.audit_path("data-00000-of-00001")).to_pylist()
    assert [(row["key"], row["shard"], row["index"], row["bytes"]) for row in rows] == [
        *((key, key, 0, len(f"image of {key}")) for key in KEYS[:3]),
        ("d.jpg", None, None, None),
    ]
    listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content(output).items()))
    assert result.sha256 == hashlib.sha256(listed.encode()).hexdigest()
    assert result.bytes == sum(map(len, content(output).values()))
    assert finished_shard(plan_of(), output) == result


@pytest.mark.parametrize("damage", ["gone", "longer", "settings"])
def test_a_shard_that_is_not_whole_is_not_finished(output: OutputLayout, damage: str) -> None:
    write(output)
    path = Path(output.directory) / KEYS[1]
    if damage == "gone":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"!")
    else:
        output = replace(output, settings_digest="others")
    assert finished_shard(plan_of(), output) is None


def test_what_an_attempt_left_goes_when_it_is_quarantined_after_all(output: OutputLayout) -> None:
    """With a trail, with a journal alone, and with neither, as far as the plan knows the name."""
    write(output)
    write(output, bad=["deep/er/c"])
    assert sorted(content(output)) == ["a.jpg", "d.jpg", "deep/b.png"]
    assert not (Path(output.directory) / "deep" / "er").exists()
    write(output)
    Path(output.audit_path("data-00000-of-00001")).rename(Path(output.audit_directory) / "elsewhere")
    Path(output.journal_path("data-00000-of-00001")).write_text(json.dumps(KEYS))
    write(output, keys=["a.jpg", "d.jpg"], bad=["d.jpg"])
    assert sorted(content(output)) == ["a.jpg"]
    assert trail(output) == ["data-00000-of-00001.parquet", "elsewhere"]
    write(output)
    Path(output.audit_path("data-00000-of-00001")).write_bytes(b"damaged")
    write(output, bad=KEYS)
    assert content(output) == {}


def test_while_files_appear_a_journal_lists_them_and_no_trail_says_that_the_shard_is_done(
    output: OutputLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(output, keys=["a.jpg", "gone.jpg"])
    seen: list[tuple[list[str], list[str]]] = []
    replaced = storage.staged.os.replace  # type: ignore[attr-defined]

    def look(source: str, target: str) -> None:
        if not target.startswith(output.audit_directory):
            seen.append((trail(output), listed_files(output.journal_path("data-00000-of-00001"))))
        replaced(source, target)

    monkeypatch.setattr(storage.staged.os, "replace", look)  # type: ignore[attr-defined]
    write(output)
    assert [journal for journal, _ in seen[:4]] == [[".data-00000-of-00001.files"]] * 4
    assert all(set(listed) == {*KEYS, "deep/er/c.png", "gone.jpg"} for _, listed in seen[:4])
    assert sorted(content(output)) == sorted(KEYS)


def test_what_is_written_in_another_format_is_named_so(output: OutputLayout) -> None:
    keys = ["a.dcm", "b", "c.jpg", "d.dcm"]
    plan = plan_of(keys)
    made = [
        replace(outcome(key), row=replace(outcome(key).row, detail="read as dicom, written as png")) for key in keys
    ]
    result = ShardResult(plan.name, "data", inputs_digest="inputs")
    told = write_shard(plan, [*made[:3], outcome("d.dcm")], output, result, "blur", lambda _: None)()
    assert set(content(output)) == {"a.dcm.png", "b.png", "c.jpg", "d.dcm"}
    assert told.converted == 3
    # A second attempt that no longer converts leaves nothing of the first.
    write(output, keys)
    assert set(content(output)) == set(keys)


def test_only_files_that_are_what_was_written_are_kept(output: OutputLayout) -> None:
    write(output, bad=["d.jpg"])
    top = Path(output.directory)
    (top / KEYS[0]).write_bytes(b"IMAGE of a.jpg")  # as long
    (top / KEYS[1]).unlink()
    assert [(item.key, item.serialized) for item in kept_records(plan_of(), output)] == [
        (KEYS[2], f"image of {KEYS[2]}".encode())
    ]


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b'[1, null, "../x", "/x", "a//b", "ok"]', b"7"])
def test_a_journal_that_is_damaged_or_crafted_names_no_file_elsewhere(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").write_bytes(content)
    assert set(listed_files(str(tmp_path / "journal"))) <= {"ok", "1", "None"}
    assert listed_files(str(tmp_path / "none")) == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="a./\0~é", max_size=8))
def test_a_name_that_may_be_mirrored_lies_below_the_output(name: str) -> None:
    if is_mirrored_name(name):
        path = Path("/out") / name
        assert str(path).startswith("/out/")
        assert "/".join(path.parts[2:]) == name
        assert ".." not in path.parts
