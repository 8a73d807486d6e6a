"""What it costs to account for every byte of a faceless JPEG, beside copying it, and in a whole job.

    python -m benchmarks.accounting [--photos FOLDER]

CPU milliseconds of a photo on one thread. "Copied" is what leaving its metadata out takes alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.photos import find_photos
from faceveil.transforms.codecs import decode_for_detection, probe, strip_metadata
from faceveil.transforms.codecs.jpeg_markers import APP1, APP15, COM, segments

_ROUNDS = 9
_DETECT_SIDE = 640


def costs(photo: Path) -> list[float]:
    """Seconds that copying, accounting with and without the decoder's word, and decoding take: medians over rounds."""
    data = photo.read_bytes()
    info = probe(data)
    steps = (
        lambda: _copied(data),
        lambda: strip_metadata(data, info, faultless=True),
        lambda: strip_metadata(data, info),
        lambda: decode_for_detection(data, info, _DETECT_SIDE),
    )
    rounds = [[_seconds(step) for step in steps] for _ in range(_ROUNDS)]
    return [statistics.median(step) for step in zip(*rounds, strict=True)]


def _copied(data: bytes) -> bytes:
    kept = [data[start:end] for marker, start, end in segments(data) if not APP1 <= marker <= APP15 and marker != COM]
    return data[:2] + b"".join(kept)


def _seconds(step: Callable[[], object]) -> float:
    begun = time.thread_time()
    step()
    return time.thread_time() - begun


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--every", type=int, default=2, help="take each so many-th photo (2)")
    given = parser.parse_args()
    measured = [costs(photo) for photo in sorted((given.photos or find_photos()).iterdir())[:: given.every]]
    copied, known, unknown, decoded = (1000 * statistics.mean(step) for step in zip(*measured, strict=True))
    print(f"copied                      {copied:6.3f} ms")
    print(f"accounted for, decoded once {known:6.3f} ms, {known - copied:.3f} more")
    print(f"accounted for, decoded here {unknown:6.3f} ms")
    print(f"decoded for detection       {decoded:6.3f} ms")


if __name__ == "__main__":
    main()
