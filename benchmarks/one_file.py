"""One large TFRecord file on one and on two machines, killed at half: what the second machine and the kill are worth.

    python -m benchmarks.one_file [--photos FOLDER] [--gigabytes 4] [--side 4000]

A worker process with a core of its own plays a machine. Photos are enlarged, so that a file of some gigabytes takes
minutes. All outputs have to be the same to the byte. Wants two quiet cores.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import simplejpeg

from benchmarks.measure import audit_of
from benchmarks.photos import find_photos
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.parts import PART_BYTES, count_parts, find_parts
from faceveil.transforms.shard.progress import read_progress
from tests.test_end_to_end import files

_KINDS = 24


def write_file(photos: Path, path: Path, size: int, side: int) -> int:
    """A TFRecord file of so many bytes; the number of its records."""
    enlarged = []
    for photo in sorted(photos.rglob("*.jpg"))[:_KINDS]:
        pixels = simplejpeg.decode_jpeg(photo.read_bytes(), "BGR")
        scale = side / max(pixels.shape[:2])
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        enlarged.append(simplejpeg.encode_jpeg(large, 97, colorspace="BGR"))
    count = 0
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        while file.tell() < size:
            data = enlarged[count % len(enlarged)]
            file.write(frame(Example.empty().with_features({"image/encoded": data})))
            count += 1
    return count


def start(inputs: Path, output: Path, machines: int) -> subprocess.Popen[bytes]:
    """A job with so many worker processes, each with a core."""
    workers = ["--direct_running_mode", "multi_processing", "--direct_num_workers", str(machines)]
    command = [sys.executable, "-m", "faceveil", "run", "--input", f"{inputs}/*", "--output", str(output)]
    command += ["--quality", "fast", *(workers if machines > 1 else [])]
    return subprocess.Popen(  # noqa: S603
        command,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(output.parent)},
        preexec_fn=functools.partial(os.sched_setaffinity, 0, set(range(machines))),
    )


def finished_records(output: Path) -> int:
    """How many records finished shards have."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in audit_of(output).glob("*.parquet"))


def run(inputs: Path, output: Path, machines: int) -> float:
    """Runs a job to its end; its seconds."""
    began = time.monotonic()
    if start(inputs, output, machines).wait() != 0:
        raise RuntimeError(f"the job that writes {output} has failed")
    return time.monotonic() - began


def main() -> None:
    """Prints times and shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--side", type=int, default=4000, help="of the enlarged photos, px (%(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faceveil-one-file-") as name:
        folder = Path(name)
        path = folder / "in" / "all.tfrecord"
        count = write_file(given.photos or find_photos(), path, int(given.gigabytes * 2**30), given.side)
        [file] = list_inputs([Input("data", str(path))], 0)
        began = time.monotonic()
        parts = find_parts(file, count_parts(file.size, PART_BYTES[0], file.size))
        took = time.monotonic() - began
        print(f"{count} records in {file.size / 2**30:.1f} GiB, {len(parts)} shards found in {took:.2f} s", flush=True)

        one = run(path.parent, folder / "one", 1)
        two = run(path.parent, folder / "two", 2)
        print(f"one machine {one:.0f} s, two {two:.0f} s: {one / two:.2f} times as fast", flush=True)

        job = start(path.parent, folder / "killed", 2)
        while finished_records(folder / "killed") < count / 2:
            time.sleep(0.2)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        made = sum(read_progress(str(place)).records for place in folder.glob("faceveil-progress-*"))
        kept = finished_records(folder / "killed")
        lost = (made - kept) / count
        print(f"killed after {made} of {count} records, {kept} kept: {lost:.1%} to make again", flush=True)
        print(f"went on for {run(path.parent, folder / 'killed', 2):.0f} s")
        same = files(folder / "one") == files(folder / "two") == files(folder / "killed")
        print(f"the three outputs are {'the same' if same else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
