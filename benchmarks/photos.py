"""The photos that all contenders get: as files, and as one TFRecord file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame

WIDER_DEV = Path("../shared/data/wider-dev/images")
DEMO = Path("demo-output/input/photos")


@dataclass(frozen=True)
class Photos:
    """The same photos twice.

    Attributes:
        folder: as JPEG files.
        tfrecord: as Examples in one file.
        count: how many.
    """

    folder: Path
    tfrecord: Path
    count: int


def find_photos() -> Path:
    """The folder of photos to measure with: 200 of WIDER FACE, else the demonstration's.

    Raises:
        FileNotFoundError: there are neither.
    """
    for folder in (WIDER_DEV, DEMO):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no photos in {WIDER_DEV} and {DEMO}; `make demo` makes the latter, --photos names others")


def prepare(source: Path, count: int, target: Path) -> Photos:
    """Copies JPEG photos, again from the first one on where there are too few.

    Args:
        source: the folder that has them.
        count: how many there shall be.
        target: a folder that is made anew.
    """
    shutil.rmtree(target, ignore_errors=True)
    photos = Photos(target / "photos", target / "photos.tfrecord", count)
    photos.folder.mkdir(parents=True)
    originals = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not originals:
        raise FileNotFoundError(f"{source}: holds no JPEG")
    with photos.tfrecord.open("wb") as file:
        for number in range(count):
            original = originals[number % len(originals)]
            data = original.read_bytes()
            (photos.folder / f"{number:06}-{original.name}").write_bytes(data)
            file.write(frame(Example.empty().with_features({"image/encoded": data})))
    return photos
