"""What AVIF's and HEIF's boxes and items may hold: brands, properties of known lengths, coded pictures, nothing else.

ISO/IEC 14496-12 (ftyp in section 4.3, colr and pasp in 12.1), ISO/IEC 23008-12 (properties in section 6.5, derived
items in 6.6), ISO/IEC 14496-15 (hvcC in section 8.3.3), AV1 Image File Format and AV1 in ISO base media files
(https://aomediacodec.github.io/av1-avif/, https://aomediacodec.github.io/av1-isobmff/, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from faceveil.transforms.codecs import av1, av1_sequence, hevc
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.isobmff_boxes import write_box

_BRANDS = {
    *(b"avif", b"avio", b"mif1", b"mif2", b"miaf", b"heic", b"heix", b"1pic", b"unif"),
    *(b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42"),
}
"""Registered at https://mp4ra.org/registered-types/brands; those of files that hold still pictures. Others speak of
what is left out: sequences (``avis``, ``msf1``, ``hevc``, …), layers (``heim``, …), gain maps (``tmap``)."""

_PROFILES = {b"MA1A", b"MA1B", b"MiHA", b"MiHB", b"MiHE", b"MiPr"}
"""Of MIAF: some picture in the file is coded so, which may be one that is left out."""

_FULL_BOX = 4  # bytes of version and flags
_LENGTHS = {b"ispe": 12, b"pasp": 8, b"clap": 32, b"lsel": 2, b"a1op": 1, b"clli": 4, b"mdcv": 24, b"amve": 8}
_REPEATED = (b"irot", b"imir", b"clap")  # they act one after the other
_MAX_REPEATED = 4
_ICC = (b"rICC", b"prof")
_NCLX_LENGTH = 11
_LONGEST_CONFIGURATION = 64  # of AV1: its sequence header takes some 10 bytes
_MAX_UNITS = 32  # of an AV1 picture: each group of tiles is one
_DELIMITER = b"\x12\0"


def file_type(content: bytes, *, is_alone: bool) -> bytes:
    """The ftyp box's content with the brands that still hold, each once.

    Args:
        content: of the file's.
        is_alone: whether no picture is left out beside the one that is kept.
    """
    allowed = _BRANDS | _PROFILES if is_alone else _BRANDS
    brands = [content[at : at + 4] for at in range(8, len(content) - 3, 4)]
    kept = [brand for brand in dict.fromkeys(brands) if brand in allowed]
    return content[:8] + b"".join(kept)


def first_of_each(properties: Sequence[tuple[int, bool]], boxes: Sequence[bytes]) -> list[tuple[int, bool]]:
    """An item's properties without those that are there a second time.

    Args:
        properties: their places in the list of boxes, and whether they are essential.
        boxes: all properties.

    Raises:
        Unaccounted: it is turned, mirrored or cropped again and again.
    """
    kept: list[tuple[int, bool]] = []
    seen: list[bytes] = []
    for place, is_essential in properties:
        box = boxes[place]
        kind = box[4:12] if box[4:8] == b"colr" else box[4:8]
        if kind in _REPEATED and seen.count(kind) >= _MAX_REPEATED:
            raise Unaccounted("it is turned or cropped too often")
        if kind in _REPEATED or kind not in seen:
            kept.append((place, is_essential))
        seen.append(kind)
    return kept


def property_box(box: bytes) -> bytes:
    """A property with what it is to have, and nothing behind it; empty when it is none that is known.

    Raises:
        Unaccounted: it is too short.
    """
    name, content = box[4:8], box[8:]
    try:
        kept = _property(name, content)
    except (IndexError, ValueError) as error:
        raise Unaccounted(f"its property {name.decode('latin-1')} is cut off") from error
    if kept is None:
        return b""
    if len(kept[0]) < kept[1]:
        raise Unaccounted(f"its property {name.decode('latin-1')} is cut off")
    return write_box(name, kept[0])


def _property(name: bytes, content: bytes) -> tuple[bytes, int] | None:
    """What stays of a property's content, and how long that has to be."""
    if name in _LENGTHS:
        return content[: _LENGTHS[name]], _LENGTHS[name]
    if name == b"colr":
        if content[:4] == b"nclx":
            return content[: _NCLX_LENGTH - 1] + bytes((content[_NCLX_LENGTH - 1] & 0x80,)), _NCLX_LENGTH
        if content[:4] == b"nclc":  # QuickTime's, without the range
            return content[: _NCLX_LENGTH - 1], _NCLX_LENGTH - 1
        return (content, 4) if content[:4] in _ICC else None
    if name == b"pixi":
        channels = content[_FULL_BOX]
        return bytes(_FULL_BOX) + content[_FULL_BOX : _FULL_BOX + 1 + channels], _FULL_BOX + 1 + channels
    if name in (b"irot", b"imir"):
        return bytes((content[0] & (3 if name == b"irot" else 1),)), 1
    if name == b"auxC":
        return content[: content.index(b"\0", _FULL_BOX) + 1], _FULL_BOX
    if name == b"a1lx":
        length = 1 + 3 * (4 if content[0] & 1 else 2)
        return content[:length], length
    if name == b"cclv":  # flags for the primaries (six numbers) and three luminances
        length = 1 + 24 * (content[0] >> 5 & 1) + 4 * (content[0] >> 2 & 7).bit_count()
        return content[:length], length
    if name == b"av1C":
        return content[:4] + _av1_configuration(content[4:]), 4
    if name == b"hvcC":
        return hevc.configuration(content), 23
    return None


def _av1_configuration(data: bytes) -> bytes:
    """The sequence header that a configuration may hold; metadata go."""
    headers = [unit for unit in av1.units(data) if unit.kind == av1.SEQUENCE_HEADER]
    if len(headers) > 1 or any(len(unit.body) > _LONGEST_CONFIGURATION for unit in headers):
        raise Unaccounted("its AV1 configuration is too long")
    for unit in headers:
        av1_sequence.sequence_header(unit.body)
    return b"".join(map(bytes, headers))


def item(kind: bytes, data: bytes, properties: Sequence[bytes], parts: int) -> bytes:
    """An item's data without what is no coded picture.

    Args:
        kind: of the item.
        data: of the item.
        properties: the item's boxes.
        parts: how many items it is put together from.

    Raises:
        Unaccounted: it holds several pictures, or bytes that belong to nothing.
    """
    if kind == b"av01":
        return _av1_picture(data)
    if kind == b"hvc1":
        configuration = next((box[8:] for box in properties if box[4:8] == b"hvcC"), b"")
        return hevc.picture(data, configuration)
    if kind == b"grid":
        length = 12 if data[1:2] and data[1] & 1 else 8
    elif kind == b"iovl":
        number = 4 if data[1:2] and data[1] & 1 else 2
        length = 2 + 8 + 2 * number + parts * 2 * number
    else:
        length = 0
    if len(data) < length:
        raise Unaccounted(f"its item of kind {kind.decode()} is cut off")
    return data[:length]


def _av1_picture(data: bytes) -> bytes:
    """The sequence header and the one frame of an AV1 item; metadata, padding, tile lists and copies go."""
    kept: list[av1.Unit] = []
    for unit in av1.units(data):
        if unit.kind == av1.SEQUENCE_HEADER and len(unit.body) > _LONGEST_CONFIGURATION:
            raise Unaccounted("its AV1 sequence header is too long")
        is_delimiter = not kept and bytes(unit) == _DELIMITER
        if is_delimiter or unit.kind in (av1.SEQUENCE_HEADER, av1.FRAME_HEADER, av1.TILE_GROUP, av1.FRAME):
            kept.append(unit)
    if len(kept) > _MAX_UNITS:
        raise Unaccounted("an AV1 item has too many units")
    kinds = [unit.kind for unit in kept]
    frames, headers = kinds.count(av1.FRAME_HEADER) + kinds.count(av1.FRAME), kinds.count(av1.SEQUENCE_HEADER)
    if frames != 1 or headers != 1:
        raise Unaccounted(f"an item holds {frames} frames and {headers} sequence headers")
    return b"".join(map(bytes, kept))
