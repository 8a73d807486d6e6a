"""Jobs that are killed, run out of disk or meet another one: each has to end with the bytes of an unbroken run.

    python -m tests.torture

Seeded. Prints what it found, and fails where a promise is broken. Filling a disk takes a tmpfs, and so the super-user.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import skimage.data
from PIL import Image

from tests.conftest import ROOT

PHOTOS, SHARDS = 96, 12


def job(photos: Path, output: Path) -> list[str]:
    options = ["--num_shards", str(SHARDS), "--detect_size", "320", "--method", "pixelate"]
    return [sys.executable, "-m", "faceveil", "run", "--input", f"{photos}/*", "--output", str(output), *options]


def run(photos: Path, output: Path) -> int:
    return subprocess.run(job(photos, output), cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode


def start(photos: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        job(photos, output), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def files(output: Path) -> dict[str, str]:
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in output.rglob("*")
        if path.is_file()
    }


def finished(output: Path) -> dict[str, int]:
    """The shards that are done, and when they were written."""
    times = {}
    for record in output.glob("records/data*.parquet"):
        with suppress(FileNotFoundError):
            times[record.stem] = (output / f"{record.stem}.tfrecord").stat().st_mtime_ns
    return times


def write_photos(folder: Path, seed: int) -> None:
    """Crops of the astronaut and of the coffee cup, half of them with a face."""
    chosen = random.Random(seed)  # noqa: S311 (no secret)
    folder.mkdir()
    for number in range(PHOTOS):
        picture = Image.fromarray(skimage.data.astronaut() if number % 2 else skimage.data.coffee())
        left, upper = chosen.randrange(60), chosen.randrange(40)
        picture.crop((left, upper, left + 340, upper + 340)).save(folder / f"{number:03}.jpg", quality=90)


def killed(photos: Path, folder: Path, expected: dict[str, str], seconds: float, moments: random.Random) -> int:
    """Kills a job once or twice at random moments and lets it end; the number of shards that were not made again."""
    output = folder / "killed"
    kept: dict[str, int] = {}
    for _ in range(moments.choice([1, 1, 2])):
        process = start(photos, output)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, seconds))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept = finished(output)
    assert run(photos, output) == 0
    assert files(output) == expected
    assert kept.items() <= finished(output).items(), "a finished shard was made again"
    return len(kept)


def disk_full(photos: Path, folder: Path, expected: dict[str, str], kilobytes: int) -> None:
    """A job on a disk that is too small, and again when there is room."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk], check=True)
    try:
        output = disk / "out"
        assert run(photos, output) == 5
        whole = {name: checksum for name, checksum in files(output).items() if name.endswith(".tfrecord")}
        assert whole.items() <= expected.items(), "a part of a shard has its name"
        assert "manifest.json" not in files(output)
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        assert run(photos, output) == 0
        assert files(output) == expected
    finally:
        subprocess.run(["umount", disk], check=True)


def two_at_once(photos: Path, folder: Path, expected: dict[str, str], delay: float) -> None:
    """Two jobs that start on one output nearly together: one is refused, the other is not disturbed."""
    output = folder / "two"
    first = start(photos, output)
    time.sleep(delay)
    second = start(photos, output)
    statuses = sorted([first.wait(), second.wait()])
    assert statuses == [0, 4], statuses
    assert files(output) == expected


def torture(kills: int, full: int, pairs: int, seed: int) -> dict[str, Any]:
    """All of it.

    Returns:
        What to print: the seconds of an unbroken run, and how many of the shards that each killed job redid.
    """
    moments = random.Random(seed)  # noqa: S311 (no secret)
    with tempfile.TemporaryDirectory(prefix="faceveil-torture-") as name:
        folder = Path(name)
        photos = folder / "photos"
        write_photos(photos, seed)
        begun = time.monotonic()
        assert run(photos, folder / "unbroken") == 0
        seconds = time.monotonic() - begun
        expected = files(folder / "unbroken")
        size = sum(path.stat().st_size for path in (folder / "unbroken").rglob("*") if path.is_file())
        kept = []
        for number in range(kills):
            place = folder / f"kill-{number}"
            place.mkdir()
            kept.append(killed(photos, place, expected, seconds, moments))
            print(f"kill {number + 1}: {kept[-1]} of {SHARDS} shards were finished and stayed", flush=True)
        for number in range(full):
            place = folder / f"full-{number}"
            place.mkdir()
            disk_full(photos, place, expected, round(moments.uniform(0.1, 0.9) * size / 1000))
            print(f"disk full {number + 1}: status 5, then whole", flush=True)
        for number in range(pairs):
            place = folder / f"pair-{number}"
            place.mkdir()
            two_at_once(photos, place, expected, moments.uniform(0, 1))
            print(f"two at once {number + 1}: one refused", flush=True)
    return {
        "unbroken_seconds": round(seconds, 1),
        "kills": kills,
        "shards_finished_before_each_last_kill": kept,
        "disks_full": full,
        "pairs": pairs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--full", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(torture(given.kills, given.full, given.pairs, given.seed))


if __name__ == "__main__":
    main()
