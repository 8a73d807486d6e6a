"""What a job has done, told of an image, a shard and the whole, in any state of an output; and its images as files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceveil.pipeline.cli import main
from faceveil.transforms.formats.layout import OutputFormat
from faceveil.transforms.inputs.keys import KeyHash
from tests.conftest import SKIMAGE_DATA, audit_of, files_of_output
from tests.made_outputs import MadeRecord, made_failure, made_output, made_record

SALT = "0123456789abcdef0123456789abcdef"
SHARDS = [
    [made_record("people/anna.png", 1, faces=3), made_record("things/tree.png", 2, faces=0)],
    [made_failure("people/cut.jpg", "truncated", "at byte 7"), made_record("people/béla*.png", 3, faces=1)],
    [made_record("train.tfrecord#7", 4), made_record("train.tfrecord#17", 5), made_record("../../up.png", 6)],
]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "out"
    made_output(folder, SHARDS)
    return folder


def faceveil(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert faceveil("inspect", *arguments) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 2) -> str:
    assert faceveil("inspect", *arguments) == status
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def image_of(key: str) -> bytes:
    [image] = [record.image for shard in SHARDS for record in shard if record.row.key == key]
    assert image
    return image


def test_it_tells_what_became_of_an_image(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, output, "--key", "people/anna.png")
    [row] = [row for row in pq.read_table(audit_of(output)).to_pylist() if row["key"] == "people/anna.png"]
    lines = said.splitlines()
    assert lines[0] == "people/anna.png"
    assert "  status:    anonymized" in lines
    assert f"  written:   {output}/data-00000-of-00003.tfrecord, record 0" in lines
    assert "  size:      320 x 240 px, upright" in lines
    for face in row["faces"]:
        wide, high = face["x1"] - face["x0"], face["y1"] - face["y0"]
        assert (
            f"    score {face['score']:.2f}, {wide:.0f} x {high:.0f} px at {face['x0']:.0f}, {face['y0']:.0f}" in lines
        )
    assert "method solid" in said
    said = told(capsys, output, "--key", "people/cut.jpg")
    assert "  status:    quarantined" in said
    assert "  reason:    truncated, at byte 7" in said
    assert "written" not in said


def test_keys_are_found_by_a_part_and_exactly_where_one_is_spelt_so(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def keys(*wanted: str) -> list[str]:
        return [line for line in told(capsys, output, "--key", *wanted).splitlines() if line and line[0] != " "]

    assert keys("people/*") == ["people/anna.png", "people/cut.jpg", "people/béla*.png"]
    assert keys("people/béla*.png") == ["people/béla*.png"]
    assert keys("train.tfrecord#*") == ["train.tfrecord#7", "train.tfrecord#17"]
    assert keys("things/tree.png", "people/anna.png") == ["people/anna.png", "things/tree.png"]
    assert "did you mean people/anna.png?" in refused(capsys, output, "--key", "anna.png")
    assert "did you mean people/anna.png?" in refused(capsys, output, "--key", "/photos/people/anna.png")
    assert "keys are paths below" in refused(capsys, output, "--key", "people/anna.png", "nobody")
    assert "--key x*: is no key here" in refused(capsys, output, "--key", "x*")


def test_it_tells_a_shard_by_number_or_name(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, output, "--shard", 1)
    assert said.splitlines()[0] == "data-00001-of-00003: 2 inputs"
    assert "people/cut.jpg  quarantined: truncated" in said
    for name in ("data-00001-of-00003", "data-00001-of-00003.tfrecord", f"{output}/data-00001-of-00003.tfrecord"):
        assert told(capsys, output, "--shard", name) == said
    assert "is none of the 3 finished shards, such as data-00000-of-00003" in refused(capsys, output, "--shard", 3)
    assert "does not go with --key" in refused(capsys, output, "--shard", 1, "--key", "a")


def test_it_tells_the_whole(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, output)
    assert said.startswith("7 records: 5 anonymized (10 faces), 1 without faces, 1 quarantined\n")
    assert "  data-00001-of-00003: 1 record, 1 face, 1 quarantined, " in said
    assert "score_threshold 0.21" in said
    assert said.endswith("quarantined:\n  people/cut.jpg: truncated, at byte 7\n")


@pytest.mark.parametrize("output_format", ["tfrecord", "images"])
def test_images_come_out_as_they_lie_in_the_output(
    output_format: OutputFormat, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [*SHARDS[:2], SHARDS[2][:2]] if output_format == "images" else SHARDS
    made_output(tmp_path / "out", shards, output_format)
    before = files_of_output(tmp_path / "out")
    assert faceveil("inspect", tmp_path / "out", "--key", "people/*", "--extract", tmp_path / "seen") == 0
    said = capsys.readouterr().err
    assert "people/cut.jpg: was quarantined, so there is no image of it" in said
    assert f"2 images written to {tmp_path}/seen" in said
    found = {str(path.relative_to(tmp_path / "seen")) for path in (tmp_path / "seen").rglob("*.*")}
    assert found == {"people/anna.png", "people/béla*.png"}
    assert (tmp_path / "seen" / "people" / "anna.png").read_bytes() == image_of("people/anna.png")
    assert files_of_output(tmp_path / "out") == before
    # A second time they are the same; another file is not replaced.
    assert faceveil("inspect", tmp_path / "out", "--key", "people/*", "--extract", tmp_path / "seen") == 0
    (tmp_path / "seen" / "people" / "anna.png").write_bytes(b"mine")
    assert faceveil("inspect", tmp_path / "out", "--key", "people/*", "--extract", tmp_path / "seen") == 2
    assert (tmp_path / "seen" / "people" / "anna.png").read_bytes() == b"mine"


@pytest.mark.usefixtures("default_detector")
@pytest.mark.parametrize(
    "written_as", [("parquet", "none"), ("parquet", "zstd"), ("webdataset", "gzip"), ("tfrecord", "gzip")]
)
def test_images_come_out_of_rows_samples_and_compressed_shards(
    written_as: tuple[str, str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = ["--quality", "fast", "--num_shards", "2", "--format", written_as[0], "--compression", written_as[1]]
    assert faceveil("run", "--input", f"{photos}/**", "--output", output, *options) == 0
    capsys.readouterr()
    assert faceveil("inspect", output, "--key", "*", "--extract", tmp_path / "seen") == 0
    files = sorted(path for path in (tmp_path / "seen").rglob("*") if path.is_file())
    assert len(files) == 6
    for path in files:
        with Image.open(path) as found, Image.open(photos / path.relative_to(tmp_path / "seen")) as original:
            assert (found.size, found.format) == (original.size, original.format)
    assert "6 records" in told(capsys, output)
    assert b"data:image/jpeg" in (audit_of(output) / "_report.html").read_bytes()


def test_no_key_leads_out_of_the_folder(output: Path, tmp_path: Path) -> None:
    assert faceveil("inspect", output, "--shard", 2, "--extract", tmp_path / "a" / "b" / "seen") == 0
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert len(names) == 3
    assert all(name.startswith("a/b/seen/") for name in names)
    assert {"a/b/seen/train.tfrecord#17.png", "a/b/seen/train.tfrecord#7.png"} < set(names)


def test_what_is_not_the_jobs_is_not_extracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_output(tmp_path / "out", SHARDS)
    shard = tmp_path / "out" / "data-00000-of-00003.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-3])
    assert faceveil("inspect", tmp_path / "out", "--shard", 0, "--extract", tmp_path / "seen") == 5
    assert "is not what the job has written" in capsys.readouterr().err
    assert not list(tmp_path.glob("seen/**/*.png"))
    inside = tmp_path / "out" / "seen"
    assert faceveil("inspect", tmp_path / "out", "--shard", 1, "--extract", inside) == 2
    assert "which is for publication" in capsys.readouterr().err
    assert "goes with --key or --shard" in refused(capsys, tmp_path / "out", "--extract", tmp_path / "seen")


def test_unfinished_outputs_are_told_as_far_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_output(tmp_path / "out", SHARDS, complete=False, num_shards={"data": 8})
    said = told(capsys, tmp_path / "out")
    assert "unfinished, its job has stopped; the same command resumes" in said
    assert "3 of 8 shards done: 7 records, 10 faces, 1 quarantined" in said
    assert "status:    anonymized" in told(capsys, tmp_path / "out", "--key", "people/anna.png")
    assert "may not be finished yet" in refused(capsys, tmp_path / "out", "--key", "nobody")
    assert faceveil("report", tmp_path / "out") == 2
    assert "is not finished, so there is no page yet" in capsys.readouterr().err
    assert faceveil("report", tmp_path / "out", "--summary") == 0
    assert "3 of 8 shards done" in capsys.readouterr().out
    # Before the first shard there is no audit trail.
    shutil.rmtree(audit_of(tmp_path / "out"))
    assert "0 of 8 shards done" in told(capsys, tmp_path / "out")


def test_audit_trails_elsewhere_are_found_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, beside = tmp_path / "out", audit_of(tmp_path / "out")
    made_output(output, SHARDS)
    assert f"is an audit trail; name its output, {output}" in refused(capsys, beside)
    beside.rename(tmp_path / "trail")
    assert f"its audit trail is not in {beside}" in refused(capsys, output)
    assert "--records_output" in refused(capsys, output, "--records_output", tmp_path)
    whole = told(capsys, output, "--records_output", tmp_path / "trail")
    # Versions up to 0.1 had it in the output.
    (tmp_path / "trail").rename(output / "records")
    assert told(capsys, output).splitlines()[0] == whole.splitlines()[0]
    assert "there is no such folder" in refused(capsys, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "holds neither a manifest.json nor" in refused(capsys, tmp_path / "empty")


def test_an_audit_trail_of_fewer_columns_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the first versions have written it."""
    made_output(tmp_path / "out", SHARDS)
    for path in audit_of(tmp_path / "out").glob("*.parquet"):
        table = pq.read_table(path)
        left = [
            name for name in table.column_names if name not in ("detail", "reencoded", "other_images", "fallback_faces")
        ]
        pq.write_table(table.select(left), path)
    assert "status:    anonymized" in told(capsys, tmp_path / "out", "--key", "people/anna.png")
    assert faceveil("report", tmp_path / "out") == 0


def test_hidden_names_are_found_by_hash_and_with_the_salt_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "anna").mkdir(parents=True)
    shutil.copy(SKIMAGE_DATA / "astronaut.png", tmp_path / "in" / "anna" / "1.png")
    (tmp_path / "boxes.csv").write_text("key,xmin,ymin,xmax,ymax\nval/anna/1.png,190,60,270,185\n")
    boxes = "--boxes", tmp_path / "boxes.csv", "--boxes_mode", "replace"
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    output = tmp_path / "out"
    assert faceveil("run", "--input", f"val={tmp_path}/in/**", "--output", output, "--hash_keys", *boxes) == 0
    capsys.readouterr()
    hashed = f"val/{KeyHash(SALT.encode()).hashed('anna/1.png')}"
    page = (audit_of(output) / "_report.html").read_text()
    assert hashed in page
    assert "anna" not in page
    said = told(capsys, output, "--key", hashed)
    assert said.splitlines()[0] == hashed
    assert "annotated, 80 x 125 px at 190, 60" in said
    assert told(capsys, output, "--key", "anna/1.png") == told(capsys, output, "--key", "val/anna/1.png") == said
    monkeypatch.setenv("FACEVEIL_SALT", SALT[::-1])
    assert "is not the one that hides this output's names" in refused(capsys, output, "--key", "anna/1.png")
    monkeypatch.delenv("FACEVEIL_SALT")
    assert "names are hidden in this output" in refused(capsys, output, "--key", "anna/1.png")
    assert told(capsys, output, "--key", hashed) == said
    # What comes out is called by the hash, and its mask is there.
    assert faceveil("inspect", output, "--key", hashed, "--extract", tmp_path / "seen") == 0
    pixels = np.asarray(Image.open(tmp_path / "seen" / f"{hashed}.png"))
    original = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))
    assert (pixels[100:140, 210:250] != original[100:140, 210:250]).any()
    assert (pixels[300:, 300:] == original[300:, 300:]).all()


def test_an_unknown_format_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_output(tmp_path / "out", SHARDS)
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["job"]["format"] = "hologram"
    path.write_text(json.dumps(manifest))
    assert "--format hologram, which this version does not know" in refused(capsys, tmp_path / "out", status=4)


def test_names_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b]0;owned\x07\r\n.png"
    records: list[MadeRecord] = [made_record(evil, 1), made_failure(f"{evil}b", "truncated", evil)]
    made_output(tmp_path / "out", [records])
    for said in (told(capsys, tmp_path / "out", "--shard", 0), told(capsys, tmp_path / "out", "--key", "a*")):
        assert not set("\x1b\x07\r") & set(said)
