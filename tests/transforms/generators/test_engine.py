from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from faceveil.transforms.errors import ModelError
from faceveil.transforms.generators.engine import Requests, load_generator
from faceveil.transforms.generators.network import KEYPOINTS, RANDOM, SIZE
from faceveil.transforms.models.engines import EngineName
from tests.transforms.generators.conftest import KINDS, SHAPES, grey_faces


def requests(count: int, size: int = SIZE, keypoints: int = KEYPOINTS, z: int = RANDOM) -> Requests:
    random = np.random.default_rng(7)
    mask = (random.random((count, size, size, 1)) < 0.5).astype(np.float32)
    crop = random.uniform(-1, 1, (count, size, size, 3)).astype(np.float32) * (1 - mask)
    points = random.uniform(0, size, (count, keypoints, 2)).astype(np.float32)
    points[::3] = np.nan
    return Requests(crop, mask, points, random.standard_normal((count, z)).astype(np.float32))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_one_s_own_generator_runs(export: Callable[..., str], engine: EngineName) -> None:
    generator = load_generator(export(), engine)
    assert (generator.sizes.crop, generator.sizes.keypoints, generator.sizes.random) == (16, 7, 4)
    faces = generator.run(requests(3, 16, 7, 4))
    assert (faces.shape, faces.dtype) == ((3, 16, 16, 3), np.dtype(np.float32))


def test_the_engines_draw_the_same_faces(embedded: str) -> None:
    wanted = requests(4)
    by_openvino = load_generator(embedded, "openvino", "float32").run(wanted)
    by_tensorflow = load_generator(embedded, "tensorflow", "float32").run(wanted)
    np.testing.assert_allclose(by_openvino, by_tensorflow, atol=2e-3)


def test_a_face_does_not_depend_on_the_others_of_its_batch(embedded: str) -> None:
    generator = load_generator(embedded, "openvino")
    wanted = requests(19)
    together = generator.run(wanted)
    for size in (1, 4, 7):
        parts = [generator.run(wanted.part(start, start + size)) for start in range(0, 19, size)]
        assert np.array_equal(np.concatenate(parts), together)


def no_z(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"faces": crop + mask + tf.reduce_mean(keypoints)}


def two_outputs(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
    return {**grey_faces(crop, mask, keypoints, z), "more": crop}


def too_small(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"faces": grey_faces(crop, mask, keypoints, z)["faces"][:, 1:]}


def not_a_number(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"faces": tf.math.log(grey_faces(crop, mask, keypoints, z)["faces"] - 2)}


def crop_back(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
    used = tf.reduce_sum(mask) + tf.reduce_sum(keypoints) + tf.cast(tf.reduce_sum(z), tf.float32)
    return {"faces": crop + 0 * used}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            {"serve": no_z, "shapes": {k: v for k, v in SHAPES.items() if k != "z"}},
            "its inputs must be crop, mask, key",
        ),
        ({"serve": two_outputs}, "it must have one output, the faces; it has 2"),
        ({"serve": too_small}, r"must return float32 \(2, 16, 16, 3\); it returned float32 \(2, 15, 16, 3\)"),
        ({"serve": not_a_number}, "returned values that are no numbers"),
        ({"batch": 1}, r"crop must be float32 of 4 dimensions, the first of any length"),
        ({"shapes": SHAPES | {"crop": [16, 24, 3]}, "serve": crop_back}, r"crop must be \[B, S, S, 3\]"),
        ({"shapes": SHAPES | {"z": [None]}}, "the others fixed"),
        (
            {"kinds": KINDS | {"z": tf.float64}, "serve": crop_back},
            "z must be float32",
        ),
    ],
    ids=["no z", "two outputs", "too small", "no numbers", "one at a time", "not square", "any z", "doubles"],
)
def test_what_breaks_the_contract_is_refused(
    export: Callable[..., str], changed: dict[str, object], complaint: str
) -> None:
    folder = export(**changed)
    with pytest.raises(ModelError, match=complaint):
        load_generator(folder)


def test_a_detector_is_no_generator(centerface: str) -> None:
    with pytest.raises(ModelError, match="its inputs must be crop, mask, keypoints, z, not input_tensor"):
        load_generator(centerface)
