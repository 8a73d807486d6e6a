"""What is compared with what: the commands of every contender, by how large the detector sees the photos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deface_command import DEFACE, anonymized
from benchmarks.measure import Command, counted
from benchmarks.photos import Photos

Build = Callable[[Path], Command]
"""Makes the command of a run, given the run's folder."""


@dataclass(frozen=True)
class Setting:
    """One way to look at the photos.

    Attributes:
        name: in the tables.
        quality: of faceveil.
        others_size: long side in px at which the others see a photo.
        deface: deface's option for that size.
    """

    name: str
    quality: str
    others_size: int
    deface: tuple[str, ...] = ()


SETTINGS = (
    Setting("640 px", "fast", 640, ("--scale", "640x480")),
    Setting("default", "balanced", 1024),  # deface shows a photo as large as it is
)


def contenders(setting: Setting, photos: Photos) -> Iterator[Build]:
    """All that is measured at one setting, in the order of a round."""
    looks = ["--quality", setting.quality]
    yield _job(f"{setting.name}: job, 8 shards", [f"{photos.folder}/*"], *looks, "--num_shards", "8")
    yield _job(f"{setting.name}: job, one TFRecord", [str(photos.tfrecord)], *looks)
    yield _script(f"{setting.name}: ceiling", "ceiling", photos, setting.quality)
    yield _script(f"{setting.name}: prototype", "prototype", photos, str(setting.others_size))
    yield _script(f"{setting.name}: Beam's own parts", "plain_beam", photos, str(setting.others_size))
    yield _deface(f"{setting.name}: deface", photos, *setting.deface)


def workers(photos: Photos) -> Iterator[Build]:
    """One and two worker processes of a core each."""
    inputs = [f"{photos.folder}/*"]
    yield _job("1 worker of one core", inputs, "--num_shards", "8", before=("taskset", "--cpu-list", "0"))
    processes = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    yield _job("2 workers of one core each", inputs, "--num_shards", "8", *processes)


def _job(name: str, inputs: list[str], *options: str, before: tuple[str, ...] = ()) -> Build:
    def build(folder: Path) -> Command:
        command = [*before, sys.executable, "-m", "faceveil", "run", "--output", f"{folder}/output", *options]
        return Command(name, [*command, "--input", *inputs], counted)

    return build


def _script(name: str, module: str, photos: Photos, *arguments: str) -> Build:
    def build(folder: Path) -> Command:
        command = [sys.executable, "-m", f"benchmarks.{module}", str(photos.folder), f"{folder}/output", *arguments]
        return Command(name, command, counted)

    return build


def _deface(name: str, photos: Photos, *options: str) -> Build:
    if not DEFACE.is_file():
        raise FileNotFoundError(f"{DEFACE} is missing: `make bench` installs it")

    def build(folder: Path) -> Command:
        command = [sys.executable, "-m", "benchmarks.deface_command", str(photos.folder), str(folder), *options]
        return Command(name, command, anonymized)

    return build
