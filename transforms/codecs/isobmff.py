"""AVIF's and HEIF's boxes: which pictures they hold, which way up, and writing them again without metadata.

ISO/IEC 14496-12 (boxes; iloc, iinf, iref, iprp in section 8.11) and ISO/IEC 23008-12 (items, properties, orientation).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs import av1, icc, isobmff_payloads, isobmff_tails
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.isobmff_boxes import Reader, read_boxes, write_box, write_full_box
from faceveil.transforms.codecs.isobmff_composition import DERIVED, Grid, Parts, grid_of, hides_pixels, parts_of
from faceveil.transforms.codecs.isobmff_items import Item, Meta, boxes_of
from faceveil.transforms.codecs.orientation import upright
from faceveil.transforms.quarantine import Quarantine, Reason

_PICTURES = {b"av01", b"hvc1", *DERIVED}
"""Types of items that are coded as AV1 or HEVC or put together from other items."""

_CODED = {b"av01", b"hvc1"}

_PROPERTIES = {
    *(b"av1C", b"hvcC", b"ispe", b"pixi", b"colr", b"auxC", b"irot", b"imir", b"clap", b"pasp", b"lsel"),
    *(b"a1op", b"a1lx", b"clli", b"mdcv", b"amve", b"cclv"),
}
"""Properties that a decoder needs or that say how the picture looks; descriptions and times go."""

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_TO_PARTS, _AUXILIARY, _PREMULTIPLIED, _THUMBNAIL = b"dimg", b"auxl", b"prem", b"thmb"
_TONE_MAP = b"tmap"  # a second rendering of the same picture, from it and a gain map


class Facts(NamedTuple):
    """What the boxes say about a file's primary picture.

    Attributes:
        pictures: how many there are to see; thumbnails, tiles, alpha, depth and gain maps do not count.
        orientation: EXIF's number for how rotation and mirroring turn the primary one upright.
        is_deep: whether it is AV1 of more than 8 bits per channel.
        hides_pixels: whether what it is made from holds pixels that it does not show; of tiles that reach beyond a
            grid's edge only their pixels tell.
    """

    pictures: int
    orientation: int
    is_deep: bool
    hides_pixels: bool


def facts(data: bytes) -> Facts:
    """Look at the boxes alone, and at the beginning of AV1's data.

    Raises:
        Quarantine: MULTIPLE_FRAMES for a sequence, UNSUPPORTED_IMAGE, CORRUPT_IMAGE or TRUNCATED.
    """
    meta = _read(data)
    parts = parts_of(meta)
    needed = _needed(meta, parts)
    for number in needed:
        _check_size(meta, number)
    tone_maps = {number for number, item in meta.items.items() if item.type == _TONE_MAP}
    referred_to = {to for kind, source, to in meta.references if kind == _TO_PARTS and source not in tone_maps}
    hidden = referred_to | {source for kind, source, _ in meta.references if kind in (_AUXILIARY, _THUMBNAIL)}
    shown = {
        number
        for number, item in meta.items.items()
        if item.type in _PICTURES and not item.flags & 1 and number not in hidden
    }
    # The AV1 codec configuration box: bit 6 of its third byte is high_bitdepth
    # (https://aomediacodec.github.io/av1-isobmff/, section 2.3.3).
    codings = (box for number in needed for box in boxes_of(meta, number) if box[4:8] == b"av1C")
    is_deep = any(box[10] & 0x40 for box in codings)
    return Facts(len(shown | {meta.primary}), _orientation(meta), is_deep, hides_pixels(meta, needed, parts))


def _check_size(meta: Meta, number: int) -> None:
    """Refuses an AV1 picture of another size than its file says: libavif would decode it, and resize it to that."""
    item = meta.items[number]
    said = [struct.unpack_from(">II", box, 12) for box in boxes_of(meta, number) if box[4:8] == b"ispe"]
    if item.type == b"av01" and said:
        try:
            coded = av1.frame_size(item.data)
        except Unaccounted as error:
            raise Quarantine(Reason.CORRUPT_IMAGE, f"avif: {error}") from error
        if coded != said[0]:
            raise Quarantine(Reason.CORRUPT_IMAGE, f"avif: it is said to be {said[0]} px large, but coded as {coded}")


def _orientation(meta: Meta) -> int:
    stored = turned = np.arange(6).reshape(2, 3)
    for box in boxes_of(meta, meta.primary):
        if box[4:8] == b"irot":
            turned = np.rot90(turned, box[8] & 3)  # anticlockwise
        elif box[4:8] == b"imir":
            turned = turned[:, ::-1] if box[8] & 1 else turned[::-1]
    return next(number for number in range(1, 9) if np.array_equal(upright(stored, number), turned))


def strip(data: bytes, exif: bytes) -> bytes:
    """The primary picture in a file of its own: with its tiles, its alpha and what describes them, coded as it was.

    Names of items, thumbnails, other auxiliary pictures, EXIF, XMP and boxes of other kinds go.

    Args:
        data: the file.
        exif: EXIF to write, a TIFF header first, without the orientation; none if empty.

    Raises:
        Quarantine: as `facts`.
        Unaccounted: there is more in the pictures' items than the pictures.
    """
    return _written(_read(data), exif, data, accounted=True)


def _written(meta: Meta, exif: bytes, data: bytes, *, accounted: bool) -> bytes:
    """The primary picture in a file of its own; what its items hold is looked at if it has to be accounted for."""
    all_parts = parts_of(meta)
    kept = sorted(_needed(meta, all_parts))
    renumbered = {number: index for index, number in enumerate(kept, 1)}
    clean = {
        place: isobmff_payloads.property_box(meta.properties[place])
        for place in {place for number in kept for place, _ in _kept_properties(meta, number)}
    }
    used = sorted(place for place, box in clean.items() if box)
    places = {property_: index for index, property_ in enumerate(used, 1)}
    infos, associations, contents = [], [], []
    for number in kept:
        item = meta.items[number]
        infos.append(_info(renumbered[number], item.type, item.flags))
        pairs = [(places[place], essential) for place, essential in _kept_properties(meta, number) if clean[place]]
        associations.append((renumbered[number], pairs))
        boxes = [clean[place] for place, _ in _kept_properties(meta, number)]
        content = item.data
        if accounted:
            content = isobmff_payloads.item(item.type, content, boxes, len(all_parts.get(number, ())))
            if item.type in _CODED:
                content = isobmff_tails.without_tails(item.type, content, boxes)
        contents.append(content)
    links = [
        (kind, renumbered[source], renumbered[to])
        for kind, source, to in meta.references
        if kind in (_TO_PARTS, _AUXILIARY, _PREMULTIPLIED) and source in renumbered and to in renumbered
        # A coded picture may refer to what it was made from, which is no part of it.
        if kind != _TO_PARTS or meta.items[source].type in DERIVED
    ]
    if exif:
        infos.append(_info(len(kept) + 1, b"Exif", 1))
        contents.append(bytes(4) + exif)  # four bytes say where the TIFF header begins
        links.append((b"cdsc", len(kept) + 1, renumbered[meta.primary]))

    def meta_box(start: int) -> bytes:
        return write_full_box(
            b"meta",
            b"".join(
                (
                    write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
                    write_full_box(b"pitm", struct.pack(">H", renumbered[meta.primary])),
                    _locations(contents, start),
                    write_full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos)),
                    write_full_box(b"iref", _links(links)) if links else b"",
                    write_box(
                        b"iprp",
                        write_box(b"ipco", b"".join(clean[number] for number in used)) + _uses(associations),
                    ),
                )
            ),
        )

    name, start, end = next(read_boxes(data, 0, len(data)))
    file_type = write_box(name, isobmff_payloads.file_type(data[start:end]))
    content_at = len(file_type) + len(meta_box(0)) + 8
    return file_type + meta_box(content_at) + write_box(b"mdat", b"".join(contents))


def uncut(data: bytes) -> bytes | None:
    """The same file with all that the tiles of its picture hold, where a grid shows less; None where it shows all.

    Alpha goes: it would have to be as large.
    """
    meta = _read(data)
    if meta.items[meta.primary].type != b"grid":
        return None
    grid = grid_of(meta, meta.primary, parts_of(meta))
    return _written(_without_edges(meta, grid), b"", data, accounted=False) if grid.is_cut else None


def _without_edges(meta: Meta, grid: Grid) -> Meta:
    """The items with a canvas as large as the tiles."""
    width, height = grid.columns * grid.tile_width, grid.rows * grid.tile_height
    item = meta.items[meta.primary]
    data = bytes((0, 1, grid.rows - 1, grid.columns - 1)) + struct.pack(">II", width, height)
    size = write_full_box(b"ispe", struct.pack(">II", width, height))
    kept = [pair for pair in item.properties if meta.properties[pair[0]][4:8] != b"ispe"]
    larger = replace(item, data=data, properties=((len(meta.properties), False), *kept))
    references = [link for link in meta.references if link[0] != _AUXILIARY]
    return Meta(meta.primary, {**meta.items, meta.primary: larger}, references, [*meta.properties, size])


def copy_colours(source: bytes, target: bytes) -> bytes:
    """The target with the source's colour primaries and transfer function, where both files name some.

    Encoders that are not told them write sRGB's. How colours are coded (matrix and range) stays the target's.
    """
    source_box, target_box = _coding_of_colours(source), _coding_of_colours(target)
    if not source_box or not target_box:
        return target
    # A colr box: size, name, kind; primaries, transfer function, matrix (two bytes each); range.
    return target.replace(target_box, target_box[:12] + source_box[12:16] + target_box[16:], 1)


def _coding_of_colours(data: bytes) -> bytes:
    """The primary picture's colr box of the kind nclx; empty if there is none."""
    meta = _read(data)
    return next((box for box in boxes_of(meta, meta.primary) if box[4:12] == b"colrnclx"), b"")


def _needed(meta: Meta, parts: Parts) -> set[int]:
    """The primary picture, what it is put together from, and their alpha."""
    following: defaultdict[int, list[int]] = defaultdict(list)
    for reference, source, to in meta.references:
        if reference == _AUXILIARY and _is_alpha(meta, source):
            following[to].append(source)
    needed: set[int] = set()
    more = [meta.primary]
    while more:
        number = more.pop()
        if number not in needed:
            needed.add(number)
            more += [*following[number], *parts.get(number, ())]
    for number in needed:
        if number not in meta.items or meta.items[number].type not in _PICTURES:
            kind = meta.items[number].type.decode("latin-1") if number in meta.items else "missing"
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, f"heif: the picture is, or is made from, an item of type {kind}")
    return needed


def _is_alpha(meta: Meta, number: int) -> bool:
    boxes = boxes_of(meta, number) if number in meta.items else []
    return any(box[4:8] == b"auxC" and box[12:].startswith(_ALPHA) for box in boxes)


def _kept_properties(meta: Meta, number: int) -> list[tuple[int, bool]]:
    pairs = [pair for pair in meta.items[number].properties if meta.properties[pair[0]][4:8] in _PROPERTIES]
    return isobmff_payloads.first_of_each(pairs, meta.properties)


def _read(data: bytes) -> Meta:
    try:
        top: dict[bytes, tuple[int, int]] = {}
        try:
            for name, start, end in read_boxes(data, 0, len(data)):
                top.setdefault(name, (start, end))
        except (Quarantine, struct.error, ValueError):
            if b"meta" not in top:  # else what stands behind it is no box, or cut off, as the items' places will show
                raise
        if b"moov" in top:
            raise Quarantine(Reason.MULTIPLE_FRAMES, "a sequence, if only of one picture")
        if b"meta" not in top:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: there is no list of pictures (meta box) in it")
        start, end = top[b"meta"]
        parts = {name: (begin, stop) for name, begin, stop in read_boxes(data, start + 4, end)}
        if not {b"pitm", b"iloc", b"iinf", b"iprp"} <= parts.keys():
            raise Quarantine(Reason.CORRUPT_IMAGE, "heif: its list of pictures (meta box) is not complete")
        return _parse(data, parts)
    except (struct.error, IndexError, ValueError, KeyError) as error:
        raise Quarantine(Reason.CORRUPT_IMAGE, f"heif: its boxes cannot be followed: {error}") from error


def _parse(data: bytes, parts: dict[bytes, tuple[int, int]]) -> Meta:
    at, _ = parts[b"pitm"]
    primary = int.from_bytes(data[at + 4 : at + (6 if data[at] == 0 else 8)], "big")
    properties: list[bytes] = []
    associations: dict[int, tuple[tuple[int, bool], ...]] = {}
    for name, start, end in read_boxes(data, *parts[b"iprp"]):
        if name == b"ipco":
            properties = [_property(kind, data[begin:stop]) for kind, begin, stop in read_boxes(data, start, end)]
        elif name == b"ipma":
            associations.update(_read_uses(Reader(data, start, end)))
    if any(number >= len(properties) for pairs in associations.values() for number, _ in pairs):
        raise ValueError("an item has a property that there is not")
    contents = _read_contents(data, parts)
    items = {}
    start, end = parts[b"iinf"]
    for _, begin, stop in read_boxes(data, start + (6 if data[start] == 0 else 8), end):
        info = Reader(data, begin, stop)
        version, flags = info.version_and_flags()
        number = info.number(2 if version == 2 else 4)
        protection, kind = info.number(2), info.take(4)
        if version < 2 or protection:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: an item is of an old kind or protected")
        items[number] = Item(kind, flags, contents.get(number, b""), associations.get(number, ()))
    if primary not in items:
        raise ValueError("there is no primary picture")
    references = []
    if b"iref" in parts:
        start, end = parts[b"iref"]
        wide = 4 if data[start] else 2
        for kind, begin, stop in read_boxes(data, start + 4, end):
            reference = Reader(data, begin, stop)
            source = reference.number(wide)
            references += [(kind, source, reference.number(wide)) for _ in range(reference.number(2))]
    return Meta(primary, items, references, properties)


def _property(kind: bytes, content: bytes) -> bytes:
    """A property's box, with a clean ICC profile if it has one; one of no meaning where that is none."""
    if kind == b"colr" and content[:4] in (b"prof", b"rICC"):
        profile = icc.clean(content[4:])
        return write_box(kind, content[:4] + profile) if profile else write_box(b"free", b"")
    return write_box(kind, content)


def _read_uses(reader: Reader) -> Iterator[tuple[int, tuple[tuple[int, bool], ...]]]:
    """The properties of each item, numbered from 0, from an ipma box; number 0 in the file means none."""
    version, flags = reader.version_and_flags()
    bits = 15 if flags & 1 else 7
    for _ in range(reader.number(4)):
        item = reader.number(4 if version else 2)
        pairs = [divmod(reader.number((bits + 1) // 8), 1 << bits) for _ in range(reader.number(1))]
        yield item, tuple((number - 1, bool(essential)) for essential, number in pairs if number)


def _read_contents(data: bytes, parts: dict[bytes, tuple[int, int]]) -> dict[int, bytes]:
    """The bytes of each item, by the iloc box."""
    reader = Reader(data, *parts[b"iloc"])
    version, _ = reader.version_and_flags()
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    contents = {}
    total = 0
    for _ in range(reader.number(4 if version == 2 else 2)):
        item = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version else 0
        if reader.number(2) or method > 1:
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: an item lies in another file or item")
        from_, to = (0, len(data)) if method == 0 else parts[b"idat"]
        base = from_ + reader.number(base_size)
        extents = []
        for _ in range(reader.number(2)):
            if version:
                reader.number(index_size)
            start = base + reader.number(offset_size)
            length = reader.number(length_size) or to - start  # 0: up to the end
            if start + length > to:
                raise Quarantine(Reason.TRUNCATED, "heif: an item lies beyond the end")
            total += length
            if total > 2 * len(data):
                raise ValueError("items overlap so often that they would fill the memory")
            extents.append(data[start : start + length])
        contents[item] = b"".join(extents)
    return contents


def _info(number: int, kind: bytes, flags: int) -> bytes:
    return write_full_box(b"infe", struct.pack(">HH", number, 0) + kind + b"\0", version=2, flags=flags & 1)


def _locations(contents: list[bytes], start: int) -> bytes:
    parts = [struct.pack(">HH", 0x4400, len(contents))]  # offsets and lengths of four bytes, no base
    for number, content in enumerate(contents, 1):
        parts.append(struct.pack(">HHHII", number, 0, 1, start, len(content)))
        start += len(content)
    return write_full_box(b"iloc", b"".join(parts))


def _links(links: list[tuple[bytes, int, int]]) -> bytes:
    """One box for all references of one kind from one item."""
    targets: dict[tuple[bytes, int], list[int]] = {}
    for kind, source, to in links:
        targets.setdefault((kind, source), []).append(to)
    return b"".join(
        write_box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for (kind, source), to in targets.items()
    )


def _uses(associations: list[tuple[int, list[tuple[int, bool]]]]) -> bytes:
    wide = any(place > 127 for _, pairs in associations for place, _ in pairs)
    content = struct.pack(">I", len(associations))
    for number, pairs in associations:
        content += struct.pack(">HB", number, len(pairs))
        for place, essential in pairs:
            content += struct.pack(">H", essential << 15 | place) if wide else bytes((essential << 7 | place,))
    return write_full_box(b"ipma", content, flags=int(wide))
