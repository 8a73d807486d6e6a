"""AVIF and HEIC files put together from coded pictures in ways that only some readers follow."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

import pillow_heif
from PIL import Image

from faceveil.transforms.codecs import isobmff
from faceveil.transforms.codecs.isobmff_boxes import read_boxes, write_box, write_full_box
from faceveil.transforms.codecs.isobmff_items import boxes_of
from faceveil.transforms.codecs.isobmff_read import read


@dataclass
class Item:
    """An item: its type, its data, and its properties as boxes, all of them essential or not as decoders want it."""

    type: bytes
    data: bytes
    properties: list[bytes] = field(default_factory=list)
    hidden: bool = False


def coded(image: Image.Image, image_format: str, quality: int = 90) -> Item:
    """A coded picture, as an encoder makes it."""
    output = io.BytesIO()
    if image_format == "AVIF":
        image.save(output, "AVIF", quality=quality)
    else:
        pillow_heif.from_pillow(image).save(output, quality=quality)
    meta = read(output.getvalue())
    item = meta.items[meta.primary]
    return Item(item.type, item.data, boxes_of(meta, meta.primary))


def size(width: int, height: int) -> bytes:
    return write_full_box(b"ispe", struct.pack(">II", width, height))


def crop(width: int, height: int, right: int, down: int) -> bytes:
    """A clap property: the size that stays, and how far its centre is from the picture's."""
    return write_box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1))


def grid(columns: int, rows: int, width: int, height: int) -> Item:
    data = bytes((0, 0, rows - 1, columns - 1)) + struct.pack(">HH", width, height)
    return Item(b"grid", data, [size(width, height)])


def overlay(width: int, height: int, offsets: list[tuple[int, int]]) -> Item:
    """Layers on a white canvas, the last on top."""
    data = bytes((0, 0)) + struct.pack(">4H", *[0xFFFF] * 4) + struct.pack(">HH", width, height)
    return Item(b"iovl", data + b"".join(struct.pack(">hh", *offset) for offset in offsets), [size(width, height)])


def written(
    items: list[Item], references: list[tuple[bytes, int, int]], image_format: str, brands: tuple[bytes, ...] = ()
) -> bytes:
    """A file whose primary picture is the first item; references by the items' numbers, from 1."""
    properties = [box for item in items for box in item.properties]
    places = {id(box): number for number, box in enumerate(properties, 1)}
    uses = [
        (number, [(places[id(box)], box[4:8] in (b"clap", b"av1C", b"hvcC")) for box in item.properties])
        for number, item in enumerate(items, 1)
    ]
    infos = [isobmff.info(number, item.type, int(item.hidden)) for number, item in enumerate(items, 1)]
    contents = [item.data for item in items]
    starts, body = isobmff.placed(contents)

    def meta(start: int) -> bytes:
        return write_full_box(
            b"meta",
            write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + write_full_box(b"pitm", struct.pack(">H", 1))
            + isobmff.locations(contents, [start + place for place in starts])
            + write_full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos))
            + (write_full_box(b"iref", isobmff.link_boxes(references)) if references else b"")
            + write_box(b"iprp", write_box(b"ipco", b"".join(properties)) + isobmff.uses(uses)),
        )

    brands = brands or ((b"avif", b"mif1", b"miaf") if image_format == "AVIF" else (b"heic", b"mif1"))
    head = write_box(b"ftyp", brands[0] + bytes(4) + b"".join(brands))
    return head + meta(len(head) + len(meta(0)) + 8) + write_box(b"mdat", body)


def coded_parts(data: bytes) -> list[bytes]:
    """Every coded picture of a file in a file of its own, whatever the file says of it: as one who looks for more."""
    meta = read(data)
    found = []
    for number, item in meta.items.items():
        if item.type in (b"av01", b"hvc1"):
            boxes = [box for box in boxes_of(meta, number) if box[4:8] not in (b"clap", b"irot", b"imir", b"auxC")]
            image_format = "AVIF" if item.type == b"av01" else "HEIC"
            found.append(written([Item(item.type, item.data, boxes)], [], image_format))
    return found


def top_boxes(data: bytes) -> list[bytes]:
    return [name for name, *_ in read_boxes(data, 0, len(data))]
