"""A second look at outputs finds what a job has left bare, and what somebody has changed since; by the command."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.pipeline.cli import main
from faceveil.pipeline.lock import hold_lock
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.verify_report import format_findings
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.formats.tfrecord import frame
from tests.conftest import audit_of, copy_output
from tests.left_out import faces_left_out, one_worker

__all__ = ["one_worker"]
pytestmark = pytest.mark.usefixtures("centerface_int8")
FAST = ["--quality", "fast", "--detect_size", "320", "--model", "centerface-int8"]


def faceveil(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def verify(output: Path, *arguments: object) -> int:
    return faceveil("verify", output, *FAST, *arguments)


def result(output: Path, name: str = "_verify") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((audit_of(output) / f"{name}.json").read_text())
    return content


def findings(output: Path, name: str = "_verify") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(audit_of(output) / name).to_pylist()
    return rows


def problems(output: Path) -> set[tuple[str | None, str]]:
    return {(row["key"], row["problem"]) for row in findings(output) if row["problem"]}


@pytest.fixture(scope="module")
def anonymized(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("verify") / "out"
    assert faceveil("run", "--input", f"{photos}/**", "--output", output, *FAST) == 0
    return output


@pytest.fixture
def copied(anonymized: Path, tmp_path: Path) -> Path:
    copy_output(anonymized, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of which one face was overlooked on purpose."""
    output = tmp_path_factory.mktemp("verify-images") / "out"
    with faces_left_out(one_in=2) as overlooked:
        assert faceveil("run", "--input", f"{photos}/**", "--output", output, "--format", "images", *FAST) == 0
    assert 0 < sum(map(len, overlooked)) < 3
    return output


def change_records(output: Path, change: Callable[[str, Any], bytes]) -> None:
    """Writes the shards of an output anew, each Example as a function makes it."""
    for path in sorted(output.glob("*.tfrecord")):
        rows = pq.read_table(audit_of(output) / f"{path.stem}.parquet").to_pylist()
        records = [
            tf.train.Example.FromString(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        ]
        changed = [change(row["key"], record) for row, record in zip(rows, records, strict=True)]
        path.write_bytes(b"".join(map(frame, changed)))


def image_of(example: Any) -> bytes:
    image: bytes = example.features.feature["image/encoded"].bytes_list.value[0]
    return image


def set_bytes(example: Any, name: str, value: bytes) -> None:
    example.features.feature[name].bytes_list.value[:] = [value]


def test_another_detector_has_a_say_unless_the_user_says_how_to_look(copied: Path) -> None:
    assert faceveil("verify", copied) == 0
    models = {key: [model["name"] for model in result(copied)["settings"][key]] for key in ("models", "second_opinion")}
    others = JobOptions().detector.models
    assert models == {"models": list(JobOptions(quality="thorough").detector.models), "second_opinion": list(others)}
    assert findings(copied) == []
    assert verify(copied) == 0
    assert result(copied)["settings"]["second_opinion"] == []


def test_an_output_that_nobody_has_changed_is_fine(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pq.read_table(audit_of(copied)).to_pylist()
    before = {path: path.read_bytes() for path in copied.rglob("*")}
    assert verify(copied) == 0
    assert "problems: none" in capsys.readouterr().out
    content = result(copied)
    assert content["totals"] == {
        **{"records": 6, "images": 6, "residual_records": 0, "residual_faces": 0, "problem_records": 0}
    }
    assert content["problems"] == {}
    assert findings(copied) == []
    # Neither the output has changed nor what readers of the audit trail's folder see.
    assert {path: path.read_bytes() for path in copied.rglob("*")} == before
    assert pq.read_table(audit_of(copied)).to_pylist() == rows


def test_faces_that_a_job_has_overlooked_are_found_the_same_way_each_time(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    with faces_left_out(one_in=1) as overlooked:
        assert faceveil("run", "--input", f"{photos}/**", "--output", output, *FAST) == 0
    assert verify(output) == 3
    found = findings(output)
    said = capsys.readouterr().out
    for row in found:
        assert f"  {row['key']}: 1 face, score {row['faces'][0]['score']:.2f}\n" in said
    assert f"`faceveil inspect {output} --key {found[0]['key']} --extract DIR` writes that one to look at" in said
    assert len(overlooked) == len(found) == 3
    missed = np.concatenate([faces.boxes for faces in overlooked])
    for row in found:
        box = np.array([[row["faces"][0][side] for side in ("x0", "y0", "x1", "y1")]], np.float32)
        assert iou(box, missed).max() > 0.9
    content = result(output)
    assert (content["totals"]["residual_records"], content["residual_share"]) == (3, 0.5)
    assert verify(output, "--max_residual", "0.5") == 0
    first = {path.name: path.read_bytes() for path in (audit_of(output) / "_verify").iterdir()}
    shutil.rmtree(audit_of(output) / "_verify")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert verify(output, "--direct_num_workers", 2, "--direct_running_mode", "multi_threading") == 3
    assert {path.name: path.read_bytes() for path in (audit_of(output) / "_verify").iterdir()} == first
    assert result(output) == content


def test_names_that_no_terminal_should_show_are_told_without_harm() -> None:
    totals = {"records": 3, "images": 3, "residual_records": 2, "residual_faces": 2}
    content = {"totals": totals, "sample": None, "looks_for_faces": True, "residual_share": 0.5, "problems": {}}
    odd, plain = "a\udcff\x1b[2J\n.jpg", "b c.jpg"
    said = format_findings(content | {"not_checked": []}, "out", "there", [(odd, [0.5]), (plain, [0.5, 0.25])])
    said.encode()
    assert all(line.isprintable() for line in said.splitlines())
    assert "  b c.jpg: 2 faces, scores 0.50, 0.25\n" in said
    assert "`faceveil inspect out --key 'b c.jpg' --extract DIR`" in said
    alone = format_findings(content | {"not_checked": []}, "out", "there", [(odd, [0.5])])
    assert "faceveil inspect" not in alone


def test_what_somebody_has_changed_is_found_record_by_record(copied: Path) -> None:
    def change(key: str, example: Any) -> bytes:
        name = Path(key).name
        if name == "astronaut.JPG":
            exif = Image.Exif()
            exif[0x010F] = "a camera with a serial number"
            with Image.open(io.BytesIO(image_of(example))) as image:
                with_exif = io.BytesIO()
                image.save(with_exif, "JPEG", exif=exif, quality="keep")
            set_bytes(example, "image/encoded", with_exif.getvalue())
        elif name == "coffee.jpg":
            set_bytes(example, "thumbnail", image_of(example))
        elif name == "chelsea.jpg":
            return bytes(example.SerializeToString(deterministic=True)) + b"\x7a\x05AAAAA"
        elif name == "rocket.jpg":
            set_bytes(example, "image/encoded", image_of(example)[:-2000])
        elif name == "portrait.jpeg":
            example.features.feature["image/face/bbox/xmin"].float_list.value[:] = [0.0]
        elif name == "astronaut.png":
            with Image.open(io.BytesIO(image_of(example))) as image:
                smaller = io.BytesIO()
                image.resize((100, 100)).save(smaller, "PNG")
            set_bytes(example, "image/encoded", smaller.getvalue())
        return bytes(example.SerializeToString(deterministic=True))

    change_records(copied, change)
    assert verify(copied) == 3
    assert {problem for problem in problems(copied) if problem[0]} >= {
        ("people/astronaut.JPG", "metadata"),
        ("things/coffee.jpg", "embedded_image"),
        ("things/chelsea.jpg", "hidden_fields"),
        ("things/rocket.jpg", "truncated"),
        ("people/portrait.jpeg", "wrong_row"),
        ("people/space/astronaut.png", "wrong_row"),
    }
    assert result(copied)["problems"]["changed_file"] == 3
    assert result(copied)["totals"]["problem_records"] == 6


def test_shards_that_are_gone_cut_off_swapped_or_too_many(copied: Path) -> None:
    first, second, third = sorted(copied.glob("*.tfrecord"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-10])
    shutil.copy(third, copied / "data-00003-of-00003.tfrecord")
    (copied / "README.txt").write_text("somebody's")
    (audit_of(copied) / f"{third.stem}.parquet").unlink()
    assert verify(copied) == 3
    found = {(row["shard"], row["problem"]) for row in findings(copied)}
    assert {(first.name, "missing_file"), (second.name, "corrupt_record")} <= found
    assert (None, "missing_rows") in found
    assert result(copied)["problems"]["unaccounted_file"] == 1
    named = json.loads((audit_of(copied) / "_verify" / "_unaccounted.json").read_text())
    assert named == ["data-00003-of-00003.tfrecord"]


def test_rows_that_were_changed_to_hide_a_face_are_told(copied: Path) -> None:
    for path in audit_of(copied).glob("data-*.parquet"):
        table = pq.read_table(path)
        face = [{"x0": 0.0, "y0": 0.0, "x1": 512.0, "y1": 512.0, "score": 0.9, "keypoints": None}]
        place = table.column_names.index("faces")
        field = table.schema.field("faces")
        changed = table.set_column(place, field, pa.array([face] * len(table), field.type))
        stamp = pq.read_metadata(path).metadata[b"faceveil.shard"]
        pq.write_table(changed.replace_schema_metadata({b"faceveil.shard": stamp}), path)
    assert verify(copied) == 3
    assert result(copied)["problems"] == {"wrong_row": 6}


def test_an_audit_trail_that_is_damaged_is_told(copied: Path) -> None:
    first, second, *_ = sorted(audit_of(copied).glob("data-*.parquet"))
    for path, (start, end) in ((first, (0, 400)), (second, (-400, None))):
        data = bytearray(path.read_bytes())
        data[start:end] = bytes(400)
        path.write_bytes(data)
    assert verify(copied) == 3
    assert result(copied)["problems"] == {"missing_rows": 2}
    assert verify(copied, "--fix") == 3


def test_without_an_audit_trail_only_the_files_are_checked(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(audit_of(copied))
    assert verify(copied) == 0
    assert "not checked: faces: there is no audit trail" in capsys.readouterr().out
    assert result(copied)["totals"]["images"] == 6
    assert result(copied)["residual_share"] is None
    shard = max(copied.glob("*.tfrecord"))
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd9", b"\xff\xd8"))
    assert verify(copied) == 3


def test_a_folder_of_images_is_looked_at_too(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder) == 3
    assert result(folder)["problems"] == {}
    [faces] = [row for row in findings(folder) if row["faces"]][:1]
    assert faces["shard"] == faces["key"]
    copy_output(folder, tmp_path / "out")
    output = tmp_path / "out"
    (output / "things" / "rocket.jpg").unlink()
    (output / "things" / "coffee.jpg").write_bytes((output / "things" / "chelsea.jpg").read_bytes())
    (output / "things" / "new.jpg").write_bytes((output / "things" / "chelsea.jpg").read_bytes())
    (output / "things" / ".DS_Store").touch()
    assert verify(output) == 3
    assert problems(output) >= {
        ("things/rocket.jpg", "missing_file"),
        ("things/coffee.jpg", "changed_file"),
        ("things/coffee.jpg", "wrong_row"),
    }
    assert result(output)["problems"]["unaccounted_file"] == 1
    shutil.rmtree(audit_of(output))
    capsys.readouterr()
    assert verify(output) == 2
    assert "nothing else says which images belong to it" in capsys.readouterr().err


def test_a_shard_is_looked_at_again_only_if_it_has_changed(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(copied) == 0
    kept = {path: path.stat().st_ino for path in (audit_of(copied) / "_verify").glob("*.parquet")}
    content = result(copied)
    changed = max(copied.glob("*.tfrecord"))
    again = audit_of(copied) / "_verify" / f"{changed.stem}.parquet"
    (audit_of(copied) / "_verify.json").unlink()  # as of a run that was killed
    capsys.readouterr()
    assert verify(copied) == 0
    assert "6 of 6 images" in capsys.readouterr().err
    assert result(copied) == content
    assert {path: path.stat().st_ino for path in kept} == kept
    times = changed.stat()
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verify(copied) == 3
    assert {path for path in kept if path.stat().st_ino != kept[path]} == {again}


def test_a_sample_is_seeded_and_tells_how_sure_it_is(folder: Path, copied: Path) -> None:
    assert verify(folder, "--sample", 3, "--max_residual", 1) == 0
    first = result(folder, "_verify_sample")
    assert first["totals"]["records"] == 3
    assert first["sample"] == {"records": 3, "of": 6, "seed": 0}
    low, high = first["residual_interval"]
    assert low <= first["residual_share"] <= high
    assert verify(copied, "--sample", 3) == 0
    assert result(copied, "_verify_sample")["totals"]["records"] == 3
    assert verify(copied, "--sample", 100) == 0
    assert result(copied, "_verify_sample")["totals"]["records"] == 6


def test_of_annotated_boxes_only_a_detector_that_is_named_says_anything(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, output = tmp_path / "boxes.csv", tmp_path / "out"
    keys = [path.relative_to(photos) for path in photos.rglob("*.*")]
    boxes.write_text("key,xmin,ymin,xmax,ymax\n" + "".join(f"{key},1,1,20,20\n" for key in keys))
    given = ["--boxes", boxes, "--boxes_mode", "replace"]
    assert faceveil("run", "--input", f"{photos}/**", "--output", output, *given) == 0
    assert faceveil("verify", output) == 0
    assert "not checked: faces: the job masked annotated boxes" in capsys.readouterr().out
    assert verify(output) == 3
    assert result(output)["totals"]["residual_faces"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "holds no manifest.json"),
        (["--sample", "0"], "--sample 0: must be at least 1"),
        (["--max_residual", "2"], "--max_residual 2: must be at least 0 and at most 1"),
        (["--seed", "x"], "--seed x: must be a whole number"),
        (["--method", "blur"], "--method: unrecognized argument"),
        (["more"], "more: unrecognized argument"),
        (["--runner", "Foo"], "--runner Foo: must be one of"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faceveil("verify", tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_format_that_it_does_not_know_is_refused_by_name(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["job"]["format"] = "zarr"
    path.write_text(json.dumps(manifest))
    assert verify(copied) == 2
    said = capsys.readouterr().err
    known = "tfrecord, parquet, webdataset, images"
    assert f"was written with --format zarr; verify knows {known}, so nothing was checked" in said
    assert not (audit_of(copied) / "_verify.json").exists()


def test_an_output_that_is_being_written_is_refused(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold_lock(str(copied)):
        assert verify(copied) == 4
    assert "is writing to it" in capsys.readouterr().err
    with hold_lock(str(audit_of(copied) / "_verify")):
        assert verify(copied) == 4


def test_the_audit_trail_of_an_earlier_version_is_found(copied: Path) -> None:
    audit_of(copied).rename(copied / "records")
    assert verify(copied) == 0
    assert (copied / "records" / "_verify.json").exists()
