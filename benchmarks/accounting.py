"""What it costs to account for every byte of a faceless image, beside decoding it.

    python -m benchmarks.accounting [--photos FOLDER]

CPU milliseconds: of a JPEG, where "copied" is what leaving its metadata out takes alone; then, by
megapixel, of one photo in many encodings.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.encodings import ENCODINGS
from benchmarks.photos import find_photos
from faceveil.transforms.codecs import decode_for_detection, decode_pixels, probe, strip_metadata
from faceveil.transforms.codecs.jpeg_markers import APP1, APP15, COM, segments

_ROUNDS = 9
_DETECT_SIDE = 640
_WIDTH, _HEIGHT = 1600, 1200


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
    return _medians(steps)


def costs_by_encoding(photo: Path) -> dict[str, list[float]]:
    """Seconds that decoding and accounting take of a photo in each encoding, likewise."""
    rgb = np.asarray(Image.open(photo).convert("RGB").resize((_WIDTH, _HEIGHT)))
    found = {}
    for name, encode in ENCODINGS.items():
        data = encode(rgb)
        info = probe(data)
        steps = (
            functools.partial(decode_pixels, data, info),
            functools.partial(strip_metadata, data, info, faultless=decode_pixels(data, info).faultless),
        )
        found[name] = _medians(steps)
    return found


def _medians(steps: Sequence[Callable[[], object]]) -> list[float]:
    rounds = [[_seconds(step) for step in steps] for _ in range(_ROUNDS)]
    return [statistics.median(step) for step in zip(*rounds, strict=True)]


def _copied(data: bytes) -> bytes:
    kept = [data[start:end] for marker, start, end in segments(data) if not APP1 <= marker <= APP15 and marker != COM]
    return data[:2] + b"".join(kept)


def _seconds(step: Callable[[], object]) -> float:
    begun = time.process_time()
    step()
    return time.process_time() - begun


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs (default: WIDER FACE's, else the demo's)")
    parser.add_argument("--every", type=int, default=2, help="take each so many-th photo (2)")
    given = parser.parse_args()
    photos = sorted((given.photos or find_photos()).iterdir())[:: given.every]
    measured = [costs(photo) for photo in photos]
    copied, known, unknown, decoded = (1000 * statistics.mean(step) for step in zip(*measured, strict=True))
    print(f"copied                      {copied:6.3f} ms")
    print(f"accounted for, decoded once {known:6.3f} ms, {known - copied:.3f} more")
    print(f"accounted for, decoded here {unknown:6.3f} ms")
    print(f"decoded for detection       {decoded:6.3f} ms")
    print(f"\n{photos[0].name}, {_WIDTH} x {_HEIGHT} px, ms a megapixel | decode | account for | share")
    for name, (decoding, accounting) in costs_by_encoding(photos[0]).items():
        whole, more = (seconds * 1e9 / (_WIDTH * _HEIGHT) for seconds in (decoding, accounting))
        print(f"{name:40} {whole:7.2f} {more:7.2f} {more / whole:5.0%}")


if __name__ == "__main__":
    main()
