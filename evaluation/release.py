"""Anonymizing pictures as a job does, encoded and decoded without loss."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from faceveil.evaluation.pictures import FacePicture
from faceveil.transforms.arrays import RGB
from faceveil.transforms.codecs import probe
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.shard.compose import compose_image
from faceveil.transforms.shard.detect import DetectedImage
from faceveil.transforms.shard.record import Outcome, Record


def anonymized(pictures: Sequence[FacePicture], name: str, masking: Masking | None, threads: int) -> list[FacePicture]:
    """The pictures with all their faces anonymized.

    Args:
        pictures: the originals.
        name: of the release. With another one, new faces are drawn anew, as with another salt.
        masking: how; None for not at all.
        threads: how many pictures are worked on at once.

    Raises:
        AccessError: one cannot be anonymized.
        ModelError: the generator failed.
    """
    if masking is None:
        return list(pictures)
    size = masking.batch_size
    batches = [
        [_record(picture, f"{name}/{start + place}") for place, picture in enumerate(pictures[start : start + size])]
        for start in range(0, len(pictures), size)
    ]
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(
            lambda batch: [_image(each) for each in anonymize(batch, masking, FeatureRoles(), compose_image)], batches
        )
        images = [image for batch in made for image in batch]
    return [FacePicture(image, picture.faces) for image, picture in zip(images, pictures, strict=True)]


def _record(picture: FacePicture, key: str) -> Record[DetectedImage]:
    _, png = cv2.imencode(".png", picture.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    data = png.tobytes()
    image = DetectedImage(data, probe(data), None, picture.faces, faultless=False, hides_pixels=False)
    return Record(key, (image,), None)


def _image(outcome: Outcome) -> RGB:
    if outcome.serialized is None:
        raise AccessError(f"{outcome.key}: cannot be anonymized: {outcome.row.reason}: {outcome.row.detail}")
    data = np.frombuffer(outcome.serialized, np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
