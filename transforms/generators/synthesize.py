"""Synthesize: a generator paints a new face from what lies around the old one, which it never sees."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.masks import Rectangle, face_mask, face_masks, scale_box
from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import BoolMask, FloatArray, Values
from faceveil.transforms.faces import Faces
from faceveil.transforms.generators.crops import Crop, fill_from_face, take_crop
from faceveil.transforms.generators.engine import Requests, load_generator
from faceveil.transforms.generators.geometry import crop_affine
from faceveil.transforms.models.engines import EngineName, Precision

_BATCH = 64
"""Faces that go through the generator at once, at most."""

_IMAGES = 4
"""Images whose faces do. More gains little on a CPU, and all their pixels are held."""

_MIN_SURROUNDINGS = 0.3
"""Share of what lies around a face that has to be known: otherwise it is at the edge, fills the image, or overlaps
others."""

_PROFILE_EYES = 0.08
"""Of the square root of the box's area: closer eyes are those of a profile, and the line through them has no direction
to go by. Frontal faces have about 0.45."""

_COCO = (2, 1, 0)
"""Which of our keypoints are the first three of COCO's (nose, the person's left eye, right eye). Ours go by the
image."""

_DRAWABLE = {"L", "LA", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16"}
"""Layouts of pixels that have plain colours: no inks, nothing premultiplied."""


@dataclass(frozen=True)
class SynthesisConfig:
    """How new faces are made.

    Attributes:
        model_dir: the generator's folder.
        salt: the secret that decides which faces are drawn; never printed.
        fallback: name of the method for faces that cannot be drawn.
        engine: as for the detector.
        precision: as for the detector.
        threads: how many threads will call at once.
    """

    model_dir: str
    salt: bytes = field(repr=False)
    fallback: str = "blur"
    engine: EngineName = "auto"
    precision: Precision = "auto"
    threads: int = 1


@dataclass(frozen=True)
class FacePlan:
    """What is to be drawn in one image.

    Attributes:
        drawn: bool ``[N]``, which of the faces; the fallback takes the others.
        crops: of those that are drawn.
        requests: for the generator, one for each crop.
        white: the value of the image's brightest known pixel for uint16, else 255.
    """

    drawn: BoolMask
    crops: tuple[Crop, ...]
    requests: Requests
    white: float


class Synthesizer:
    """Draws new faces with a SavedModel. All methods may be called from several threads at once.

    Raises:
        ModelError: the model does not load or is no generator.
    """

    def __init__(self, config: SynthesisConfig) -> None:
        self.config = config
        self.engine = load_generator(config.model_dir, config.engine, config.precision, config.threads)

    @property
    def images_at_once(self) -> int:
        """How many images `draw` wants at once."""
        return _IMAGES

    def plan(self, values: Values, faces: Faces, mode: str, style: Style, name: str, given: int = 0) -> FacePlan:
        """Decides which faces of an image are drawn, and takes their crops.

        Args:
            values: uint8 or uint16 ``[H, W, C]``, the upright image.
            faces: the faces in it.
            mode: the pixels' layout, as `Pixels` has it.
            style: the masks' shape.
            name: the image's, which with the salt and a face's number decides how that face will look.
            given: how many of the faces, the first ones, are annotated boxes, which are drawn only if a detector has
                found keypoints for them: else they may be no faces.
        """
        sizes, geometry = self.engine.sizes, style.geometry
        height, width = values.shape[:2]
        masks = list(face_masks(faces, geometry, height, width))
        known = _known_pixels(masks, height, width)
        white = _white(values, known)
        drawn = np.zeros(len(faces), np.bool_)
        crops, points, random = [], [], []
        for number, box in enumerate(faces.boxes if mode in _DRAWABLE else ()):
            keypoints = None if faces.keypoints is None else faces.keypoints[number].astype(np.float64)
            pose = find_pose(box, keypoints, geometry.margin)
            if pose.profile or (number < given and pose.keypoints is None) or not masks[number][1].any():
                continue
            affine = crop_affine(box, pose.tilt, geometry, sizes.crop)
            crop = take_crop(values, known, white, masks[number], affine, sizes.crop)
            if crop.known_share < _MIN_SURROUNDINGS:
                continue
            drawn[number] = True
            crops.append(crop)
            places = None if pose.keypoints is None else pose.keypoints @ affine[:, :2].T + affine[:, 2]
            points.append(fitting_keypoints(places, sizes.keypoints))
            random.append(random_vector(self.config.salt, name, number, sizes.random))
        return FacePlan(drawn, tuple(crops), _requests(crops, points, random), white)

    def draw(self, plans: Sequence[FacePlan]) -> list[FloatArray]:
        """The faces of several images, all drawn together: for each image float32 ``[n, S, S, 3]``.

        Raises:
            ModelError: the generator's output breaks its contract.
        """
        counts = [len(plan.requests) for plan in plans]
        parts = [plan.requests for plan in plans if len(plan.requests)]
        if not parts:
            return [np.zeros((0, 0, 0, 3), np.float32) for _ in plans]
        whole = Requests(*(np.concatenate([part.inputs()[name] for part in parts]) for name in parts[0].inputs()))
        faces = [self.engine.run(whole.part(start, start + _BATCH)) for start in range(0, len(whole), _BATCH)]
        return np.split(np.concatenate(faces), np.cumsum(counts)[:-1])

    def paint(
        self, values: Values, faces: Faces, style: Style, black: tuple[int, ...], plan: FacePlan, drawn: FloatArray
    ) -> Values:
        """Puts the new faces into an image, and paints the others with the fallback.

        Args:
            values: as planned with; not modified.
            faces: as planned with.
            style: as planned with, and how strong the fallback is.
            black: the value of each channel that together show as opaque black.
            plan: what was to be drawn.
            drawn: what was drawn for it.

        Returns:
            A new array like `values`.
        """
        painted = values.copy()
        boxes = faces.boxes[plan.drawn]
        # The best score's, the first, is on top.
        for box, crop, face in zip(boxes[::-1], plan.crops[::-1], drawn[::-1], strict=True):
            rectangle, mask = face_mask(box, style.geometry, *values.shape[:2])
            fill = fill_from_face(face, crop, rectangle, values.shape[2], plan.white, values.dtype.type)
            paint(painted, rectangle, mask, fill)
        # The fallback may take colours from around a face: by then no other face may be left there.
        return METHODS[self.config.fallback](painted, faces.take(~plan.drawn), style, black)

    def painted_pixels(self, faces: Faces, style: Style, plan: FacePlan, height: int, width: int) -> BoolMask:
        """Which pixels `paint` paints on, bool ``[H, W]``."""
        painted = painted_pixels(self.config.fallback, faces.take(~plan.drawn), style, height, width)
        for rectangle, mask in face_masks(faces.take(plan.drawn), style.geometry, height, width):
            painted[rectangle] |= mask
        return painted


def _known_pixels(masks: Sequence[tuple[Rectangle, BoolMask]], height: int, width: int) -> BoolMask:
    known = np.ones((height, width), np.bool_)
    for rectangle, mask in masks:
        known[rectangle] &= ~mask
    return known


def _white(values: Values, known: BoolMask) -> float:
    """255, or the brightest known value of 16 bits, since many such images use only 10 to 14 of them."""
    if values.dtype == np.uint8:
        return 255.0
    colours = values[..., :-1] if values.shape[2] in (2, 4) else values
    return float(max(colours.max(axis=2)[known].max(initial=0), 1))


def _requests(crops: Sequence[Crop], points: Sequence[FloatArray], random: Sequence[FloatArray]) -> Requests:
    if not crops:
        return Requests(*(np.zeros((0, 1), np.float32) for _ in range(4)))
    return Requests(
        np.stack([crop.rgb for crop in crops]),
        np.stack([crop.mask for crop in crops]),
        np.stack(points),
        np.stack(random),
    )


@dataclass(frozen=True)
class Pose:
    """How a face lies.

    Attributes:
        tilt: of the line from the left to the right eye, in radians; 0 where the eyes are not known.
        keypoints: float64 ``[K, 2]``, x, y in pixels of the image; None where there are none to go by.
        profile: whether it is seen from the side.
    """

    tilt: float
    keypoints: NDArray[np.float64] | None
    profile: bool = False


def find_pose(box: FloatArray, keypoints: NDArray[np.float64] | None, margin: float) -> Pose:
    """How a face lies, by its keypoints; without any, or with some beyond its box, it is taken to be upright.

    Args:
        box: x0, y0, x1, y1 in pixels.
        keypoints: ``[K, 2]``, x, y; the first two are the eyes.
        margin: by which the box is enlarged.

    Example usage::

        >>> box, eyes = np.array([0, 0, 8, 10], np.float32), np.array([[2.0, 4], [6, 4]])
        >>> find_pose(box, eyes, 0.1).tilt
        0.0
    """
    if keypoints is None or len(keypoints) < 2 or not np.isfinite(keypoints).all():
        return Pose(0.0, None)
    x, y, half_width, half_height = scale_box(box, margin)
    if (np.abs(keypoints - (x, y)) > (half_width, half_height)).any():
        return Pose(0.0, None)
    across, down = keypoints[1] - keypoints[0]
    side = 2 * math.sqrt(half_width * half_height) / (1 + margin)
    return Pose(math.atan2(down, across), keypoints, profile=math.hypot(across, down) < _PROFILE_EYES * side)


def fitting_keypoints(keypoints: NDArray[np.float64] | None, count: int) -> FloatArray:
    """As many keypoints as a generator takes, float32 ``[count, 2]``, NaN where there are none.

    Seven are DeepPrivacy's: COCO's nose, eyes, ears and shoulders, of which we have the first three. Any other number
    is taken to begin as ours do: eyes, nose, corners of the mouth, left before right as seen in the image.
    """
    fitting = np.full((count, 2), np.nan, np.float32)
    if keypoints is not None:
        ours = keypoints[list(_COCO)] if count == 7 and len(keypoints) > max(_COCO) else keypoints[:count]
        fitting[: len(ours)] = ours
    return fitting


def random_vector(salt: bytes, name: str, number: int, count: int) -> FloatArray:
    """Standard normal numbers that only who knows the salt can tell: float32 ``[count]``.

    HMAC-SHA256 (RFC 2104) of the image's name and the face's number, lengthened by SHAKE-256 (FIPS 202).

    Example usage::

        >>> [round(float(number), 3) for number in random_vector(b"salt", "anna.jpg", 0, 2)]
        [0.59, 2.188]
    """
    seed = hmac.digest(salt, f"face\0{name}\0{number}".encode(), "sha256")
    whole = np.frombuffer(hashlib.shake_256(seed).digest(4 * count), "<u4").tolist()
    normal = NormalDist()
    return np.array([normal.inv_cdf((value + 0.5) / 2**32) for value in whole], np.float32)
