"""Checksums of what jobs write, so that two commits can be compared: what a refactoring must not change.

    python -m benchmarks.same_bytes --data ../shared/data                                 # this commit
    python -m benchmarks.same_bytes --data ../shared/data --checkout ../another-commit

Prints one line for each job: a digest of its shards, of its audit trail, and of its manifest without versions. Images
come from folders in DATA; a job that is killed half-way and resumed, one that is tried again after a
repair, Examples with three images, hashed names and every method are among the jobs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import audit_of
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame

_METHODS = "blur", "pixelate", "bar", "solid", "synthesize"
_SALT = "0123456789abcdef0123456789abcdef"


class Jobs:
    """Runs jobs of one checkout on the same inputs."""

    def __init__(self, checkout: Path, folder: Path, photos: Path, tricky: Path, count: int) -> None:
        self._checkout, self._folder, self._tricky = checkout.resolve(), folder, tricky.resolve()
        self._photos = folder / "photos"
        self._photos.mkdir()
        for path in sorted(photos.glob("*.jpg"))[:count]:
            shutil.copy2(path, self._photos)

    def all(self) -> dict[str, Callable[[], Path]]:
        """The jobs by name; each gives its output."""
        methods = {f"{name}": lambda name=name: self._run(name, "--method", name) for name in _METHODS}
        return {
            **methods,
            "tricky": lambda: self._run("tricky", inputs=f"{self._tricky}/**"),
            "three image features": self._examples,
            "hashed keys": lambda: self._run("hashed", "--hash_keys"),
            "resumed": self._resumed,
            "retried": self._retried,
        }

    def _command(self, name: str, *options: str, inputs: str | None = None) -> list[str]:
        output = self._folder / f"out-{name}"
        given = ["--input", inputs or f"{self._photos}/*", "--output", str(output), "--num_shards", "8"]
        return [
            sys.executable,
            "-m",
            "faceveil",
            "run",
            *given,
            "--quality",
            "fast",
            "--max_quarantined",
            "1",
            *options,
        ]

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(self._checkout), "FACEVEIL_SALT": _SALT}
        return subprocess.Popen(  # noqa: S603
            command, cwd=self._checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _run(self, name: str, *options: str, inputs: str | None = None) -> Path:
        status = self._start(self._command(name, *options, inputs=inputs)).wait()
        if status:
            raise RuntimeError(f"{name}: exit status {status}")
        return self._folder / f"out-{name}"

    def _examples(self) -> Path:
        photos = sorted(self._photos.iterdir())[:60]
        names = ("image/encoded", "left", "right")
        path = self._folder / "three.tfrecord"
        with path.open("wb") as file:
            for start in range(0, len(photos), 3):
                images = dict(zip(names, (path.read_bytes() for path in photos[start : start + 3]), strict=True))
                file.write(frame(Example.empty().with_features({**images, "label": [start]})))
        os.utime(path, (0, 0))
        return self._run("three", "--image_feature", *names, inputs=str(path))

    def _resumed(self) -> Path:
        command = self._command("resumed")
        output = self._folder / "out-resumed"
        process = self._start(command)
        while process.poll() is None and len(list(audit_of(output).glob("*.parquet"))) < 3:
            time.sleep(0.01)
        process.kill()
        process.wait()
        return self._run("resumed")

    def _retried(self) -> Path:
        broken = self._photos / "broken.jpg"
        good = sorted(self._photos.iterdir())[0].read_bytes()
        for data in (good[: len(good) // 2], good):
            broken.write_bytes(data)
            os.utime(broken, (0, len(data)))
            self._run("retried", *(["--retry_quarantined"] if data == good else []))
        broken.unlink()
        return self._folder / "out-retried"


def digests(output: Path) -> dict[str, str]:
    """What an output's shards, audit trail and manifest amount to; versions do not count."""
    manifest = json.loads((output / "manifest.json").read_text())
    for name in ("versions", "digest", "settings_digest"):
        del manifest["job"][name]
    parts = {
        "shards": b"".join(path.read_bytes() for path in sorted(output.glob("*.tfrecord"))),
        "audit": b"".join(path.read_bytes() for path in sorted(audit_of(output).glob("*.parquet"))),
        "manifest": json.dumps(manifest, sort_keys=True).encode(),
    }
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in parts.items()}


def main() -> None:
    """Prints the digests of every job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with wider-unseen/images and tricky")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faceveil-same-bytes-") as name:
        jobs = Jobs(
            given.checkout, Path(name), given.data / "wider-unseen" / "images", given.data / "tricky", given.photos
        )
        for job, run in jobs.all().items():
            found = digests(run())
            print(f"{job:22}", *(f"{part} {digest}" for part, digest in found.items()), flush=True)


if __name__ == "__main__":
    main()
