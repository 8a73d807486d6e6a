"""The mean of several generators' weights, which may draw better faces than any of them.

Example usage::

    python -m faceveil.training.shipped.soup before.npz after.npz --output transforms/generators/weights.npz

It helps where one was trained on from the other (Wortsman et al., "Model soups", ICML 2022,
https://arxiv.org/abs/2203.05482): what the last steps of a GAN do to its faces differs from step to step.
"""

from __future__ import annotations

import argparse

import numpy as np


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "weights", nargs="+", metavar="FILE", help="what faceveil.training.shipped.generator has written"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the mean of them")
    given = parser.parse_args()
    files = [np.load(path) for path in given.weights]
    means = {name: np.mean([file[name].astype(np.float32) for file in files], axis=0) for name in files[0]}
    np.savez_compressed(given.output, **{name: mean.astype(np.float16) for name, mean in means.items()})


if __name__ == "__main__":
    main()
