"""HEVC's units as HEIF's items hold them (ITU-T H.265, sections 7.3 and 7.4; ISO/IEC 14496-15, section 8.3.3)."""

from __future__ import annotations

from collections.abc import Iterator

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.bits import Bits

_VPS, _SPS, _PPS = 32, 33, 34
_PARAMETERS = (_VPS, _SPS, _PPS)
_STILL = range(16, 22)  # pictures that need no other (table 7-1)
_LONGEST_PARAMETERS = 512  # all together; they take some 100 bytes
_ARRAYS_AT = 22  # in the decoder configuration: behind its numbers
_LONGEST_MARGIN = 64
"""Rows or columns that an encoder adds to fill up its blocks, of 64 pixels at most, and has decoders cut off."""


def configuration(content: bytes) -> bytes:
    """A decoder configuration (hvcC) with its parameter sets, and nothing else.

    Raises:
        Unaccounted: it is cut off, too long, or has decoders cut off more than what fills up blocks.
    """
    arrays = []
    position = _ARRAYS_AT + 1
    try:
        for _ in range(content[_ARRAYS_AT]):
            head, count = content[position], int.from_bytes(content[position + 1 : position + 3], "big")
            kind, array = head & 0x3F, b""
            position += 3
            for _ in range(count):
                length = int.from_bytes(content[position : position + 2], "big")
                unit = content[position + 2 : position + 2 + length]
                if len(unit) < length or length < 2:
                    raise Unaccounted("its HEVC configuration is cut off")
                if kind in _PARAMETERS:
                    _check_parameters(unit, kind)
                array += content[position : position + 2 + length]
                position += 2 + length
            if kind in _PARAMETERS and count:
                arrays.append(bytes((head,)) + count.to_bytes(2, "big") + array)
    except IndexError as error:
        raise Unaccounted("its HEVC configuration is cut off") from error
    if len(b"".join(arrays)) > _LONGEST_PARAMETERS:
        raise Unaccounted("its HEVC configuration is too long")
    return content[:_ARRAYS_AT] + bytes((len(arrays),)) + b"".join(arrays)


def picture(data: bytes, configuration: bytes) -> bytes:
    """The one picture of an item with its parameter sets; supplements, filler and other layers go.

    Args:
        data: units with their lengths before them.
        configuration: the content of hvcC, which says how long the lengths are.

    Raises:
        Unaccounted: it holds several pictures, or bytes that belong to no unit.
    """
    size = length_size(configuration)
    kept, pictures, parameters = [], 0, 0
    for unit in units(data, size):
        kind, layer = unit[0] >> 1 & 0x3F, (unit[0] & 1) << 5 | unit[1] >> 3
        if layer or not (kind in _STILL or kind in _PARAMETERS):
            if kind < _VPS and not layer:
                raise Unaccounted(f"it holds an HEVC picture of type {kind}, which needs others")
            continue
        if kind in _PARAMETERS:
            parameters += len(unit)
            _check_parameters(unit, kind)
        else:
            pictures += unit[2] >> 7  # first_slice_segment_in_pic_flag (section 7.3.6.1)
        kept.append(len(unit).to_bytes(size, "big") + unit)
    if pictures != 1 or parameters > _LONGEST_PARAMETERS:
        raise Unaccounted(f"an item holds {pictures} HEVC pictures and {parameters} bytes of parameter sets")
    return b"".join(kept)


def length_size(configuration: bytes) -> int:
    """How many bytes say the length of a unit, from the content of hvcC."""
    return (configuration[21] & 3) + 1 if len(configuration) > 21 else 4


def is_parameters(unit: bytes) -> bool:
    """Whether a unit holds no pixels."""
    return unit[0] >> 1 & 0x3F in _PARAMETERS


def units(data: bytes, size: int) -> Iterator[bytes]:
    """The units of an item, whose lengths take `size` bytes.

    Raises:
        Unaccounted: there are bytes that belong to none.
    """
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + size], "big")
        unit = data[position + size : position + size + length]
        if len(unit) < length or length < 3:
            raise Unaccounted("an item has bytes that belong to no HEVC unit")
        yield unit
        position += size + length


def _check_parameters(unit: bytes, kind: int) -> None:
    if (unit[0] >> 1 & 0x3F) != kind:
        raise Unaccounted("there is something else among its HEVC parameter sets")
    if kind == _SPS and max(_margins(unit)) >= _LONGEST_MARGIN:
        raise Unaccounted("more is cut off from its picture than what fills up blocks")


def _margins(unit: bytes) -> list[int]:
    """What the conformance window of a sequence parameter set (section 7.3.2.2) cuts off on each side, in pixels."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)  # sps_temporal_id_nesting_flag, general profile, tier and level
    present = [(bits.take(1), bits.take(1)) for _ in range(8 if layers else 0)][:layers]
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exponential()  # sps_seq_parameter_set_id
    chroma = bits.exponential()
    if chroma == 3:
        bits.take(1)  # separate_colour_plane_flag
    bits.exponential()  # pic_width_in_luma_samples
    bits.exponential()
    if not bits.take(1):
        return [0]
    across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
    return [bits.exponential() * unit for unit in (across, across, down, down)]
