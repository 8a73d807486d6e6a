"""How long a job takes to begin with very many small files in one folder, and what memory that needs.

    python -m benchmarks.one_folder --images 200000 --repeat 3
    python -m benchmarks.one_folder --images 200000 --repeat 3 --checkout ../another-commit
    python -m benchmarks.one_folder --images 200000 --repeat 3 --ending ''

Each run is ended when its first image is done. Seconds are from the start of the command. `--checkout` measures the
code of another working tree. Files without an ending are looked into, which is what the last of these measures. Needs
Linux (/proc).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale import run_job, small_jpeg


def write_folder(folder: Path, count: int, ending: str) -> None:
    """So many small JPEGs, all in one folder."""
    folder.mkdir()
    some = [small_jpeg(number) for number in range(100)]
    for number in range(count):
        (folder / f"{number:08d}{ending}").write_bytes(some[number % len(some)])


def main() -> None:
    """Measures, and prints each run and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ending", default=".jpg")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(given.checkout.resolve())
    os.chdir(given.checkout)
    with tempfile.TemporaryDirectory(prefix="faceveil-one-folder-") as name:
        folder = Path(name)
        write_folder(folder / "in", given.images, given.ending)
        figures = []
        for repetition in range(given.repeat):
            output = folder / f"out-{repetition}"
            command = [sys.executable, "-m", "faceveil", "run", "--input", f"{folder}/in/**", "--output", str(output)]
            log_path = folder / f"out-{repetition}.log"
            seen = run_job([*command, "--quality", "fast", "--detect_size", "64"], output, log_path, kill_at=1)
            figures.append((seen.locked, seen.planned, seen.at(1).seconds, seen.at(1).cpu_seconds, seen.peak_mib))
            print(_in_words(figures[-1]), flush=True)
        medians = [statistics.median(column) for column in zip(*figures, strict=True)]
        print(f"median of {given.repeat}: {_in_words(medians)}")


def _in_words(figures: Sequence[float]) -> str:
    locked, planned, first, cpu, peak = figures
    times = f"{locked:.1f} s to the lock, {planned:.1f} s to the first shard, {first:.1f} s to the first image"
    return f"{times} ({cpu:.1f} s of CPU), {peak:.0f} MiB"


if __name__ == "__main__":
    main()
