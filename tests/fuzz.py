"""Thousands of damaged images and TFRecords in one job: nothing may be lost, crash, grow memory or come out unmasked.

As many carry a payload where parsers skip something: it may be in no output.

    python -m tests.fuzz 5000

Seeded: the same number and seed give the same files. Prints what it found, and fails where a promise is broken.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import skimage
import tensorflow as tf
from PIL import Image, ImageOps

from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.formats.tfrecord import frame
from tests.carriers import EXAMPLE_CARRIERS, carry, holds_marker
from tests.conftest import ROOT, audit_of
from tests.mutation import mutate

RECORDS_PER_FILE = 10
SHARE_IN_TFRECORDS = 0.2
DETECT_SIZE = 320
CLEAR_SCORE = 0.5
# Runs a command and writes down its status and the most memory that it, or a process it has waited for, held. A
# process of its own does so: a new process counts what the one that started it held, and this one holds TensorFlow.
_MEASURE = """
import os, pathlib, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
pathlib.Path(sys.argv[1]).write_text(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""
# A solid mask is black; a lossy codec rings beside its edge.
DARK = 24

Photo = tuple[str, bytes]


@dataclass(frozen=True)
class Run:
    """One job: its exit status, what it said, the most memory that one of its processes held, and its output."""

    status: int
    said: str
    peak_mib: float
    output: Path


def sound_images() -> list[Photo]:
    """Photographs with and without faces in every format and most of their variants: name's ending and bytes."""
    folder = Path(skimage.__file__).parent / "data"
    astronaut = Image.open(folder / "astronaut.png").convert("RGB")
    pictures = [
        astronaut.resize((256, 256)),
        astronaut.crop((100, 0, 340, 240)),
        Image.open(folder / "chelsea.png").convert("RGB").resize((225, 150)),
        Image.open(folder / "coffee.png").convert("RGB").resize((300, 200)),
    ]
    variants: list[tuple[str, str, str, dict[str, Any]]] = [
        ("jpg", "JPEG", "RGB", {"quality": 90}),
        ("jpg", "JPEG", "RGB", {"quality": 75, "progressive": True, "subsampling": "4:4:4"}),
        ("jpg", "JPEG", "RGB", {"quality": 85, "restart_marker_rows": 1, "exif": _turned()}),
        ("jpg", "JPEG", "L", {}),
        ("jpg", "JPEG", "CMYK", {}),
        ("png", "PNG", "RGB", {}),
        ("png", "PNG", "RGBA", {}),
        ("png", "PNG", "P", {}),
        ("png", "PNG", "I;16", {}),
        ("webp", "WEBP", "RGB", {"quality": 85}),
        ("webp", "WEBP", "RGBA", {"lossless": True}),
        ("bmp", "BMP", "RGB", {}),
        ("tif", "TIFF", "RGB", {}),
        ("tiff", "TIFF", "RGB", {"compression": "jpeg"}),
        ("avif", "AVIF", "RGB", {"quality": 70, "speed": 9}),
        ("gif", "GIF", "P", {}),
    ]
    found = []
    for picture in pictures:
        for ending, image_format, mode, options in variants:
            buffer = io.BytesIO()
            stored = picture.transpose(Image.Transpose.ROTATE_90) if "exif" in options else picture
            _in_mode(stored, mode).save(buffer, image_format, **options)
            found.append((ending, buffer.getvalue()))
    return found


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return picture.convert(mode)


def _write_images(folder: Path, count: int, photos: list[Photo], change: Callable[[str, bytes], bytes]) -> int:
    """Makes a folder of image files, changed by their name's ending and bytes; returns how many images are left."""
    in_tfrecords = round(count * SHARE_IN_TFRECORDS)
    folder.mkdir()
    for number in range(count - in_tfrecords):
        ending, data = photos[number % len(photos)]
        (folder / f"{number:05d}.{ending}").write_bytes(change(ending, data))
    return in_tfrecords


def write_laden_inputs(folder: Path, count: int, seed: int) -> None:
    """Image files and TFRecord files that hold about ``count`` images, each with a payload that no reader shows."""
    chance = random.Random(seed)  # noqa: S311  nothing secret
    photos = sound_images()
    in_tfrecords = _write_images(folder, count, photos, lambda ending, data: carry(ending, data, chance))
    records = []
    for number in range(in_tfrecords):
        place = EXAMPLE_CARRIERS[chance.choice(sorted(EXAMPLE_CARRIERS))]
        records.append(frame(place(_example(photos[number % len(photos)][1]))))
    (folder / "laden.tfrecord").write_bytes(b"".join(records))


def check_laden(inputs: Path, run: Run) -> dict[str, Any]:
    """Looks for the payload in everything that a job has written, and fails where it is.

    Returns:
        Figures.
    """
    figures = check(inputs, run)
    laden = sum(holds_marker(path.read_bytes()) for path in inputs.iterdir() if path.suffix != ".tfrecord")
    for path in run.output.rglob("*"):
        if path.suffix == ".tfrecord":
            for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
                assert not holds_marker(record), f"record {number} of {path.name} holds the payload"
        elif path.is_file():
            assert not holds_marker(path.read_bytes()), f"{path.name} holds the payload"
    return {"laden_images": laden, "written": figures["written"], "quarantined_for": figures["quarantined_for"]}


def write_inputs(folder: Path, count: int, seed: int, damage: bool) -> None:
    """Image files and TFRecord files that hold about ``count`` images."""
    chance = random.Random(seed)  # noqa: S311  nothing secret
    photos = sound_images()
    in_tfrecords = _write_images(folder, count, photos, lambda _, data: mutate(data, chance) if damage else data)
    for start in range(0, in_tfrecords, RECORDS_PER_FILE):
        framed = bytearray()
        for number in range(start, min(start + RECORDS_PER_FILE, in_tfrecords)):
            data = photos[number % len(photos)][1]
            record = _example(mutate(data, chance) if damage else data)
            framed += frame(mutate(record, chance) if damage and chance.random() < 0.1 else record)
        content = bytes(framed)
        if damage and chance.random() < 0.3:
            content = mutate(content, chance)
        if start % (3 * RECORDS_PER_FILE) == 0:
            content = gzip.compress(content, 1, mtime=0)
            if damage and chance.random() < 0.3:
                content = mutate(content, chance)
        (folder / f"{start:05d}.tfrecord").write_bytes(content)


def _example(data: bytes) -> bytes:
    feature = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[3])),
    }
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(
        deterministic=True
    )
    return serialized


def run_job(inputs: Path, output: Path, pattern: str = "*") -> Run:
    """Anonymizes with black masks, so that what is masked can be told from the pixels alone."""
    command = [sys.executable, "-m", "faceveil", "run", "--input", f"{inputs}/{pattern}", "--output", str(output)]
    options = ["--method", "solid", "--detect_size", str(DETECT_SIZE), "--num_shards", "8", "--max_quarantined", "1"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        measured = [sys.executable, "-c", _MEASURE, str(report), *command, *options]
        ended = subprocess.run(measured, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        status, peak = map(int, report.read_text().split())
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return Run(status, ended.stdout.decode(errors="replace"), peak / unit, output)


def check(inputs: Path, run: Run) -> dict[str, Any]:
    """Looks at an output with other tools than those that made it, and fails where it does not hold.

    Returns:
        Figures.
    """
    assert run.status == 0, run.said
    assert not re.search("Traceback|crashed|earlier attempt died", run.said), run.said
    manifest = json.loads((run.output / "manifest.json").read_text())
    totals = manifest["totals"]
    rows = pq.read_table(audit_of(run.output)).to_pylist()
    keys = Counter(row["key"] for row in rows)
    statuses = Counter(row["status"] for row in rows)
    assert max(keys.values()) == 1
    assert totals["records"] == len(rows) == totals["anonymized"] + totals["no_faces"] + totals["quarantined"]
    assert all(totals[status] == statuses[status] for status in ("anonymized", "no_faces", "quarantined"))
    read = {key.rpartition("#")[0] if ".tfrecord#" in key else key for key in keys}
    # An empty TFRecord file is whole, and holds no record.
    files = {path.name for path in inputs.iterdir() if path.suffix != ".tfrecord" or path.stat().st_size}
    assert {name for name in files if not name.endswith(".tfrecord")} <= read <= files
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    ours = ("crashed", "timed_out", "anonymization_failed", "detection_failed")
    faults = [(row["key"], row["reason"], row["detail"]) for row in rows if row["reason"] in ours]
    assert not faults, f"{faults}; of {reasons}"
    compared, faces = 0, 0
    for key, data in _written(run.output, manifest):
        after = _pixels(data)
        assert after is not None, f"{key}: what was written cannot be decoded"
        before = _pixels((inputs / key).read_bytes()) if (inputs / key).is_file() else None
        if before is not None and before.shape == after.shape:
            compared += 1
            faces += _count_masked(key, before, after)
    return {
        **{"records": totals["records"], "written": len(rows) - totals["quarantined"], "faces": totals["faces"]},
        **{"quarantined_for": dict(sorted(reasons.items())), "images_compared": compared, "clear_faces_masked": faces},
    }


def _written(output: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for shard in manifest["shards"]:
        trail = pq.read_table(audit_of(output) / shard["file"].replace(".tfrecord", ".parquet")).to_pylist()
        keys = [row["key"] for row in trail if row["index"] is not None]
        records = list(tf.data.TFRecordDataset(str(output / shard["file"])).as_numpy_iterator())
        assert len(records) == len(keys) == shard["records"]
        for key, record in zip(keys, records, strict=True):
            feature = tf.train.Example.FromString(record).features.feature
            yield key, feature["image/encoded"].bytes_list.value[0]


def _pixels(data: bytes) -> np.ndarray | None:
    """uint8 RGB ``[H, W, 3]``, upright as the job looks at it, or None where Pillow cannot decode it."""
    try:
        with ImageOps.exif_transpose(Image.open(io.BytesIO(data))) as image:
            if image.mode.startswith("I;16"):
                return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except Exception:  # noqa: BLE001  it promises no list
        return None


_detectors: list[Detector] = []


def _count_masked(key: str, before: np.ndarray, after: np.ndarray) -> int:
    """How many clear faces of the input are black in the output; fails if one is not."""
    if not _detectors:
        _detectors.append(Detector(DetectorConfig((str(known_model("centerface")),), quality=Quality(DETECT_SIZE))))
    detector = _detectors[0]
    height, width = before.shape[:2]
    [faces] = detector.detect([detector.prepare(np.ascontiguousarray(before), width, height)])
    clear = faces.boxes[faces.scores >= CLEAR_SCORE]
    for x0, y0, x1, y1 in clear.tolist():
        x, y = (x1 - x0) / 4, (y1 - y0) / 4
        middle = after[max(0, int(y0 + y)) : int(y1 - y) + 1, max(0, int(x0 + x)) : int(x1 - x) + 1]
        assert middle.mean() < DARK, f"{key}: the face at {x0:.0f}, {y0:.0f} is not masked"
    return len(clear)


def fuzz(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """A clean run, a damaged one and one with payloads, of as many images.

    Returns:
        Figures.
    """
    runs = {}
    for name, damage in (("clean", False), ("damaged", True)):
        write_inputs(folder / name, count, seed, damage)
        runs[name] = run_job(folder / name, folder / f"{name}-out")
    figures = check(folder / "damaged", runs["damaged"])
    write_laden_inputs(folder / "laden", count, seed)
    laden = check_laden(folder / "laden", run_job(folder / "laden", folder / "laden-out"))
    peaks = {f"{name}_peak_mib": round(run.peak_mib) for name, run in runs.items()}
    assert runs["damaged"].peak_mib < 1.5 * runs["clean"].peak_mib, peaks
    return {**figures, **peaks, "laden": laden}


def main() -> None:
    """Prints the figures of one run as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=5000, help="images, a fifth of them in TFRecords")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faceveil-fuzz-") as folder:
        print(json.dumps(fuzz(Path(folder), given.count, given.seed), indent=2))


if __name__ == "__main__":
    main()
