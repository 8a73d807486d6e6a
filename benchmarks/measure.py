"""Running a command and watching it: when images are done, what it takes in memory and in CPU time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from faceveil.transforms.formats.layout import audit_directory_beside
from faceveil.transforms.shard.progress import read_progress

_LOOK_SECONDS = 0.05
_LOOKS_PER_MEMORY = 5
"""Adding up the memory of a tree of processes takes some milliseconds, so it is done at every fifth look."""

_WARM_UP = 0.1
"""Of the images: where the steady state begins. Before it, threads wait for their first work, and kernels are made for
shapes that are new."""


def audit_of(output: Path) -> Path:
    """The folder of an output's audit trail."""
    return Path(audit_directory_beside(str(output)))


@dataclass(frozen=True)
class Command:
    """What is measured.

    Attributes:
        name: in the tables.
        arguments: the command line.
        done: counts the images that are done, in the run's folder.
        environment: what is set besides this process's environment.
    """

    name: str
    arguments: list[str]
    done: Callable[[Path], int]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One run.

    Attributes:
        name: the command's.
        images: how many were done.
        first_image_seconds: from the start of the command to the first image.
        images_per_second: in the steady state, from a tenth of the images on to the last.
        cpu_seconds_per_image: of all processes, in the steady state.
        peak_bytes: the most memory of all processes together, each one's share of what is shared counted (PSS).
        seconds: from start to end.
    """

    name: str
    images: int
    first_image_seconds: float
    images_per_second: float
    cpu_seconds_per_image: float
    peak_bytes: int
    seconds: float


def run(command: Command, folder: Path) -> Measurement:
    """Runs a command to its end and watches it.

    Args:
        command: what to run.
        folder: an empty one for it; temporary files go to its ``tmp``.

    Raises:
        RuntimeError: it failed, or was over too soon to be measured.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    said = folder / "said"
    seen: list[tuple[float, int, float]] = []  # seconds, images, CPU seconds
    peak = 0
    with said.open("wb") as output:
        start = time.monotonic()
        process = psutil.Popen(
            command.arguments,
            env={**os.environ, **command.environment, "TMPDIR": str(temporary)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        looks = 0
        while process.poll() is None:
            images = command.done(folder)
            if images and (not seen or images > seen[-1][1]):
                seen.append((time.monotonic() - start, images, sum(map(_cpu_seconds, _tree(process)))))
            if looks % _LOOKS_PER_MEMORY == 0:
                peak = max(peak, sum(map(_memory, _tree(process))))
            looks += 1
            time.sleep(_LOOK_SECONDS)
        seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{command.name}: exit status {process.returncode}:\n{said.read_text()[-4000:]}")
    if len(seen) < 3:
        raise RuntimeError(f"{command.name}: over before it could be measured; take more images")
    last = seen[-1]
    begin = next(point for point in seen if point[1] >= _WARM_UP * last[1])
    images = last[1] - begin[1]
    return Measurement(
        command.name,
        last[1],
        seen[0][0],
        images / (last[0] - begin[0]),
        (last[2] - begin[2]) / images,
        peak,
        seconds,
    )


def counted(folder: Path) -> int:
    """The images that a faceveil job, or whoever counts as it does, has done."""
    found = folder.glob("tmp/faceveil-progress-*")
    return sum(read_progress(str(directory)).records for directory in found)


def _tree(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from process.children(recursive=True)


def _cpu_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return int(process.memory_full_info().pss)
    return 0
