from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import (
    AuditFile,
    OtherImage,
    Place,
    Row,
    ShardResult,
    Stamp,
    StampedFile,
    Status,
    read_files,
    read_placed_rows,
    read_rows,
    read_stamp,
)

FACES = Faces(
    np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
    np.array([0.9, 0.5], np.float32),
    np.arange(20, dtype=np.float32).reshape(2, 5, 2),
)
ROWS = [
    Row("a.jpg", Status.ANONYMIZED, None, 640, 480, FACES, reencoded=True, fallback_faces=1),
    Row("b.jpg", Status.QUARANTINED, "truncated", None, None, Faces.none(), detail="at byte 9"),
    Row("c.jpg", Status.NO_FACES, None, 10, 20, Faces.none()),
]
STEREO = Row(
    "x#0",
    Status.ANONYMIZED,
    None,
    10,
    20,
    Faces.none(),
    other_images=(OtherImage("right", 30, 40, FACES), OtherImage("rear", 50, 60, Faces.none())),
)


def stamp(result: ShardResult) -> Stamp:
    return Stamp("digest", result, "image", (StampedFile("a.jpg", 12, "1234567890.25", "0123"),))


def publish(path: Path) -> ShardResult:
    result = ShardResult("data-00000-of-00001", "data")
    rows = AuditFile("data", "blur")
    for index, row in zip((0, None, 1), ROWS, strict=True):
        rows.add(row, None if index is None else Place("data-00000-of-00001.tfrecord", index))
        result.count(row)
    rows.publish(str(path), stamp(result))
    return result


def test_pyarrow_reads_the_rows(tmp_path: Path) -> None:
    publish(tmp_path / "x.parquet")
    first, second, third = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert first["key"] == "a.jpg"
    assert (first["status"], first["reason"], first["index"]) == ("anonymized", None, 0)
    assert first["faces"][1] | {"keypoints": None} == {
        **{"x0": 5.0, "y0": 6.0, "x1": 7.0, "y1": 8.0},
        **{"score": 0.5, "keypoints": None},
    }
    assert first["faces"][1]["keypoints"] == list(range(10, 20))
    assert [row["reencoded"] for row in (first, second, third)] == [True, False, False]
    assert [row["fallback_faces"] for row in (first, second, third)] == [1, 0, 0]
    assert (second["status"], second["reason"], second["shard"], second["index"]) == (
        *("quarantined", "truncated"),
        *(None, None),
    )
    assert (second["width"], second["faces"], second["method"]) == (None, [], "blur")
    assert (third["shard"], third["index"]) == ("data-00000-of-00001.tfrecord", 1)


def test_the_rows_come_back(tmp_path: Path) -> None:
    publish(tmp_path / "x.parquet")
    found = list(read_rows(str(tmp_path / "x.parquet")))
    for row, expected in zip(found, ROWS, strict=True):
        assert replace(row, faces=expected.faces) == expected
        for name in ("boxes", "scores", "keypoints"):
            np.testing.assert_array_equal(getattr(row.faces, name), getattr(expected.faces, name))


def test_the_faces_of_all_images_are_kept_and_counted(tmp_path: Path) -> None:
    result = ShardResult("s", "data")
    result.count(STEREO)
    rows = AuditFile("data", "blur")
    rows.add(STEREO, Place("s", 0))
    rows.publish(str(tmp_path / "x.parquet"), stamp(result))
    assert (result.faces, result.faces_per_image) == (2, {2: 1})
    [found] = pq.read_table(tmp_path / "x.parquet")["other_images"].to_pylist()
    assert [(i["feature"], i["width"], i["height"], len(i["faces"])) for i in found] == [
        ("right", 30, 40, 2),
        ("rear", 50, 60, 0),
    ]
    [row] = read_rows(str(tmp_path / "x.parquet"))
    assert [image.feature for image in row.other_images] == ["right", "rear"]
    for name in ("boxes", "scores", "keypoints"):
        np.testing.assert_array_equal(getattr(row.other_images[0].faces, name), getattr(FACES, name))


def test_given_faces_have_no_keypoints_and_found_ones_keep_those_that_are_no_numbers(tmp_path: Path) -> None:
    unknown = np.full((2, 5, 2), np.nan, np.float32)
    rows = AuditFile("data", "blur", with_given=True)
    rows.add(Row("a.jpg", Status.ANONYMIZED, None, 9, 9, replace(FACES, keypoints=unknown), given_faces=1), None)
    rows.publish(str(tmp_path / "x.parquet"), stamp(ShardResult("data-00000-of-00001", "data")))
    [row] = pq.read_table(tmp_path / "x.parquet").to_pylist()
    given, found = (face["keypoints"] for face in row["faces"])
    assert given is None
    assert np.isnan(found).all()


def test_types_are_as_documented(tmp_path: Path) -> None:
    publish(tmp_path / "x.parquet")
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert [str(schema.field(name).type) for name in ("key", "index", "width")] == [
        "string",
        "int32",
        "int32",
    ]
    assert "keypoints: list<element: float>" in str(schema.field("faces").type)


def test_the_result_comes_back(tmp_path: Path) -> None:
    result = publish(tmp_path / "x.parquet")
    assert (result.records, result.anonymized, result.no_faces, result.quarantined, result.faces) == (
        3,
        1,
        1,
        1,
        2,
    )
    assert result.faces_per_image == {2: 1, 0: 1}
    assert read_stamp(str(tmp_path / "x.parquet")) == stamp(result)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    publish(tmp_path / "x.parquet")
    publish(tmp_path / "y.parquet")
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


def test_many_rows_are_written_in_parts(tmp_path: Path) -> None:
    rows = AuditFile("data", "blur")
    for number in range(10_000):
        rows.add(Row(f"{number}", Status.NO_FACES, None, 1, 1, Faces.none()), Place("s", number))
    rows.publish(str(tmp_path / "x.parquet"), stamp(ShardResult("s", "data")))
    assert pq.read_table(tmp_path / "x.parquet")["index"].to_pylist() == list(range(10_000))
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4096, 4096, 1808]


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    assert read_stamp(str(tmp_path / "x.parquet")) is None
    (tmp_path / "x.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(ValueError, match="no records file"):
        read_stamp(str(tmp_path / "x.parquet"))


def test_files_of_records_have_columns_of_their_own_where_there_are_such(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    places = [Place("a.jpg", 0, 12, "aa"), None, Place("deep/c.jpg", 0, 34, "cc")]
    rows = AuditFile("data", "blur", with_files=True)
    for row, place in zip(ROWS, places, strict=True):
        rows.add(row, place)
    rows.publish(path, stamp(ShardResult("s", "data")))
    assert list(read_files(path)) == [place for place in places if place]
    assert [place for _, place in read_placed_rows(path)] == places
    publish(tmp_path / "plain.parquet")
    assert {"bytes", "sha256"} <= set(pq.read_schema(path).names) - set(
        pq.read_schema(tmp_path / "plain.parquet").names
    )
    assert list(read_files(str(tmp_path / "plain.parquet"))) == []
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(ValueError, match="no records file"):
        list(read_files(str(tmp_path / "damaged.parquet")))


def test_copied_files_are_no_records() -> None:
    result = ShardResult("s", "data")
    result.count(Row("a.txt", Status.COPIED, None, None, None, Faces.none()))
    assert (result.copied, result.records, result.faces_per_image) == (1, 0, {})
