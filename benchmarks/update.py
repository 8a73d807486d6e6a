"""What an update costs, beside making all anew: ten inputs added, ten changed and ten removed of ten thousand.

    python -m benchmarks.update --images 10000 --report DIR

Small JPEGs (64 px, 2 kB) and a detector that does nearly nothing leave the job's own work, which makes an update look
dear: with a real detector a fresh run takes many times as long, and an update hardly longer. What every run takes, a
job of a single image, is told apart: it starts the command, and loads and compares the model. There are then: a fresh
run; the update; the same command on the finished output; an update that is ended by SIGKILL when half of the records
are done, and the same command again; a fresh run on the inputs as they are then, whose totals all updates must have.
Needs /proc.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import audit_of
from benchmarks.scale import SIDE, Seen, run_job, small_jpeg, write_detector, write_images

CHANGED = 10
"""Inputs that are added, and changed, and removed."""
_MADE = re.compile(r"^([\d]+) records? made", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes:
        name: which.
        seconds: from its start to its end.
        cpu_seconds: of its processes, from its start to the last record; 0 where there was none.
        detected: records that it has made itself; None where it was killed.
    """

    name: str
    seconds: float
    cpu_seconds: float
    detected: int | None


class Bench:
    """A folder of inputs, and jobs on it."""

    def __init__(self, folder: Path, report: Path, count: int) -> None:
        self.inputs, self.report, self.count = folder / "in", report, count
        self.folder, self.model = folder, folder / "model"
        self.runs: list[Run] = []
        write_detector(self.model)
        write_images(self.inputs, count)
        write_images(folder / "one", 1)

    def run(
        self, name: str, output: str, *more: str, inputs: Path | None = None, kill_at: float = float("inf")
    ) -> Path:
        """Runs the command, and notes what it took."""
        place = self.folder / output
        pattern = f"{inputs or self.inputs}/**"
        command = [sys.executable, "-m", "faceveil", "run", "--input", pattern, "--model", str(self.model)]
        command += ["--detect_size", str(SIDE), "--quality", "fast", "--score_threshold", "0.5", *more]
        log_path = self.report / f"{name.replace(' ', '-')}.log"
        seen = run_job([*command, "--output", str(place)], place, log_path, kill_at)
        made = _MADE.search(log_path.read_text(errors="replace"))
        self.runs.append(Run(name, seen.ended, _cpu(seen), int(made[1]) if made else None))
        print(self.runs[-1], flush=True)
        return place

    def change(self) -> None:
        """Adds, changes and removes inputs, spread over all of them."""
        paths = sorted(self.inputs.rglob("*.jpg"))
        step = len(paths) // CHANGED
        for number in range(CHANGED):
            paths[number * step].unlink()
            paths[number * step + 1].write_bytes(small_jpeg(self.count + number))
            (paths[number * step].parent / f"new{number}.jpg").write_bytes(small_jpeg(2 * self.count + number))


def _cpu(seen: Seen) -> float:
    return seen.moments[-1].cpu_seconds if seen.moments else 0.0


def totals_of(output: Path) -> dict[str, Any]:
    """What the manifest says of all records, whatever shards they are in."""
    manifest = json.loads((output / "manifest.json").read_text())
    return {name: manifest[name] for name in ("totals", "faces_per_image", "splits", "quarantined_for")}


def format_table(runs: Sequence[Run]) -> str:
    """A Markdown table; the first run is of a single image, and shows what the start takes."""
    start = runs[0]
    lines = ["| | records looked at | s | CPU, s | s without the start | CPU, s |", "|---|--:|--:|--:|--:|--:|"]
    for run in runs:
        looked_at = "" if run.detected is None else f"{run.detected:,}"
        own = max(0.0, run.seconds - start.seconds), max(0.0, run.cpu_seconds - start.cpu_seconds)
        lines.append(
            f"| {run.name} | {looked_at} | {run.seconds:.1f} | {run.cpu_seconds:.1f} | {own[0]:.1f} | {own[1]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, and writes update.md and what the jobs said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--report", type=Path, required=True, help="folder for update.md and the logs")
    given = parser.parse_args()
    given.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faceveil-update-") as name:
        bench = Bench(Path(name), given.report, given.images)
        bench.run("a single image", "one-out", inputs=bench.folder / "one")
        output = bench.run("fresh", "out")
        killed = bench.folder / "killed"
        shutil.copytree(output, killed)
        shutil.copytree(audit_of(output), audit_of(killed))
        bench.change()
        bench.run("update", "out", "--update")
        bench.run("once more", "out", "--update")
        bench.run("update, killed", "killed", "--update", kill_at=given.images / 2)
        bench.run("update, again", "killed", "--update")
        fresh = bench.run("fresh, on what is there now", "fresh")
        if not totals_of(output) == totals_of(killed) == totals_of(fresh):
            raise RuntimeError("the totals differ")
        if bench.runs[2].detected != 2 * CHANGED:
            raise RuntimeError(f"{bench.runs[2].detected} records were looked at")
        table = format_table(bench.runs)
        (given.report / "update.md").write_text(table)
        print(table)


if __name__ == "__main__":
    main()
