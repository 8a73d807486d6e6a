"""A sheet of pictures, with their names, the outlines of masks and the scores of faces."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from faceveil.pipeline.thumbnails import Outline
from faceveil.transforms.arrays import RGB
from faceveil.transforms.inputs.ignored import printable

_PAPER, _INK, _SOFT, _EMPTY = "#ffffff", "#1a2230", "#5b6676", "#e9ecf1"
_MARK, _SHADOW = "#ffe14d", "#000000"
_GAP, _CAPTION, _TITLE = 14, 42, 34
_TEXT, _SMALL, _SCORE, _HEADING = 15, 13, 13, 20
_MIN_LABELLED = 14
"""Outlines that are narrower get no score written beside them, for it would hide what is around."""


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        name: above all, what it shows.
        told: a few words about it.
        side: of the place that it has, in pixels.
        rgb: uint8 ``[H, W, 3]``, no side longer than that; None where there is nothing to show.
        outlines: of masks, on it.
        is_ellipse: whether these are ellipses in the outlines' rectangles.
    """

    name: str
    told: str
    side: int
    rgb: RGB | None = None
    outlines: tuple[Outline, ...] = ()
    is_ellipse: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Of its picture, width and height; of a place that stays empty, less."""
        if self.rgb is None:
            return self.side, self.side // 3
        return self.rgb.shape[1], self.rgb.shape[0]


def draw_sheet(titles: Sequence[str], lines: Sequence[Sequence[Tile]]) -> bytes:
    """A sheet as a PNG that holds nothing but pixels.

    Args:
        titles: of the columns; none where there are none.
        lines: of tiles from top to bottom, each as wide as its widest picture wants.
    """
    widths = [max(tile.size[0] for tile in column) for column in _columns(lines)]
    heights = [max(tile.size[1] for tile in line) for line in lines]
    top = _GAP + (_TITLE if titles else 0)
    width = _GAP + sum(each + _GAP for each in widths)
    sheet = Image.new("RGB", (width, top + sum(each + _CAPTION + _GAP for each in heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_GAP + sum(each + _GAP for each in widths[:place]) for place in range(len(widths))]
    for left, title in zip(lefts, titles, strict=False):
        draw.text((left, _GAP), title, _INK, _font(_HEADING))
    for line, height in zip(lines, heights, strict=True):
        for tile, left, column in zip(line, lefts, widths, strict=False):
            _draw_tile(sheet, draw, tile, left, top, column)
        top += height + _CAPTION + _GAP
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _columns(lines: Sequence[Sequence[Tile]]) -> list[list[Tile]]:
    return [[line[place] for line in lines if place < len(line)] for place in range(len(lines[0]))]


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int, width: int) -> None:
    tile_width, tile_height = tile.size
    if tile.rgb is None:
        draw.rectangle((left, top, left + tile_width - 1, top + tile_height - 1), _EMPTY)
    else:
        picture = Image.fromarray(tile.rgb)
        _draw_outlines(ImageDraw.Draw(picture), tile)
        sheet.paste(picture, (left, top))
    below = top + tile_height + 5
    draw.text((left, below), _fitting(draw, tile.name, _font(_TEXT), width), _INK, _font(_TEXT))
    draw.text((left, below + 19), _fitting(draw, tile.told, _font(_SMALL), width), _SOFT, _font(_SMALL))


def _draw_outlines(draw: ImageDraw.ImageDraw, tile: Tile) -> None:
    shape = draw.ellipse if tile.is_ellipse else draw.rectangle
    for outline in tile.outlines:
        box = outline[:4]
        shape(_grown(box, 1), outline=_SHADOW, width=3)
        shape(box, outline=_MARK, width=1)
    for left, top, right, _, score in tile.outlines:
        if right - left >= _MIN_LABELLED:
            told, font = f"{score:.2f}", _font(_SCORE)
            at = (left + right) / 2 - draw.textlength(told, font) / 2, max(top - _SCORE - 5, 1)
            draw.text(at, told, _MARK, font, stroke_width=2, stroke_fill=_SHADOW)


def _grown(box: tuple[float, float, float, float], by: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left - by, top - by, right + by, bottom + by


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """A text, its beginning left out where it is too long: the end of a name tells more."""
    text = printable(text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"…{text}", font) > width:
        text = text[max(1, len(text) // 20) :]
    return f"…{text}"


def _font(size: int) -> Any:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)
