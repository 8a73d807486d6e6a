"""The whole job as a function: what the command does, in a process of its own, and its errors as exceptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import faceveil
from faceveil.pipeline.caller import answer_error, answer_manifest, manifest_of
from faceveil.pipeline.lock import hold_lock
from faceveil.pipeline.run import run
from faceveil.transforms.errors import OutOfMemoryError, WorkerDiedError
from tests.conftest import ROOT, audit_of
from tests.test_crashes import WEAKNESS, with_comment
from tests.test_end_to_end import examples, files, rows

SMALL: dict[str, Any] = {"detect_size": 320, "num_shards": 2}


@pytest.mark.usefixtures("default_detector")
def test_a_job_is_done_once_and_gives_its_manifest(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    before = dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    splits = {"train": [photos / "things" / "r*", f"{photos}/things/co*"], "val": photos / "people" / "**"}
    manifest = run(input=splits, output=output, method="solid", direct_num_workers=1, **SMALL)
    assert manifest == json.loads((output / "manifest.json").read_text())
    assert (manifest["totals"]["anonymized"], manifest["totals"]["no_faces"]) == (3, 2)
    assert {name: split["records"] for name, split in manifest["splits"].items()} == {"train": 2, "val": 3}
    assert manifest["job"]["method"] == "solid"
    assert (dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]) == before
    written = files(output)
    assert "is complete already" not in capfd.readouterr().err
    globs = (f"train={photos}/things/r*", f"train={photos}/things/co*", f"val={photos}/people/**")
    options = faceveil.JobOptions(input=globs, output=str(output), **SMALL)
    assert run(options, method="solid") == manifest
    told = capfd.readouterr()
    assert "is complete already; nothing is done" in told.err
    assert told.out == ""
    assert files(output) == written
    with pytest.raises(faceveil.OutputError, match="method: solid there, bar here"):
        run(options, method="bar")
    assert "holds another job's data" not in capfd.readouterr().err  # once is enough


@pytest.mark.usefixtures("default_detector")
def test_more_in_quarantine_than_allowed_is_an_error_that_has_the_manifest(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    (tmp_path / "in" / "a\udcff😀.jpg").write_bytes(photo)
    (tmp_path / "in" / "b.jpg").write_bytes(photo[:5000])
    job: dict[str, Any] = {"input": str(tmp_path / "in" / "a\udcff*"), "output": tmp_path / "a\udcff😀"}
    assert run(**job, **SMALL)["totals"]["records"] == 1
    job = {"input": tmp_path / "in" / "*", "output": tmp_path / "out"}
    with pytest.raises(faceveil.TooManyQuarantinedError, match=r"50\.0% of the records are quarantined") as raised:
        run(**job, **SMALL)
    assert raised.value.manifest["quarantined_for"] == {"truncated": 1}
    assert raised.value.manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "out"}, "--input: is required"),
        ({"input": "in"}, "--output: is required"),
        ({"input": "in", "output": "out", "metod": "bar"}, "--metod: unrecognized argument; did you mean method"),
        ({"input": "in", "output": "out", "score_threshold": 2}, "--score_threshold 2: must be more than 0"),
        ({"input": "in", "output": "out", "input_": 1}, "--input_: unrecognized argument"),
        ({"input": 5, "output": "out"}, "--input 5: must be a text"),
        ({"input": "in", "output": "out", "method": "bar", "strength": 0.5}, "--strength: is for blur and pixelate"),
        ({"input": "in", "output": "out", "method": "synthesize"}, "needs a secret salt"),
        ({"input": "in", "output": "out", "runner": "NoSuchRunner"}, "--runner NoSuchRunner: must be one of"),
        ({"input": "in", "output": "out", "no_wait": True}, "--no_wait: is for the command"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_started(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEVEIL_SALT", "")
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(faceveil.OptionError, match=said):
        run(**options)
    assert os.listdir() == []


@pytest.mark.usefixtures("default_detector")
def test_what_the_job_finds_wrong_has_its_type(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job: dict[str, Any] = {"input": f"{photos}/**", "output": tmp_path / "out", **SMALL}
    with pytest.raises(faceveil.AccessError, match="nothing"):
        run(input=tmp_path / "nothing" / "*.jpg", output=tmp_path / "out")
    with pytest.raises(faceveil.ModelError, match="--model no-such-model"):
        run(**job, model="no-such-model")
    with pytest.raises(faceveil.OptionError, match="an option of Beam has a wrong value"):
        run(**job, direct_num_workers="several")
    assert "--direct_num_workers: invalid int value: 'several'" in capfd.readouterr().err
    with hold_lock(str(tmp_path / "out")), pytest.raises(faceveil.OutputError, match=f"process {os.getpid()} on "):
        run(**job)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("default_detector")
def test_a_crash_costs_one_record_and_not_this_process(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(WEAKNESS)
    monkeypatch.syspath_prepend(tmp_path / "site")  # a program's modules are found by the job's process, too
    (tmp_path / "in").mkdir()
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    (tmp_path / "in" / "a.jpg").write_bytes(photo)
    (tmp_path / "in" / "crash.jpg").write_bytes(with_comment(photo, b"CRASH"))
    manifest = run(input=tmp_path / "in" / "*", output=tmp_path / "out", max_quarantined=1, detect_size=320)
    assert manifest["quarantined_for"] == {"crashed": 1}
    assert "faceveil: crashed (SIGSEGV); the job resumes" in capfd.readouterr().err
    assert list(examples(tmp_path / "out")) == ["a.jpg"]


PHOTOS = 300
"""Enough that the job is still at work when it is interrupted."""
_CALLER = """
import signal, sys
import faceveil
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of shells begin by ignoring it
try:
    faceveil.run(input=sys.argv[1], output=sys.argv[2], num_shards=20, detect_size=320)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.usefixtures("default_detector")
@pytest.mark.parametrize("by_terminal", [True, False], ids=["a terminal", "a notebook"])
def test_ctrl_c_ends_the_job_and_is_raised_and_the_same_call_resumes(
    photos: Path, tmp_path: Path, by_terminal: bool
) -> None:
    (tmp_path / "in").mkdir()
    photo = (photos / "people" / "astronaut.JPG").read_bytes()
    for number in range(PHOTOS):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(photo)
    output = tmp_path / "out"
    command = [sys.executable, "-c", _CALLER, f"{tmp_path}/in/*", str(output)]
    caller = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not list(audit_of(output).glob("*.parquet")):
        assert caller.poll() is None
        time.sleep(0.01)
    # A terminal sends it to all processes, Jupyter's kernels get it alone.
    (os.killpg if by_terminal else os.kill)(caller.pid, signal.SIGINT)
    said, _ = caller.communicate(timeout=120)
    assert (caller.returncode, said) == (0, "interrupted\n")
    assert json.loads((output / ".faceveil-lock.json").read_text())["pid"] is None
    made = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    assert 0 < len(made) < 20
    manifest = run(input=tmp_path / "in" / "*", output=output, num_shards=20, detect_size=320)
    assert manifest["totals"]["records"] == len(rows(output)) == PHOTOS
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())


@pytest.mark.usefixtures("default_detector")
def test_a_job_whose_process_is_killed_is_an_error(photos: Path, tmp_path: Path) -> None:
    weakness = "import os, sys\nif 'run' in sys.argv: os._exit(9)\n"
    (tmp_path / "sitecustomize.py").write_text(weakness)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(WorkerDiedError, match=r"the job's process has died \(exit status 9\)"):
            run(input=f"{photos}/**", output=tmp_path / "out", **SMALL)
    finally:
        sys.path.remove(str(tmp_path))


def test_answers_come_back_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not answer_manifest({})  # nobody has asked
    monkeypatch.setenv("FACEVEIL_ANSWER", str(tmp_path / "answer"))
    assert answer_manifest({"totals": {"records": 1}})
    assert manifest_of(json.loads((tmp_path / "answer").read_text())) == {"totals": {"records": 1}}
    for error in (OutOfMemoryError("too\nlittle"), faceveil.OutputError("\udcff"), faceveil.Error("?")):
        assert answer_error(error)
        with pytest.raises(type(error)) as raised:
            manifest_of(json.loads((tmp_path / "answer").read_text()))
        assert str(raised.value) == str(error)
        assert isinstance(raised.value, faceveil.Error)
