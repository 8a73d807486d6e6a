import numpy as np
import pytest

from faceveil.training.anchors import BACKGROUND, IGNORED, decode_boxes, encode_boxes
from faceveil.training.losses import box_loss, focal_loss
from faceveil.transforms.detectors.nms import iou


def test_the_focal_loss_is_that_of_the_paper() -> None:
    random = np.random.default_rng(0)
    meant = random.integers(IGNORED, 3, (2, 50, 1)).astype(np.float32)
    logits = random.normal(0, 3, (2, 50, 2)).astype(np.float32)
    total = 0.0
    for image in range(2):
        for anchor in range(50):
            for label in range(2):
                if meant[image, anchor, 0] == IGNORED:
                    continue
                score = 1 / (1 + np.exp(-float(logits[image, anchor, label])))
                wanted = meant[image, anchor, 0] == label + 1
                of_wanted, alpha = (score, 0.25) if wanted else (1 - score, 0.75)
                total -= alpha * (1 - of_wanted) ** 1.5 * np.log(of_wanted)
    assert float(focal_loss(meant, logits)) == pytest.approx(total / (meant > 0).sum(), rel=1e-5)


def test_without_faces_both_losses_are_numbers() -> None:
    meant = np.full((1, 4, 1), BACKGROUND, np.float32)
    assert 0 < float(focal_loss(meant, np.zeros((1, 4, 1), np.float32))) < 10
    assert float(box_loss(np.zeros((1, 4, 5), np.float32), np.full((1, 4, 4), 3, np.float32))) == 0


def test_the_box_loss_is_one_minus_giou_wherever_the_anchor_is() -> None:
    random = np.random.default_rng(1)
    low = random.uniform(0, 50, (3, 30, 2))
    faces, found, anchors = np.concatenate([low, low + random.uniform(2, 40, (3, 30, 2))], axis=2).astype(np.float32)
    meant = np.ones((1, 30, 1), np.float32)
    target = np.concatenate([meant, encode_boxes(faces, anchors)[None]], axis=2)
    told = float(box_loss(target, encode_boxes(found, anchors)[None]))
    expected = []
    for face, box in zip(faces, decode_boxes(encode_boxes(found, anchors), anchors), strict=True):
        hull = np.prod(np.maximum(face[2:], box[2:]) - np.minimum(face[:2], box[:2]))
        overlap = iou(face[None], box[None])[0, 0]
        areas = np.prod(face[2:] - face[:2]) + np.prod(box[2:] - box[:2])
        union = areas / (1 + overlap)
        expected.append(1 - overlap + (hull - union) / hull)
    assert told == pytest.approx(np.mean(expected), rel=1e-3)
