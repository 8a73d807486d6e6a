"""Where the audit trail lies: never in what is published, unless an earlier version has put it there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.audit_directory import check_disk, find_audit_directory
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.errors import AccessError
from tests.conftest import as_nobody, audit_of, copy_output, files_of_output
from tests.containers import mount_namespace
from tests.object_stores import Server
from tests.test_end_to_end import FAST, faceveil, files, rows
from tests.test_retry import leave_lock

NAMES = ["data-00000-of-00001.parquet", ".data-00000-of-00001.attempt", "_ignored.json"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out", "out.audit"),
        ("out/", "out.audit"),
        ("a/out//", "a/out.audit"),
        ("{tmp}/out", "{tmp}/out.audit"),
        (".", "{tmp}/here.audit"),
        ("./", "{tmp}/here.audit"),
        ("a/..", "{tmp}/here.audit"),
        ("..", "{tmp}.audit"),
        ("a/.", "{tmp}/here/a.audit"),
        ("caf\u00e9 \udcff", "caf\u00e9 \udcff.audit"),
    ],
)
def test_it_lies_beside_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, expected: str) -> None:
    (tmp_path / "here" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    options = JobOptions(output=output.format(tmp=tmp_path))
    assert find_audit_directory(options) == expected.format(tmp=tmp_path)


def test_where_it_is_named_it_lies_there(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "out" / "records").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "records" / name).touch()
    options = JobOptions(output=f"{tmp_path}/out", records_output=f"{tmp_path}/trail")
    assert find_audit_directory(options) == f"{tmp_path}/trail"


@pytest.mark.parametrize("name", NAMES)
def test_that_of_an_earlier_version_stays_in_use_until_it_is_overwritten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    inside = tmp_path / "out" / "records"
    inside.mkdir(parents=True)
    (inside / "holiday.jpg").touch()
    options = JobOptions(output=f"{tmp_path}/out/")
    assert find_audit_directory(options) == f"{tmp_path}/out.audit"
    (inside / name).touch()
    assert find_audit_directory(options) == str(inside)
    assert "not for publication" in caplog.text
    assert find_audit_directory(JobOptions(output=f"{tmp_path}/out", overwrite=True)) == f"{tmp_path}/out.audit"


@pytest.mark.parametrize("output", ["/", "//", "/tmp/..", "gs://bucket", "gs://bucket/", "s3://bucket//"])  # noqa: S108
def test_a_whole_disk_or_bucket_has_nothing_beside_it(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceveil.pipeline.audit_directory.holds_audit_trail", lambda _: False)
    with pytest.raises(OptionError, match=r"--output .*is a (whole disk|mounted disk|whole bucket).*--records_output"):
        find_audit_directory(JobOptions(output=output))


def test_a_disk_that_is_mounted_at_the_output_would_lose_it(tmp_path: Path) -> None:
    """As containers have it: what lies beside such a folder goes with the container."""
    output = tmp_path / "out"
    output.mkdir()
    look = (
        "import sys\n"
        "from faceveil.pipeline.audit_directory import find_audit_directory\n"
        "from faceveil.pipeline.options import JobOptions\n"
        "find_audit_directory(JobOptions(output=sys.argv[1] + '/below'))\n"
        "find_audit_directory(JobOptions(output=sys.argv[1]))\n"
    )
    mounted = f'mount -t tmpfs -o size=64k tmpfs {output} && exec "$@"'
    command = [*mount_namespace(), "sh", "-c", mounted, "sh", sys.executable, "-c", look, str(output)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()[-1]
    assert said.endswith(
        f"--output {output}: is a mounted disk, so there is no place beside it for the audit trail; name a folder in "
        "it, or one for the audit trail with --records_output"
    )


def test_a_place_that_may_not_be_written_is_told_before_any_work(public_folder: Path) -> None:
    (public_folder / "out").mkdir(mode=0o777)
    os.chmod(public_folder / "out", 0o777)  # noqa: S103
    with as_nobody(), pytest.raises(AccessError, match=rf"{public_folder} may not be written to; --records_output"):
        check_disk(find_audit_directory(JobOptions(output=f"{public_folder}/out")))
    with as_nobody():
        check_disk(f"{public_folder}/out/trail")


def test_in_a_bucket_too(object_store: Server, connect: object) -> None:
    assert callable(connect)
    connect()
    output = f"{object_store.scheme}://outputs/photos/"
    assert find_audit_directory(JobOptions(output=output)) == f"{object_store.scheme}://outputs/photos.audit"
    object_store.put("outputs", "photos/records/data-00000-of-00001.parquet", b"")
    assert find_audit_directory(JobOptions(output=output)) == f"{object_store.scheme}://outputs/photos/records"


@pytest.fixture(scope="module")
def done(centerface: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job; one photo is damaged."""
    assert centerface
    folder = tmp_path_factory.mktemp("done")
    shutil.copytree(photos, folder / "in")
    (folder / "in" / "people" / "anna-schmidt.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "in" / "anna-schmidt.pdf").touch()
    assert job(folder / "in", folder / "out") == 0
    return folder / "out"


def job(inputs: Path, output: Path, *more: object) -> int:
    return faceveil("run", "--input", f"{inputs}/**", "--output", output, "--max_quarantined", 1, *FAST, *more)


def test_the_output_tells_neither_what_was_left_out_nor_who_is_on_it(done: Path) -> None:
    """But for the features of Examples, which are documented, and are left out with --drop_features and --hash_keys."""
    published = [path for path in done.rglob("*") if path.is_file()]
    assert {path.suffix for path in published} == {".tfrecord", ".json"}
    for path in published:
        assert b"anna" not in path.read_bytes()
    trail = {path.name: path for path in audit_of(done).iterdir()}
    assert json.loads(trail["_ignored.json"].read_text())[".pdf"]["examples"] == ["anna-schmidt.pdf"]
    # What pyarrow reads of the folder is the trail alone.
    assert "people/anna-schmidt.jpg" in pq.read_table(audit_of(done))["key"].to_pylist()
    assert rows(done)["people/anna-schmidt.jpg"]["status"] == "quarantined"


def test_an_output_of_an_earlier_version_goes_on_where_it_is(done: Path, tmp_path: Path) -> None:
    inputs, output = done.parent / "in", tmp_path / "out"
    copy_output(done, output)
    audit_of(output).rename(output / "records")
    (output / "records" / "_ignored.json").unlink()
    before = {name: path.stat().st_mtime_ns for name, path in files_of_output(output).items()}
    # It is complete; it is resumed; what was quarantined is tried again.
    assert job(inputs, output) == 0
    assert {name: path.stat().st_mtime_ns for name, path in files_of_output(output).items()} == before
    leave_lock(output)
    next(output.glob("records/*.parquet")).unlink()
    assert job(inputs, output) == 0
    assert job(inputs, output, "--retry_quarantined") == 0
    assert not audit_of(output).exists()
    kept = {name.replace("records/", ".audit/"): checksum for name, checksum in files(output).items()}
    assert kept == files(done)
    # Anew, it is beside the output, and no name is left in it.
    assert job(inputs, output, "--overwrite") == 0
    assert files(output) == files(done)


def test_a_trail_without_its_output_is_refused_not_mixed(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, output = done.parent / "in", tmp_path / "out"
    copy_output(done, output)
    shutil.rmtree(output)
    assert job(inputs, output, "--num_shards", 1) == 4
    said = capsys.readouterr().err
    assert f"{output}.audit: holds _ignored.json of the audit trail of a job whose manifest and lock are not in" in said
    assert job(inputs, output, "--num_shards", 1, "--overwrite") == 0
    names = ["_ignored.json", "_report.html", "data-00000-of-00001.parquet"]
    assert sorted(path.name for path in audit_of(output).iterdir()) == names
