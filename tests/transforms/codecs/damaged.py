"""Damages small images of every format and does all to them that the job does; prints what that took.

    python -m tests.transforms.codecs.damaged 1000

A process of its own, so that its peak is that of the codecs and of nothing else.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
import warnings

import cv2
from PIL import Image

from faceveil.transforms.codecs import decode_for_detection, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine
from tests.mutation import mutate
from tests.transforms.codecs.test_metadata import SMALL

MAX_PIXELS = 1_000_000


def work(data: bytes) -> None:
    info = probe(data, ("dates", "exposure"), MAX_PIXELS)
    pixels = decode_for_detection(data, info, 64).pixels or decode_pixels(data, info)
    strip_metadata(data, info)
    encode_pixels(pixels, data, info)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(count: int) -> None:
    Image.MAX_IMAGE_PIXELS = None  # as in the job's workers
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for data in SMALL:
        work(data)
    chance = random.Random(1)  # noqa: S311  nothing secret
    before, slowest, quarantined = peak_mib(), 0.0, 0
    for number in range(count):
        damaged = mutate(SMALL[number % len(SMALL)], chance)
        begun = time.process_time()
        try:
            work(damaged)
        except Quarantine:
            quarantined += 1
        slowest = max(slowest, time.process_time() - begun)
    print(json.dumps({"grown_mib": peak_mib() - before, "slowest": slowest, "quarantined": quarantined}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
