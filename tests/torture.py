"""Jobs that are killed, run out of disk or meet another one: each has to end with the bytes of an unbroken run.

    python -m tests.torture

Seeded. Prints what it found, and fails where a promise is broken: a finished shard is made again, more than a quarter
of a small job's work is lost, or going on costs much more than the work that was left. Filling a disk takes a tmpfs,
and so the super-user.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import skimage.data
from PIL import Image

from faceveil.transforms.shard.progress import Progress, read_progress
from tests.conftest import ROOT, audit_of, files_of_output
from tests.containers import in_container

SHARDS = 12
SMALL = (24, 60, 200)  # photos; so many shards as a job gets by default
MANY = 100
PROCESSES = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CAREFUL = "made in a sandbox"
LARGEST_LOSS = 0.25
DEAREST = 1.2


@dataclass
class Job:
    """One job and its unbroken run.

    Attributes:
        photos: the folder of its inputs.
        options: of the command.
        expected: the files of the unbroken run.
        seconds: that it took.
        cpu: seconds that its processors worked.
        images: how many it has.
    """

    photos: Path
    options: Sequence[str]
    expected: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def images(self) -> int:
        return len(list(self.photos.iterdir()))

    def command(self, output: Path, more: Sequence[str] = ()) -> list[str]:
        given = ["run", "--input", f"{self.photos}/*", "--output", str(output), *self.options, *more]
        return [sys.executable, "-m", "faceveil", *given, "--detect_size", "320", "--method", "pixelate"]

    def run(self, output: Path) -> Ended:
        begun = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(self.command(output), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            told = said.read().decode()
        seconds = time.monotonic() - begun
        return Ended(process.returncode, told, seconds, usage.ru_utime + usage.ru_stime)

    def start(self, output: Path, more: Sequence[str] = (), **variables: str) -> subprocess.Popen[bytes]:
        return self.start_command(self.command(output, more), **variables)

    def start_command(self, command: Sequence[str], **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | variables,
        )

    def run_unbroken(self, output: Path) -> None:
        ended = self.run(output)
        assert ended.status == 0, ended.told
        self.expected, self.seconds, self.cpu = files(output), ended.seconds, ended.cpu


@dataclass(frozen=True)
class Ended:
    """A command at its end: its exit status, what it said, the seconds that it and its processors took."""

    status: int
    told: str
    seconds: float
    cpu: float


def files(output: Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of_output(output).items()}


def finished(output: Path) -> dict[str, int]:
    """The shards that are done, and when they were written."""
    times = {}
    for record in audit_of(output).glob("data*.parquet"):
        with suppress(FileNotFoundError):
            times[record.stem] = (output / f"{record.stem}.tfrecord").stat().st_mtime_ns
    return times


def kept_records(output: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in audit_of(output).glob("data*.parquet"))


def write_photos(folder: Path, count: int, seed: int) -> None:
    """Crops of the astronaut and of the coffee cup, half of them with a face."""
    chosen = random.Random(seed)  # noqa: S311 (no secret)
    folder.mkdir()
    for number in range(count):
        picture = Image.fromarray(skimage.data.astronaut() if number % 2 else skimage.data.coffee())
        left, upper = chosen.randrange(60), chosen.randrange(40)
        picture.crop((left, upper, left + 340, upper + 340)).save(folder / f"{number:03}.jpg", quality=90)


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Ends a job as a machine does (SIGKILL, all processes at once) or as people do, by its first process."""
    with suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    process.wait()


def done_so_far(temporary: Path) -> Progress:
    [*places] = temporary.glob("faceveil-progress-*")
    return read_progress(str(places[0])) if places else Progress()


def killed(job: Job, folder: Path, moments: random.Random, warm_up: float) -> tuple[int, float, float]:
    """Ends a job once or twice at random moments, most of them in the middle of its work, and lets it go on.

    Args:
        job: which.
        folder: where it may write.
        moments: what chooses them.
        warm_up: seconds of CPU that every start takes.

    Returns:
        The number of shards that were not made again, the largest share of all images that was lost at once, and the
        CPU time of the last run, as a multiple of what the work that was left takes.
    """
    output, temporary = folder / "killed", folder / "temporary"
    temporary.mkdir()
    kept: dict[str, int] = {}
    lost = 0.0
    for _ in range(moments.choice([1, 1, 2])):
        number = moments.choice(SIGNALS)
        # Two workers are at two shards, which of few images may be many.
        workers = moments.choice([(), PROCESSES]) if job.images >= MANY else ()
        process = job.start(output, workers, TMPDIR=str(temporary))
        # By what it has done, for how fast that goes depends on what else runs; or while it starts.
        moment = moments.uniform(-0.2, 1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(job.seconds * moments.uniform(0, 0.5) if moment < 0 else 0)
        while process.poll() is None and done_so_far(temporary).records < moment * job.images:
            time.sleep(0.005)
        if number != signal.SIGKILL:  # else it is gone when the job is
            made = done_so_far(temporary).records
        end(process, number)
        if number == signal.SIGKILL:
            made = done_so_far(temporary).records
        for left in temporary.iterdir():
            subprocess.run(["rm", "-r", str(left)], check=True)
        kept = finished(output)
        if "manifest.json" not in files(output):
            lost = max(lost, (made - kept_records(output)) / job.images)
    left_over = 1 - kept_records(output) / job.images
    ended = job.run(output)
    assert ended.status == 0, ended.told
    assert CAREFUL not in ended.told, "it was careful although nothing had crashed"
    assert files(output) == job.expected
    assert kept.items() <= finished(output).items(), "a finished shard was made again"
    assert lost <= LARGEST_LOSS, f"{lost:.0%} of the work was lost"
    return len(kept), lost, ended.cpu / (warm_up + left_over * (job.cpu - warm_up))


def restarted_container(job: Job, folder: Path, times: int, moments: random.Random) -> None:
    """A job in a container that is killed and started again at once, with the same name and process numbers."""
    output = folder / "container"
    for _ in range(times):
        process = job.start_command(in_container(*job.command(output)))
        with suppress(subprocess.TimeoutExpired):
            assert process.wait(moments.uniform(0, job.seconds)) == 0, "its own lock was in its way"
        end(process, signal.SIGKILL)
    assert job.start_command(in_container(*job.command(output))).wait() == 0
    assert files(output) == job.expected


def disk_full(job: Job, folder: Path, kilobytes: int) -> None:
    """A job on a disk that is too small, and again when there is room."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk], check=True)
    try:
        output = disk / "out"
        assert job.run(output).status == 5
        whole = {name: checksum for name, checksum in files(output).items() if name.endswith(".tfrecord")}
        assert whole.items() <= job.expected.items(), "a part of a shard has its name"
        assert "manifest.json" not in files(output)
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        assert job.run(output).status == 0
        assert files(output) == job.expected
    finally:
        subprocess.run(["umount", disk], check=True)


def two_at_once(job: Job, folder: Path, delay: float) -> None:
    """Two jobs that start on one output nearly together: one is refused, the other is not disturbed."""
    output = folder / "two"
    first = job.start(output)
    time.sleep(delay)
    second = job.start(output)
    statuses = sorted([first.wait(), second.wait()])
    assert statuses == [0, 4], statuses
    assert files(output) == job.expected


def torture(kills: int, containers: int, full: int, pairs: int, seed: int) -> dict[str, Any]:
    """All of it.

    Returns:
        What to print: how many of the shards stayed at each last kill, how much was lost and what going on cost.
    """
    moments = random.Random(seed)  # noqa: S311 (no secret)
    with tempfile.TemporaryDirectory(prefix="faceveil-torture-") as name:
        folder = Path(name)
        small = []
        for count in SMALL:
            write_photos(folder / f"photos-{count}", count, seed)
            small.append(Job(folder / f"photos-{count}", ()))
            small[-1].run_unbroken(folder / f"unbroken-{count}")
        write_photos(folder / "photos-1", 1, seed)
        warm_up = Job(folder / "photos-1", ()).run(folder / "unbroken-1").cpu
        shards = Job(small[1].photos, ("--num_shards", str(SHARDS)))
        shards.run_unbroken(folder / "unbroken")
        found = []
        for number in range(kills):
            job = small[number % len(small)]
            kept, lost, cost = killed(job, _new(folder / f"kill-{number}"), moments, warm_up)
            found.append((kept, lost, cost))
            print(
                f"kill {number + 1}: of {job.images} images {lost:.0%} were lost, {kept} shards stayed, "
                f"going on cost {cost:.2f} times the rest",
                flush=True,
            )
        restarted_container(shards, _new(folder / "containers"), containers, moments)
        print(f"a container that was killed and started again {containers} times: whole", flush=True)
        size = sum(path.stat().st_size for path in (folder / "unbroken").rglob("*") if path.is_file())
        for number in range(full):
            disk_full(shards, _new(folder / f"full-{number}"), round(moments.uniform(0.1, 0.9) * size / 1000))
            print(f"disk full {number + 1}: status 5, then whole", flush=True)
        for number in range(pairs):
            two_at_once(shards, _new(folder / f"pair-{number}"), moments.uniform(0, 1))
            print(f"two at once {number + 1}: one refused", flush=True)
    costs = [cost for _, _, cost in found] or [0.0]
    assert statistics.median(costs) <= DEAREST, f"going on costs {statistics.median(costs):.2f} times the rest"
    return {
        "kills": kills,
        "shards_finished_before_each_last_kill": [kept for kept, _, _ in found],
        "largest_share_lost": round(max((lost for _, lost, _ in found), default=0), 3),
        "cost_of_going_on": {"median": round(statistics.median(costs), 2), "most": round(max(costs), 2)},
        "containers": containers,
        "disks_full": full,
        "pairs": pairs,
    }


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--containers", type=int, default=10)
    parser.add_argument("--full", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(torture(given.kills, given.containers, given.full, given.pairs, given.seed))


if __name__ == "__main__":
    main()
