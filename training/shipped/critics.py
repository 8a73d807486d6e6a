"""What a generator is trained against: an encoder of faces and a discriminator. Neither leaves the training."""

from __future__ import annotations

import keras

from faceveil.transforms.generators.network import KEYPOINTS, RANDOM

_LEAK = 0.2


def build_encoder(size: int) -> keras.Model:
    """Says what is particular about a face: mean and log variance of z, each ``[B, RANDOM]``, from crop and mask.

    Takes ``[B, S/2, S/2, 16]``: crop and mask with their pixels, two by two, as channels.
    """
    seen = x = keras.Input((size // 2, size // 2, 16))
    for channels, stride in ((48, 1), (96, 2), (192, 2), (192, 2)):
        x = keras.layers.Conv2D(channels, 3, stride, "same")(x)
        x = keras.layers.LeakyReLU(_LEAK)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(seen, keras.layers.Dense(2 * RANDOM, dtype="float32")(x))


def build_discriminator(size: int) -> keras.Model:
    """Tells generated faces from others: scores ``[B, S/16, S/16, 1]`` and ``[B, 1]``, and the features before them.

    Takes ``[B, S/2, S/2, 16 + KEYPOINTS]``: as the encoder, and the maps of the keypoints. No
    spectral normalisation: with it, it hardly learnt to tell them apart in 800 steps.
    """
    seen = x = keras.Input((size // 2, size // 2, 16 + KEYPOINTS))
    features = []
    for channels, stride in ((32, 1), (64, 2), (128, 2), (192, 2), (192, 1)):
        x = keras.layers.Conv2D(channels, 3, stride, "same", kernel_initializer="he_normal")(x)
        x = keras.layers.LeakyReLU(_LEAK)(x)
        features.append(x)
    patches = keras.layers.Conv2D(1, 1, dtype="float32")(x)
    x = keras.layers.Conv2D(192, 3, 2, "same", kernel_initializer="he_normal")(x)
    x = keras.layers.LeakyReLU(_LEAK)(x)
    features.append(x)
    whole = keras.layers.Dense(1, dtype="float32")(keras.layers.Flatten()(x))
    return keras.Model(seen, [patches, whole, *features])
