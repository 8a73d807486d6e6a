"""What bytes are, by how they begin: images, and all else that may hold one (video, documents, archives, arrays).

One table for all callers: `probe` wants the format of an image, the search of Examples wants to know whether any
picture may be there. Sources: PRONOM (https://www.nationalarchives.gov.uk/PRONOM/), the magic database of file(1)
(https://github.com/file/file/tree/master/magic/Magdir), the formats that Pillow, OpenCV and TensorFlow read, and the
specifications named below.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from faceveil.transforms.codecs import bmp, headers
from faceveil.transforms.codecs.headers import SMALLEST_IMAGE

_BEGINNINGS = (
    # Images that are read here.
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\x76\x2f\x31\x01", "openexr"),
    (b"#?RADIANCE", "radiance hdr"),
    (b"#?RGBE", "radiance hdr"),
    # Other pictures. Old JPEG 2000 files have a longer first box; JPEG XL: ISO/IEC 18181-2, section 4.
    (b"\0\0\0\x0cjP", "jpeg 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jpeg xl"),
    (b"\x8aMNG\r\n\x1a\n", "mng"),
    (b"\x8bJNG\r\n\x1a\n", "jng"),
    (b"8BPS\0", "psd"),
    (b"DDS |\0\0\0", "dds"),
    (b"icns", "icns"),
    (b"qoif", "qoi"),
    (b"FLIF", "flif"),
    (b"BPG\xfb", "bpg"),
    (b"II\xbc\x01", "jpeg xr"),
    (b"AT&TFORM", "djvu"),
    (b"gimp xcf ", "xcf"),
    (b"SDPX\0", "dpx"),
    (b"XPDS", "dpx"),
    (b"\x80\x2a\x5f\xd7", "cineon"),
    (b"\xabKTX ", "ktx"),
    (b"\x59\xa6\x6a\x95", "sun raster"),
    (b"\xb1\x68\xde\x3a", "dcx"),
    (b"BLP1", "blp"),
    (b"BLP2", "blp"),
    (b"FTEX", "ftex"),
    (b"FTU\0", "ftex"),
    (b"DanM", "msp"),
    (b"LinS", "msp"),
    (b"\x80\xe8\0\0", "pixar"),
    (b"P7 332", "xv thumbnail"),
    (b"SIMPLE  =", "fits"),
    (b"GRIB", "grib"),
    (b"BUFR", "bufr"),
    (b"\xd7\xcd\xc6\x9a", "wmf"),
    (b"/* XPM */", "xpm"),
    (b"! XPM2", "xpm"),
    (b"FORM", "iff"),
    # Cameras' raw files that are not TIFF.
    (b"FUJIFILMCCD-RAW", "raf"),
    (b"IIU\0", "rw2"),
    (b"IIRO", "orf"),
    (b"IIRS", "orf"),
    (b"MMOR", "orf"),
    (b"II\x1a\0\0\0HEAPCCDR", "crw"),
    (b"FOVb", "x3f"),
    (b"\0MRM", "mrw"),
    # Video.
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"\0\0\x01\xba", "mpeg"),
    (b"\0\0\x01\xb3", "mpeg"),
    (b"\0\0\0\x01\x67", "h.264"),
    (b"\0\0\x01\x67", "h.264"),
    (b"\0\0\0\x01\x40\x01", "h.265"),
    (b"\0\0\x01\x40\x01", "h.265"),
    (b"OggS\0", "ogg"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"DKIF\0\0", "ivf"),
    (b"YUV4MPEG2 ", "y4m"),
    (b".RMF\0", "realmedia"),
    (b"FWS", "swf"),
    (b"CWS", "swf"),
    (b"ZWS", "swf"),
    # Documents.
    (b"%PDF-", "pdf"),
    (b"%!PS-", "postscript"),
    (b"%!PS\n", "postscript"),
    (b"%!PS\r", "postscript"),
    (b"\xc5\xd0\xd3\xc6", "postscript"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rtf", "rtf"),
    # Compressed data and archives.
    (b"\x1f\x8b\x08", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff", "lzma"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\xff\x06\0\0sNaPpY", "snappy"),
    (b"LZIP\x01", "lzip"),
    (b"Rar!\x1a\x07", "rar"),
    (b"MSCF\0\0\0\0", "cab"),
    (b"!<arch>\n", "ar"),
    (b"070701", "cpio"),
    (b"\x1f\x9d\x90", "compress"),
    # Arrays and tables.
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"ARROW1\0\0", "arrow"),
    (b"\xff\xff\xff\xff\x10\0\0\0", "arrow"),
    (b"PAR1\x15", "parquet"),
    (b"MATLAB 5.0 MAT-file", "mat"),
    (b"SQLite format 3\0", "sqlite"),
    (b"Obj\x01", "avro"),
)
_BY_FIRST_BYTE: dict[int, list[tuple[bytes, str]]] = {}
for _beginning, _name in _BEGINNINGS:
    _BY_FIRST_BYTE.setdefault(_beginning[0], []).append((_beginning, _name))

CONVERTED = frozenset({"dicom", "openexr", "jpeg2000", "radiance hdr"})
"""Images that are read with tensorflow-io, and written in another format."""
IMAGES = CONVERTED | {"jpeg", "png", "gif", "tiff", "webp", "bmp", "netpbm", "avif", "heif"}
"""Images that are read here."""
PICTURES = {
    *("jpeg 2000", "jpeg xl", "mng", "jng", "psd", "dds", "icns", "qoi", "flif", "bpg"),
    *("jpeg xr", "djvu", "xcf", "dpx", "cineon", "ktx", "sun raster", "dcx", "blp", "ftex", "msp", "pixar"),
    *("xv thumbnail", "fits", "wmf", "xpm", "raf", "rw2", "orf", "crw", "x3f", "mrw", "icon", "sgi", "pcx"),
    *("tga", "emf", "xbm", "photo cd", "bmp of an unknown kind", "bmp without its first header"),
}
"""Names of still pictures that are not decoded here."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# Netpbm (https://netpbm.sourceforge.net/doc/pnm.html): a letter and digit, white space or comments, the width.
_PNM = re.compile(
    rb"P[1-6](?:\s|\s*#[^\n\r]*[\n\r])+\d+(?:\s|#)|P[Ff]4?\s+\d|P(?:0CMYK|yP|yCMYK|yRGBA)\s|P7\s+(?:#|[WHDMT])"
)
_XBM = re.compile(rb"\s*(?:/\*.*?\*/\s*)?#define\s+\S*_?width\s+\d+", re.DOTALL)
_IM = re.compile(rb"(?:^|\n)(?:Image type|Image size \(x\*y\)|File size \(no of images\))\s*:")
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")


def sniff(data: bytes) -> str | None:
    """What bytes are, by their beginning; None where that is not known.

    Images that are read here are those of ``IMAGES``. All other names are of what may hold a picture: other images,
    video, documents, archives, arrays. Formats without a magic number are known by a header that makes sense throughout
    and fits the number of bytes.

    Example usage::

        >>> sniff(b"GIF89a" + bytes(40)), sniff(b"n02084071: a dog"), sniff(b"P5 640 480 255 ")
        ('gif', None, 'netpbm')
    """
    if len(data) < 3:
        return None
    for beginning, name in _BY_FIRST_BYTE.get(data[0], ()):
        if data.startswith(beginning) and (
            len(beginning) > 4 or not beginning.isalnum() or min(data[4:20], default=9) < 9
        ):
            return name  # four letters may begin a text; in a header there are low numbers behind them
    if data[4:8] == b"ftyp":
        return _iso_media(data)
    return next((name for name, fits in _CHECKS if fits(data)), None)


def _iso_media(data: bytes) -> str:
    """ISO base media (ISO/IEC 14496-12, section 4.3): a major brand, a version, compatible brands."""
    length = min(int.from_bytes(data[:4], "big"), 4096)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else "iso media"


def _is_riff(data: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] in (b"AVI ", b"AVIX", b"ACON", b"RDIB", b"CDXA")


# Quick ones first: each looks at a few bytes before it does more.
_CHECKS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("webp", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP"),
    ("bmp", lambda data: data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in bmp.HEADER_SIZES),
    ("dicom", lambda data: data[128:132] == b"DICM"),
    ("bmp of an unknown kind", headers.is_bmp_elsewhere),
    ("riff", _is_riff),
    ("icon", headers.is_icon),
    ("quicktime", lambda data: data[4:8] in (b"moov", b"mdat", b"wide", b"pnot", b"skip", b"free")),
    ("netpbm", lambda data: data[:1] == b"P" and _PNM.match(data)),
    ("bzip2", lambda data: data[:3] == b"BZh" and _BZIP2.match(data)),
    ("pickle", headers.is_pickle),
    ("jpeg xl", headers.is_jpeg_xl),
    ("sgi", headers.is_sgi),
    ("pcx", headers.is_pcx),
    ("tga", headers.is_tga),
    ("zlib", headers.is_zlib),
    ("flic", headers.is_film),
    ("emf", lambda data: data[:4] == b"\x01\0\0\0" and data[40:44] == b" EMF"),
    ("gimp brush", lambda data: data[20:24] == b"GIMP"),
    ("xbm", lambda data: data[:1] in b"#/ \t\r\n" and _XBM.match(data, 0, 4096)),
    ("im", lambda data: data[:1] in b"IFNDL\n" and _IM.search(data, 0, 512)),
    ("photo cd", lambda data: data[2048:2052] == b"PCD_"),
    ("tar or nifti", headers.is_tar),
    ("mpeg", headers.is_transport_stream),
    ("spider", headers.is_spider),
    ("mcidas", headers.is_mcidas),
    ("bmp without its first header", headers.is_bare_bitmap),
)


def find(data: bytes) -> str | None:
    """What stands anywhere in bytes, behind whatever header, that is or may hold a picture; None where nothing does.

    Only what cannot be there by chance counts: six bytes and more, or four and a header behind them that makes sense.

    Example usage::

        >>> find(b"my header" + bytes(30) + b"\\x89PNG\\r\\n\\x1a\\n")
        'png'
    """
    if len(data) < SMALLEST_IMAGE:
        return None
    if _JPEG_FRAME.search(data):
        return "jpeg"
    for part, name, continues in _ANYWHERE:
        place = data.find(part)
        while place >= 0:
            if continues is None or continues.match(data, place + len(part)):
                return name
            place = data.find(part, place + 1)
    for part, byte_order in ((b"II*\0", "<"), (b"MM\0*", ">")):
        place = data.find(part)
        while place >= 0:
            if _has_directory(data, place, byte_order):
                return "tiff"
            place = data.find(part, place + 1)
    return None


# A frame header (ITU-T T.81, section B.2.2): its length, bits per sample, height and width, one to four components.
# Every JPEG has one, wherever it begins and whatever is cut off before.
_JPEG_FRAME = re.compile(
    rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0(?:\x0b[\x02-\x10].{4}\x01|\x0e[\x02-\x10].{4}\x02|"
    rb"\x11[\x02-\x10].{4}\x03|\x14[\x02-\x10].{4}\x04)",
    re.DOTALL,
)
# What follows the beginnings that are too short alone, or letters: sides below 8192 (GIF89a, section 18); a brand
# (ISO/IEC 14496-12, section 4.3); version, flags and method (PKWARE's APPNOTE.TXT, section 4.3.7); flags, time, speed
# and system (RFC 1952); the rest of a BMP's first header and the size of its second; EBML's header, whose first element
# is its own version; a document's version.
_ANYWHERE = tuple(
    (part, name, re.compile(continues, re.DOTALL) if continues else None)
    for part, name, continues in (
        (b"\0\0\0\rIHDR", "png", b""),  # PNG's first chunk, which a file without its first eight bytes still has
        (b"\x89PNG\r\n\x1a\n", "png", b""),
        (b"GIF87a", "gif", rb"(?:.[\0-\x1f]){2}"),
        (b"GIF89a", "gif", rb"(?:.[\0-\x1f]){2}"),
        (b"WEBPVP8", "webp", b""),
        (b"jP  \r\n\x87\n", "jpeg2000", b""),
        (b"\xff\x4f\xff\x51\0", "jpeg2000", b""),
        (b"JXL \r\n\x87\n", "jpeg xl", b""),
        (b"II+\0\x08\0\0\0", "tiff", b""),
        (b"MM\0+\0\x08\0\0", "tiff", b""),
        (b"ftyp", "iso media", rb"[\x20-\x7e]{3}[\x20-\x7e\0](?:\0|[\x20-\x7e]{4}|.{4}[\x20-\x7e]{4})"),
        (b"AVI LIST", "avi", b""),
        (b"\x1a\x45\xdf\xa3", "matroska", rb".{1,40}?\x42[\x82\x86]"),
        (b"%PDF-", "pdf", rb"[12]\.\d"),
        (b"8BPS\0\x01\0\0", "psd", b""),
        (b"\x76\x2f\x31\x01\x02", "openexr", b""),
        (b"#?RADIANCE", "radiance hdr", b""),
        (b"#?RGBE\n", "radiance hdr", b""),
        (b"DICM\x02\0", "dicom", b""),
        (b"DDS |\0\0\0", "dds", b""),
        (b"BM", "bmp", rb".{4}\0\0\0\0..\0\0[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        (b"PK\x03\x04", "zip", rb"[\x0a-\x40]\0..[\0\x01\x08\x09\x0c\x0e\x5d\x5f\x63]\0"),
        (b"\x1f\x8b\x08", "gzip", rb"[\0-\x1f].{4}[\0\x02\x04][\0-\x0d\xff]"),
        (b"\xfd7zXZ\0", "xz", b""),
        (b"7z\xbc\xaf\x27\x1c", "7z", b""),
        (b"1AY&SY", "bzip2", b""),
        (b"\x93NUMPY", "npy", b""),
        (b"\x89HDF\r\n\x1a\n", "hdf5", b""),
        (b"<svg", "svg", rb"[\s>/]"),
        (b":svg", "svg", rb"[\s>/]"),  # with a prefix for its namespace
        (b"http://www.w3.org/2000/svg", "svg", b""),
    )
)


def _has_directory(data: bytes, start: int, byte_order: str) -> bool:
    """Whether a TIFF header leads to a directory (TIFF 6.0, section 2): entries of a known tag and type."""
    if start + 8 > len(data):
        return False
    place = start + int(struct.unpack_from(byte_order + "I", data, start + 4)[0])
    if place + 14 > len(data) or place < start + 8:
        return False
    entries, tag, kind = struct.unpack_from(byte_order + "3H", data, place)
    return bool(0 < entries <= 1024 and tag > 0 and 1 <= kind <= 13)
