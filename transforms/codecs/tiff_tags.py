"""Which of a TIFF's tags describe the picture, and how many numbers each has (TIFF 6.0, appendix A)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.tiff_directory import Directory, Entry, Flavour
from faceveil.transforms.codecs.tiff_segments import JPEG, SegmentLayout

_WHOLE, _FRACTIONS, _ANY = {1, 3, 4, 16}, {5, 10, 11, 12}, {1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 16}
_GREY_RESPONSE, _TRANSFER_FUNCTION, _COLOUR_MAP, _JPEG_TABLES, _ICC_PROFILE = 291, 301, 320, 347, 34675
PALETTE = 3
_MAX_EXTRA = 8  # channels: more than any picture that is read

# By the tag: its types, and how many numbers it has; a sample's numbers are as many as samples.
_OF_PICTURE: dict[int, tuple[set[int], int]] = {
    **dict.fromkeys((254, 256, 257, 259, 262, 263, 266, 274, 277, 278, 284, 290, 292, 293, 296, 317), (_WHOLE, 1)),
    **dict.fromkeys((322, 323, 332, 334, 531), (_WHOLE, 1)),
    **dict.fromkeys((282, 283), (_FRACTIONS, 1)),
    **dict.fromkeys((321, 530), (_WHOLE, 2)),
    **{tag: (_FRACTIONS, count) for tag, count in ((318, 2), (319, 6), (529, 3), (532, 6))},
    342: (_WHOLE, 6),
}
_OF_SAMPLES = {258: _WHOLE, 280: _WHOLE, 281: _WHOLE, 338: _WHOLE, 339: _WHOLE, 340: _ANY, 341: _ANY}
_DOT_RANGE = 336  # two numbers, or two for each sample


def clean(directory: Directory, flavour: Flavour) -> Directory:
    """The tags that describe the picture, with as many numbers as they have; numbers behind these go.

    Tags of types that they cannot have go, and so do tables of colours that are none. JPEG tables and ICC profiles stay
    as they are, and so do the tags of strips and tiles.

    Args:
        directory: of the picture.
        flavour: of the values.
    """
    samples = min(max(number(directory, flavour, 277, 1), 1), _MAX_EXTRA)
    bits = number(directory, flavour, 258, 1)
    cleaned = {}
    for tag, entry in directory.items():
        types, most = _OF_PICTURE.get(tag, (_OF_SAMPLES.get(tag, set()), samples))
        if tag == _DOT_RANGE:
            types, most = _WHOLE, 2 * samples
        if tag in (_GREY_RESPONSE, _TRANSFER_FUNCTION, _COLOUR_MAP):
            if _is_table(tag, entry, flavour, bits, number(directory, flavour, 262, -1)):
                cleaned[tag] = entry
        elif tag in (273, 279, 324, 325, _ICC_PROFILE) or (
            tag == _JPEG_TABLES and number(directory, flavour, 259, 1) == JPEG
        ):
            cleaned[tag] = entry
        elif entry.type in types and entry.count:
            count = min(entry.count, most)
            cleaned[tag] = replace(entry, count=count, value=entry.value[: len(entry.value) // entry.count * count])
    return cleaned


_NEEDED = {256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 338, 339, 530}


def check(entries: Directory, directory: Directory, flavour: Flavour) -> None:
    """That tags which decoders need are those of the cleaned directory, and that there are not strips and tiles.

    Raises:
        Unaccounted: decoders may show something else than the tags that stay say.
    """
    needed = _NEEDED | ({_COLOUR_MAP} if number(directory, flavour, 262, -1) == PALETTE else set())
    if wrong := (needed & entries.keys()) - directory.keys():
        raise Unaccounted(f"its tags {sorted(wrong)} are not of their types")
    if {273, 279} & entries.keys() and {322, 323, 324, 325} & entries.keys():
        raise Unaccounted("it has strips and tiles")


def _is_table(tag: int, entry: Entry, flavour: Flavour, bits: int, photometric: int) -> bool:
    """Whether a table of colours or brightness has a number for each value; those of brightness go up or down only."""
    numbers = entry.numbers(flavour)
    each = 1 << bits if bits <= 8 else 0
    if entry.type != 3 or not each or len(numbers) not in (each, 3 * each):
        return False
    if tag == _COLOUR_MAP:
        return photometric == PALETTE and len(numbers) == 3 * each
    parts = [numbers[start : start + each] for start in range(0, len(numbers), each)]
    return all(all(a <= b for a, b in pairwise(part)) or all(a >= b for a, b in pairwise(part)) for part in parts) and (
        tag == _TRANSFER_FUNCTION or len(parts) == 1
    )


def number(directory: Directory, flavour: Flavour, tag: int, default: int) -> int:
    """The first number of a tag."""
    entry = directory.get(tag)
    return ((entry and entry.numbers(flavour)) or (default,))[0]


def layout(directory: Directory, flavour: Flavour, *, is_tiled: bool) -> SegmentLayout:
    """What the tags say of the pixels, with the defaults of those that are not there (TIFF 6.0, section 8)."""

    def first(tag: int, default: int) -> int:
        return number(directory, flavour, tag, default)

    width, height = first(256, 0), first(257, 0)
    subsampling = directory[530].numbers(flavour) if 530 in directory else (2, 2)
    return SegmentLayout(
        width,
        height,
        first(277, 1),
        first(258, 1),
        first(284, 1) == 2,
        first(322, 0) if is_tiled else width,
        first(323, 0) if is_tiled else min(first(278, height), height),
        is_tiled,
        first(259, 1),
        first(262, 1),
        (subsampling[0], subsampling[-1]) if subsampling else (2, 2),
        first(266, 1) == 2,
        first(292, 0),
    )
