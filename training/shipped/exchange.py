"""Pictures that differ in nothing but whose face is in them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from faceveil.training.shipped.crops import Crops


def exchanged(places: Crops, faces: Crops) -> Crops:
    """Crops with the faces of others in place of their own.

    Each is moved so that its keypoints come to lie where those before lay (an affine map, by least squares), and gets
    the mean and deviation of the colours that were there. Nothing outside the faces' masks changes, and the keypoints
    stay.

    Args:
        places: where the faces go.
        faces: as many crops to take them from, all keypoints known.
    """
    images = []
    size = places.images.shape[1]
    for place, mask, there, image, here in zip(
        places.images, places.faces, places.keypoints, faces.images, faces.keypoints, strict=True
    ):
        # OpenCV counts from pixels' centres.
        from_, to = (np.asarray(points, np.float64) - 0.5 for points in (here, there))
        affine = np.linalg.lstsq(np.column_stack([from_, np.ones(len(from_))]), to, rcond=None)[0].T
        moved = cv2.warpAffine(image, affine, (size, size), borderMode=cv2.BORDER_REFLECT_101)
        inside = mask[..., 0] > 0
        old, new = place[inside], moved[inside]
        levelled = (new - new.mean(axis=0)) / np.maximum(new.std(axis=0), 0.02) * old.std(axis=0) + old.mean(axis=0)
        picture = place.copy()
        picture[inside] = np.clip(levelled, -1, 1)
        images.append(picture)
    return replace(places, images=np.stack(images))
