import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs import probe
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.generators.synthesize import (
    SynthesisConfig,
    Synthesizer,
    find_pose,
    fitting_keypoints,
    random_vector,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.shard.detect import DetectedImage
from faceveil.transforms.shard.record import Record, quarantined
from tests.transforms.generators.conftest import grey_faces

STYLE = Style(MaskGeometry(shape="box"))
# The astronaut's face, as the default detector has it.
BOX = [183, 63, 264, 178]
POINTS = [[205, 108], [244, 107], [225, 130], [209, 151], [240, 150]]


def faces(*boxes: Sequence[float], points: Sequence[Sequence[Sequence[float]]] | None = None) -> Faces:
    keypoints = None if points is None else np.array(points, np.float32)
    return Faces(np.array(boxes, np.float32), np.linspace(0.9, 0.5, len(boxes), dtype=np.float32), keypoints)


FACE = faces(BOX, points=[POINTS])


def synthesized(
    synthesizer: Synthesizer, values: Values, found: Faces, name: str = "a.jpg", mode: str = "RGB"
) -> tuple[Values, np.ndarray]:
    plan = synthesizer.plan(values, found, mode, STYLE, name)
    (drawn,) = synthesizer.draw([plan])
    black = (0,) * values.shape[2]
    return synthesizer.paint(values, found, STYLE, black, plan, drawn), plan.drawn


def png(values: Values) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue()


def test_the_output_does_not_depend_on_the_face_s_pixels(synthesizer: Synthesizer) -> None:
    """What proves that nothing of a face is kept: other faces, the same output bytes, and not just black ones."""
    photo = skimage.data.astronaut()
    second = [300, 60, 340, 110]
    found = faces(BOX, second, points=[POINTS, [[310, 80], [330, 80], [320, 90], [312, 100], [328, 100]]])
    masked = np.zeros(photo.shape[:2], bool)
    for box in found.boxes:
        rectangle, mask = face_mask(box, STYLE.geometry, *photo.shape[:2])
        masked[rectangle] |= mask
    outputs = set()
    for seed in range(3):
        other = photo.copy()
        other[masked] = np.random.default_rng(seed).integers(0, 256, (int(masked.sum()), 3))
        data = png(photo if seed == 0 else other)
        image = DetectedImage(data, probe(data), None, found, faultless=False, hides_pixels=False)
        masking = Masking("synthesize", STYLE, synthesizer)
        [outcome] = anonymize([Record("a.png", (image,), None)], masking, FeatureRoles())
        assert outcome.serialized
        assert outcome.row.fallback_faces == 0
        outputs.add(outcome.serialized)
    assert len(outputs) == 1


def test_pixels_outside_the_masks_stay_and_a_face_is_painted(synthesizer: Synthesizer) -> None:
    photo = skimage.data.astronaut()
    painted, drawn = synthesized(synthesizer, photo, FACE)
    assert drawn.tolist() == [True]
    rectangle, mask = face_mask(FACE.boxes[0], STYLE.geometry, *photo.shape[:2])
    outside = np.ones(photo.shape[:2], bool)
    outside[rectangle] &= ~mask
    assert np.array_equal(painted[outside], photo[outside])
    assert painted[rectangle].std() > 10
    assert np.abs(painted[rectangle].astype(int) - photo[rectangle]).mean() > 10


def test_the_salt_the_name_and_the_number_decide_the_face(embedded: str, synthesizer: Synthesizer) -> None:
    photo = skimage.data.astronaut()
    first = synthesized(synthesizer, photo, FACE)[0]
    assert np.array_equal(first, synthesized(synthesizer, photo, FACE)[0])
    assert not np.array_equal(first, synthesized(synthesizer, photo, FACE, "b.jpg")[0])
    pepper = Synthesizer(SynthesisConfig(embedded, b"pepper"))
    assert not np.array_equal(first, synthesized(pepper, photo, FACE)[0])
    assert not np.array_equal(random_vector(b"salt", "a.jpg", 0, 8), random_vector(b"salt", "a.jpg", 1, 8))
    assert "salt'" not in repr(pepper.config)


def test_random_vectors_are_standard_normal() -> None:
    numbers = random_vector(b"salt", "a.jpg", 0, 20_000)
    assert abs(numbers.mean()) < 0.03
    assert numbers.std() == pytest.approx(1, abs=0.03)


def test_images_drawn_together_are_as_drawn_alone(synthesizer: Synthesizer) -> None:
    photo = skimage.data.astronaut()
    shown = [(photo, FACE), (photo[:, ::-1].copy(), faces(BOX)), (photo[::2, ::2].copy(), faces()), (photo, FACE)]
    shown = [(values, found if len(found) else Faces.none()) for values, found in shown]
    plans = [synthesizer.plan(v, f, "RGB", STYLE, str(n)) for n, (v, f) in enumerate(shown)]
    together = synthesizer.draw(plans)
    assert [len(drawn) for drawn in together] == [1, 1, 0, 1]
    for plan, drawn in zip(plans, together, strict=True):
        assert np.array_equal(synthesizer.draw([plan])[0], drawn) or not len(drawn)


def turned(points: Sequence[Sequence[float]], angle: float) -> np.ndarray:
    around = np.array(points, float) - np.mean(points, axis=0)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(around @ np.array([[cos, sin], [-sin, cos]]) + np.mean(points, axis=0))


def test_how_a_face_lies() -> None:
    box = np.array(BOX, np.float32)
    assert find_pose(box, turned(POINTS, 0.4), 0.1).tilt == pytest.approx(0.4, abs=0.05)
    assert find_pose(box, None, 0.1).keypoints is None
    assert find_pose(box, np.array(POINTS) + 500.0, 0.1).keypoints is None
    assert find_pose(box, np.full((5, 2), np.nan), 0.1).keypoints is None
    close_eyes = np.array([[222, 108], [228, 108], [224, 130], [221, 151], [229, 150]], float)
    assert find_pose(box, close_eyes, 0.1).profile
    assert not find_pose(box, np.array(POINTS, float), 0.1).profile


@pytest.mark.parametrize(
    ("found", "mode", "drawn"),
    [
        (FACE, "RGB", [True]),
        (faces(BOX), "RGB", [True]),  # no keypoints: as it lies
        (faces([-60, 63, 20, 178]), "RGB", [True]),
        (faces([-60, -60, 20, 40]), "RGB", [False]),  # in a corner
        (faces([0, 0, 512, 512]), "RGB", [False]),  # nothing around it
        (faces(BOX, [150, 20, 300, 230]), "RGB", [False, True]),  # within another's mask
        (FACE, "RGBa", [False]),
        (faces(BOX, points=[[[222, 108], [228, 108], [224, 130], [221, 151], [229, 150]]]), "RGB", [False]),
    ],
    ids=["frontal", "no keypoints", "edge", "corner", "filling", "within another", "premultiplied", "profile"],
)
def test_faces_that_cannot_be_drawn_are_left_to_another_method(
    synthesizer: Synthesizer, found: Faces, mode: str, drawn: list[bool]
) -> None:
    photo = skimage.data.astronaut()
    values = photo if mode == "RGB" else np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    painted, was_drawn = synthesized(synthesizer, values, found, mode=mode)
    assert was_drawn.tolist() == drawn
    if not any(drawn):
        rectangle, mask = face_mask(found.boxes[0], STYLE.geometry, *photo.shape[:2])
        assert (painted[rectangle][mask] == 0).all()


def test_as_many_keypoints_as_a_generator_takes() -> None:
    ours = np.arange(10, dtype=float).reshape(5, 2)
    assert np.array_equal(fitting_keypoints(ours, 5), ours.astype(np.float32))
    seven = fitting_keypoints(ours, 7)
    assert seven[:3].tolist() == [[4, 5], [2, 3], [0, 1]]
    assert np.isnan(seven[3:]).all()
    assert np.isnan(fitting_keypoints(None, 5)).all()
    assert fitting_keypoints(ours, 2).tolist() == [[0, 1], [2, 3]]


def test_the_fallback_draws_nothing_from_faces_beside_it(synthesizer: Synthesizer) -> None:
    """It takes colours from around a face, where another one is to be drawn anew."""
    photo = skimage.data.astronaut()
    profile = [[275, 108], [276, 107], [266, 130], [275, 151], [276, 150]]
    found = faces(BOX, [266, 63, 300, 178], points=[POINTS, profile])
    (rows, columns), _ = face_mask(found.boxes[0], STYLE.geometry, *photo.shape[:2])
    other = photo.copy()
    other[rows, columns.start : 262] = 255 - photo[rows, columns.start : 262]
    (first, drawn), (second, _) = (synthesized(synthesizer, values, found) for values in (photo, other))
    assert drawn.tolist() == [True, False]
    assert (first == second)[rows, columns].all()
    (rows, columns), _ = face_mask(found.boxes[1], STYLE.geometry, *photo.shape[:2])
    np.testing.assert_array_equal(first[rows, columns], second[rows, columns])


def test_of_records_drawn_together_only_the_one_that_the_generator_fails_for_is_quarantined(
    export: Callable[..., str],
) -> None:
    def fail_in_white(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_less(tf.reduce_mean(crop, (1, 2, 3)), 0.5, "too white")]):
            return grey_faces(crop, mask, keypoints, z)

    generator = Synthesizer(SynthesisConfig(export(fail_in_white), b"salt", engine="tensorflow"))
    black = np.zeros((300, 400, 3), np.uint8)
    photos = {"a.png": black, "b.png": black + 255, "c.png": black}
    detected = [
        Record(
            name,
            (DetectedImage(png(values), probe(png(values)), None, FACE, faultless=False, hides_pixels=False),),
            None,
        )
        for name, values in photos.items()
    ]
    settled = quarantined("d.png", Quarantine(Reason.EMPTY))
    masking = Masking("synthesize", STYLE, generator)
    first, second, third, last = anonymize([*detected, settled], masking, FeatureRoles())
    assert (second.key, second.serialized) == ("b.png", None)
    assert second.row.reason is Reason.ANONYMIZATION_FAILED
    assert "too white" in str(second.row.detail)
    assert last is settled
    for item, alone in zip((first, third), (detected[0], detected[2]), strict=True):
        [expected] = anonymize([alone], masking, FeatureRoles())
        assert item.serialized
        assert item.serialized == expected.serialized
