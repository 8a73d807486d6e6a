import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faceveil.pipeline.lock import read_lock
from faceveil.pipeline.output import (
    State,
    check_output,
    check_retry,
    check_update,
    clear_output,
    refuse_other_state,
    remove_partial_files,
)
from faceveil.transforms.errors import OutputError
from faceveil.transforms.formats.layout import LOCK_NAME as LOCK
from faceveil.transforms.formats.layout import MANIFEST_NAME as MANIFEST
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.manifest import JobDescription

HERE = JobDescription({"method": "blur", "digest": "here", "settings_digest": "s"}, {"name": "centerface"})
THERE = {"job": {"method": "bar", "digest": "there"}, "model": {"name": "centerface"}}
SAME = {"job": HERE.job, "model": HERE.model}


@pytest.fixture
def output(tmp_path: Path) -> OutputLayout:
    (tmp_path / "out").mkdir()
    return OutputLayout(str(tmp_path / "out"), str(tmp_path / "out.audit"), "here")


def write_manifest(output: OutputLayout, job: dict[str, Any]) -> None:
    (Path(output.directory) / MANIFEST).write_text(json.dumps({"schema": 1, **job}))


def write_lock(output: OutputLayout, job: dict[str, Any] | None) -> None:
    (Path(output.directory) / LOCK).write_text(json.dumps({"host": "h", "pid": None, "time": 0, "job": job}))


def test_an_empty_output_begins(output: OutputLayout) -> None:
    assert check_output(output, HERE, [], read_lock(output.directory)) is State.BEGIN


def test_files_of_others_do_not_matter(output: OutputLayout) -> None:
    (Path(output.directory) / "notes.txt").touch()
    assert check_output(output, HERE, [], read_lock(output.directory)) is State.BEGIN


def test_the_same_job_resumes_or_is_complete(output: OutputLayout) -> None:
    write_lock(output, SAME)
    assert check_output(output, HERE, [], read_lock(output.directory)) is State.RESUME
    write_manifest(output, SAME)
    assert check_output(output, HERE, [], read_lock(output.directory)) is State.COMPLETE


@pytest.mark.parametrize("write", [write_lock, write_manifest])
def test_another_job_is_refused_and_told_what_differs(
    output: OutputLayout, write: Callable[[OutputLayout, dict[str, Any]], None]
) -> None:
    write(output, THERE)
    with pytest.raises(OutputError, match="method: bar there, blur here"):
        check_output(output, HERE, [], read_lock(output.directory))


def test_a_job_that_was_killed_before_it_began_is_no_other_job(output: OutputLayout) -> None:
    write_lock(output, None)
    assert check_output(output, HERE, [], read_lock(output.directory)) is State.BEGIN


def test_what_nobody_knows_is_refused(output: OutputLayout) -> None:
    write_lock(output, {})
    with pytest.raises(OutputError, match="an --overwrite was interrupted"):
        check_output(output, HERE, [], read_lock(output.directory))


def test_a_retry_needs_something_that_was_made_and_does_nothing_where_nothing_was_quarantined(
    output: OutputLayout,
) -> None:
    with pytest.raises(OutputError, match="needs the output of an earlier run; there is none"):
        check_retry(output, HERE, [], None)
    write_lock(output, SAME)
    assert check_retry(output, HERE, [], read_lock(output.directory)) is State.RESUME
    for quarantined, state in ((2, State.RESUME), (0, State.COMPLETE)):
        write_manifest(output, {**SAME, "totals": {"quarantined": quarantined}})
        assert check_retry(output, HERE, [], None) is state
    with pytest.raises(OutputError, match="method: blur there, bar here"):
        check_retry(output, JobDescription({**HERE.job, "method": "bar", "settings_digest": "t"}, HERE.model), [], None)


def test_another_number_of_shards_alone_is_nothing_to_try_again(output: OutputLayout) -> None:
    same = {**HERE.job, "max_pixels": 1, "max_image_bytes": 1, "inputs_digest": "i"}
    write_manifest(output, {"job": {**same, "num_shards": {"data": 1}, "digest": "other"}, "model": HERE.model})
    here = JobDescription({**same, "num_shards": {"data": 16}}, HERE.model)
    with pytest.raises(
        OutputError, match=r"use --overwrite or another --output[^/]*--num_shards and --shard_bytes decide"
    ):
        check_output(output, here, [], None)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("out/data-00000-of-00001.tfrecord", "out"),
        ("out/records/data-00000-of-00001.parquet", "out"),
        ("out.audit/data-00000-of-00001.parquet", "out.audit"),
        ("out.audit/.data-00000-of-00001.attempt", "out.audit"),
    ],
)
def test_files_of_a_job_without_a_manifest_or_lock_are_refused(output: OutputLayout, name: str, folder: str) -> None:
    make_files(output, name)
    with pytest.raises(OutputError, match=rf"{folder}: holds .*-00001\..*use --overwrite or another --output"):
        check_output(output, HERE, [], read_lock(output.directory))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 99}', "\xff"])
def test_a_manifest_that_is_not_ours_is_refused_with_what_to_do(output: OutputLayout, content: str) -> None:
    (Path(output.directory) / MANIFEST).write_text(content)
    with pytest.raises(OutputError, match=r"manifest.json.*use --overwrite or another --output"):
        check_output(output, HERE, [], None)


@pytest.mark.parametrize(("files", "more"), [(9, None), (10, None), (11, "and 1 more"), (25, "and 15 more")])
def test_of_many_changed_files_ten_are_named_and_the_others_counted(
    tmp_path: Path, output: OutputLayout, files: int, more: str | None
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(files):
        (tmp_path / "in" / f"{number:02}.jpg").touch()
    write_manifest(output, {"job": {**HERE.job, "digest": "before"}, "model": HERE.model})
    with pytest.raises(OutputError) as refused:
        check_output(output, HERE, [Input("data", f"{tmp_path}/in/*.jpg")], None)
    named = [line.strip() for line in str(refused.value).splitlines() if ".jpg" in line]
    assert named == [f"{number:02}.jpg: was added" for number in range(min(files, 10))]
    assert str(refused.value).splitlines()[-1].strip() == (more or named[-1])


def test_an_unfinished_output_is_updated_where_only_new_inputs_came(tmp_path: Path, output: OutputLayout) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "new.jpg").touch()
    inputs = [Input("data", f"{tmp_path}/in/*.jpg")]
    same = {**HERE.job, "max_pixels": 1, "max_image_bytes": 1}
    there = {"job": {**same, "inputs_digest": "i", "digest": "before"}, "model": HERE.model}
    here = JobDescription({**same, "inputs_digest": "j"}, HERE.model)
    write_lock(output, there)
    with pytest.raises(OutputError, match="use --update to take in what has changed, --overwrite or another"):
        check_output(output, here, inputs, read_lock(output.directory))
    assert check_update(output, here, inputs, read_lock(output.directory)) is State.RESUME
    write_manifest(output, there)
    assert check_update(output, here, inputs, None) is State.RESUME
    assert check_update(output, replace(here, job={**here.job, "digest": "before"}), inputs, None) is State.COMPLETE


def test_an_update_of_other_settings_or_without_a_known_job_is_refused(output: OutputLayout) -> None:
    assert check_update(output, HERE, [], None) is State.BEGIN
    write_lock(output, {})
    with pytest.raises(OutputError, match="an --overwrite was interrupted"):
        check_update(output, HERE, [], read_lock(output.directory))
    write_manifest(output, {"job": {**HERE.job, "method": "bar", "inputs_digest": "i"}, "model": HERE.model})
    with pytest.raises(OutputError) as refused:
        check_update(output, JobDescription({**HERE.job, "added_shards": {}}, HERE.model), [], None)
    assert [line.strip() for line in str(refused.value).splitlines()[1:]] == ["method: bar there, blur here"]


def test_an_update_that_another_job_has_overtaken_is_refused(output: OutputLayout) -> None:
    """Both were planned, then one was done while the other waited for the lock."""
    refuse_other_state(output.directory, {}, None)
    write_manifest(output, SAME)
    refuse_other_state(output.directory, HERE.job, None)
    with pytest.raises(OutputError, match="another job has just ended there; run the same command again"):
        refuse_other_state(output.directory, {**HERE.job, "inputs_digest": "before"}, None)


def test_clearing_removes_the_job_s_files_and_no_others(output: OutputLayout) -> None:
    """Also what other versions and options have written, which would speak of shards that are gone."""
    kept = [f"out/{LOCK}", "out/notes.txt", "out/train.tfrecord", "out/more/data-00000-of-00001.tfrecord"]
    kept += ["out/records/photos.parquet", "out.audit/photos.parquet", "trail/photos.parquet"]
    gone = ["out/data-00000-of-00001.tfrecord", "out/val-00011-of-00012.tfrecord"]
    for folder in ("out/records", "out.audit", "trail"):
        gone += [f"{folder}/{name}" for name in ("data-00000-of-00001.parquet", "_ignored.json")]
        gone += [f"{folder}/.data-00001-of-00002.attempt", f"{folder}/._ignored.json.0123abcd.partial"]
    gone.append("out/.data-00001-of-00002.tfrecord.0123abcd.partial")
    top = make_files(output, *kept, *gone)
    write_manifest(output, THERE)
    write_lock(output, THERE)
    clear_output(replace(output, audit_directory=str(top / "trail")))
    assert sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()) == sorted(kept)


def test_what_killed_attempts_were_writing_is_removed(output: OutputLayout) -> None:
    kept = ["out/data-00000-of-00001.tfrecord", "out/my.partial", "out.audit/.data-00000-of-00001.attempt"]
    gone = ["out/.data-00000-of-00001.tfrecord.0123abcd.partial"]
    gone.append("out.audit/..data-00000-of-00001.attempt.89abcdef.partial")
    top = make_files(output, *kept, *gone)
    remove_partial_files(output)
    assert sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()) == sorted(kept)


def make_files(output: OutputLayout, *names: str) -> Path:
    """Makes empty files below the folder that holds the output; gives that folder."""
    top = Path(output.directory).parent
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top
