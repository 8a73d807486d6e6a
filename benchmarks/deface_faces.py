"""The faces that deface 1.5 finds, by its own code; run by the Python of its virtual environment.

Usage: ``.venv-deface/bin/python benchmarks/deface_faces.py SIZE PHOTO...``, SIZE being ``WxH`` as for its ``--scale``,
or ``full``. Prints the faces of one photo a line: a JSON list of ``[x0, y0, x1, y1, score]``.
"""

import json
import sys

import imageio.v2
from deface.centerface import CenterFace

_SCORE = 0.2  # deface's default


def main(size: str, *photos: str) -> None:
    """Prints the faces of each photo."""
    shape = None if size == "full" else tuple(map(int, size.split("x")))
    detector = CenterFace(in_shape=shape, backend="opencv")
    for photo in photos:
        faces, _ = detector(imageio.v2.imread(photo), threshold=_SCORE)
        print(json.dumps(faces.tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
