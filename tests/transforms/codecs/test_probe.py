import io

import pytest
from PIL import Image

from faceveil.transforms.codecs import ImageInfo, png, probe
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, exif, picture


def reason(data: bytes) -> Reason:
    with pytest.raises(Quarantine) as caught:
        probe(data)
    return caught.value.reason


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_finds_size_and_orientation(image_format: str, orientation: int) -> None:
    data = encode(picture(), image_format, exif=exif(orientation)[: -len(b"THUMBNAIL OF A FACE")])
    info = probe(data)
    exif_written = orientation_exif(orientation) if orientation != 1 and image_format != "avif" else b""
    assert info == ImageInfo(image_format, 97, 61, orientation, "RGB", exif_written)
    assert (info.upright_width, info.upright_height) == ((61, 97) if orientation == 6 else (97, 61))


def test_a_wrong_orientation_is_none() -> None:
    assert probe(encode(picture(), "JPEG", exif=exif(9))).orientation == 1
    assert probe(encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*garbage")).orientation == 1


def test_orientation_behind_a_png_s_pixels_counts() -> None:
    with_exif = encode(picture(), "PNG", exif=exif(6))
    start = with_exif.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(with_exif[start : start + 4], "big")
    iend = with_exif.index(b"IEND") - 4
    moved = with_exif[:start] + with_exif[end:iend] + with_exif[start:end] + with_exif[iend:]
    assert probe(moved).orientation == 6


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Reason.EMPTY),
        (b"just text, but named .jpg", Reason.NOT_AN_IMAGE),
        (b"BMW sells cars, and this is a text", Reason.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", Reason.CORRUPT_IMAGE),
        (encode(picture(), "PNG")[:40], Reason.TRUNCATED),
        (encode(picture(), "WEBP")[:40], Reason.TRUNCATED),
        (encode(picture(), "JPEG2000"), Reason.UNSUPPORTED_IMAGE),
        (encode(picture("L").convert("F"), "TIFF"), Reason.UNSUPPORTED_IMAGE),
        (encode(picture("L").convert("I"), "TIFF"), Reason.UNSUPPORTED_IMAGE),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Reason.UNSUPPORTED_IMAGE),
        (encode(picture(), "TIFF", tiffinfo={254: 1}), Reason.UNSUPPORTED_IMAGE),
        (encode(picture("LAB"), "TIFF"), Reason.UNSUPPORTED_IMAGE),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", Reason.NOT_AN_IMAGE),
    ],
)
def test_refuses(data: bytes, expected: Reason) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_refuses_several_pictures_in_one(image_format: str) -> None:
    others = [picture(seed=1), picture(seed=2)]
    data = encode(picture(), image_format, save_all=True, append_images=others)
    assert reason(data) == Reason.MULTIPLE_FRAMES


def test_of_a_burst_of_jpegs_the_first_is_one_picture_and_the_others_are_metadata() -> None:
    data = encode(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    assert probe(data).format == "jpeg"


def test_an_image_of_more_pixels_than_allowed_is_refused() -> None:
    data = encode(picture(), "PNG")
    assert probe(data, max_pixels=97 * 61).width == 97
    with pytest.raises(Quarantine, match="too_large: 97 x 61 px are more than 5916"):
        probe(data, max_pixels=97 * 61 - 1)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[8:33] = png.chunk(b"IHDR", bytes(data[16:29]))
    with pytest.raises(Quarantine, match="too_large"):
        probe(bytes(data), max_pixels=150_000_000)


def test_details_are_the_same_in_every_run() -> None:
    """They land in the audit trail; a memory address in them would make reruns differ."""
    with pytest.raises(Quarantine) as caught:
        probe(b"II*\0" + b"\xff" * 30)
    assert "0x" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_no_pixel_is_decoded() -> None:
    """Damaged pixels do not show in the header."""
    data = bytearray(encode(picture(), "PNG"))
    at = data.index(b"IDAT") + 20
    data[at : at + 8] = bytes(8)
    assert probe(bytes(data)).width == 97
    with pytest.raises(OSError, match=r".*"):
        Image.open(io.BytesIO(bytes(data))).load()
