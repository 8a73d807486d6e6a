"""Orientations that only XMP, a raw profile or an EXIF that does not count names: looked at, and never written."""

import io
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from faceveil.transforms.codecs import (
    ImageInfo,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    isobmff,
    orientation_claims,
    png,
    probe,
    strip_metadata,
    upright,
)
from faceveil.transforms.codecs.orientation import orientation_exif, reoriented, stored_boxes
from faceveil.transforms.faces import Faces
from tests.transforms.codecs.samples import encode, opencv, picture


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % orientation


def exif(orientation: int) -> bytes:
    return b"Exif\0\0" + orientation_exif(orientation)


def raw_profile(name: bytes, content: bytes) -> bytes:
    """As ImageMagick writes one."""
    lines = (content.hex()[at : at + 72].encode() for at in range(0, 2 * len(content), 72))
    return b"\n%s\n%8d\n%s\n" % (name, len(content), b"\n".join(lines))


def png_with(name: bytes, content: bytes) -> bytes:
    plain = encode(picture(), "PNG")
    return plain[:33] + png.chunk(name, content) + plain[33:]


def packed_text(keyword: bytes, text: bytes) -> bytes:
    return png_with(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


CLAIMS: dict[str, Callable[[int], bytes]] = {
    "JPEG with XMP": lambda n: encode(picture(), "JPEG", xmp=xmp(n)),
    "JPEG with XMP's element": lambda n: encode(picture(), "JPEG", xmp=b"<tiff:Orientation>%d</tiff:Orientation>" % n),
    "PNG with XMP": lambda n: png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(n)),
    "PNG with compressed XMP": lambda n: png_with(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(n))),
    "PNG with EXIF as a raw profile": lambda n: packed_text(b"Raw profile type exif", raw_profile(b"exif", exif(n))),
    "PNG with EXIF as APP1": lambda n: packed_text(b"Raw profile type APP1", raw_profile(b"generic", exif(n))),
    "PNG with XMP as a raw profile": lambda n: packed_text(b"Raw profile type xmp", raw_profile(b"xmp", xmp(n))),
    "PNG with EXIF of a wrong checksum": lambda n: png_with(b"eXIf", orientation_exif(n)).replace(
        png.chunk(b"eXIf", orientation_exif(n)), png.chunk(b"eXIf", orientation_exif(n))[:-4] + b"CRC?"
    ),
    "WebP with XMP": lambda n: encode(picture(), "WEBP", lossless=True, xmp=xmp(n)),
    "TIFF with XMP": lambda n: encode(picture(), "TIFF", tiffinfo={700: xmp(n)}),
    "AVIF with XMP": lambda n: encode(picture(), "AVIF", xmp=xmp(n)),
    "AVIF with EXIF": lambda n: isobmff.strip(encode(picture(), "AVIF"), orientation_exif(n)),
    "HEIC with XMP": lambda n: not_turned(heic(xmp=xmp(n))),
    "HEIC with EXIF": lambda n: not_turned(heic(exif=exif(n))),
}
TURNED_BY_PILLOW = [name for name in CLAIMS if name.startswith(("JPEG", "WebP", "TIFF")) or name == "PNG with XMP"]


def heic(**options: bytes) -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return encode(picture(), "HEIF", **options)


def first_renderings(data: bytes, info: ImageInfo) -> dict[int, np.ndarray]:
    """The first picture that the detector is shown in each orientation; later ones have other contrasts."""
    renderings = list(decode_for_detection(data, info, 4096).renderings())
    return {orientation: rgb for rgb, orientation in reversed(renderings)}


def not_turned(data: bytes) -> bytes:
    """The file with an angle of 0 in its property for that."""
    at = data.index(b"irot") + 4
    return data[:at] + b"\0" + data[at + 1 :]


@pytest.mark.parametrize("name", CLAIMS)
def test_an_orientation_that_readers_differ_about_is_shown_both_ways_and_not_written(name: str) -> None:
    data = CLAIMS[name](6)
    info = probe(data)
    assert (info.orientation, info.other_orientations) == (1, (6,))
    shown = first_renderings(data, info)
    assert shown.keys() == {1, 6}
    np.testing.assert_array_equal(shown[6], upright(shown[1], 6))
    pixels = decode_pixels(data, info)
    for written in (strip_metadata(data, info), encode_pixels(pixels, data, info)):
        again = probe(written)
        assert (again.orientation, again.other_orientations) == (1, ())
        assert (again.width, again.height) == (97, 61)
        assert b"Orientation" not in written
        if info.format != "heif":  # which OpenCV does not read
            ours = opencv(written, cv2.IMREAD_COLOR)
            plain = opencv(encode(picture(), info.format), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(ours.shape, plain.shape)


@pytest.mark.parametrize("name", TURNED_BY_PILLOW)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_what_pillow_turns_is_shown_as_pillow_turns_it(name: str, orientation: int) -> None:
    data = CLAIMS[name](orientation)
    shown = first_renderings(data, probe(data))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(shown[orientation], np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_s_own_orientation_is_the_one_that_is_written(image_format: str) -> None:
    options = {"tiffinfo": {700: xmp(3), 274: 6}} if image_format == "TIFF" else {"xmp": xmp(3), "exif": exif(6)}
    data = encode(picture(), image_format, **options)
    if image_format == "PNG":  # which Pillow writes no XMP into
        text = png.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3))
        data = data[:33] + text + data[33:]
    info = probe(data)
    assert (info.orientation, info.other_orientations) == (6, (3,))
    for written in (strip_metadata(data, info), encode_pixels(decode_pixels(data, info), data, info)):
        again = probe(written)
        assert (again.orientation, again.other_orientations) == (6, ())


@pytest.mark.parametrize("name", CLAIMS)
def test_an_orientation_that_agrees_is_looked_at_once(name: str) -> None:
    if name in ("AVIF with EXIF", "HEIC with EXIF", "HEIC with XMP"):  # with a property that says the same
        same = {"exif": exif(6)} if name.endswith("EXIF") else {"xmp": xmp(6)}
        avif = isobmff.strip(encode(picture(), "AVIF", exif=exif(6)), orientation_exif(6))
        data = avif if name.startswith("AVIF") else heic(**same)
        assert (probe(data).orientation, probe(data).other_orientations) == (6, ())
    else:
        data = CLAIMS[name](1)
        assert (probe(data).orientation, probe(data).other_orientations) == (1, ())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\nexif\n 8\n",
        b"\nexif\n 8\nzz",
        b"\nexif\n 8\n457",
        b"\nexif\n 30\n" + b"00" * 30,
        b"\xff" * 100,
    ],
)
def test_a_damaged_raw_profile_names_nothing(text: bytes) -> None:
    assert orientation_claims.of_text(b"Raw profile type exif", text) == set()
    assert probe(packed_text(b"Raw profile type exif", text)).orientation == 1


@pytest.mark.parametrize("shown", range(1, 9))
@pytest.mark.parametrize("wanted", range(1, 9))
def test_faces_found_in_one_orientation_lie_on_the_same_stored_pixels_in_another(shown: int, wanted: int) -> None:
    stored_image = np.zeros((64, 128), np.uint8)
    as_shown = upright(stored_image, shown)
    as_shown[8:24, 16:40] = 1
    as_shown[10, 20] = 2  # the eye on the left
    as_shown[10, 30] = 3
    keypoints = np.array([[[20.5, 10.5], [30.5, 10.5]]], np.float32)
    faces = Faces(np.array([[16, 8, 40, 24]], np.float32), np.array([0.9], np.float32), keypoints)
    found = reoriented(faces, shown, wanted, 128, 64)
    as_wanted = upright(stored_image, wanted)
    x0, y0, x1, y1 = found.boxes[0].astype(int)
    assert as_wanted[y0:y1, x0:x1].all()
    assert (y1 - y0) * (x1 - x0) == np.count_nonzero(stored_image)
    assert found.keypoints is not None
    eyes = [int(as_wanted[int(y), int(x)]) for x, y in found.keypoints[0]]
    mirrored = np.linalg.det(_matrix(shown)) != np.linalg.det(_matrix(wanted))
    assert eyes == ([3, 2] if mirrored else [2, 3])


def _matrix(orientation: int) -> np.ndarray:
    """The turn of an orientation: where the stored image's axes go."""
    corners = np.array([[0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25], [0, 0.75, 0.5, 1]], np.float32)
    origin, right, down = stored_boxes(corners, orientation)[:, :2] + stored_boxes(corners, orientation)[:, 2:]
    return np.asarray(np.sign(np.stack([right - origin, down - origin])))
