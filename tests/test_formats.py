"""Parquet tables and WebDataset's tars as outputs, through the command; reopened with pyarrow and tarfile.

The libraries that users read them with have an environment of their own: `tests/readers`.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.conftest import audit_of, copy_output
from tests.test_end_to_end import FAST, examples, faceveil, files
from tests.test_retry import leave_lock

pytestmark = pytest.mark.usefixtures("centerface")
FORMATS = ("parquet", "webdataset")
MORE = ("--num_shards", 3, "--max_quarantined", 1)
FACES = {
    f"image/face/{name}" for name in ("count", "score", *(f"bbox/{s}{a}" for s in ("x", "y") for a in ("min", "max")))
}


def job(inputs: object, output: Path, output_format: str, *more: object) -> int:
    return faceveil("run", "--input", inputs, "--output", output, "--format", output_format, *FAST, *more)


def manifest(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return loaded


def records(output: Path) -> dict[str, dict[str, Any]]:
    """Every record of an output by its key: its columns or members."""
    found: dict[str, dict[str, Any]] = {}
    for shard in manifest(output)["shards"]:
        name = shard["file"].partition(".")[0]
        trail = pq.read_table(audit_of(output) / f"{name}.parquet").to_pylist()
        keys = [row["key"] for row in sorted((r for r in trail if r["shard"]), key=lambda row: row["index"])]
        made = read(output / shard["file"])
        assert len(made) == len(keys) == shard["records"]
        found.update(zip(keys, made, strict=True))
    return found


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    samples: list[dict[str, Any]] = []
    with tarfile.open(path) as tar:
        for info in tar:
            folder, slash, last = info.name.rpartition("/")
            stem, _, name = last.partition(".")
            if not samples or samples[-1]["__key__"] != folder + slash + stem:
                samples.append({"__key__": folder + slash + stem})
            content = tar.extractfile(info)
            assert content is not None
            samples[-1][name] = content.read()
    return samples


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says beside its images."""
    if "__key__" in record:
        found: dict[str, Any] = json.loads(record.get("faces.json") or record["json"])
        return found
    return {name: value for name, value in record.items() if name != "image"}


def image(record: dict[str, Any]) -> bytes:
    if "__key__" in record:
        [found] = [data for name, data in record.items() if name in ("jpg", "png", "webp")]
        return bytes(found)
    return bytes(record["image"]["bytes"])


@pytest.fixture(scope="module")
def album(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, among them one that is cut off, three that differ in their endings, and one with dots in its name."""
    folder = tmp_path_factory.mktemp("album")
    shutil.copytree(photos, folder, dirs_exist_ok=True)
    portrait = (folder / "people" / "portrait.jpeg").read_bytes()
    for name in ("portrait.jpg", "anna.m.2024.jpg", "no ending"):
        (folder / "people" / name).write_bytes(portrait)
    (folder / "people" / "cut.jpg").write_bytes(portrait[:5000])
    return folder


@pytest.fixture(scope="module", params=FORMATS)
def done(request: pytest.FixtureRequest, album: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp(request.param) / "out"
    assert job(album, output, request.param, *MORE) == 0
    return request.param, output


def test_each_record_says_what_a_tfrecord_would_say_and_has_the_same_image(
    done: tuple[str, Path], album: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    output = tmp_path_factory.getbasetemp() / "tfrecords"
    if not output.exists():
        assert job(album, output, "tfrecord", *MORE) == 0
    expected, found = examples(output), records(done[1])
    assert list(found) == list(expected)
    for key, feature in expected.items():
        assert image(found[key]) == feature["image/encoded"].bytes_list.value[0]
        says = told(found[key])
        assert (
            says.keys()
            == feature.keys() - {"image/encoded"}
            == {*FACES, *(f"image/{n}" for n in ("format", "filename", "height", "width"))}
        )
        assert says["image/filename"] == key
        assert says["image/face/score"] == list(feature["image/face/score"].float_list.value)
        assert [says["image/height"]] == feature["image/height"].int64_list.value
    totals = manifest(done[1])["totals"]
    assert totals == manifest(output)["totals"]
    assert totals["quarantined"] == 1


def test_samples_are_called_by_their_keys_and_tables_have_one_schema(done: tuple[str, Path]) -> None:
    output_format, output = done
    if output_format == "parquet":
        schemas = [pq.read_schema(path) for path in output.glob("*.parquet")]
        assert len(schemas) == 3
        assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    else:
        names = {key: record["__key__"] for key, record in records(output).items()}
        assert names["people/anna.m.2024.jpg"] == "people/anna%2Em%2E2024"
        assert names["people/no ending"] == "people/no ending"
        assert names["things/rocket.jpg"] == "things/rocket"
    assert {path.suffix for path in output.iterdir()} == {".json", ".parquet" if output_format == "parquet" else ".tar"}


@pytest.mark.workers
def test_other_workers_write_the_same_bytes(done: tuple[str, Path], album: Path, tmp_path: Path) -> None:
    if done[0] != "parquet":  # what workers share is the same in all formats
        return
    threads = ("--direct_num_workers", 2, "--direct_running_mode", "multi_threading")
    assert job(album, tmp_path / "two", done[0], *MORE, *threads) == 0
    assert files(tmp_path / "two") == files(done[1])


def test_a_job_goes_on_and_does_nothing_where_it_is_complete(
    done: tuple[str, Path], album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    copy_output(done[1], output)
    assert job(album, output, done[0], *MORE) == 0
    leave_lock(output)
    first, second = (shard["file"] for shard in manifest(done[1])["shards"][:2])
    (audit_of(output) / f"{first.partition('.')[0]}.parquet").unlink()
    with (output / second).open("ab") as file:
        file.write(b"more")
    assert job(album, output, done[0], *MORE) == 0
    assert files(output) == files(done[1])
    assert job(album, output, "tfrecord", *MORE) == 4
    assert f"format: {done[0]} there, tfrecord here" in capsys.readouterr().err


def test_what_was_quarantined_is_tried_again(done: tuple[str, Path], album: Path, tmp_path: Path) -> None:
    if done[0] != "parquet":  # what is read back of tars, and written again, tests/transforms/shard has
        return
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    copy_output(done[1], output)
    shutil.copy(folder / "people" / "portrait.jpeg", folder / "people" / "cut.jpg")
    assert job(folder, output, done[0], *MORE, "--retry_quarantined") == 0
    assert job(folder, tmp_path / "fresh", done[0], *MORE) == 0
    assert files(output) == files(tmp_path / "fresh")
    assert manifest(output)["totals"]["quarantined"] == 0


def test_from_one_format_to_another_nothing_is_left(done: tuple[str, Path], photos: Path, tmp_path: Path) -> None:
    output, inputs = tmp_path / "out", f"{photos}/things/*"
    copy_output(done[1], output)
    (output / ".data-00000-of-00003.tar.0123abcd.partial").touch()
    if done[0] == "parquet":
        assert job(inputs, output, "images", "--overwrite") == 0
        assert {path.name for path in output.iterdir()} == {"manifest.json", "rocket.jpg", "coffee.jpg", "chelsea.jpg"}
        return
    gzip = ("--overwrite", "--num_shards", 1, "--compression", "gzip")
    assert job(inputs, output, "webdataset", *gzip) == 0
    assert {path.name for path in output.iterdir()} == {"manifest.json", "data-00000-of-00001.tar.gz"}
    assert job(inputs, output, "tfrecord", *gzip) == 0
    [shard] = output.glob("*.gz")
    assert len(list(tf.data.TFRecordDataset([str(shard)], compression_type="GZIP"))) == 3
    assert manifest(output)["shards"][0]["file"] == shard.name == "data-00000-of-00001.tfrecord.gz"
    # What was compressed is an input as any other.
    assert job(output, tmp_path / "again", done[0]) == 0
    assert manifest(tmp_path / "again")["totals"]["records"] == 3


@pytest.mark.parametrize("output_format", FORMATS)
def test_no_name_gets_out_that_is_to_be_hidden(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "a salt of sixteen bytes and more")
    hashed, dropped = tmp_path / "hashed", tmp_path / "dropped"
    inputs = f"{photos}/p*/*"
    assert job(inputs, hashed, output_format, "--num_shards", 2, "--hash_keys") == 0
    if output_format == "webdataset":  # which tells names twice
        assert job(inputs, dropped, output_format, "--num_shards", 2, "--drop_features", "image/filename") == 0
    for output in filter(Path.exists, (hashed, dropped)):
        for path in output.iterdir():
            said = path.read_bytes() if path.suffix == ".json" else repr(read(path)).encode()
            assert not {name for name in (b"portrait", b"astronaut", b"people") if name in said}, path
    if output_format == "webdataset":
        assert {record["__key__"][6:] for record in records(dropped).values()} <= {"000000", "000001"}
        assert all(key == record["__key__"] for key, record in records(hashed).items())
