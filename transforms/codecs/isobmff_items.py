"""The items of AVIF and HEIF files: coded and derived pictures, metadata, and how they refer to each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A coded or derived picture, or metadata.

    Attributes:
        type: four characters.
        flags: bit 0 marks it as not for display.
        data: its bytes, put together from its extents.
        properties: number in `Meta.properties` (from 0) and whether it is essential, in order.
    """

    type: bytes
    flags: int
    data: bytes
    properties: tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class Meta:
    """The items of a file: by number, with the references between them as (type, from, to)."""

    primary: int
    items: dict[int, Item]
    references: list[tuple[bytes, int, int]]
    properties: list[bytes]


def boxes_of(meta: Meta, number: int) -> list[bytes]:
    """The properties of an item, as boxes."""
    return [meta.properties[property_] for property_, _ in meta.items[number].properties]
