import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest

from faceveil.pipeline import doctor
from faceveil.pipeline.doctor import Finding, diagnose

BROKEN = "raise ImportError('libGL.so.1: cannot open shared object file')"


def run_doctor(**environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit status, and for each thing its state and what is told of it."""
    command = [sys.executable, "-m", "faceveil", "doctor"]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert not ended.stderr
    lines = [line.split(maxsplit=1) for line in ended.stdout.splitlines()]
    return ended.returncode, {what: (state, told) for state, rest in lines for what, _, told in [rest.partition(": ")]}


@pytest.mark.usefixtures("default_detector")
def test_what_a_job_needs_works_here_and_secrets_are_not_told() -> None:
    status, found = run_doctor(FACEVEIL_SALT="not to tell", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="hide")  # noqa: S106
    assert status == 0
    assert not [what for what, (state, _) in found.items() if state == "failed"]
    for what in ("apache-beam", "pyjpegio", "OpenVINO", "detector yunet-s", "JPEG", "AVIF", "HEIC", "s3://", "salt"):
        assert found[what][0] == "ok", found[what]
    assert not [told for _, told in found.values() if "not to tell" in told or "hide" in told]


def test_a_tensorflow_io_that_does_not_work_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._tensorflow_io() == Finding(doctor._OF_TFIO, "missing", ANY)
    (tmp_path / "tensorflow_io.py").write_text("raise ImportError('built for another TensorFlow')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    found = doctor._tensorflow_io()
    assert isinstance(found, Finding)
    assert "built for another TensorFlow" in found.told


def test_what_does_not_work_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name, value in {
        "FACEVEIL_CACHE": f"{tmp_path}/file/cache",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": "",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("FACEVEIL_SALT", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    statements = {"pillow": BROKEN, "numpy": "import os; os.abort()", "no-such-package": "pass"}
    monkeypatch.setattr(doctor, "_LIBRARIES", statements)
    found = {finding.what: finding for finding in diagnose()}
    for what, state, told in (
        ("pillow", "failed", "cannot be imported: ImportError: libGL.so.1: cannot open shared object file"),
        ("numpy", "failed", "cannot be imported: status -6"),
        ("no-such-package", "failed", "is not installed; install faceveil again"),
        ("cache", "failed", "Not a directory"),
        ("cache", "failed", "FACEVEIL_CACHE names another folder"),
        ("gs://", "missing", "gcloud auth application-default login"),
        ("salt", "missing", "--salt_file"),
        ("temporary folder", "ok", "GiB free"),
    ):
        assert found[what].state == state
        assert told in found[what].told
