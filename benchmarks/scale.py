"""How a job grows with the number of its inputs: planning, the time of an image, the manifest, resuming, memory.

    python -m benchmarks.scale --images 1000 10000 100000 --report DIR

Small JPEGs (64 px, 2 kB) and a detector that does nearly nothing leave the job's own work. For each number of images: a
run that is ended by SIGKILL when three tenths are done; the same command, which takes it up again and is ended at six
tenths and at nine; the same command to the end; and once more, on the finished output. Everything is seen from outside:
files that appear, the progress that workers tell, the memory and the CPU time of the job's processes. Needs /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from benchmarks.measure import audit_of
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import Input
from faceveil.transforms.inputs.summary import summarize_inputs
from faceveil.transforms.shard.progress import read_progress

SIDE = 64
FILES_IN_A_FOLDER = 1000
RECORDS_IN_A_FILE = 10_000
KILLED_AT = (0.3, 0.6, 0.9)
"""Shares of the records that are done when a run is killed."""
_POLL_SECONDS = 0.05
_PAGE_BYTES, _TICKS = os.sysconf("SC_PAGESIZE"), os.sysconf("SC_CLK_TCK")


def small_jpeg(number: int) -> bytes:
    """A picture of soft colours; every fourth is bright in its middle, which the detector takes for a face."""
    random = np.random.default_rng(number)
    picture = cv2.resize(random.integers(0, 160, (8, 8, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if number % 4 == 0:
        picture[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 255
    encoded: bytes = simplejpeg.encode_jpeg(picture, 85)
    return encoded


def write_images(folder: Path, count: int) -> None:
    """So many JPEG files, a thousand in each folder."""
    for number in range(count):
        path = folder / f"{number // FILES_IN_A_FOLDER:05d}" / f"{number:08d}.jpg"
        if number % FILES_IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(small_jpeg(number))


def write_tfrecords(folder: Path, count: int) -> None:
    """So many Examples, ten thousand in each TFRecord file."""
    folder.mkdir(parents=True)
    for start in range(0, count, RECORDS_IN_A_FILE):
        with (folder / f"{start:08d}.tfrecord").open("wb") as file:
            for number in range(start, min(start + RECORDS_IN_A_FILE, count)):
                file.write(frame(Example.empty().with_features({"image/encoded": small_jpeg(number)})))


def write_detector(directory: Path) -> None:
    """A SavedModel in the Object Detection API's form whose one box is a face where the image's middle is bright."""
    import tensorflow as tf

    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.cast(input_tensor, tf.float32) / 255
        brightness = tf.reduce_mean(images[:, SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4], axis=[1, 2, 3])
        scores = tf.sigmoid((brightness - 0.8) * 20)[:, tf.newaxis]
        boxes = tf.constant([0.25, 0.25, 0.75, 0.75]) + 0 * scores[..., tf.newaxis]
        return {"detection_boxes": boxes, "detection_scores": scores, "num_detections": 0 * scores[:, 0] + 1}

    module = tf.Module()
    image = tf.TensorSpec([None, None, None, 3], tf.uint8, name="input_tensor")
    module.serve = tf.function(serve, input_signature=[image], autograph=False)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})


@dataclass(frozen=True)
class Moment:
    """How far a run was: seconds since its start, records done, those of earlier runs, CPU seconds of its processes."""

    seconds: float
    done: int
    resumed: int
    cpu_seconds: float

    @property
    def made(self) -> int:
        """Records that this run has done itself."""
        return self.done - self.resumed


@dataclass(frozen=True)
class Seen:
    """What was seen of one run from outside; times are seconds since the command was started.

    Attributes:
        locked: the inputs were listed, the model was loaded, and the output was taken.
        planned: the first shard was begun.
        complete: the manifest was there.
        ended: the command ended.
        moments: in the order of time.
        peak_mib: the most that its processes held together (resident; what they share is counted in each).
        own_peak_mib: the most of it that lies in no file, as libraries and models do.
    """

    locked: float
    planned: float
    complete: float
    ended: float
    moments: list[Moment]
    peak_mib: float
    own_peak_mib: float

    def first(self) -> Moment:
        """When the first record of its own was made."""
        return next(moment for moment in self.moments if moment.made)

    def at(self, count: int) -> Moment:
        """When so many records were done."""
        return next(moment for moment in self.moments if moment.done >= count)


_MARKS = (".faceveil-lock.json", ".*.attempt", "manifest.json")


def run_job(command: Sequence[str], output: Path, log_path: Path, kill_at: float = float("inf")) -> Seen:
    """Runs a job and watches it; ends it by SIGKILL when so many records are done. What the job says goes to a file."""
    with tempfile.TemporaryDirectory() as folder, log_path.open("w") as log:
        begun = time.monotonic()
        environment = os.environ | {"TMPDIR": folder}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)  # noqa: S603
        seen: dict[str, float] = {}
        moments: list[Moment] = []
        peak = own_peak = 0
        while process.poll() is None:
            now = time.monotonic() - begun
            for mark in _MARKS:
                if mark not in seen and any((*output.glob(mark), *audit_of(output).glob(mark))):
                    seen[mark] = now
            told = [read_progress(str(place)) for place in Path(folder).glob("faceveil-progress-*")]
            done, resumed = sum(part.records for part in told), sum(part.resumed for part in told)
            resident, own, cpu_seconds = _costs(process.pid)
            peak, own_peak = max(peak, resident), max(own_peak, own)
            if done and (not moments or done > moments[-1].done):
                moments.append(Moment(now, done, resumed, cpu_seconds))
            if done >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(_POLL_SECONDS)
        ended = time.monotonic() - begun
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(log_path.read_text(errors="replace"))
        locked, planned, complete = (seen.get(mark, ended) for mark in _MARKS)
        return Seen(locked, planned, complete, ended, moments, peak / 2**20, own_peak / 2**20)


def _costs(group: int) -> tuple[int, int, float]:
    """Resident bytes, those of them in no file, and CPU seconds of a group of processes, by proc_pid_stat(5)."""
    resident = own = 0
    cpu_seconds = 0.0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) != group:
                continue
            _, pages, shared, *_ = map(int, (place / "statm").read_text().split())
        except OSError:
            continue
        resident += pages * _PAGE_BYTES
        own += (pages - shared) * _PAGE_BYTES
        cpu_seconds += (int(fields[11]) + int(fields[12])) / _TICKS
    return resident, own, cpu_seconds


def measure(folder: Path, count: int, kind: str, model: Path, logs: Path) -> dict[str, Any]:
    """All figures of one number of images; what its jobs say goes to files in `logs`."""
    inputs = folder / f"{kind}-{count}"
    (write_images if kind == "images" else write_tfrecords)(inputs, count)
    pattern = f"{inputs}/**"
    begun = time.monotonic()
    summarize_inputs([Input("data", pattern)], str(folder / "elsewhere"))
    listing = time.monotonic() - begun
    command = [sys.executable, "-m", "faceveil", "run", "--input", pattern, "--model", str(model)]
    command += ["--detect_size", str(SIDE), "--quality", "fast", "--score_threshold", "0.5", "--output"]
    output = folder / f"out-{kind}-{count}"
    for place in (output, audit_of(output)):
        shutil.rmtree(place, ignore_errors=True)
    command.append(str(output))
    log_paths = iter([logs / f"{kind}-{count}-run{number}.log" for number in range(1, len(KILLED_AT) + 3)])
    killed = [run_job(command, output, next(log_paths), kill_at=share * count) for share in KILLED_AT]
    kept = sum(_records(path) for path in audit_of(output).glob("*.parquet"))
    resumed = run_job(command, output, next(log_paths))
    again = run_job(command, output, next(log_paths))
    manifest = json.loads((output / "manifest.json").read_text())
    if manifest["totals"]["records"] != count:
        raise RuntimeError(f"{manifest['totals']} of {count} images")
    runs = [*killed, resumed]
    stretches = [(run.first(), run.moments[-1]) for run in runs]
    made = sum(last.made - first.made for first, last in stretches)
    seconds = sum(last.seconds - first.seconds for first, last in stretches)
    cpu_seconds = sum(last.cpu_seconds - first.cpu_seconds for first, last in stretches)
    figures = {
        "inputs": kind,
        "images": count,
        "shards": len(manifest["shards"]),
        "listing_seconds": listing,
        "planning_seconds": killed[0].planned - killed[0].locked,
        "first_image_seconds": killed[0].first().seconds,
        "image_ms": 1000 * seconds / made,
        "image_cpu_ms": 1000 * cpu_seconds / made,
        **{f"run{number}_cpu_ms": _cpu_ms(*stretch) for number, stretch in enumerate(stretches, 1)},
        "peak_mib": max(run.peak_mib for run in killed),
        "own_peak_mib": max(run.own_peak_mib for run in killed),
        "made_twice": sum(run.moments[-1].made for run in runs) - count,
        "kept_records": kept,
        "resume_seconds": resumed.ended,
        "manifest_seconds": resumed.complete - resumed.at(count).seconds,
        "resume_peak_mib": resumed.peak_mib,
        "own_resume_peak_mib": resumed.own_peak_mib,
        "again_seconds": again.ended,
        "manifest_bytes": (output / "manifest.json").stat().st_size,
        "records_bytes": sum(path.stat().st_size for path in audit_of(output).glob("*.parquet")),
    }
    for place in (output, audit_of(output), inputs):
        shutil.rmtree(place)
    return figures


def _cpu_ms(first: Moment, last: Moment) -> float:
    """CPU time of a record that was made between two moments."""
    return 1000 * (last.cpu_seconds - first.cpu_seconds) / (last.made - first.made)


def _records(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


COLUMNS = {
    "images": ("images", "{:,.0f}"),
    "shards": ("shards", "{:.0f}"),
    "listing_seconds": ("listing, s", "{:.2f}"),
    "planning_seconds": ("planning, s", "{:.2f}"),
    "first_image_seconds": ("first image after, s", "{:.1f}"),
    "image_ms": ("ms per image", "{:.2f}"),
    "image_cpu_ms": ("CPU ms per image", "{:.2f}"),
    "peak_mib": ("peak, MiB", "{:.0f}"),
    "own_peak_mib": ("without mapped files, MiB", "{:.0f}"),
    "made_twice": ("made twice", "{:,.0f}"),
    "kept_records": ("kept at the last kill", "{:,.0f}"),
    "resume_seconds": ("resumed run, s", "{:.1f}"),
    "manifest_seconds": ("last image to manifest, s", "{:.2f}"),
    "resume_peak_mib": ("peak resumed, MiB", "{:.0f}"),
    "own_resume_peak_mib": ("resumed without mapped files, MiB", "{:.0f}"),
    "again_seconds": ("once more, s", "{:.1f}"),
    "manifest_bytes": ("manifest, bytes", "{:,.0f}"),
    "records_bytes": ("audit trail, bytes", "{:,.0f}"),
}


def format_table(figures: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, one line for each number of images."""
    lines = ["| " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|--:" * len(COLUMNS) + "|"]
    lines += [
        "| " + " | ".join(form.format(row[name]) for name, (_, form) in COLUMNS.items()) + " |" for row in figures
    ]
    return "\n".join(lines) + "\n"


def median_figures(repeated: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over several measurements."""
    first = repeated[0]
    return {k: v if isinstance(v, str) else statistics.median(row[k] for row in repeated) for k, v in first.items()}


def plot(figures: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds, milliseconds per image and memory over the number of images."""
    from matplotlib.figure import Figure

    counts = [row["images"] for row in figures]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for title, panel, names in (
        ("seconds", panels[0], ("listing_seconds", "planning_seconds", "manifest_seconds", "resume_seconds")),
        ("ms per image", panels[1], ("image_ms", "image_cpu_ms")),
        ("peak memory, MiB", panels[2], ("peak_mib", "own_peak_mib", "resume_peak_mib", "own_resume_peak_mib")),
    ):
        for name in names:
            panel.plot(counts, [row[name] for row in figures], marker="o", label=COLUMNS[name][0].partition(",")[0])
        panel.set(xscale="log", xlabel="images", title=title)
        panel.grid(alpha=0.3)
        panel.legend()
        if title == "seconds":
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measures, and writes scale.json, scale.md, scale.png and what the jobs said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--kind", choices=("images", "tfrecords"), default="images")
    parser.add_argument("--repeat", type=int, default=1, help="measurements of each; their medians are told")
    parser.add_argument("--report", type=Path, required=True, help="folder for scale.json, .md, .png and the logs")
    given = parser.parse_args()
    given.report.mkdir(parents=True, exist_ok=True)
    figures = []
    with tempfile.TemporaryDirectory(prefix="faceveil-scale-") as name:
        folder = Path(name)
        write_detector(folder / "model")
        for count in given.images:
            repeated = [measure(folder, count, given.kind, folder / "model", given.report) for _ in range(given.repeat)]
            figures.append(median_figures(repeated))
            print(json.dumps(figures[-1]), flush=True)
    (given.report / "scale.json").write_text(json.dumps(figures, indent=2) + "\n")
    (given.report / "scale.md").write_text(format_table(figures))
    plot(figures, given.report / "scale.png")
    print(format_table(figures))


if __name__ == "__main__":
    main()
