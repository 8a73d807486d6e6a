"""Headers of formats with a short magic number or none: all of their fields have to make sense, so that no text,
hash, embedding or run-length code is taken for one.
"""

from __future__ import annotations

import struct
import zlib

SMALLEST_IMAGE = 26
"""Bytes of the smallest image that matters here, a BMP with its first header; less holds no picture."""


def is_bmp_elsewhere(data: bytes) -> bool:
    """A BMP whose second header has a size that no specification knows: TensorFlow reads it all the same.

    As its decoder does (tensorflow/core/kernels/image/decode_image_op.cc): where pixels begin, width, height and bits
    per pixel stand at 10, 18, 22 and 28; or else the file's size, at 2, is the data's.
    """
    if data[:2] != b"BM" or len(data) < SMALLEST_IMAGE:
        return False
    if int.from_bytes(data[2:6], "little") == len(data):
        return True
    if len(data) < 30:
        return False
    start, width, height = struct.unpack_from("<i4x2i", data, 10)
    bits = int.from_bytes(data[28:30], "little")
    return (
        0 < start < len(data)
        and 0 < width < 2**16
        and 0 < abs(height) < 2**16
        and bits in (1, 2, 4, 8, 16, 24, 32)
        and start + width * abs(height) * bits // 8 <= 2 * len(data)
    )


def is_icon(data: bytes) -> bool:
    """ICO and CUR: a list of pictures, the first of which lies behind the list and within the data."""
    if data[:4] not in (b"\0\0\x01\0", b"\0\0\x02\0") or len(data) < 22:
        return False
    count, size, offset = struct.unpack_from("<H8x2I", data, 4)
    return bool(0 < count < 1024 and data[9] == 0 and size > 16 and 6 + 16 * count <= offset < len(data))


def is_tga(data: bytes) -> bool:
    """Truevision TGA 2.0 (https://www.fileformat.info/format/tga/egff.htm), which has no magic number.

    The header's fields have to fit each other, and the pixels the data: raw ones by their number, others by their runs.
    """
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return True
    if len(data) < 64 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11):
        return False
    id_length, has_map, kind, map_length, map_bits, width, height, bits, flags = struct.unpack_from(
        "<3B2xHB4x2H2B", data
    )
    depths = {1: (8, 16), 2: (15, 16, 24, 32), 3: (8, 16)}[kind & 7]
    if bits not in depths or not 8 <= width <= 2**14 or not 8 <= height <= 2**14 or flags & 0xC0 or flags & 15 > 8:
        return False
    if (kind & 7 == 1) > has_map or (has_map and (map_bits not in (15, 16, 24, 32) or not 0 < map_length <= 2**12)):
        return False
    place = 18 + id_length + (map_length * ((map_bits + 7) // 8) if has_map else 0)
    pixel_bytes, left = (bits + 7) // 8, width * height
    if kind < 8:
        return bool(place + left * pixel_bytes <= len(data) <= place + left * pixel_bytes * 2)
    while left > 0 and place < len(data):
        run = (data[place] & 0x7F) + 1
        place += 1 + pixel_bytes * (1 if data[place] & 0x80 else run)
        left -= run
    return bool(left == 0 and place <= len(data) <= 2 * place)


def is_pcx(data: bytes) -> bool:
    """ZSoft PCX (https://www.fileformat.info/format/pcx/egff.htm): a header of 128 bytes."""
    if len(data) < 130 or data[0] != 10 or data[1] not in (0, 2, 3, 4, 5) or data[2] > 1:
        return False
    bits, left, top, right, bottom = struct.unpack_from("<B4H", data, 3)
    planes, per_line = struct.unpack_from("<BH", data, 65)
    width = right - left + 1
    return (
        bits in (1, 2, 4, 8)
        and left <= right
        and top <= bottom
        and data[64] == 0
        and 1 <= planes <= 4
        and (width * bits + 7) // 8 <= per_line <= (width * bits + 7) // 8 + 64
    )


def is_sgi(data: bytes) -> bool:
    """SGI image (https://paulbourke.net/dataformats/sgirgb/sgiversion.html): a header of 512 bytes."""
    if data[:2] != b"\x01\xda" or len(data) < 108:
        return False
    storage, depth, dimension, width, height, channels = struct.unpack_from(">2B4H", data, 2)
    return storage < 2 and depth in (1, 2) and 1 <= dimension <= 3 and width > 0 and height > 0 and channels <= 16


def is_jpeg_xl(data: bytes) -> bool:
    """A JPEG XL codestream: two bytes, then the size (ISO/IEC 18181-1, section D.2), which has to make sense."""
    if data[:2] != b"\xff\x0a" or len(data) < 80:  # no digest is as long, and no picture of a face as short
        return False
    bits, place = int.from_bytes(data[2:14], "little"), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return bits >> place - count & (1 << count) - 1

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    width = height if ratio else side()
    return width * height <= 64_000 * len(data) and max(width, height) <= 2**16


def is_zlib(data: bytes) -> bool:
    """zlib (RFC 1950): the header's check, and data that inflate without an error to their end or ours."""
    if len(data) < 3 or data[0] & 15 != 8 or data[0] >> 4 > 7 or (data[0] << 8 | data[1]) % 31 or data[1] & 0x20:
        return False
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data[: 2**16], 2**16)
    except zlib.error:
        return False
    return (inflater.eof and len(inflater.unused_data) < 64) or len(inflated) > SMALLEST_IMAGE


def is_tar(data: bytes) -> bool:
    """Tar (POSIX ustar) and NIfTI-1 name themselves further behind."""
    return data[257:262] == b"ustar" or data[344:348] in (b"n+1\0", b"ni1\0")


def is_film(data: bytes) -> bool:
    """Autodesk's FLI and FLC: at byte 4 their number, frames, width, height, 8 bits."""
    return data[4:6] in (b"\x11\xaf", b"\x12\xaf") and data[12:14] in (b"\x08\0", b"\0\0") and len(data) >= 128


def is_pickle(data: bytes) -> bool:
    """Pickles of protocols 2 to 5: their number, in 4 and 5 a frame as long as the rest; a stop at the end."""
    if data[:1] != b"\x80" or data[-1:] != b"." or data[1] not in (2, 3, 4, 5):
        return False
    return data[2:3] == b"\x95" if data[1] > 3 else data[2:3] in b"]}(cC)XUKNGJM\x8a\x8c"


def is_transport_stream(data: bytes) -> bool:
    """MPEG-TS (ISO/IEC 13818-1, section 2.4.3.2): packets of 188 bytes, each of which begins with 0x47."""
    return len(data) > 4 * 188 and set(data[: 5 * 188 : 188]) == {0x47}


def is_spider(data: bytes) -> bool:
    """SPIDER (https://spider.wadsworth.org/spider_doc/spider/docs/image_doc.html): a header of floats that fit."""
    for byte_order in "<>":
        if len(data) >= 108:
            values = struct.unpack_from(byte_order + "27f", data)
            records, header_bytes, record_bytes = values[12], values[21], values[22]
            if values[4] in (1, 3, -11, -12, -21, -22) and 0 < records * record_bytes == header_bytes <= len(data):
                return True
    return False


def is_bare_bitmap(data: bytes) -> bool:
    """A BMP without its first header, as clipboards hold it: the second one's size, sides, one plane, bits."""
    if len(data) < 64 or data[1:4] != b"\0\0\0" or data[0] not in (40, 52, 56, 64, 108, 124):
        return False
    width, height, planes, bits = struct.unpack_from("<2i2H", data, 4)
    return 0 < width < 2**16 and 0 < abs(height) < 2**16 and planes == 1 and bits in (1, 2, 4, 8, 16, 24, 32)


def is_mcidas(data: bytes) -> bool:
    """McIDAS area (https://www.ssec.wisc.edu/mcidas/doc/misc_doc/area2.html): lines, elements, bytes of each."""
    if len(data) < 256 or data[:8] != b"\0\0\0\0\0\0\0\x04":
        return False
    lines, elements, size = struct.unpack_from(">3I", data, 32)
    return 0 < lines < 2**16 and 0 < elements < 2**16 and size in (1, 2, 4)
