"""What is sound but of a kind that is not read here is called unsupported, and by its name; damage is called damage."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile

from faceveil.transforms.codecs import decode_pixels, probe
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, picture

JPEG = encode(picture(), "JPEG")
FRAME_AT = JPEG.index(b"\xff\xc0")


def with_frame(marker: int, bits: int = 8) -> bytes:
    return (
        JPEG[: FRAME_AT + 1]
        + bytes((marker,))
        + JPEG[FRAME_AT + 2 : FRAME_AT + 4]
        + bytes((bits,))
        + JPEG[FRAME_AT + 5 :]
    )


def with_components(count: int) -> bytes:
    header = struct.pack(">HBHHB", 8 + 3 * count, 8, 61, 97, count)
    components = b"".join(bytes((number, 0x11, 0)) for number in range(count))
    return JPEG[: FRAME_AT + 2] + header + components + JPEG[FRAME_AT + 19 :]


def in_bmp(compression: int, payload: bytes, bits: int = 0, header: int = 40) -> bytes:
    fields = struct.pack("<IiiHHIIiiII", header, 97, 61, 1, bits, compression, len(payload), 0, 0, 0, 0)
    return struct.pack("<2sIII", b"BM", 54 + len(payload), 0, 54) + fields + payload


def tiff_of(values: np.ndarray, **options: Any) -> bytes:
    output = io.BytesIO()
    tifffile.imwrite(output, values, metadata=None, **options)
    return output.getvalue()


def compressed_with(number: int) -> bytes:
    plain = encode(picture(), "TIFF", compression="tiff_lzw")
    at = plain.index(struct.pack("<HHIHH", 259, 3, 1, 5, 0)) + 8
    return plain[:at] + struct.pack("<H", number) + plain[at + 2 :]


RGB = np.asarray(picture())
UNSUPPORTED = {
    "tiff of floating point": tiff_of(RGB.astype(np.float32), photometric="rgb"),
    "tiff of complex numbers": tiff_of(RGB[..., 0].astype(np.complex64)),
    "tiff of signed whole numbers": tiff_of(RGB.astype(np.int16), photometric="rgb"),
    "tiff with 32 bits per channel": tiff_of(RGB.astype(np.uint32), photometric="rgb"),
    "tiff with 7 channels": tiff_of(np.zeros((61, 97, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
    "tiff compressed with LERC": compressed_with(34887),
    "tiff compressed with WebP": compressed_with(50001),
    "tiff compressed with JPEG 2000": compressed_with(34712),
    "tiff compressed with JPEG XL": compressed_with(50002),
    "tiff compressed with JBIG": compressed_with(34661),
    "bmp that holds a JPEG": in_bmp(4, JPEG),
    "bmp that holds a PNG": in_bmp(5, encode(picture(), "PNG")),
    "bmp with 64 bits per pixel": in_bmp(0, bytes(97 * 61 * 8), 64),
    "bmp with OS/2's short header": in_bmp(0, bytes(40), 8, 16),
    "jpeg with 12 bits per channel": with_frame(0xC1, 12),
    "jpeg of the lossless process": with_frame(0xC3),
    "jpeg of hierarchical frames": with_frame(0xC5),
    "jpeg of JPEG-LS": with_frame(0xF7),
    "jpeg with 2 channels": with_components(2),
    "jpeg with 5 channels": with_components(5),
    "jpeg xl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
    "psd": b"8BPS\0\1" + bytes(100),
    "openexr": b"\x76\x2f\x31\x01" + bytes(100),
    "icon": encode(picture("RGB", 32, 32), "ICO"),
    "tga": encode(picture(), "TGA"),
    "dds": encode(picture(), "DDS"),
}


def refusal(data: bytes) -> Quarantine:
    with pytest.raises(Quarantine) as caught:
        decode_pixels(data, probe(data))
    return caught.value


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_kind_that_is_not_read_is_named(kind: str) -> None:
    error = refusal(UNSUPPORTED[kind])
    assert error.reason == Reason.UNSUPPORTED_IMAGE
    assert error.detail.startswith(kind)


@pytest.mark.parametrize(
    "data",
    [
        with_frame(0xC2),  # a progressive frame before a sequential scan
        in_bmp(0, bytes(97 * 61 * 3), 30_000),
        JPEG[:FRAME_AT] + JPEG[FRAME_AT + 19 :],
        b"II*\0" + bytes(20),
        encode(picture(), "PNG").replace(b"IDAT", b"IDAt"),
    ],
)
def test_damage_is_called_damage(data: bytes) -> None:
    assert refusal(data).reason == Reason.CORRUPT_IMAGE


@pytest.mark.parametrize(
    "data", [b"%PDF-1.4 " + bytes(100), b"\x1a\x45\xdf\xa3" + bytes(100), b"PK\x03\x04" + bytes(100)]
)
def test_what_is_no_picture_is_no_image(data: bytes) -> None:
    assert refusal(data).reason == Reason.NOT_AN_IMAGE
