"""AVIF's and HEIF's boxes: which pictures they hold, which way up, and writing them again without metadata.

ISO/IEC 14496-12 (boxes; iloc, iinf, iref, iprp in section 8.11) and ISO/IEC 23008-12 (items, properties, orientation).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs import av1, isobmff_payloads, isobmff_tails, orientation_claims
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.isobmff_boxes import read_boxes, write_box, write_full_box
from faceveil.transforms.codecs.isobmff_composition import DERIVED, Grid, Parts, grid_of, hides_pixels, parts_of
from faceveil.transforms.codecs.isobmff_items import Meta, boxes_of
from faceveil.transforms.codecs.isobmff_read import read
from faceveil.transforms.codecs.orientation import upright
from faceveil.transforms.quarantine import Quarantine, Reason

_PICTURES = {b"av01", b"hvc1", *DERIVED}
"""Types of items that are coded as AV1 or HEVC or put together from other items."""

_CODED = {b"av01", b"hvc1"}
_METADATA = (b"Exif", b"mime", b"uri ")

_PROPERTIES = {
    *(b"av1C", b"hvcC", b"ispe", b"pixi", b"colr", b"auxC", b"irot", b"imir", b"clap", b"pasp", b"lsel"),
    *(b"a1op", b"a1lx", b"clli", b"mdcv", b"amve", b"cclv"),
}
"""Properties that a decoder needs or that say how the picture looks; descriptions and times go."""

_SHOWN_BY = (b"pasp", b"clli", b"mdcv", b"amve", b"cclv")
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
        claimed_orientations: what EXIF and XMP say; some readers go by these.
    """

    pictures: int
    orientation: int
    is_deep: bool
    hides_pixels: bool
    claimed_orientations: frozenset[int]


def facts(data: bytes) -> Facts:
    """Look at the boxes alone, and at the beginning of AV1's data.

    Raises:
        Quarantine: MULTIPLE_FRAMES for a sequence, UNSUPPORTED_IMAGE, CORRUPT_IMAGE or TRUNCATED.
    """
    meta = read(data)
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
    hides = hides_pixels(meta, needed, parts, _alpha_of(meta))
    return Facts(len(shown | {meta.primary}), _orientation(meta), is_deep, hides, _claimed_orientations(meta))


def _claimed_orientations(meta: Meta) -> frozenset[int]:
    """What EXIF and XMP say; that nothing is to be turned says nothing, since the picture's properties are to tell."""
    claims: set[int] = set()
    for item in meta.items.values():
        if item.type == b"Exif":  # four bytes say where its TIFF header begins (ISO/IEC 23008-12, annex A.2.1)
            claims.add(orientation_claims.of_exif(item.data[4 + int.from_bytes(item.data[:4], "big") :]) or 1)
        elif item.type == b"mime":
            claims |= orientation_claims.of_xmp(item.data)
    return frozenset(claims - {1})


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
    return _written(read(data), exif, data, accounted=True)


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
    cleaned: dict[tuple[bytes, int, tuple[bytes, ...], int], bytes] = {}
    for number in kept:
        item = meta.items[number]
        infos.append(info(renumbered[number], item.type, item.flags))
        pairs = [(places[place], essential) for place, essential in _kept_properties(meta, number) if clean[place]]
        associations.append((renumbered[number], pairs))
        boxes = [clean[place] for place, _ in _kept_properties(meta, number)]
        content = item.data
        if accounted:
            # Several items may be the same data, and stay so.
            same = item.type, id(content), tuple(boxes), len(all_parts.get(number, ()))
            if same not in cleaned:
                cleaned[same] = _accounted(item.type, content, boxes, len(all_parts.get(number, ())))
            content = cleaned[same]
        contents.append(content)
    links = [
        (kind, renumbered[source], renumbered[to])
        for kind, source, to in meta.references
        if kind in (_TO_PARTS, _AUXILIARY, _PREMULTIPLIED) and source in renumbered and to in renumbered
        # A coded picture may refer to what it was made from, which is no part of it.
        if kind != _TO_PARTS or meta.items[source].type in DERIVED
    ]
    if exif:
        infos.append(info(len(kept) + 1, b"Exif", 1))
        contents.append(bytes(4) + exif)  # four bytes say where the TIFF header begins
        links.append((b"cdsc", len(kept) + 1, renumbered[meta.primary]))

    starts, body = placed(contents)

    def meta_box(start: int) -> bytes:
        return write_full_box(
            b"meta",
            b"".join(
                (
                    write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
                    write_full_box(b"pitm", struct.pack(">H", renumbered[meta.primary])),
                    locations(contents, [start + begin for begin in starts]),
                    write_full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos)),
                    write_full_box(b"iref", link_boxes(links)) if links else b"",
                    write_box(
                        b"iprp",
                        write_box(b"ipco", b"".join(clean[number] for number in used)) + uses(associations),
                    ),
                )
            ),
        )

    name, start, end = next(read_boxes(data, 0, len(data)))
    others = (meta.items[number].type for number in meta.items.keys() - {*kept})
    is_alone = all(kind in _METADATA for kind in others)
    file_type = write_box(name, isobmff_payloads.file_type(data[start:end], is_alone=is_alone))
    content_at = len(file_type) + len(meta_box(0)) + 8
    return file_type + meta_box(content_at) + write_box(b"mdat", body)


def _accounted(kind: bytes, content: bytes, boxes: Sequence[bytes], parts: int) -> bytes:
    content = isobmff_payloads.item(kind, content, boxes, parts)
    return isobmff_tails.without_tails(kind, content, boxes) if kind in _CODED else content


def uncut(data: bytes) -> bytes | None:
    """The same file with all that the tiles of its picture hold, where a grid shows less; None where it shows all.

    Alpha goes: it would have to be as large.
    """
    meta = read(data)
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


def copy_showing(source: bytes, target: bytes) -> bytes:
    """The target with what the source's properties say of how the decoded picture is to be shown.

    That is the shape of its pixels, how bright it is meant to be, and in AVIF its crop, which libheif has applied when
    it hands out a HEIC's pixels, while libavif hands out all. How it is turned stays the target's.
    """
    given, meta = read(source), read(target)
    crops = any(item.type == b"av01" for item in meta.items.values())
    items, properties = dict(meta.items), list(meta.properties)
    pairs = [(meta.primary, given.primary), *zip(_alpha_of(meta), _alpha_of(given), strict=False)]
    for number, of_source in pairs:
        names = (*(_SHOWN_BY if number == meta.primary else ()), *((b"clap",) if crops else ()))
        copied = sorted(
            (box for box in boxes_of(given, of_source) if box[4:8] in names), key=lambda box: box[4:8] == b"clap"
        )
        own = items[number].properties
        # Properties that change the picture stand behind those that do not, and act in their order: the crop first.
        turns = [pair for pair in own if properties[pair[0]][4:8] in (b"irot", b"imir")]
        more = ((len(properties) + place, box[4:8] == b"clap") for place, box in enumerate(copied))
        items[number] = replace(items[number], properties=(*(pair for pair in own if pair not in turns), *more, *turns))
        properties += copied
    if len(properties) == len(meta.properties):
        return target
    return _written(Meta(meta.primary, items, meta.references, properties), b"", target, accounted=False)


def _alpha_of(meta: Meta) -> list[int]:
    """The items that are the primary picture's alpha."""
    return [
        from_
        for kind, from_, to in meta.references
        if kind == _AUXILIARY and to == meta.primary and _is_alpha(meta, from_)
    ]


def _coding_of_colours(data: bytes) -> bytes:
    """The primary picture's colr box of the kind nclx; empty if there is none."""
    meta = read(data)
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


def info(number: int, kind: bytes, flags: int) -> bytes:
    """The infe box of an item."""
    return write_full_box(b"infe", struct.pack(">HH", number, 0) + kind + b"\0", version=2, flags=flags & 1)


def placed(contents: Sequence[bytes]) -> tuple[list[int], bytes]:
    """Where each item's content begins in a body of all, and that body; what several items share is there once."""
    places: dict[int, int] = {}
    body: list[bytes] = []
    end = 0
    for content in contents:
        if id(content) not in places or not content:
            places[id(content)] = end
            body.append(content)
            end += len(content)
    return [places[id(content)] for content in contents], b"".join(body)


def locations(contents: Sequence[bytes], places: Sequence[int]) -> bytes:
    """The iloc box of the items, which are numbered from 1."""
    parts = [struct.pack(">HH", 0x4400, len(contents))]  # offsets and lengths of four bytes, no base
    for number, (content, place) in enumerate(zip(contents, places, strict=True), 1):
        parts.append(struct.pack(">HHHII", number, 0, 1, place, len(content)))
    return write_full_box(b"iloc", b"".join(parts))


def link_boxes(links: list[tuple[bytes, int, int]]) -> bytes:
    """One box for all references of one kind from one item."""
    targets: dict[tuple[bytes, int], list[int]] = {}
    for kind, source, to in links:
        targets.setdefault((kind, source), []).append(to)
    return b"".join(
        write_box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for (kind, source), to in targets.items()
    )


def uses(associations: list[tuple[int, list[tuple[int, bool]]]]) -> bytes:
    """The ipma box: of each item its properties' numbers, and whether they are essential."""
    wide = any(place > 127 for _, pairs in associations for place, _ in pairs)
    content = struct.pack(">I", len(associations))
    for number, pairs in associations:
        content += struct.pack(">HB", number, len(pairs))
        for place, essential in pairs:
            content += struct.pack(">H", essential << 15 | place) if wide else bytes((essential << 7 | place,))
    return write_full_box(b"ipma", content, flags=int(wide))
