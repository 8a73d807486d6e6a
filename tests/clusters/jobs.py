"""Jobs that a check runs, and what it compares: the outputs, byte for byte, and the account of their records."""

from __future__ import annotations

import atexit
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import skimage.data
from PIL import Image

from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from tests.conftest import ROOT, SHARED_DATA, audit_of
from tests.torture import files

SHARDS = 40
# What the workers of a cluster need to find: `python`, and this package.
ENVIRONMENT = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONPATH": str(ROOT),
    # Spark's driver, which the job server is, would listen to the network.
    "SPARK_LOCAL_IP": "127.0.0.1",
}


def write_photos(folder: Path, count: int) -> Path:
    """So many photographs: the development data several times over, or crops of two where there is none."""
    folder.mkdir(parents=True)
    real = sorted((SHARED_DATA / "wider-dev" / "images").glob("*.jpg"))
    chosen = random.Random(0)  # noqa: S311 (no secret)
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if real:
            path.symlink_to(real[number % len(real)])
            continue
        picture = Image.fromarray(skimage.data.astronaut() if number % 2 else skimage.data.coffee())
        left, upper = chosen.randrange(60), chosen.randrange(40)
        picture.crop((left, upper, left + 340, upper + 340)).save(path, quality=90)
    return folder


def write_records(path: Path, photos: Path) -> Path:
    """A folder's photographs in one TFRecord file."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for photo in sorted(photos.iterdir()):
            file.write(frame(Example.empty().with_features({"image/encoded": photo.read_bytes()})))
    return path


def finished_shards(output: Path) -> int:
    return len(list(audit_of(output).glob("data*.parquet")))


@dataclass
class Job:
    """A job that runs in the background, or has run."""

    output: Path
    process: subprocess.Popen[str]
    began: float

    @property
    def finished_shards(self) -> int:
        return finished_shards(self.output)

    def wait(self, status: int = 0) -> float:
        """Waits for its end; the seconds it took.

        Raises:
            AssertionError: it has ended with another status.
        """
        said, _ = self.process.communicate()
        seconds = time.monotonic() - self.began
        assert self.process.returncode == status, f"status {self.process.returncode}:\n{said}"
        return seconds

    def wait_for_shards(self, count: int) -> None:
        """Waits until so many shards are finished.

        Raises:
            AssertionError: the job has ended before.
        """
        while self.finished_shards < count:
            if self.process.poll() is not None:
                raise AssertionError(f"ended early:\n{self.process.communicate()[0]}")
            time.sleep(0.05)


def start(photos: Path, output: Path, *options: object) -> Job:
    """Starts a job on a folder of photographs."""
    command = ["run", "--input", f"{photos}/*", "--output", output, "--num_shards", SHARDS, "--quality", "fast"]
    process = subprocess.Popen(
        [sys.executable, "-m", "faceveil", *map(str, [*command, *options])],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    atexit.register(_end, process)
    return Job(output, process, time.monotonic())


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a job that a failed check has left behind, and what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def check_same(output: Path, expected: Path, records: int) -> None:
    """Whether an output is another one's to the byte, with so many records, none of them twice.

    Raises:
        AssertionError: it is not.
    """
    here, there = files(output), files(expected)
    differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    assert not differing, f"{output} differs from {expected} in {differing}"
    keys = pq.read_table(audit_of(output), columns=["key"])["key"].to_pylist()
    assert len(keys) == len(set(keys)) == records
