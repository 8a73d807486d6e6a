"""Updating tables, tars and compressed shards: what is kept of them flows through their writers again."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import audit_of
from tests.test_end_to_end import faceveil, files
from tests.test_formats import image, records, told
from tests.test_retry import leave_lock
from tests.test_update import job, made

FORMATS = ("parquet", "webdataset")


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """Ten small photographs, every second one with a face, in one folder."""
    top = tmp_path / "in"
    top.mkdir()
    for number in range(10):
        with Image.open(next(photos.rglob("astronaut.png" if number % 2 else "coffee.jpg"))) as opened:
            picture = opened.convert("RGB").crop((100 + number, number, 300 + number, 200 + number)).resize((120, 120))
        picture.save(top / f"{number}.jpg", "JPEG")
    (top / "9.png").write_bytes((top / "9.jpg").read_bytes())
    return top


def change(folder: Path) -> None:
    """Two are new, one is another one, one is gone, one is touched."""
    shutil.copy(folder / "1.jpg", folder / "11.jpg")
    shutil.copy(folder / "2.jpg", folder / "12.jpg")
    shutil.copy(folder / "3.jpg", folder / "4.jpg")
    (folder / "5.jpg").unlink()
    os.utime(folder / "6.jpg")


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_output_holds_what_a_fresh_one_would(
    folder: Path, tmp_path: Path, output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, fresh = tmp_path / "out", tmp_path / "fresh"
    # Samples get numbers where their names are left out, which an added shard must not give a second time.
    gzip = ("--compression", "gzip") if output_format == "parquet" else ()
    how = ("--format", output_format, *gzip, "--num_shards", 2, "--drop_features", "image/filename")
    assert job(folder, output, *how, "--update") == 0
    change(folder)
    assert job(folder, output, *how) == 4
    assert "--update to take in what has changed" in capsys.readouterr().err
    assert job(folder, output, *how, "--update") == 0
    assert made(capsys.readouterr().out) == "3 records"
    assert job(folder, fresh, *how) == 0
    found, expected = records(output), records(fresh)
    assert len(found) == 12
    assert {key: (told(each), image(each)) for key, each in found.items()} == {
        key: (told(each), image(each)) for key, each in expected.items()
    }
    if output_format == "parquet":
        schemas = [pq.read_schema(path) for path in output.glob("*.parquet")]
        assert len(schemas) == 3
        assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    else:
        assert len({each["__key__"] for each in found.values()}) == 12
    # A kill before the last shard and the manifest.
    whole = files(output)
    next(audit_of(output).glob("data-added001*.parquet")).unlink()
    leave_lock(output)
    capsys.readouterr()
    assert faceveil("inspect", output) == 0
    assert "2 of 3 shards done" in capsys.readouterr().out
    assert job(folder, output, *how) == 0
    assert files(output) == whole
    # People find what was added, and see the page without what is gone.
    capsys.readouterr()
    assert faceveil("inspect", output, "--key", "11.jpg", "--extract", tmp_path / "seen") == 0
    assert "data-added001-00000-of-00001" in capsys.readouterr().out
    [seen] = [path for path in (tmp_path / "seen").rglob("*") if path.is_file()]
    assert seen.read_bytes() == image(found["11.jpg"])
    page = (audit_of(output) / "_report.html").read_text()
    assert "5.jpg" not in page


def test_compressed_tfrecords_are_updated(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, how = tmp_path / "out", ("--compression", "gzip", "--num_shards", 2)
    assert job(folder, output, *how) == 0
    before = files(output)
    change(folder)
    capsys.readouterr()
    assert job(folder, output, *how, "--update") == 0
    assert made(capsys.readouterr().out) == "3 records"
    assert {path.name for path in output.glob("*.gz")} == {
        *(name for name in before if name.endswith(".gz")),
        "data-added001-00000-of-00001.tfrecord.gz",
    }
    assert job(output, tmp_path / "again") == 0
    assert json.loads((tmp_path / "again" / "manifest.json").read_text())["totals"]["records"] == 12
    for path in folder.iterdir():
        if path.name != "1.jpg":
            path.unlink()
    assert job(folder, output, *how, "--update") == 0
    assert json.loads((output / "manifest.json").read_text())["totals"]["records"] == 1


def test_a_sample_keeps_its_name(folder: Path, tmp_path: Path) -> None:
    output, how = tmp_path / "out", ("--format", "webdataset", "--num_shards", 1)
    assert job(folder, output, *how) == 0
    (folder / "9.jpg").unlink()
    assert job(folder, output, *how, "--update") == 0
    with tarfile.open(output / "data-00000-of-00001.tar") as tar:
        assert "9%2Epng.jpg" in tar.getnames()


def table(path: Path, picture: bytes, **columns: list[object]) -> None:
    pq.write_table(pa.table({"image": [picture], **columns}), path)


@pytest.mark.parametrize("output_format", FORMATS)
def test_columns_are_those_of_the_output(
    folder: Path, tmp_path: Path, output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, tables = tmp_path / "out", tmp_path / "tables"
    tables.mkdir()
    file = io.BytesIO()
    Image.open(folder / "1.jpg").save(file, "JPEG")
    picture = file.getvalue()
    table(tables / "a.parquet", picture, n=[1], m=[2])
    table(tables / "b.parquet", picture, n=[1])
    how = ("--format", output_format, "--image_feature", "image")
    assert job(tables, output, *how) == 0
    (tables / "a.parquet").unlink()
    table(tables / "c.parquet", picture, n=[3])
    for more in (("--update",), ()):
        assert job(tables, output, *how, *more) == 0
    columns = json.loads((output / "manifest.json").read_text())["job"]["columns"]
    assert "m" in columns
    assert {key: told(each)["n"] for key, each in records(output).items()} == {"b.parquet#0": 1, "c.parquet#0": 3}
    before = files(output)
    table(tables / "d.parquet", picture, n=["four"] if output_format == "webdataset" else [4], extra=[0.5])
    capsys.readouterr()
    assert job(tables, output, *how, "--update") == 4
    assert "extra is missing there, float here" in capsys.readouterr().err
    assert files(output) == before


def test_a_data_set_of_tensorflow_datasets_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert job(folder, output, "--tfds", "--update") == 2
    assert not output.exists()
    assert "--update: adds shards that TensorFlow Datasets does not look for" in capsys.readouterr().err
    assert job(folder, output, "--tfds") == 0
    before = files(output)
    change(folder)
    for more in (("--tfds",), ()):
        assert job(folder, output, *more, "--update") == 2
        assert "TensorFlow Datasets does not look for" in capsys.readouterr().err
    assert files(output) == before
