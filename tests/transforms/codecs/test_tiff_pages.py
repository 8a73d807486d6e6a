"""Pages beside the picture: masks and previews are dropped, whether they are marked or found out; pictures are not."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from faceveil.transforms.codecs import decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import SKIMAGE_DATA, shared_data
from tests.transforms.codecs.samples import encode, picture

PHOTO = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB").crop((0, 0, 512, 400))
REDUCED = PHOTO.resize((128, 100), Image.Resampling.BOX)


def tiff_of(*pages: Image.Image | np.ndarray, **tags_of_others: Any) -> bytes:
    output = io.BytesIO()
    with tifffile.TiffWriter(output) as writer:
        writer.write(np.asarray(pages[0]), metadata=None)
        for page in pages[1:]:
            writer.write(np.asarray(page), metadata=None, **tags_of_others)
    return output.getvalue()


def as_jpeg(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=40)))


def mask(width: int, height: int, **tags: object) -> bytes:
    """As GDAL writes a mask of its own: a page of one bit, subfile bit 4, photometric interpretation 4."""
    seen = np.zeros((height, width), np.bool_)
    seen[10:, 10:] = True
    return tiff_of(PHOTO, seen, **{"subfiletype": 4, "photometric": 4, **tags})


OLD_PREVIEW = {"extratags": [(255, 3, 1, 2, True)]}
DROPPED: dict[str, Callable[[], bytes]] = {
    "a mask": lambda: mask(512, 400),
    "a mask by its bit alone": lambda: mask(512, 400, photometric="minisblack"),
    "a mask by its photometric interpretation alone": lambda: mask(512, 400, subfiletype=0),
    "a mask of a preview": lambda: mask(128, 100, subfiletype=5),
    "a marked preview": lambda: tiff_of(PHOTO, picture(width=20, height=10), subfiletype=1),
    "a preview marked in the old way": lambda: tiff_of(PHOTO, picture(width=20, height=10), **OLD_PREVIEW),
    "an unmarked preview": lambda: tiff_of(PHOTO, REDUCED),
    "an unmarked preview of neighbours": lambda: tiff_of(PHOTO, PHOTO.resize((128, 100), Image.Resampling.NEAREST)),
    "an unmarked preview in grey": lambda: tiff_of(PHOTO, REDUCED.convert("L")),
    "an unmarked preview with JPEG's losses": lambda: tiff_of(PHOTO, as_jpeg(REDUCED)),
    "an unmarked preview, sharpened": lambda: tiff_of(PHOTO, REDUCED.filter(ImageFilter.SHARPEN)),
    "an unmarked pyramid": lambda: tiff_of(PHOTO, *(PHOTO.resize((512 // n, 400 // n)) for n in (2, 4, 8))),
    "an unmarked preview of 16 bits": lambda: tiff_of(
        np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257, REDUCED.convert("L")
    ),
}


def changed(image: Image.Image) -> Image.Image:
    """The same picture with one thing another: a face is gone, as between two frames of a burst."""
    other = image.copy()
    box = (45 * image.width // 128, 19 * image.width // 128, 65 * image.width // 128, 43 * image.width // 128)
    ImageDraw.Draw(other).ellipse(box, fill=(20, 90, 30))
    return other


KEPT: dict[str, Callable[[], bytes]] = {
    "another picture": lambda: tiff_of(PHOTO, picture(width=128, height=100)),
    "the same picture": lambda: tiff_of(PHOTO, PHOTO),
    "a larger one": lambda: tiff_of(REDUCED, PHOTO),
    "a part of it": lambda: tiff_of(PHOTO, PHOTO.crop((100, 50, 228, 150))),
    "one of other proportions": lambda: tiff_of(PHOTO, PHOTO.resize((128, 128))),
    "a negative": lambda: tiff_of(PHOTO, Image.eval(REDUCED, lambda value: 255 - value)),
    "a mirrored one": lambda: tiff_of(PHOTO, REDUCED.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "one in which something has changed": lambda: tiff_of(PHOTO, changed(REDUCED)),
    "a preview and another picture": lambda: tiff_of(PHOTO, REDUCED, picture(width=128, height=100)),
    "an empty page": lambda: tiff_of(Image.new("L", (400, 400), 255), Image.new("L", (100, 100), 255)),
    "a picture in colour that is said to be a mask": lambda: tiff_of(PHOTO, changed(REDUCED), subfiletype=1).replace(
        struct.pack("<HHII", 254, 4, 1, 1), struct.pack("<HHII", 254, 4, 1, 4)
    ),
}


@pytest.mark.parametrize("name", DROPPED)
def test_masks_and_previews_are_dropped(name: str) -> None:
    data = DROPPED[name]()
    info = probe(data)
    pixels = decode_pixels(data, info)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) > 1
        first = file.pages[0].asarray()
    np.testing.assert_array_equal(pixels.values.squeeze(), first)
    for written in (strip_metadata(data, info), encode_pixels(pixels, data, info)):
        with tifffile.TiffFile(io.BytesIO(written)) as file:
            assert len(file.pages) == 1
            np.testing.assert_array_equal(file.pages[0].asarray(), first)


@pytest.mark.parametrize("name", KEPT)
def test_other_pages_hold_the_file_back(name: str) -> None:
    with pytest.raises(Quarantine) as caught:
        probe(KEPT[name]())
    assert caught.value.reason == Reason.MULTIPLE_FRAMES


def test_a_file_that_begins_with_a_mask_is_not_supported() -> None:
    seen = np.ones((40, 30), np.bool_)
    with pytest.raises(Quarantine, match=r"unsupported_image: .* is a preview or a mask"):
        probe(encode(Image.fromarray(seen), "TIFF", tiffinfo={254: 4}))


def test_a_preview_is_stored_as_the_picture_is_whatever_its_orientation() -> None:
    output = io.BytesIO()
    with tifffile.TiffWriter(output) as writer:
        writer.write(np.asarray(PHOTO), metadata=None, extratags=[(274, 3, 1, 6, True)])
        writer.write(np.asarray(REDUCED), metadata=None)
    info = probe(output.getvalue())
    assert (info.width, info.height, info.orientation) == (512, 400, 6)


def test_previews_of_photos_are_told_from_other_photos() -> None:
    paths = sorted(shared_data("wider-unseen").rglob("*.jpg"))[::13]
    photos = [Image.open(path).convert("RGB") for path in paths]
    for photo, other in zip(photos, photos[1:] + photos[:1], strict=True):
        size = photo.width // 6, photo.height // 6
        assert probe(tiff_of(photo, as_jpeg(photo.resize(size)))).format == "tiff"
        with pytest.raises(Quarantine):
            probe(tiff_of(photo, as_jpeg(other.resize(size))))
