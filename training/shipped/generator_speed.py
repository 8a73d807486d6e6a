"""Measures how many faces a second the generator draws, by batch.

Example usage::

    python -m faceveil.training.shipped.generator_speed
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.engine import Requests, load_generator

_FACES = 64
_ROUNDS = 5


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", metavar="DIR", help="a SavedModel (default: the embedded one)")
    parser.add_argument("--engine", default="auto", choices=["auto", "openvino", "tensorflow"], help="(default: auto)")
    given = parser.parse_args()
    engine = load_generator(given.generator or str(embedded_generator()), given.engine)
    sizes, random = engine.sizes, np.random.default_rng(0)
    crops = random.uniform(-1, 1, (_FACES, sizes.crop, sizes.crop, 3)).astype(np.float32)
    requests = Requests(
        crops,
        np.zeros_like(crops[..., :1]),
        random.uniform(0, sizes.crop, (_FACES, sizes.keypoints, 2)).astype(np.float32),
        random.standard_normal((_FACES, sizes.random)).astype(np.float32),
    )
    print(f"{engine.engine.name}, {engine.engine.precision}, {engine.engine.device}, one thread\n| batch | faces/s |")
    for batch in (1, 2, 4, 8, 16, 32, 64):
        speeds = []
        for _ in range(_ROUNDS + 1):  # the first one, which makes room, does not count
            begun = time.perf_counter()
            for start in range(0, _FACES, batch):
                engine.run(requests.part(start, start + batch))
            speeds.append(_FACES / (time.perf_counter() - begun))
        print(f"| {batch} | {median(speeds[1:]):.0f} |")


if __name__ == "__main__":
    main()
