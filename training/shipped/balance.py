"""How often each portrait is drawn, so that what is rare among them is learnt, too: dark skin, turned heads."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.training.shipped.portraits import Portraits
from faceveil.transforms.arrays import FloatArray

_TONES = (-30, 10, 28, 41, 55)
"""Degrees between the classes of skin, dark to very light, by the individual typology angle (Chardon, Cretois and
Hourseau, "Skin colour typology and suntanning pathways", 1991, https://doi.org/10.1111/j.1467-2494.1991.tb00561.x)."""

_TURNS = (0.1, 0.2)
"""Between heads seen from the front, a little turned and turned: how far the nose is beside the middle of the eyes, in
distances of the eyes."""

_CHEEK = 5
"""Pixels to each side of a cheek's middle."""


def draw_probabilities(portraits: Portraits) -> NDArray[np.float64]:
    """Probabilities ``[N]`` that sum to 1: each class of skin as often as the others; of turned heads more.

    A class of turns gets the square root of what would make it as frequent as the others, since there are few.
    """
    tones = np.array([_tone(*portrait) for portrait in zip(portraits.images, portraits.keypoints, strict=True)])
    eyes, nose = portraits.keypoints[:, :2], portraits.keypoints[:, 2]
    turns = np.abs(nose[:, 0] - eyes[:, :, 0].mean(axis=1)) / np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
    weights = _rarity(np.digitize(tones, _TONES)) * np.sqrt(_rarity(np.digitize(turns, _TURNS)))
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def _rarity(classes: NDArray[np.intp]) -> NDArray[np.float64]:
    """One over the share that each one's class has of all."""
    rarity: NDArray[np.float64] = len(classes) / np.bincount(classes)[classes]
    return rarity


def _tone(image: NDArray[np.uint8], keypoints: FloatArray) -> float:
    """The individual typology angle of the cheeks, in degrees: the higher, the lighter."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    left_eye, right_eye, _, left_mouth, right_mouth = keypoints
    cheeks = []
    for eye, mouth in ((left_eye, left_mouth), (right_eye, right_mouth)):
        x, y = np.clip(0.4 * eye + 0.6 * mouth, _CHEEK, len(image) - _CHEEK).astype(int)
        cheek = lab[y - _CHEEK : y + _CHEEK, x - _CHEEK : x + _CHEEK]
        cheeks.append(np.median(cheek.reshape(-1, 3), axis=0))
    lightness, _, yellow = np.mean(cheeks, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))
