"""Images cut off at every length, and of extreme or impossible sizes."""

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs import decode_for_detection, decode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine
from tests.transforms.codecs.samples import encode, picture

FORMATS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("PPM", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {}),
]


@pytest.mark.parametrize(("image_format", "options"), FORMATS)
def test_cut_off_at_every_length_it_is_whole_or_quarantined(image_format: str, options: dict[str, object]) -> None:
    """No length hangs, raises anything else, or passes grey for a picture."""
    data = encode(picture("RGB", 24, 17), image_format, **options)
    whole = decode_pixels(data, probe(data)).values
    for length in range(len(data)):
        cut = data[:length]
        try:
            info = probe(cut)
            decode_for_detection(cut, info, 8)
            pixels = decode_pixels(cut, info).values
            strip_metadata(cut, info)
        except Quarantine:
            continue
        # What lies behind the pixels, such as an end marker, may be missing.
        np.testing.assert_array_equal(pixels, whole)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_images_may_be_one_pixel_wide(image_format: str, size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size, (200, 30, 60)), image_format)
    info = probe(data)
    assert (info.width, info.height) == size
    assert decode_pixels(data, info).values.shape == (*size[::-1], 3)
    assert max(next(decode_for_detection(data, info, 64).renderings()).rgb.shape) >= 64


@pytest.mark.parametrize(
    ("image_format", "side"),
    # Where the two sides stand in the header, and in how many bytes.
    [("PNG", slice(16, 20)), ("PNG", slice(20, 24)), ("BMP", slice(18, 22)), ("BMP", slice(22, 26)), ("JPEG", None)],
)
def test_images_without_pixels_are_quarantined(image_format: str, side: slice | None) -> None:
    data = bytearray(encode(picture("RGB", 24, 17), image_format))
    if side is None:
        frame = data.index(b"\xff\xc0")
        side = slice(frame + 7, frame + 9)  # the width; a height of 0 means that it comes later
    data[side] = bytes(side.stop - side.start)
    with pytest.raises(Quarantine):
        decode_pixels(bytes(data), probe(bytes(data)))
