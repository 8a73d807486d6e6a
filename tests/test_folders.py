"""A folder of photos in, a folder of photos out, as users run it; the files reopened with Pillow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, audit_of, copy_output
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server, download
from tests.test_end_to_end import FAST, command, examples, faceveil, files, rows
from tests.test_retry import leave_lock

pytestmark = pytest.mark.usefixtures("centerface")
SALT = "0123456789abcdef0123456789abcdef"
OWN = ("manifest.json",)


def job(inputs: Path | str, output: Path | str, *more: object) -> int:
    pattern = f"{inputs}/**" if isinstance(inputs, Path) else inputs
    return faceveil("run", "--input", pattern, "--output", output, "--format", "images", *FAST, *more)


def published(output: Path) -> dict[str, bytes]:
    """What lies in the output, whatever it is, but for the job's own files."""
    found = {str(path.relative_to(output)): path for path in sorted(output.rglob("*")) if not path.is_dir()}
    return {name: path.read_bytes() for name, path in found.items() if name not in OWN}


def folders(output: Path) -> set[str]:
    return {str(path.relative_to(output)) for path in output.rglob("*") if path.is_dir()}


def totals(output: Path) -> dict[str, int]:
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    counts: dict[str, int] = manifest["totals"]
    return counts


@pytest.fixture(scope="module")
def album(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with and without faces, nested; labels as COCO, YOLO, Pascal VOC and LabelMe have them; and others."""
    folder = tmp_path_factory.mktemp("album")
    shutil.copytree(photos, folder, dirs_exist_ok=True)
    (folder / "people" / "anna's \u00e9t\u00e9.webp").write_bytes(encoded(photos / "people" / "portrait.jpeg", "WEBP"))
    Image.open(photos / "people" / "portrait.jpeg").save(folder / "no ending", "PNG")
    exif = Image.Exif()
    exif[0x8825] = {2: (52.0, 30.0, 0.0)}
    Image.open(photos / "things" / "coffee.jpg").save(folder / "things" / "located.jpg", exif=exif)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 20:50] = 7
    Image.fromarray(mask).save(folder / "things" / "mask.png")
    coco = {"images": [{"id": 1, "file_name": "people/portrait.jpeg", "width": 340, "height": 300}]}
    box = {"id": 1, "image_id": 1, "bbox": [10, 20, 30, 40], "segmentation": [[10.5, 20, 40, 20, 40, 60, 10, 60]]}
    (folder / "instances.json").write_text(json.dumps(coco | {"annotations": [box]}))
    (folder / "people" / "portrait.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (folder / "people" / "empty.txt").touch()
    voc = "<annotation><filename>portrait.jpeg</filename><object><name>face</name></object></annotation>\n"
    (folder / "people" / "portrait.xml").write_text(voc)
    photo = base64.b64encode((photos / "people" / "portrait.jpeg").read_bytes()).decode()
    labelme = {"shapes": [], "imagePath": "portrait.jpeg", "imageData": photo}
    (folder / "people" / "labelme.json").write_text(json.dumps(labelme))
    (folder / "people" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (folder / "people" / ".DS_Store").write_bytes(b"thumbnails")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "labels.json").write_text("{}")
    (folder / "people" / "cut.jpg").write_bytes((photos / "people" / "portrait.jpeg").read_bytes()[:5000])
    return folder


def encoded(path: Path, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(path).save(buffer, image_format)
    return buffer.getvalue()


LABELS = ["instances.json", "people/empty.txt", "people/portrait.txt", "people/portrait.xml"]
IMAGES = [
    *("no ending", "people/anna's \u00e9t\u00e9.webp", "people/astronaut.JPG", "people/portrait.jpeg"),
    *("people/space/astronaut.png", "things/chelsea.jpg", "things/coffee.jpg", "things/located.jpg"),
    *("things/mask.png", "things/rocket.jpg"),
]
MORE = ("--max_quarantined", 1, "--num_shards", 3)


@pytest.fixture(scope="module")
def done(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("folder") / "out"
    assert job(album, output, *MORE) == 0
    return output


def test_a_folder_comes_back_as_it_was_with_the_bytes_that_a_tfrecord_would_hold(
    album: Path, done: Path, tmp_path: Path
) -> None:
    assert faceveil("run", "--input", f"{album}/**", "--output", tmp_path / "out", *FAST, *MORE) == 0
    expected = {
        key: feature["image/encoded"].bytes_list.value[0] for key, feature in examples(tmp_path / "out").items()
    }
    assert published(done) == expected
    assert sorted(expected) == IMAGES
    for name, data in expected.items():
        before, after = Image.open(album / name), Image.open(io.BytesIO(data))
        assert (after.format, after.size, after.mode) == (before.format, before.size, before.mode), name
        loses_metadata = name in ("things/located.jpg", "things/rocket.jpg")
        is_changed = data != (album / name).read_bytes()
        assert is_changed == (loses_metadata or bool(rows(done)[name]["faces"])), name
    assert not Image.open(done / "things" / "located.jpg").getexif().get_ifd(0x8825)


def test_the_manifest_and_the_audit_trail_account_for_every_file(done: Path) -> None:
    counts = totals(done)
    assert counts["records"] == 11 == counts["anonymized"] + counts["no_faces"] + counts["quarantined"]
    assert (counts["quarantined"], counts["ignored"]) == (1, 8)
    trail = rows(done)
    assert sorted(trail) == sorted([*IMAGES, "people/cut.jpg"])
    for name, data in published(done).items():
        row = trail[name]
        assert (row["shard"], row["index"], row["bytes"]) == (name, 0, len(data))
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert (trail["people/cut.jpg"]["reason"], trail["people/cut.jpg"]["shard"]) == ("truncated", None)
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["job"]["format"] == "images"
    assert sum(shard["records"] for shard in manifest["shards"]) == 10
    assert sum(shard["bytes"] for shard in manifest["shards"]) == sum(map(len, published(done).values()))
    # What `sha256sum` prints of a shard's files has the shard's checksum.
    for shard in manifest["shards"]:
        lines = [f"{row['sha256']}  {name}\n" for name, row in sorted(trail.items()) if row["sha256"]]
        of_shard = [line for line in lines if line.rstrip("\n")[66:] in in_shard(done, shard["name"])]
        assert hashlib.sha256("".join(of_shard).encode()).hexdigest() == shard["sha256"]
    assert "anna" not in (done / "manifest.json").read_text()


def in_shard(output: Path, name: str) -> set[str]:
    import pyarrow.parquet as pq

    return set(pq.read_table(audit_of(output) / f"{name}.parquet")["key"].to_pylist())


@pytest.mark.workers
def test_other_shards_and_other_workers_write_the_same_files(album: Path, done: Path, tmp_path: Path) -> None:
    assert job(album, tmp_path / "one", "--max_quarantined", 1, "--num_shards", 1) == 0
    assert published(tmp_path / "one") == published(done)
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    given = ("run", "--input", f"{album}/**", "--output", tmp_path / "two", "--format", "images")
    subprocess.run(command(*given, *FAST, *MORE, *processes), check=True, cwd=ROOT)
    assert files(tmp_path / "two") == files(done)


def test_running_again_does_nothing_and_other_formats_are_refused(
    album: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    assert job(album, done, *MORE) == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before
    assert "10 images and manifest.json in" in capsys.readouterr().out
    assert faceveil("run", "--input", f"{album}/**", "--output", done, *FAST, *MORE) == 4
    assert "format: images there, tfrecord here" in capsys.readouterr().err


def test_labels_are_copied_if_they_hold_no_picture(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert job(album, output, "--copy_others", *MORE) == 0
    found = published(output)
    assert sorted(found) == sorted([*IMAGES, *LABELS])
    for name in LABELS:
        assert found[name] == (album / name).read_bytes()
    trail = rows(output)
    assert {name: trail[name]["status"] for name in LABELS} == dict.fromkeys(LABELS, "copied")
    refused = trail["people/labelme.json"]
    assert (refused["status"], refused["reason"]) == ("quarantined", "embedded_image")
    counts = totals(output)
    assert (counts["copied"], counts["quarantined"], counts["records"], counts["ignored"]) == (4, 2, 12, 3)
    assert "10 images, 4 copied files and manifest.json in" in capsys.readouterr().out
    assert job(album, output, "--copy_others", *MORE) == 0


def test_a_killed_job_goes_on_and_leaves_nothing_behind(photos: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    originals = sorted(photos.rglob("*.*"))
    for number in range(60):
        (folder / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        original = originals[number % len(originals)]
        (folder / f"{number % 7}" / f"{number:02d}{original.suffix}").write_bytes(original.read_bytes())
    assert job(folder, tmp_path / "unbroken", "--num_shards", 6) == 0
    given = ("run", "--input", f"{folder}/**", "--output", output, "--format", "images", "--num_shards", 6, *FAST)
    for shards in (1, 3, 4):
        process = subprocess.Popen(command(*given), cwd=ROOT, start_new_session=True)
        while len(list(audit_of(output).glob("data*"))) < shards:
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (output / "manifest.json").exists()
    assert job(folder, output, "--num_shards", 6) == 0
    assert files(output) == files(tmp_path / "unbroken")


def test_a_finished_shard_that_lacks_a_file_is_made_again(album: Path, done: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copy_output(done, output)
    leave_lock(output)
    (output / "people" / "portrait.jpeg").unlink()
    with (output / "things" / "rocket.jpg").open("ab") as file:
        file.write(b"more")
    assert job(album, output, *MORE) == 0
    assert files(output) == files(done)


def test_what_was_quarantined_is_tried_again(photos: Path, album: Path, done: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    copy_output(done, output)
    kept = (output / "things" / "rocket.jpg").read_bytes()
    shutil.copy(photos / "people" / "portrait.jpeg", folder / "people" / "cut.jpg")
    assert job(folder, output, *MORE) == 4
    assert job(folder, output, *MORE, "--retry_quarantined") == 0
    assert job(folder, tmp_path / "fresh", *MORE) == 0
    assert files(output) == files(tmp_path / "fresh")
    assert (output / "things" / "rocket.jpg").read_bytes() == kept
    assert totals(output)["quarantined"] == 0


def test_a_retry_that_is_killed_leaves_no_photo_that_is_quarantined_after_it(
    photos: Path, album: Path, done: Path, tmp_path: Path
) -> None:
    """The repaired photo is there, its shard is not; then the photo is removed, as a retry allows."""
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(album, folder)
    copy_output(done, output)
    shard = next(path for path in audit_of(output).glob("*.parquet") if "people/cut.jpg" in in_shard(output, path.stem))
    leave_lock(output)
    shutil.copy(photos / "people" / "portrait.jpeg", output / "people" / "cut.jpg")
    (audit_of(output) / f".{shard.stem}.files").write_text(json.dumps(["people/cut.jpg", "gone/x.jpg", "../../up"]))
    (tmp_path / "up").touch()
    (folder / "people" / "cut.jpg").unlink()
    assert job(folder, output, *MORE, "--retry_quarantined") == 0
    assert sorted(published(output)) == IMAGES
    assert not list(audit_of(output).glob(".*"))
    assert (tmp_path / "up").exists()


def test_overwriting_leaves_no_file_of_the_job_before(album: Path, done: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copy_output(done, output)
    # As a kill leaves it: a shard whose files are there, but for one, and its journal.
    shard = sorted(audit_of(output).glob("*.parquet"))[0]
    names = sorted(in_shard(output, shard.stem))
    (audit_of(output) / f".{shard.stem}.files").write_text(json.dumps(names))
    shard.unlink()
    (output / ".3.0123abcd.partial").touch()
    assert job(f"{photos}/things/*", output, "--overwrite") == 0
    assert sorted(published(output)) == ["chelsea.jpg", "coffee.jpg", "rocket.jpg"]
    assert folders(output) == set()
    # From one format to the other, and back.
    assert faceveil("run", "--input", f"{album}/**", "--output", output, *FAST, *MORE, "--overwrite") == 0
    assert {Path(name).suffix for name in published(output)} == {".tfrecord"}
    assert job(album, output, *MORE, "--overwrite") == 0
    assert files(output) == files(done)


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_files_of_others_are_neither_published_nor_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    """What lies in such a folder counts as anonymized."""
    output = tmp_path / "out"
    (output / "deep").mkdir(parents=True)
    (output / "deep" / "original.jpg").write_bytes(b"mine")
    (output / ".DS_Store").touch()
    assert job(f"{photos}/things/*", output, *more) == 4
    assert "out: holds deep/original.jpg, which no job has written there" in capsys.readouterr().err
    assert (output / "deep" / "original.jpg").read_bytes() == b"mine"
    (output / "deep" / "original.jpg").unlink()
    assert job(f"{photos}/things/*", output, "--overwrite") == 0


def test_splits_are_folders(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    inputs = (f"train={photos}/people/*.JPG", f"val={photos}/things/*", f"test={photos}/people/*.jpeg")
    assert faceveil("run", "--input", *inputs, "--output", output, "--format", "images", *FAST) == 0
    names = ["test/portrait.jpeg", "train/astronaut.JPG", "val/chelsea.jpg", "val/coffee.jpg", "val/rocket.jpg"]
    assert sorted(published(output)) == names


def test_inputs_that_need_the_same_name_are_refused_before_any_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(photos / "things" / "rocket.jpg", tmp_path / name)
    given = ("run", "--output", tmp_path / "out", "--format", "images", *FAST)
    assert faceveil(*given, "--input", f"{tmp_path}/a/*", f"{tmp_path}/b/*") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/a/rocket.jpg and {tmp_path}/b/rocket.jpg would both need the name rocket.jpg" in said
    assert not (tmp_path / "out").exists()
    assert faceveil(*given, "--input", f"a={tmp_path}/a/*", f"b={tmp_path}/b/*") == 0
    assert sorted(published(tmp_path / "out")) == ["a/rocket.jpg", "b/rocket.jpg"]


def test_tfrecords_have_no_place_in_a_folder(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(photos, folder)
    assert faceveil("run", "--input", f"{photos}/things/*", "--output", tmp_path / "records", *FAST) == 0
    shard = next((tmp_path / "records").glob("*.tfrecord"))
    shutil.copy(shard, folder)
    assert job(folder, output) == 2
    assert f"{folder}/{shard.name} holds records, whose labels and other features" in capsys.readouterr().err
    assert not output.exists()
    # One that is called an image is found out when it is read.
    (folder / shard.name).rename(folder / "shard.jpg")
    assert job(folder, output, "--max_quarantined", 1) == 0
    assert {key: row["reason"] for key, row in rows(output).items() if row["reason"]} == {"shard.jpg": "not_an_image"}
    assert "shard.jpg" not in published(output)


def test_hidden_names_are_hashes_with_the_endings_that_programs_need(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    output = tmp_path / "out"
    assert job(album, output, *MORE, "--hash_keys") == 0

    def hidden(name: str) -> str:
        hashed = hmac.new(SALT.encode(), name.encode(), "sha256").hexdigest()[:32]
        return hashed + (Path(name).suffix.lower() if "." in name else "")

    assert sorted(published(output)) == sorted(map(hidden, IMAGES))
    assert all("anna" not in path.read_text(errors="replace") for path in output.rglob("*") if path.is_file())
    assert job(album, output, *MORE, "--hash_keys") == 0


def test_an_output_among_the_inputs_is_refused_or_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(photos, folder)
    output = folder / "out"
    assert job(f"{folder}/**/*.jpg", output) == 2
    said = capsys.readouterr().err
    assert f"matches {output}/* in {output}, where the job writes" in said
    assert f"--exclude {output}" in said
    assert not output.exists()
    given = ("--exclude", output, "--copy_others")
    assert job(folder, output, *given) == 0
    before = files(output)
    assert len(published(output)) == 6
    # The audit trail, which lies among the inputs, is none, though it grows.
    assert job(folder, output, *given) == 0
    assert job(folder, output, *given, "--overwrite") == 0
    assert files(output) == before


def test_from_bucket_to_bucket(
    album: Path, done: Path, connect: Callable[..., FaultyProxy], object_store: Server, tmp_path: Path
) -> None:
    connect(share=0.1, page_size=3)
    scheme = object_store.scheme
    names = [*IMAGES, "people/cut.jpg", *LABELS]
    for name in names:
        object_store.put("inputs", f"album/{name}", (album / name).read_bytes())
    output = f"{scheme}://outputs/folder/"
    assert job(f"{scheme}://inputs/album/**", output, *MORE) == 0
    assert published(download(object_store, "outputs", "folder", tmp_path / "out")) == published(done)
    trail = {name for name in object_store.sizes("outputs") if name.startswith("folder.audit/")}
    assert len(trail) == 5  # of three shards, what was ignored, and the page
    assert not [name for name in trail if "/." in name]
    # All is done anew, with fewer.
    assert job(f"{scheme}://inputs/album/things/*", output, "--overwrite") == 0
    left = published(download(object_store, "outputs", "folder", tmp_path / "again"))
    assert sorted(left) == sorted(name.removeprefix("things/") for name in IMAGES if name.startswith("things/"))
