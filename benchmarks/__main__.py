"""``python -m benchmarks``: rounds of all contenders, one after the other, on the same photos."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Measurement, run
from benchmarks.no_faces import NO_FACES, cost_ratio
from benchmarks.photos import find_photos, prepare
from benchmarks.report import draw, format_table, ratios
from benchmarks.suite import SETTINGS, contenders, workers
from faceveil.transforms.runtime.pool import usable_cores


def main() -> int:
    """Measures, and writes results.json, results.md and results.png."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--images", type=int, default=400, help="photos of a run, repeated if there are fewer")
    parser.add_argument("--rounds", type=int, default=5, help="more are added to those that the output holds")
    parser.add_argument("--only", default="", metavar="TEXT", help="contenders whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("benchmark-output"))
    given = parser.parse_args()
    source = given.photos or find_photos()
    photos = prepare(source, given.images, given.output / "photos")
    results = given.output / "results.json"
    earlier = json.loads(results.read_text())["rounds"] if results.is_file() else []
    rounds = [[Measurement(**measurement) for measurement in measurements] for measurements in earlier]
    machine = {"cores": usable_cores(), "processor": _processor(), "photos": str(source), "images": given.images}
    builds = [build for setting in SETTINGS for build in contenders(setting, photos)] + list(workers(photos))
    for number in range(len(rounds), len(rounds) + given.rounds):
        measured: list[Measurement] = []
        for build in builds:
            folder = given.output / "run"
            command = build(folder)
            if given.only not in command.name:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            measured.append(run(command, folder))
            print(f"round {number + 1}: {measured[-1]}", flush=True)
            shutil.rmtree(folder)
        rounds.append(measured)
        _write(rounds, ratios(rounds), machine, results)  # what is measured stays, whatever happens to the next round
    compared = ratios(rounds)
    if given.only in NO_FACES:
        compared[NO_FACES] = cost_ratio(photos.folder, 40)
    shutil.rmtree(given.output / "photos")
    print(_write(rounds, compared, machine, results))
    return 0


def _write(
    rounds: list[list[Measurement]], compared: dict[str, float], machine: dict[str, object], results: Path
) -> str:
    """Writes all that was measured; the tables, as text."""
    content = {"machine": machine, "ratios": compared, "rounds": [[asdict(run) for run in each] for each in rounds]}
    results.write_text(json.dumps(content, indent=1))
    told = f"{format_table(rounds)}\n\n" + "\n".join(f"* {name}: {ratio:.2f}" for name, ratio in compared.items())
    results.with_suffix(".md").write_text(told + "\n")
    draw(rounds, results.with_suffix(".png"))
    return told


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    sys.exit(main())
