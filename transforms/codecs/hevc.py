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
    kept = []
    for head, sets in _arrays(content):
        kind = head & 0x3F
        if kind in _PARAMETERS and sets:
            for unit in sets:
                _check_parameters(unit, kind)
            array = b"".join(len(unit).to_bytes(2, "big") + unit for unit in sets)
            kept.append(bytes((head,)) + len(sets).to_bytes(2, "big") + array)
    if len(b"".join(kept)) > _LONGEST_PARAMETERS:
        raise Unaccounted("its HEVC configuration is too long")
    return content[:_ARRAYS_AT] + bytes((len(kept),)) + b"".join(kept)


def _arrays(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The arrays of units in a decoder configuration: the byte that says their type, and the units."""
    position = _ARRAYS_AT + 1
    try:
        for _ in range(content[_ARRAYS_AT]):
            head, count = content[position], int.from_bytes(content[position + 1 : position + 3], "big")
            position += 3
            sets = []
            for _ in range(count):
                length = int.from_bytes(content[position : position + 2], "big")
                unit = content[position + 2 : position + 2 + length]
                if len(unit) < length or length < 2:
                    raise Unaccounted("its HEVC configuration is cut off")
                sets.append(unit)
                position += 2 + length
            yield head, sets
    except IndexError as error:
        raise Unaccounted("its HEVC configuration is cut off") from error


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


def in_parts(data: bytes, configuration: bytes) -> list[bytes]:
    """The units of a picture whose slices consist of parts that are coded apart, with its parameter sets; else none.

    Args:
        data: as `picture` returns it.
        configuration: the content of hvcC.

    Raises:
        Unaccounted: there are several slices of this kind, which may say where there are more parts than they have.
    """
    parameters = [unit for _, sets in _arrays(configuration) for unit in sets] if configuration else []
    coded = list(units(data, length_size(configuration)))
    if not any(_pps_has_parts(unit) for unit in (*parameters, *coded) if unit[0] >> 1 & 0x3F == _PPS):
        return []
    if sum(not is_parameters(unit) for unit in coded) > 1:
        raise Unaccounted("its HEVC picture has several slices in several parts")
    return [*parameters, *coded]


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
    if kind == _PPS:
        _pps_has_parts(unit)


def _pps_has_parts(unit: bytes) -> bool:
    """Whether a picture parameter set (section 7.3.2.3) has rows of blocks, or tiles, coded apart from each other.

    Raises:
        Unaccounted: it has the headers of slices hold bytes that mean nothing.
    """
    bits = Bits(_unescaped(unit)[2:])
    for _ in range(2):
        bits.exponential()  # pps_pic_parameter_set_id, pps_seq_parameter_set_id
    bits.take(1 + 1 + 3 + 1 + 1)  # dependent_slice_segments_enabled_flag to cabac_init_present_flag
    for _ in range(3):
        bits.exponential()  # num_ref_idx_l0_default_active_minus1, num_ref_idx_l1_…, init_qp_minus26
    bits.take(2)  # constrained_intra_pred_flag, transform_skip_enabled_flag
    for _ in range(2 + bits.flag()):  # cu_qp_delta_enabled_flag
        bits.exponential()  # diff_cu_qp_delta_depth, pps_cb_qp_offset, pps_cr_qp_offset
    bits.take(1 + 2 + 1)  # pps_slice_chroma_qp_offsets_present_flag to transquant_bypass_enabled_flag
    has_tiles, has_rows = bits.flag(), bits.flag()  # tiles_enabled_flag, entropy_coding_sync_enabled_flag
    if has_tiles:
        borders = bits.exponential() + bits.exponential()
        for _ in range(0 if bits.flag() else borders):  # uniform_spacing_flag
            bits.exponential()
        bits.take(1)  # loop_filter_across_tiles_enabled_flag
    bits.take(1)  # pps_loop_filter_across_slices_enabled_flag
    if bits.flag():  # deblocking_filter_control_present_flag
        bits.take(1)
        for _ in range(0 if bits.flag() else 2):  # pps_deblocking_filter_disabled_flag
            bits.exponential()
    if bits.flag():  # pps_scaling_list_data_present_flag
        _skip_scaling_lists(bits)
    bits.take(1)  # lists_modification_present_flag
    bits.exponential()  # log2_parallel_merge_level_minus2
    if bits.flag():  # slice_segment_header_extension_present_flag
        raise Unaccounted("the headers of its HEVC slices hold bytes that mean nothing")
    return has_tiles or has_rows


def _skip_scaling_lists(bits: Bits) -> None:
    """Section 7.3.4."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            count = (size > 1) + min(64, 1 << 4 + 2 * size) if bits.flag() else 1  # scaling_list_pred_mode_flag
            for _ in range(count):
                bits.exponential()


def _margins(unit: bytes) -> list[int]:
    """What the conformance window of a sequence parameter set (section 7.3.2.2) cuts off on each side, in pixels."""
    bits = Bits(_unescaped(unit)[2:])
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


def _unescaped(unit: bytes) -> bytes:
    """A unit without the bytes that keep it from looking like the start of another (section 7.3.1.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")
