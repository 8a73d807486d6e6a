"""Tables, tars and TFRecords in, tables and tars out, through the command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.conftest import noise_image
from tests.test_end_to_end import rows
from tests.test_example_features import bytes_feature, png
from tests.test_formats import FACES, job, read, records, told
from tests.transforms.formats.test_tar_files import packed

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.fixture(scope="module")
def table(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table as Hugging Face's data sets come, in two files."""
    folder = tmp_path_factory.mktemp("table")
    paths = sorted(photos.rglob("*.*"))
    columns: dict[str, Any] = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": pa.array(range(6), pa.uint8()),
        "caption": [f"\u00e9 {number}" for number in range(6)],
        "flag": [True, None, False, True, True, False],
        "score": pa.array([0.5] * 6, pa.float32()),
        "objects": [[{"id": n, "name": "a"}] * n for n in range(6)],
        "thumb": [png(noise_image(9, 9))] * 6,
    }
    whole = pa.table(columns)
    for number in (0, 1):
        pq.write_table(whole.slice(3 * number, 3), folder / f"train-{number:05}-of-00002.parquet")
    return folder


def test_a_table_comes_back_with_its_columns(table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert job(table, output, "parquet", "--image_feature", "image", "--drop_features", "thumb") == 0
    before = {
        f"{path.name}#{n}": row for path in table.iterdir() for n, row in enumerate(pq.read_table(path).to_pylist())
    }
    schema = pq.read_schema(next(output.glob("*.parquet")))
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert (schema.field("label").type, schema.field("caption").type) == (pa.uint8(), pa.string())
    assert set(schema.names) == {"image", "label", "caption", "flag", "score", "objects/id", "objects/name", *FACES}
    found = records(output)
    assert list(found) == sorted(before)
    for key, row in found.items():
        old = before[key]
        assert {n: row[n] for n in ("label", "caption", "flag", "score")} == {
            n: old[n] for n in ("label", "caption", "flag", "score")
        }
        assert row["image"]["path"] == old["image"]["path"]
        assert row["objects/id"] == [each["id"] for each in old["objects"]]
        assert (row["image"]["bytes"] == old["image"]["bytes"]) == (
            row["image/face/count"] == 0 and not row["image"]["path"].startswith("rocket")
        )
    # And it is an input again, of which less is left.
    strict = ("--strict_features", "--allow_features", "label")
    assert job(output, tmp_path / "again", "parquet", "--score_threshold", 1, *strict) == 0
    assert set(pq.read_schema(next((tmp_path / "again").glob("*.parquet"))).names) == {"image", "label", *FACES}
    again = list(records(tmp_path / "again").values())
    assert [row["label"] for row in again] == [row["label"] for row in found.values()]
    assert [row["image"]["path"] for row in again] == [None] * 6


def test_a_tar_comes_back_with_its_members(photos: Path, tmp_path: Path) -> None:
    face = (photos / "people" / "portrait.jpeg").read_bytes()
    odd = [("set/1.jpeg", face), ("set/1.cls", b"1"), ("set/1.json", b'{"a": 1}')]
    odd += [
        ("set/1b.jpeg", b"no image"),
        ("set/1.png", png(noise_image(30, 40))),
        ("set/1.cls", b"2"),
        ("../up.JPG", face),
    ]
    (tmp_path / "x.tar").write_bytes(packed(*odd))
    assert job(tmp_path / "x.tar", tmp_path / "out", "webdataset", "--max_quarantined", 1) == 0
    first, second, third = records(tmp_path / "out").values()
    assert set(first) == {"__key__", "jpg", "cls", "json", "faces.json"}
    assert (first["__key__"], first["cls"], first["json"]) == ("set/1", b"1", b'{"a": 1}')
    assert (second["__key__"], second["cls"]) == ("set/1~2", b"2")
    assert told(first)["image/face/count"] == 1
    assert third["__key__"] == "%2E%2E/up"
    assert rows(tmp_path / "out")["x.tar#1"]["reason"] == "not_an_image"


def write_records(path: Path, *features: dict[str, tf.train.Feature]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feature in features:
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def test_records_become_rows_and_samples_and_images_beside_them_too(photos: Path, tmp_path: Path) -> None:
    numbers = tf.train.Feature(int64_list=tf.train.Int64List(value=[3, 4]))
    picture = {"image/encoded": bytes_feature(png(noise_image(30, 40)))}
    write_records(tmp_path / "x.tfrecord", {**picture, "labels": numbers, "text": bytes_feature(b"\xff")}, picture)
    shutil.copy(photos / "things" / "rocket.jpg", tmp_path)
    assert job(f"{tmp_path}/*.*", tmp_path / "out", "parquet") == 0
    found = records(tmp_path / "out")
    assert (found["x.tfrecord#0"]["labels"], found["x.tfrecord#0"]["text"]) == ([3, 4], [b"\xff"])
    assert (found["x.tfrecord#1"]["labels"], found["x.tfrecord#1"]["image/filename"]) == (None, None)
    assert (found["rocket.jpg"]["labels"], found["rocket.jpg"]["image/filename"]) == (None, "rocket.jpg")
    assert job(f"{tmp_path}/*.*", tmp_path / "tars", "webdataset") == 0
    found = records(tmp_path / "tars")
    assert found["x.tfrecord#0"]["text"] == b"\xff"
    assert told(found["x.tfrecord#0"])["labels"] == [3, 4]
    assert [found[key]["__key__"] for key in ("rocket.jpg", "x.tfrecord#0")] == ["rocket", "00001-000000"]


def test_a_feature_that_only_later_records_have_is_told(tmp_path: Path) -> None:
    picture = {"image/encoded": bytes_feature(png(noise_image(30, 40)))}
    write_records(tmp_path / "x.tfrecord", *[picture] * 16, {**picture, "late": bytes_feature(b"1")})
    assert job(tmp_path / "x.tfrecord", tmp_path / "out", "parquet", "--max_quarantined", 1) == 0
    row = rows(tmp_path / "out")["x.tfrecord#16"]
    assert (row["reason"], row["shard"]) == ("invalid_example", None)
    assert row["detail"].startswith("feature late has no column, since none of the first records has it")
    assert len(records(tmp_path / "out")) == 16


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "a compression that it does not take": (
        ("tfrecord", "--compression", "zstd"),
        "--format tfrecord takes none, gzip",
    ),
    "an image is compressed already": (
        ("images", "--compression", "gzip"),
        "--compression gzip: --format images takes none",
    ),
    "an audit trail among tables": (
        ("parquet", "--records_output", "OUT/trail"),
        "lies in the output, which with --format parquet",
    ),
    "labels": (("parquet", "--copy_others"), "--copy_others: is for --format images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_any_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    options, said = REFUSED[name]
    given = [str(option).replace("OUT", f"{tmp_path}/out") for option in options]
    assert job(photos, tmp_path / "out", given[0], *given[1:]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_kinds_of_values_are_no_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = {"image/encoded": bytes_feature(png(noise_image(30, 40)))}
    inputs = tmp_path / "in"
    inputs.mkdir()
    write_records(inputs / "a.tfrecord", {**picture, "x": bytes_feature(b"1")})
    write_records(inputs / "b.tfrecord", {**picture, "x": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))})
    assert job(inputs, tmp_path / "out", "parquet") == 2
    said = capsys.readouterr().err
    assert f"feature x of {inputs}/b.tfrecord holds int64, and binary elsewhere, which cannot be one column" in said
    assert job(inputs, tmp_path / "tars", "webdataset") == 0
    assert [read(path)[0].get("x") for path in sorted((tmp_path / "tars").glob("*.tar"))] == [b"1", None]


def test_sequences_are_refused_unless_their_lists_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = bytes_feature(png(noise_image(30, 40)))
    steps = tf.train.FeatureLists(feature_list={"steps": tf.train.FeatureList(feature=[picture])})
    context = tf.train.Features(feature={"image/encoded": picture})
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(tf.train.SequenceExample(context=context, feature_lists=steps).SerializeToString())
    inputs = tmp_path / "x.tfrecord"
    assert job(inputs, tmp_path / "out", "parquet", "--allow_features", "steps") == 2
    assert "x.tfrecord holds SequenceExamples; their lists, such as steps, have a place" in capsys.readouterr().err
    assert job(inputs, tmp_path / "out", "parquet", "--drop_features", "steps") == 0
    assert "steps" not in pq.read_schema(next((tmp_path / "out").glob("*.parquet"))).names
