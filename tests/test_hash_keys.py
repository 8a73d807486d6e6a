"""--hash_keys as users run it: no name of a file is left anywhere, and reruns and retries work as with names."""

from __future__ import annotations

import hmac
import itertools
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input, hash_position, list_inputs
from faceveil.transforms.inputs.plan import shard_of
from tests.conftest import audit_of
from tests.test_end_to_end import FAST, examples, faceveil, files, rows

pytestmark = pytest.mark.usefixtures("centerface")
SALT = "7f3c9a-a-secret-salt"
NAMES = ["anna-schmidt.jpg", "bob-miller.png", "carl-jones.jpg", "dora-weber.jpg", "emil-nowak.tfrecord", "frida-lang"]


def hashed(name: str, salt: str = SALT) -> str:
    """As docs/output.md tells users to find a file."""
    return hmac.new(salt.encode(), name.encode(), "sha256").hexdigest()[:32]


@pytest.fixture(autouse=True)
def _salted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)


@pytest.fixture(scope="module")
def people(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, a damaged one, a pipe, and a TFRecord file of two records, all named after people."""
    folder = tmp_path_factory.mktemp("people")
    rocket, coffee = (photos / "things" / name for name in ("rocket.jpg", "coffee.jpg"))
    (folder / "frida-lang").mkdir()
    shutil.copy(rocket, folder / "anna-schmidt.jpg")
    shutil.copy(coffee, folder / "frida-lang" / "bob-miller.png")
    (folder / "carl-jones.jpg").write_bytes(rocket.read_bytes()[:1000])
    os.mkfifo(folder / "dora-weber.jpg")
    with tf.io.TFRecordWriter(str(folder / "emil-nowak.tfrecord")) as writer:
        for data in (rocket.read_bytes(), b"no image"):
            values = tf.train.BytesList(value=[data])
            features = tf.train.Features(feature={"image/encoded": tf.train.Feature(bytes_list=values)})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return folder


def job(inputs: Path, output: Path, *more: object, split: str = "") -> int:
    given = ("run", "--input", f"{split}{inputs}/**", "--output", output, "--num_shards", 3, "--max_quarantined", 1)
    return faceveil(*given, *FAST, *more)


def test_keys_are_hashes_and_no_name_is_left(people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert job(people, tmp_path, "--hash_keys", split="team=") == 0
    records = hashed("emil-nowak.tfrecord")
    images = [hashed(name) for name in ("anna-schmidt.jpg", "frida-lang/bob-miller.png")]
    damaged = [hashed(name) for name in ("carl-jones.jpg", "dora-weber.jpg")]
    found = examples(tmp_path)
    assert set(found) == {f"team/{key}" for key in (*images, f"{records}#0")}
    assert set(rows(tmp_path)) == set(found) | {f"team/{key}" for key in (*damaged, f"{records}#1")}
    for key in images:
        assert found[f"team/{key}"]["image/filename"].bytes_list.value == [f"team/{key}".encode()]
    said = "".join(capfd.readouterr())
    assert f"quarantined team/{damaged[0]}: truncated" in said
    written = said
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        written += path.read_bytes().decode("latin-1") + path.name
        if path.suffix == ".parquet":  # which is compressed
            written += f"{pq.read_table(path).to_pylist()}{pq.read_metadata(path).metadata}"
    for secret in (*NAMES, SALT, str(people)):
        assert secret.partition(".")[0] not in written


def test_the_number_of_a_shard_does_not_tell_which_names_a_hash_cannot_have(photos: Path, tmp_path: Path) -> None:
    # With the place of the name itself, whoever guesses it could refute most guesses by the number of the shard.
    assert job(photos, tmp_path / "plain") == 0
    assert job(photos, tmp_path / "hashed", "--hash_keys") == 0
    plain, hidden = rows(tmp_path / "plain"), rows(tmp_path / "hashed")
    assert {hashed(key) for key in plain} == set(hidden)
    for number, key in ((shard_of(hash_position(key), 3), key) for key in hidden):
        assert hidden[key]["shard"] == f"data-{number:05}-of-00003.tfrecord"
    for number, key in ((shard_of(hash_position(key), 3), key) for key in plain):
        assert plain[key]["shard"] == f"data-{number:05}-of-00003.tfrecord"
    for path in audit_of(tmp_path / "hashed").glob("*.parquet"):
        keys = pq.read_table(path)["key"].to_pylist()
        assert keys == sorted(keys)  # the order of the names would tell who is who


def test_shards_of_hashed_keys_depend_on_the_salt(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"person-{number}.jpg").touch()
    places = [
        [shard_of(file.place, 10) for file in list_inputs([Input("data", f"{tmp_path}/*", False, key_hash)], 0) if file]
        for key_hash in (None, KeyHash(b"salt"), KeyHash(b"another"))
    ]
    for one, other in itertools.combinations(places, 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 50  # 20 by chance


def test_features_that_hold_names_of_files_are_reported_once(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    held = {
        "source": b"emil-nowak.tfrecord",
        "source_stem": b"EMIL-NOWAK",
        "text": b"recorded with Emil-Nowak, in 2024",
        "image/filename": b"people/anna.JPG",
        "dropped": b"emil-nowak",
        "label": b"emil",
        "caption": b"emil-nowakowski and jpg files",
    }
    folder = tmp_path / "in"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "emil-nowak.tfrecord")) as writer:
        for _ in range(3):
            record = {name: feature(value) for name, value in held.items()}
            record["image/encoded"] = feature((photos / "things" / "rocket.jpg").read_bytes())
            writer.write(tf.train.Example(features=tf.train.Features(feature=record)).SerializeToString())
    for more in ((), ("--hash_keys",)):
        capfd.readouterr()
        assert job(folder, tmp_path / f"out{len(more)}", "--drop_features", "dropped", *more) == 0
        said = capfd.readouterr().err
        for name in held:
            told = said.count(f"feature {name} holds names of files")
            assert told == (bool(more) and name in ("source", "source_stem", "text", "image/filename")), name
    assert "anna" not in said.lower()


def test_a_missing_salt_is_an_error_before_any_work(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for salt in (None, ""):
        monkeypatch.delenv("FACEVEIL_SALT", raising=False)
        if salt is not None:
            monkeypatch.setenv("FACEVEIL_SALT", salt)
        assert job(people, tmp_path / "out", "--hash_keys") == 2
        assert "--hash_keys: needs a secret salt in the environment variable FACEVEIL_SALT" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_salt_that_can_be_guessed_is_refused(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "abc")
    assert job(people, tmp_path / "out", "--hash_keys") == 2
    said = capsys.readouterr().err
    assert "FACEVEIL_SALT: holds 3 bytes, which can be guessed; a salt must be 16 bytes of chance or more" in said
    assert "`openssl rand -hex 32`" in said
    (tmp_path / "salt").write_text("0123456789abcde\n")
    assert job(people, tmp_path / "out", "--hash_keys", "--salt_file", tmp_path / "salt") == 2
    assert f"--salt_file {tmp_path}/salt: holds 15 bytes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_the_same_salt_goes_on_and_tries_again(
    people: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(people, folder, ignore=shutil.ignore_patterns("dora*"))
    assert job(folder, output, "--hash_keys") == 0
    before = files(output)
    fingerprint = json.loads((output / "manifest.json").read_text())["job"]["hash_keys"]

    assert job(folder, output, "--hash_keys") == 0
    assert files(output) == before
    for more in ((), ("--retry_quarantined",)):
        capsys.readouterr()
        assert job(folder, output, *more) == 4
        assert f"hash_keys: {fingerprint} there, None here" in capsys.readouterr().err
        monkeypatch.setenv("FACEVEIL_SALT", "7f3c9a-another-salt")
        assert job(folder, output, "--hash_keys", *more) == 4
        said = capsys.readouterr().err
        assert f"hash_keys: {fingerprint} there, {hashed(chr(0) + 'fingerprint', '7f3c9a-another-salt')} here" in said
        assert "changed" not in said
        monkeypatch.setenv("FACEVEIL_SALT", SALT)
    assert files(output) == before

    shutil.copy(photos / "things" / "rocket.jpg", folder / "carl-jones.jpg")
    assert job(folder, output, "--hash_keys", "--retry_quarantined") == 0
    assert job(folder, tmp_path / "fresh", "--hash_keys") == 0
    assert files(output) == files(tmp_path / "fresh") != before

    (folder / "anna-schmidt.jpg").unlink()
    capsys.readouterr()
    assert job(folder, output, "--hash_keys", "--retry_quarantined") == 4
    assert f"{hashed('anna-schmidt.jpg')}: was removed" in capsys.readouterr().err


def test_a_job_that_was_stopped_goes_on(photos: Path, tmp_path: Path) -> None:
    assert job(photos, tmp_path, "--hash_keys") == 0
    before = files(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    owner = {"job": manifest["job"] | {"engine": "auto", "precision": "auto"}, "model": manifest["model"]}
    lock = {"host": "h", "pid": None, "time": 0, "job": owner}
    (tmp_path / ".faceveil-lock.json").write_text(json.dumps(lock))
    (tmp_path / "manifest.json").unlink()
    kept, *lost = sorted(audit_of(tmp_path).glob("*.parquet"))
    made = kept.stat().st_mtime_ns
    for path in lost:
        path.unlink()
    assert job(photos, tmp_path, "--hash_keys") == 0
    assert files(tmp_path) == before
    assert kept.stat().st_mtime_ns == made
