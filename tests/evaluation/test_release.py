import numpy as np
import pytest

from faceveil.evaluation.pictures import FacePicture
from faceveil.evaluation.release import anonymized
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.faces import Faces
from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer
from faceveil.transforms.shard.anonymize import Masking
from tests.conftest import noise_image

BOXES = np.array([[30, 30, 70, 80], [80, 10, 100, 40]], np.float32)
FACES = Faces(BOXES, np.array([0.9, 0.8], np.float32))
PICTURES = [FacePicture(noise_image(120, 110, seed), FACES) for seed in range(5)]


@pytest.mark.parametrize("method", METHODS)
def test_pictures_come_out_as_the_job_paints_them(method: str) -> None:
    style = Style()
    made = anonymized(PICTURES, "a", Masking(method, style), threads=2)
    for before, after in zip(PICTURES, made, strict=True):
        np.testing.assert_array_equal(after.image, METHODS[method](before.image, FACES, style, (0, 0, 0)))
        painted = painted_pixels(method, FACES, style, 120, 110)
        assert (after.image != before.image)[painted].mean() > 0.5
        assert after.faces is before.faces


def test_no_masking_changes_nothing() -> None:
    assert anonymized(PICTURES, "a", None, threads=1) == PICTURES


def test_new_faces_are_others_in_every_release() -> None:
    style = Style(MaskGeometry(shape="box"))
    config = SynthesisConfig(str(embedded_generator()), bytes(32))
    masking = Masking("synthesize", style, Synthesizer(config), allow_label_maps=True)
    first, again, other = (anonymized(PICTURES, name, masking, threads=2) for name in ("a", "a", "b"))
    for one, same, another in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.image, same.image)
        assert (one.image != another.image).any()
