"""TFRecord files that become several shards: the records, their keys and their order are those of the whole file."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.conftest import audit_of, copy_output
from tests.test_end_to_end import FAST, examples, faceveil, files, rows
from tests.test_retry import leave_lock

pytestmark = pytest.mark.usefixtures("centerface")
COUNT = 24


def write_tfrecord(path: Path, photos: Path, count: int = COUNT, compression: str = "") -> Path:
    originals = sorted(photos.rglob("*.*"))
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for number in range(count):
            values = tf.train.BytesList(value=[originals[number % len(originals)].read_bytes()])
            features = tf.train.Features(feature={"image/encoded": tf.train.Feature(bytes_list=values)})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return path


@pytest.fixture(scope="module")
def large(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one TFRecord file of all photos several times."""
    folder = tmp_path_factory.mktemp("large")
    write_tfrecord(folder / "b.tfrecord", photos)
    return folder


def shard_bytes(large: Path) -> int:
    return (large / "b.tfrecord").stat().st_size // 5 + 1


def job(inputs: Path, output: Path, *more: object) -> int:
    return faceveil("run", "--input", f"{inputs}/*", "--output", output, "--method", "solid", *FAST, *more)


@pytest.fixture(scope="module")
def divided(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("divided") / "out"
    assert job(large, output, "--shard_bytes", shard_bytes(large)) == 0
    return output


def shards_of(output: Path) -> list[int]:
    return [shard["records"] for shard in json.loads((output / "manifest.json").read_text())["shards"]]


def test_records_keep_keys_and_order(large: Path, divided: Path, tmp_path: Path) -> None:
    assert job(large, tmp_path / "whole", "--shard_bytes", "1GiB") == 0
    assert shards_of(tmp_path / "whole") == [COUNT]
    assert len(shards_of(divided)) == 5
    assert min(shards_of(divided)) > 0
    assert list(examples(divided).items()) == list(examples(tmp_path / "whole").items())
    assert list(examples(divided)) == [f"b.tfrecord#{number}" for number in range(COUNT)]
    told = json.loads((divided / "manifest.json").read_text())["job"]
    assert (told["tfrecord_shards"], told["part_bytes"]) == ({"data": 5}, shard_bytes(large))


@pytest.mark.workers
def test_two_processes_make_the_same_bytes(large: Path, divided: Path, tmp_path: Path) -> None:
    processes = ("--direct_running_mode", "multi_processing", "--direct_num_workers", 2)
    assert job(large, tmp_path / "out", "--shard_bytes", shard_bytes(large), *processes) == 0
    assert files(tmp_path / "out") == files(divided)


def test_a_job_goes_on_within_a_file(large: Path, divided: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copy_output(divided, output)
    leave_lock(output)
    lost = sorted(audit_of(output).glob("*.parquet"))[3]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord") if path.stem != lost.stem}
    assert job(large, output, "--shard_bytes", shard_bytes(large)) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files(output) == files(divided)


@pytest.mark.parametrize("records", [COUNT, 2 * COUNT])
def test_a_repaired_file_keeps_its_shards(large: Path, photos: Path, tmp_path: Path, records: int) -> None:
    """Repaired, it would be divided into other shards, were it not for those that are there."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = write_tfrecord(tmp_path / "whole", photos, records).read_bytes()
    (folder / "b.tfrecord").write_bytes(whole[: len(whole) * 2 // 3])
    options = ("--shard_bytes", shard_bytes(large), "--max_quarantined", 1)
    assert job(folder, output, *options) == 0
    before = len(shards_of(output))
    [bad] = (key for key, row in rows(output).items() if row["reason"] == "corrupt_record")
    (folder / "b.tfrecord").write_bytes(whole)
    assert job(folder, output, *options) == 4  # says what to do
    assert job(folder, output, *options, "--retry_quarantined") == 0
    assert len(shards_of(output)) == before
    assert list(examples(output)) == [f"b.tfrecord#{number}" for number in range(records)]
    assert bad in examples(output)
    made = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    assert job(folder, output, *options, "--retry_quarantined") == 0
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}.items() <= made.items()


def test_compressed_files_stay_whole(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write_tfrecord(tmp_path / "in" / "a.tfrecord.gz", photos, 6, "GZIP")
    write_tfrecord(tmp_path / "in" / "b.tfrecord", photos, 6)
    assert job(tmp_path / "in", tmp_path / "out", "--shard_bytes", 100_000) == 0
    assert "1 large files cannot be divided, such as" in capfd.readouterr().err
    made = rows(tmp_path / "out")
    names = [made[f"a.tfrecord.gz#{number}"]["shard"] for number in range(6)]
    assert len(set(names)) == 1
    assert len({made[f"b.tfrecord#{number}"]["shard"] for number in range(6)}) > 1


def test_an_output_of_other_defaults_is_gone_on_with(photos: Path, tmp_path: Path) -> None:
    """As one is that was begun before the defaults were what they are."""
    output = tmp_path / "out"
    usual = ("run", "--input", f"{photos}/**", "--output", output, *FAST)
    assert faceveil(*usual, "--num_shards", 2) == 0
    before = files(output)
    assert faceveil(*usual) == 0
    assert files(output) == before
    assert faceveil(*usual, "--overwrite") == 0
    assert len(shards_of(output)) == 3


def test_the_audit_trail_tells_the_parts(divided: Path) -> None:
    trail = sorted(audit_of(divided).glob("*.parquet"))
    stamps = [json.loads(pq.read_metadata(path).metadata[b"faceveil.shard"]) for path in trail]
    assert [stamp["parts"] for stamp in stamps] == [5] * 5
    assert {tuple(stamp["files"][0][:3]) for stamp in stamps} == {tuple(stamps[0]["files"][0][:3])}
    # What identifies the whole file's content, its first part tells alone.
    assert [len(stamp["files"][0]) for stamp in stamps] == [4, 3, 3, 3, 3]
