"""The command line that all checks share."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def run(check: Callable[[Path, int], None], photos: int) -> None:
    """Runs a check in a folder of its own, on as many photographs as the command line says.

    Args:
        check: what is run.
        photos: how many, unless the command line says so.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=photos)
    parser.add_argument("--keep", metavar="DIR", help="folder for photographs, outputs and logs, which stays")
    given = parser.parse_args()
    # Python would end at once, and leave all servers and jobs behind.
    signal.signal(signal.SIGTERM, _end)
    if given.keep:
        folder = Path(given.keep)
        folder.mkdir(parents=True)
        check(folder, given.photos)
    else:
        with tempfile.TemporaryDirectory(prefix="faceveil-check-") as name:
            check(Path(name), given.photos)


def _end(number: int, _: object) -> None:
    """Ends by cleaning up, which a second signal must not cut short (`timeout` and a terminal send one each)."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
