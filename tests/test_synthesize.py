"""The job that draws new faces, as users run it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.cli import main
from tests.conftest import audit_of
from tests.transforms.generators.conftest import export  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("default_detector")
SALT = "5b1e-another-secret-salt"


def run(photos: Path, output: Path, *more: str) -> int:
    flags = ["--method", "synthesize", "--quality", "fast", "--detect_size", "320", *more]
    return main(["run", "--input", f"{photos}/**", "--output", str(output), *flags])


def shards(output: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.glob("*.tfrecord"))]


def test_the_same_salt_gives_the_same_faces_whatever_the_threads(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    assert run(photos, tmp_path / "one") == 0
    monkeypatch.setattr("faceveil.transforms.shard.worker.usable_cores", lambda: 1)
    monkeypatch.setattr("faceveil.transforms.generators.synthesize._IMAGES", 1)
    monkeypatch.setattr("faceveil.transforms.generators.synthesize._BATCH", 1)
    monkeypatch.delenv("FACEVEIL_SALT")
    (tmp_path / "salt").write_text(SALT + "\n")
    assert run(photos, tmp_path / "two", "--salt_file", str(tmp_path / "salt")) == 0
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()
    everything = b"".join(path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert SALT.encode() not in everything
    assert SALT not in caplog.text

    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["job"]["shape"] == "box"
    assert manifest["job"]["generator"]["name"] == "embedded"
    rows = pq.read_table(audit_of(tmp_path / "one")).to_pylist()
    assert {row["method"] for row in rows} == {"synthesize"}
    assert sum(row["fallback_faces"] for row in rows) == manifest["totals"]["fallback_faces"]

    monkeypatch.setenv("FACEVEIL_SALT", "5b1e-yet-another-salt")
    assert run(photos, tmp_path / "one") == 4  # goes on with nothing that another salt has made
    assert run(photos, tmp_path / "three") == 0
    assert shards(tmp_path / "one") != shards(tmp_path / "three")


def test_without_a_salt_nothing_begins(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FACEVEIL_SALT", raising=False)
    assert run(photos, tmp_path / "out") == 2
    assert "--method synthesize: needs a secret salt" in capsys.readouterr().err
    (tmp_path / "empty").touch()
    assert run(photos, tmp_path / "out", "--salt_file", str(tmp_path / "empty")) == 2
    assert run(photos, tmp_path / "out", "--salt_file", str(tmp_path / "gone")) == 2
    assert main(["run", "--input", "a", "--output", "b", "--generator", "c"]) == 2
    assert not (tmp_path / "out").exists()


def test_one_s_own_generator(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    centerface_int8: str,
    export: Callable[..., str],  # noqa: F811
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    assert run(photos, tmp_path / "out", "--generator", centerface_int8) == 5
    assert "is no generator: its inputs must be crop, mask, keypoints, z" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.tfrecord"))
    assert run(photos, tmp_path / "out", "--generator", export(), "--fallback_method", "solid") == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["job"]["generator"]["name"] == "generator"
    assert manifest["job"]["fallback_method"] == "solid"
