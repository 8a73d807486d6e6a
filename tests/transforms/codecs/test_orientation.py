import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from faceveil.transforms.codecs import reoriented, stored, stored_boxes, upright
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.faces import Faces
from tests.transforms.codecs.samples import encode, picture

orientations = pytest.mark.parametrize("orientation", range(1, 9))


@orientations
def test_upright_is_what_pillow_s_exif_transpose_makes(orientation: int) -> None:
    data = encode(picture(), "PNG", exif=b"Exif\0\0" + orientation_exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(upright(np.asarray(image), orientation), expected)


@orientations
def test_stored_is_the_inverse(orientation: int) -> None:
    values = np.arange(5 * 7 * 3).reshape(5, 7, 3)
    np.testing.assert_array_equal(stored(upright(values, orientation), orientation), values)
    np.testing.assert_array_equal(upright(stored(values, orientation), orientation), values)


@orientations
def test_painting_on_the_upright_view_paints_the_stored_pixels(orientation: int) -> None:
    values = np.zeros((5, 7, 3), np.uint8)
    view = upright(values, orientation)
    view[0, 0] = 9
    assert np.shares_memory(view, values)
    assert values.sum() == 27


@orientations
def test_boxes_of_the_upright_image_mark_the_same_pixels_in_the_stored_one(orientation: int) -> None:
    values = np.zeros((40, 60), np.uint8)
    view = upright(values, orientation)
    height, width = view.shape
    view[4:12, 10:32] = 1
    box = np.array([[10 / width, 4 / height, 32 / width, 12 / height]], np.float32)
    x0, y0, x1, y1 = np.rint(stored_boxes(box, orientation)[0] * (60, 40, 60, 40)).astype(int)
    assert values[y0:y1, x0:x1].all()
    assert (y1 - y0) * (x1 - x0) == values.sum()


@orientations
def test_the_written_exif_holds_the_orientation_alone(orientation: int) -> None:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + orientation_exif(orientation))
    assert dict(exif) == {0x0112: orientation}
    with tifffile.TiffFile(io.BytesIO(orientation_exif(orientation)), _multifile=False) as tiff:
        [tag] = tiff.pages.first.tags.values()
    assert (tag.code, tag.dtype, tag.count, tag.value) == (0x0112, tifffile.DATATYPE.SHORT, 1, orientation)


@pytest.mark.parametrize("shown", range(1, 9))
@pytest.mark.parametrize("wanted", range(1, 9))
def test_keypoints_go_where_their_boxes_go(shown: int, wanted: int) -> None:
    boxes = np.array([[10, 20, 14, 30], [40, 4, 50, 8]], np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # Two eyes that are the corners of the box, and its centre.
    points = np.stack([boxes[:, :2], boxes[:, 2:], centres], axis=1)
    faces = Faces(boxes, np.ones(2, np.float32), points)
    turned = reoriented(faces, shown, wanted, 100, 60)
    assert turned.keypoints is not None
    np.testing.assert_allclose(turned.keypoints[:, 2], (turned.boxes[:, :2] + turned.boxes[:, 2:]) / 2, rtol=1e-5)
    corners = np.sort(turned.keypoints[:, :2], axis=1)
    np.testing.assert_allclose(corners, turned.boxes.reshape(2, 2, 2), rtol=1e-5)
    back = reoriented(turned, wanted, shown, 100, 60)
    assert back.keypoints is not None
    np.testing.assert_allclose(back.keypoints, points, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (2, [[75, 20], [85, 20], [80, 25]]),  # mirrored: the eye on the left was on the right
        (3, [[85, 40], [75, 40], [80, 35]]),  # upside down: each eye stays the eye that it is
    ],
)
def test_a_mirrored_face_has_its_eyes_named_anew(wanted: int, expected: list[list[float]]) -> None:
    points = np.array([[[15, 20], [25, 20], [20, 25]]], np.float32)
    faces = Faces(np.array([[10, 10, 30, 40]], np.float32), np.ones(1, np.float32), points)
    turned = reoriented(faces, 1, wanted, 100, 60)
    assert turned.keypoints is not None
    np.testing.assert_allclose(turned.keypoints[0], expected, rtol=1e-6)
