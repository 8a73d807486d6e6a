"""A second look at tables and tars: of what a job writes nothing is told, of what somebody has changed everything."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceveil.transforms.formats.sample_tars import end_of_tar, write_member
from tests.conftest import audit_of, copy_output, noise_image
from tests.left_out import faces_left_out, one_worker
from tests.pipeline.test_verify import faceveil, findings, problems, result
from tests.test_example_features import png
from tests.test_formats import FORMATS, read, records, told
from tests.transforms.formats.test_tar_files import packed

__all__ = ["one_worker"]
Record = dict[str, Any]
LOOK = ("--quality", "fast", "--detect_size", "320", "--model", "yunet-s")


def small(path: Path, kind: str = "JPEG", side: int = 256) -> bytes:
    with Image.open(path) as image:
        image.thumbnail((side, side))
        file = io.BytesIO()
        image.convert("RGB").save(file, kind, quality=90)
    return file.getvalue()


@pytest.fixture(scope="module")
def inputs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with two features of images, a tar, and files of which two have names that differ in their endings."""
    folder = tmp_path_factory.mktemp("inputs")
    people, things = photos / "people", photos / "things"
    face, other = small(people / "portrait.jpeg"), small(things / "coffee.jpg")
    table = {
        "left": [{"bytes": face, "path": "a.jpg"}, {"bytes": other, "path": "b.jpg"}],
        "frames": [[{"bytes": other, "path": None}, {"bytes": face, "path": None}], [{"bytes": face, "path": None}]],
        "label": pa.array([3, 4], pa.uint8()),
        "weights": pa.array([[0.5, float("nan")], []], pa.list_(pa.float32())),
        "caption": ["\u00e9", None],
    }
    pq.write_table(pa.table(table), folder / "table.parquet")
    mask = small(things / "rocket.jpg", "PNG", 40)
    samples = [("set/1.jpg", face), ("set/1.cls", b"7"), ("set/1.json", b'{"a": 1}'), ("set/1.seg.png", mask)]
    (folder / "x.tar").write_bytes(packed(*samples, ("set/2.b.jpg", other), ("set/2.cls", b"8")))
    (folder / "files").mkdir()
    (folder / "files" / "a.m.jpg").write_bytes(face)
    (folder / "files" / "a.m.png").write_bytes(small(people / "portrait.jpeg", "PNG", 100))
    return folder


TWO = "two features, and files"
JOBS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    TWO: (("table.parquet", "files"), ("--image_feature", "left", "frames", "--drop_features", "image/filename")),
    "a tar, and files": (("x.tar", "files"), ("--allow_features", "seg.png")),
    "only what is named": (("x.tar", "files"), ("--strict_features", "--drop_features", "seg.png", "--hash_keys")),
}
FACES = {TWO: 5, "a tar, and files": 3, "only what is named": 3}


def job(name: str, inputs: Path, output: Path, written: str) -> int:
    paths, options = JOBS[name]
    given = [str(inputs / path) for path in paths]
    return faceveil("run", "--input", *given, "--output", output, "--format", written, *options, *LOOK)


@pytest.mark.parametrize(
    ("name", "written"),
    [(name, written) for name in JOBS for written in FORMATS if written == "webdataset" or name == TWO],
)
def test_of_what_a_job_writes_nothing_is_told_and_a_fix_masks_each_image_by_itself(
    name: str, written: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "a salt of sixteen bytes and more")
    output = tmp_path / "out"
    with faces_left_out(one_in=1):
        assert job(name, inputs, output, written) == 0
    before = records(output)
    assert faceveil("verify", output, *LOOK, "--fix") == 0
    assert result(output)["problems"] == {}
    assert result(output)["mended"]["faces"] == FACES[name] == sum(len(row["faces"]) for row in findings(output))
    check_that_only_faces_differ(before, records(output))
    assert faceveil("verify", output, *LOOK) == 0
    assert (result(output)["problems"], result(output)["totals"]["residual_faces"]) == ({}, 0)
    if name == TWO:
        first = records(output)["table.parquet#0"]
        assert told(first)["frames/face/index"] == [1]
        image = first["frames"][1]["bytes"] if written == "parquet" else first["frames.1.jpg"]
        assert faceveil("inspect", output, "--key", "table.parquet#0", "--extract", tmp_path / "images") == 0
        assert (tmp_path / "images" / "table.parquet#0.2.jpg").read_bytes() == image
        assert faceveil("report", output) == 0
        assert (audit_of(output) / "_report.html").read_text().count("data:image/jpeg") > 0


def check_that_only_faces_differ(before: dict[str, Record], after: dict[str, Record]) -> None:
    """A fix changes images and what is told of their faces, and adds neither members nor columns."""
    assert list(after) == list(before)
    for key, record in after.items():
        assert list(record) == list(before[key])
        says, said = told(record), told(before[key])
        assert says.keys() == said.keys()
        others = [name for name in says if "/face/" not in name and name not in ("left", "frames", "weights")]
        assert {name: says[name] for name in others} == {name: said[name] for name in others}
        assert repr(says.get("weights")) == repr(said.get("weights"))
        assert {name for name in record if record[name] != before[key][name]} <= {*IMAGES, *TOLD, *says}


IMAGES = ("image", "jpg", "png", "frames.0.jpg", "frames.1.jpg", "frames.jpg")
TOLD = ("json", "faces.json")


def image_name(record: Record) -> str:
    return next(name for name in record if name in ("jpg", "png"))


def set_image(record: Record, data: bytes) -> None:
    if "__key__" in record:
        record[image_name(record)] = data
    else:
        record["image"] = {"bytes": data, "path": None}


def image_of(record: Record) -> bytes:
    return bytes(record[image_name(record)] if "__key__" in record else record["image"]["bytes"])


def tell(record: Record, name: str, value: Any) -> None:
    if "__key__" in record:
        record["json"] = json.dumps({**told(record), name: value}, sort_keys=True, ensure_ascii=False).encode()
    else:
        record[name] = value


def change(output: Path, changes: dict[str, Callable[[Record], None]]) -> None:
    """Writes the shards of an output anew, some records as functions make them."""
    for path in sorted(path for path in output.iterdir() if path.suffix in (".parquet", ".tar")):
        keys = [row["key"] for row in pq.read_table(audit_of(output) / f"{path.stem}.parquet").to_pylist()]
        made = read(path)
        for key, record in zip(keys, made, strict=True):
            if key in changes:
                changes[key](record)
        if path.suffix == ".parquet":
            table = pa.Table.from_pylist(made, pq.read_schema(path))
            pq.write_table(table, path, use_dictionary=False, write_statistics=False)
            continue
        tar = b"".join(
            write_member(f"{record['__key__']}.{name}", content)
            for record in made
            for name, content in record.items()
            if name != "__key__"
        )
        path.write_bytes(tar + end_of_tar(len(tar)))


@pytest.fixture(scope="module", params=FORMATS)
def masked(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of annotated boxes, so that no detector is needed to look at it again."""
    folder = tmp_path_factory.mktemp("masked")
    lines = ["key,xmin,ymin,xmax,ymax"]
    for path in photos.rglob("*.*"):
        key = path.relative_to(photos)
        (folder / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / key).write_bytes(small(path, "PNG" if path.suffix == ".png" else "JPEG", 120))
        lines.append(f"{key},1,1,20,20")
    (folder / "boxes.csv").write_text("\n".join(lines))
    given = ("--boxes", folder / "boxes.csv", "--boxes_mode", "replace", "--num_shards", 2)
    assert faceveil("run", "--input", folder / "in", "--output", folder / "out", "--format", request.param, *given) == 0
    return folder / "out"


@pytest.fixture
def copied(masked: Path, tmp_path: Path) -> Path:
    copy_output(masked, tmp_path / "out")
    return tmp_path / "out"


def resized(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        file = io.BytesIO()
        image.resize((100, 100)).save(file, "PNG")
    return file.getvalue()


def with_exif(data: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera with a serial number"
    with Image.open(io.BytesIO(data)) as image:
        file = io.BytesIO()
        image.save(file, "JPEG", exif=exif, quality="keep")
    return file.getvalue()


def test_what_somebody_has_changed_is_found_record_by_record(copied: Path) -> None:
    thumbnail = base64.b64encode(png(noise_image(20, 20))).decode()
    change(
        copied,
        {
            "people/astronaut.JPG": lambda record: set_image(record, with_exif(image_of(record))),
            "things/coffee.jpg": lambda record: tell(record, "image/format", thumbnail),
            "things/rocket.jpg": lambda record: set_image(record, image_of(record)[:-500]),
            "people/portrait.jpeg": lambda record: tell(record, "image/face/bbox/xmin", [0.0]),
            "people/space/astronaut.png": lambda record: set_image(record, resized(image_of(record))),
            "things/chelsea.jpg": lambda record: tell(record, "image/face/count", 7),
        },
    )
    assert faceveil("verify", copied) == 3
    assert {problem for problem in problems(copied) if problem[0]} == {
        ("people/astronaut.JPG", "metadata"),
        ("things/coffee.jpg", "embedded_image"),
        ("things/rocket.jpg", "truncated"),
        ("people/portrait.jpeg", "wrong_row"),
        ("people/space/astronaut.png", "wrong_row"),
        ("things/chelsea.jpg", "wrong_row"),
    }
    assert {row["problem"] for row in findings(copied) if row["key"] is None} == {"changed_file"}


def test_shards_that_are_gone_cut_off_or_too_many_and_members_that_hide(copied: Path) -> None:
    first, second = sorted(path for path in copied.iterdir() if path.suffix in (".parquet", ".tar"))
    (copied / "more").mkdir()
    for name in ("more/x", "new", ".hidden", "data-00002-of-00002"):
        shutil.copy(second, copied / f"{name}{second.suffix}")
    (copied / "README.txt").write_text("somebody's")
    first.unlink()
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    assert faceveil("verify", copied) == 3
    found = {(row["shard"], row["problem"]) for row in findings(copied)}
    assert {(first.name, "missing_file"), (second.name, "corrupt_record"), (None, "changed_file")} <= found
    named = json.loads((audit_of(copied) / "_verify" / "_unaccounted.json").read_text())
    assert sorted(named) == sorted(f"{name}{second.suffix}" for name in ("data-00002-of-00002", "more/x", "new"))
    assert result(copied)["totals"]["records"] < 6
    if second.suffix == ".tar":
        for more, problem in ((b"hidden", "hidden_data"), (whole, "hidden_data")):
            second.write_bytes(whole + more)
            assert faceveil("verify", copied) == 3
            assert (second.name, problem) in {(row["shard"], row["problem"]) for row in findings(copied)}


def test_a_shard_is_looked_at_again_only_if_it_has_changed_and_samples_are_some_of_it(copied: Path) -> None:
    if not list(copied.glob("*.tar")):  # as above
        return
    assert faceveil("verify", copied) == 0
    kept = {path: path.stat().st_ino for path in (audit_of(copied) / "_verify").glob("*.parquet")}
    (audit_of(copied) / "_verify.json").unlink()  # as of a run that was killed
    assert faceveil("verify", copied) == 0
    assert {path: path.stat().st_ino for path in kept} == kept
    assert faceveil("verify", copied, "--sample", 4) == 0
    assert result(copied, "_verify_sample")["totals"] == {
        **{"records": 4, "images": 4, "residual_records": 0, "residual_faces": 0, "problem_records": 0}
    }
    changed = next(path for path in copied.iterdir() if path.suffix in (".parquet", ".tar"))
    changed.write_bytes(changed.read_bytes() + b"?")
    assert faceveil("verify", copied) == 3
    assert sum(path.stat().st_ino != kept[path] for path in kept) == 1


def test_without_an_audit_trail_the_files_are_checked(copied: Path) -> None:
    if not list(copied.glob("*.parquet")):  # what reads them is the same for all
        return
    shutil.rmtree(audit_of(copied))
    assert faceveil("verify", copied) == 0
    assert result(copied)["totals"]["images"] == 6
    assert result(copied)["residual_share"] is None
