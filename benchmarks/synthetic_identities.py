"""Several photos of persons who do not exist, for `faceveil evaluate privacy`.

    python -m benchmarks.synthetic_identities --tar ../shared/data/synthetic-faces.tar --identities 200 --output people

There is one portrait of each. All photos are made of it: turned by up to 8°, scaled and shifted by up to 8 %, maybe
mirrored, in other light and with another white balance, sharper or less, in a border of another colour, and as JPEGs
of other qualities. So hair, clothes, age and expression are the same in all photos of a person, which is not so in
life: these persons are easier to recognise than others.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from faceveil.evaluation.pictures import Change, changed
from faceveil.transforms.arrays import RGB

_SIDE, _BORDER = 192, 48
_PHOTO = Change(place=0.08, angle=8, light=0.35, balance=0.1, noise=2)
_MOST_BLUR = 1.2
_QUALITIES = 60, 96


def portraits(tar: Path, count: int) -> Iterator[RGB]:
    """The first portraits of an archive, by name, uint8 ``[128, 128, 3]`` RGB."""
    with tarfile.open(tar) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name)[:count]:
            file = archive.extractfile(member)
            assert file
            yield np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def photo(portrait: RGB, random: np.random.Generator) -> bytes:
    """Another photo of a portrait, as a JPEG."""
    large = cv2.resize(portrait, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    colour = random.integers(30, 226, 3).tolist()
    framed = cv2.copyMakeBorder(large, *(_BORDER,) * 4, cv2.BORDER_CONSTANT, value=colour)
    middle = np.array([_BORDER, _BORDER, _BORDER + _SIDE, _BORDER + _SIDE], np.float32)
    taken = changed(framed, middle, _PHOTO, random)
    if random.random() < 0.5:
        taken = np.ascontiguousarray(taken[:, ::-1])
    blurred = cv2.GaussianBlur(taken, (0, 0), random.uniform(0.2, _MOST_BLUR))
    _, data = cv2.imencode(".jpg", blurred[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(*_QUALITIES))])
    return data.tobytes()


def write_identities(tar: Path, output: Path, identities: int, photos: int, seed: int) -> None:
    """Writes a folder of photos for each person."""
    for number, portrait in enumerate(portraits(tar, identities)):
        folder = output / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        for place in range(photos):
            (folder / f"{place}.jpg").write_bytes(photo(portrait, np.random.default_rng((seed, number, place))))


def main() -> None:
    """Writes the photos."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthetic_identities", description=__doc__)
    parser.add_argument("--tar", type=Path, required=True, help="of 128 px JPEG portraits, one of each person")
    parser.add_argument("--output", type=Path, required=True, help="where to write a folder for each person")
    parser.add_argument("--identities", type=int, default=200)
    parser.add_argument("--photos", type=int, default=6, help="of each person")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_identities(given.tar, given.output, given.identities, given.photos, given.seed)


if __name__ == "__main__":
    main()
