"""Measures how many faces detectors find again once they are anonymized, by method.

Example usage::

    python -m faceveil.training.shipped.faces_kept --images 'wider-dev/images/*.jpg' --every 3

Counted are faces that the default detector finds in the originals with a score of 0.5 or more, 16 px or higher. A face
is found again where a box of at least that score overlaps its own by half (intersection over union). The second
detector, scikit-image's cascade of local binary patterns for frontal faces (``lbp_frontal_face_cascade_filename``), is
shown each face with its surroundings, and counted are the faces that it finds in the originals. All images are encoded
as JPEGs of quality 90 in between; the control is only that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from skimage.feature import Cascade

from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.methods import METHODS
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import decode_pixels, probe, upright
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.faces import Faces
from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer
from faceveil.transforms.inputs.match import Input, list_inputs

_SCORE, _HEIGHT, _OVERLAP = 0.5, 16, 0.5
_QUALITY = 90
_CASCADE_FACE, _CASCADE_SIDE = 48, 144
"""A face and its surroundings as the cascade sees them, in pixels."""

_Image = NDArray[np.uint8]
_Anonymizer = Callable[[_Image, Faces, str], _Image]


def anonymizers(generator: str) -> dict[str, _Anonymizer]:
    """What is compared: the control, every method in its defaults, and synthesize with two masks, without keypoints."""
    synthesizer = Synthesizer(SynthesisConfig(generator, b"faces kept"))
    box, ellipse = Style(MaskGeometry(shape="box")), Style()

    def mask(method: str, image: _Image, faces: Faces, _: str) -> _Image:
        return METHODS[method](image, faces, ellipse, (0, 0, 0)).astype(np.uint8)

    def draw(style: Style, keypoints: bool, image: _Image, faces: Faces, name: str) -> _Image:
        known = faces if keypoints else Faces(faces.boxes, faces.scores)
        plan = synthesizer.plan(image, known, "RGB", style, name)
        (drawn,) = synthesizer.draw([plan])
        return synthesizer.paint(image, known, style, (0, 0, 0), plan, drawn).astype(np.uint8)

    return {
        "control": lambda image, _, __: image,
        SYNTHESIZE: partial(draw, box, True),
        f"{SYNTHESIZE}, ellipse": partial(draw, ellipse, True),
        f"{SYNTHESIZE}, no keypoints": partial(draw, box, False),
        **{method: partial(mask, method) for method in METHODS},
    }


def find(detector: Detector, image: _Image) -> Faces:
    """The faces of an image at the job's threshold."""
    height, width = image.shape[:2]
    (faces,) = detector.detect([detector.prepare(image, width, height)])
    return faces


def reencoded(image: _Image) -> _Image:
    """As a reader of the output sees it."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def cascade_finds(cascade: Cascade, image: _Image, box: FloatArray) -> bool:
    """Whether the cascade finds a face, shown with what is around it."""
    scale = _CASCADE_FACE / float(max(box[2:] - box[:2]))
    centre = (box[:2] + box[2:]) / 2
    shift = _CASCADE_SIDE / 2 - scale * centre
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = cv2.warpAffine(image, affine, (_CASCADE_SIDE, _CASCADE_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    found = cascade.detect_multi_scale(shown, scale_factor=1.15, step_ratio=1, min_size=(24, 24), max_size=(90, 90))
    half = scale * (box[2:] - box[:2]) / 2
    own = np.array([[*(_CASCADE_SIDE / 2 - half), *(_CASCADE_SIDE / 2 + half)]], np.float32)
    boxes = [[f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"]] for f in found]
    return bool(boxes) and bool((iou(own, np.array(boxes, np.float32)) >= 0.3).any())


def photos(pattern: str, every: int) -> Iterator[tuple[str, _Image]]:
    """The names and upright pixels of every so many of the photos in colour."""
    listed = [file for file in list_inputs([Input("data", pattern)], 0) if file.kind == "image"]
    for file in sorted(listed, key=lambda file: file.key)[::every]:
        data = storage.read_bytes(file.path)
        info = probe(data)
        pixels = decode_pixels(data, info)
        if pixels.mode == "RGB":
            yield file.key, np.ascontiguousarray(upright(pixels.values, info.orientation)).astype(np.uint8)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, metavar="GLOB", help="photos")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth (default: %(default)s)")
    parser.add_argument("--generator", metavar="DIR", help="a SavedModel (default: the embedded one)")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    detector = Detector(DetectorConfig((str(known_model("centerface-int8")),)))
    cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    compared = anonymizers(given.generator or str(embedded_generator()))
    kept: dict[str, list[bool]] = {name: [] for name in compared}
    kept_by_cascade: dict[str, list[bool]] = {name: [] for name in compared}
    heights: list[float] = []
    for key, photo in photos(given.images, given.every):
        faces = find(detector, photo)
        clear = (faces.scores >= _SCORE) & (faces.boxes[:, 3] - faces.boxes[:, 1] >= _HEIGHT)
        wanted = faces.boxes[clear]
        if not len(wanted):
            continue
        heights += (wanted[:, 3] - wanted[:, 1]).tolist()
        seen = [box for box in wanted if cascade_finds(cascade, photo, box)]
        for name, anonymize in compared.items():
            shown = reencoded(anonymize(photo, faces, key))
            again = find(detector, shown)
            boxes = again.boxes[again.scores >= _SCORE]
            kept[name] += (iou(wanted, boxes).max(axis=1, initial=0) >= _OVERLAP).tolist()
            kept_by_cascade[name] += [cascade_finds(cascade, shown, box) for box in seen]
    print(f"{len(heights)} faces, the cascade finds {len(kept_by_cascade['control'])} of them")
    print("| | default detector | of the control | 16-32 px | 32-64 px | 64 px and more | cascade | of the control |")
    bands = np.digitize(heights, [32, 64])
    for name in compared:
        found, by_cascade = np.array(kept[name]), np.mean(kept_by_cascade[name])
        share, control = found.mean(), np.mean(kept["control"])
        parts = " | ".join(f"{found[bands == band].mean():.3f}" for band in range(3))
        cascade_share = by_cascade / np.mean(kept_by_cascade["control"])
        print(f"| {name} | {share:.3f} | {share / control:.3f} | {parts} | {by_cascade:.3f} | {cascade_share:.3f} |")


if __name__ == "__main__":
    main()
