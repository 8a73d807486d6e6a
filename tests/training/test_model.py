from pathlib import Path

import numpy as np
import pytest

from faceveil.training.anchors import make_anchors
from faceveil.training.architectures import ARCHITECTURES, Architecture
from faceveil.training.model import build_model, keras
from faceveil.transforms.errors import ModelError
from tests.training.conftest import TINY


@pytest.mark.parametrize("architecture", [ARCHITECTURES["small"], TINY, Architecture("EfficientNetB0", 160, 16, 1, 1)])
def test_there_is_an_output_for_every_anchor(architecture: Architecture) -> None:
    model = build_model(architecture, 2)
    anchors = len(make_anchors(architecture))
    assert model.output["boxes"].shape == (None, anchors, 4)
    assert model.output["logits"].shape == (None, anchors, 2)


def test_all_scores_are_low_before_training() -> None:
    model = build_model(TINY, 1)
    said = model.predict_on_batch(np.random.default_rng(0).uniform(0, 255, (2, 128, 128, 3)).astype(np.float32))
    scores = 1 / (1 + np.exp(-said["logits"]))
    np.testing.assert_allclose(scores, 0.01, atol=0.005)


def test_backbones_begin_with_given_weights_and_our_normalization(tmp_path: Path) -> None:
    architecture = Architecture("EfficientNetB0", 64, 16, 1, 1)
    whole = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    [normalization] = [layer for layer in whole.layers if isinstance(layer, keras.layers.Normalization)]
    # As in the published files, where it would normalize a second time.
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)])
    whole.save_weights(tmp_path / "b0.weights.h5")
    backbone = build_model(architecture, 1, str(tmp_path / "b0.weights.h5")).get_layer("backbone")
    kernel = whole.get_layer("block3b_expand_conv").get_weights()[0]
    np.testing.assert_array_equal(backbone.get_layer("block3b_expand_conv").get_weights()[0], kernel)
    [kept] = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Normalization)]
    np.testing.assert_array_equal(kept.get_weights()[1], [1, 1, 1])
    image = np.full((1, 64, 64, 3), 100, np.float32)
    np.testing.assert_allclose(kept(image).numpy(), image, rtol=1e-5)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"other\.weights\.h5: holds no weights of MobileNetV3Small without its top"):
        build_model(TINY, 1, str(file))
