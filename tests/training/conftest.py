"""Photos to train on: NASA's portrait of Eileen Collins, cut in several ways."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from faceveil.training.architectures import ARCHITECTURES, Architecture

FACE = np.array([170, 60, 270, 185], np.float32)
"""Of the portrait, x0, y0, x1, y1."""

TINY = Architecture("MobileNetV3Small", 128, 16, 1, 1, min_level=3, max_level=6)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that learns four photos by heart in a minute."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)


def cut(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The portrait, uint8 RGB, and its face ``[4]``, another part of it for every number."""
    random = np.random.default_rng(number)
    x, y = (int(value) for value in random.integers(0, [150, 55]))
    side = int(random.integers(290, 350))
    pixels = skimage.data.astronaut()[y : y + side, x : x + side]
    box = FACE - np.array([x, y, x, y], np.float32)
    if number % 2:
        pixels, box = pixels[:, ::-1], np.array([pixels.shape[1] - box[2], box[1], pixels.shape[1] - box[0], box[3]])
    return np.ascontiguousarray(pixels), box


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of them as PNG and their annotations as JSON lines, the labels mask and face in turn."""
    folder = tmp_path_factory.mktemp("portraits")
    (folder / "images").mkdir()
    lines = []
    for number in range(4):
        pixels, box = cut(number)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels[..., ::-1])
        faces = [{"box": box.tolist(), "label": ("with_mask", "without_mask")[number % 2], "invalid": 0}]
        size = {"width": pixels.shape[1], "height": pixels.shape[0]}
        lines.append(json.dumps({"file": f"images/{number}.png", **size, "faces": faces}))
    (folder / "annotations.jsonl").write_text("\n".join(lines))
    return folder
