from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from faceveil.training.shipped.balance import draw_probabilities
from faceveil.training.shipped.crops import draw_crops
from faceveil.training.shipped.generator import train
from faceveil.training.shipped.portraits import SIDE, Portraits
from faceveil.transforms.generators.embedded import build_generator
from faceveil.transforms.generators.network import SHAPES, SIZE, initial_weights
from tests.conftest import noise_image


@pytest.fixture
def portraits() -> Portraits:
    images = np.stack([noise_image(SIDE, SIDE, seed) for seed in range(4)])
    box = [30, 30, 98, 118]
    points = [[48, 62], [80, 62], [64, 80], [52, 98], [76, 98]]
    return Portraits(images, np.array([box] * 4, np.float32), np.array([points] * 4, np.float32), np.zeros(4, bool))


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_crops_are_drawn_as_the_generator_will_see_faces(portraits: Portraits) -> None:
    crops = draw_crops(portraits, SIZE, 40, np.random.default_rng(0))
    assert crops.images.shape == (40, SIZE, SIZE, 3)
    assert np.abs(crops.images).max() <= 1
    assert (crops.unknown >= crops.faces).all()
    assert (crops.faces[:, SIZE // 2, SIZE // 2] == 1).mean() > 0.9
    assert 0 < np.isnan(crops.keypoints).mean() < 0.4
    upright = np.nanmean(crops.keypoints, axis=0)
    assert upright[0] == pytest.approx([SIZE * 0.4, SIZE * 0.4], abs=6)
    again = draw_crops(portraits, SIZE, 40, np.random.default_rng(0))
    assert np.array_equal(crops.images, again.images)


def test_rare_skin_and_turned_heads_are_drawn_more_often(portraits: Portraits) -> None:
    images = np.full_like(portraits.images, (230, 190, 170))
    images[3] = 70, 45, 35
    portraits = replace(portraits, images=images)
    assert draw_probabilities(portraits) == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    keypoints = portraits.keypoints.copy()
    keypoints[0, 2, 0] += 12
    front, *_, dark = draw_probabilities(replace(portraits, keypoints=keypoints))[1:]
    assert front < draw_probabilities(replace(portraits, keypoints=keypoints))[0] < dark
    crops = draw_crops(portraits, SIZE, 8, np.random.default_rng(0), probabilities=np.array([0, 0, 0, 1.0]))
    assert (crops.images.mean(axis=(1, 2, 3)) < 0).all()


@pytest.mark.usefixtures("mixed_precision")
def test_a_training_moves_every_weight_and_can_be_shipped(portraits: Portraits, tmp_path: Path) -> None:
    kept: dict[str, np.ndarray] = {}
    begun = initial_weights(0)
    train(portraits, dict(begun), steps=2, seed=0, keep=lambda w, _: kept.update(w), batch=4, reconstruct_steps=1)
    assert {name: value.shape for name, value in kept.items()} == dict(SHAPES)
    assert all(np.isfinite(value).all() for value in kept.values())
    assert not [name for name in SHAPES if np.array_equal(kept[name], begun[name])]
    weights: dict[str, Any] = {name: value.astype(np.float16) for name, value in kept.items()}
    np.savez(tmp_path / "weights.npz", **weights)
    build_generator(tmp_path / "weights.npz", tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()
    other: dict[str, Any] = {"enter/kernel": kept["enter/kernel"]}
    np.savez(tmp_path / "other.npz", **other)
    with pytest.raises(ValueError, match="does not hold the weights of this network"):
        build_generator(tmp_path / "other.npz", tmp_path / "model")
