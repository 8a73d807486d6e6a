"""The sequence header of an AV1 bitstream, as far as it says how large frames are and what their headers hold.

AV1 Bitstream & Decoding Process Specification (https://aomediacodec.github.io/av1-spec/), section 5.5; names of fields
are those there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.bits import Bits

_LONGEST_HEADER = 1024  # bytes, far above what 32 operating points take
_BT_709, _SRGB, _IDENTITY = 1, 13, 0  # section 6.4.2
_UNSPECIFIED = 2


@dataclass(frozen=True)
class Sequence:
    """What a sequence header says that a frame header's syntax depends on.

    Attributes:
        width, height: of the largest frame, in pixels.
        size_bits: how many bits a frame's own width and height take.
        is_reduced: reduced_still_picture_header.
        presentation_time_bits, removal_time_bits: 0 where a frame does not say these times.
        has_decoder_model: decoder_model_info_present_flag.
        id_bits: 0 where frames have no numbers.
        screen_content_tools, integer_mv: 0 or 1 for all frames; None where each says it.
        order_hint_bits: of a frame's place in the order of output.
        large_superblocks: of 128 x 128 pixels, not 64 x 64.
        planes: 1 or 3.
        subsampled: chroma has half the width and height.
        superres, cdef, restoration, separate_uv_delta_q, film_grain: whether frames may use these.
    """

    width: int
    height: int
    size_bits: tuple[int, int]
    is_reduced: bool
    presentation_time_bits: int
    has_decoder_model: bool
    removal_time_bits: int
    id_bits: int
    screen_content_tools: int | None
    integer_mv: int | None
    order_hint_bits: int
    large_superblocks: bool
    superres: bool
    cdef: bool
    restoration: bool
    planes: int
    subsampled: bool
    separate_uv_delta_q: bool
    film_grain: bool


class _Times(NamedTuple):
    has_decoder_model: bool = False
    presentation_time_bits: int = 0
    removal_time_bits: int = 0


def largest_size(body: bytes) -> tuple[int, int]:
    """Width and height in pixels of the largest frame, from the body of a sequence header.

    Raises:
        Unaccounted: it is cut off.
    """
    bits = Bits(body[:_LONGEST_HEADER])
    bits.take(4)  # seq_profile, still_picture
    _times(bits, is_reduced=bits.flag(), single=False)
    return _largest_size(bits)[:2]


def sequence_header(body: bytes) -> Sequence:
    """The body of a sequence header (section 5.5.1).

    Raises:
        Unaccounted: it is cut off, something stands behind it, or it is of a kind that is not known, or of layers.
    """
    bits = Bits(body[:_LONGEST_HEADER])
    profile, still_picture, is_reduced = bits.take(3), bits.flag(), bits.flag()
    if profile > 2 or (is_reduced and not still_picture):
        raise Unaccounted("an AV1 sequence header is of an unknown kind")
    times = _times(bits, is_reduced=is_reduced, single=True)
    width, height, *size_bits = _largest_size(bits)
    id_bits = 0
    if not is_reduced and bits.flag():  # frame_id_numbers_present_flag
        id_bits = bits.take(4) + bits.take(3) + 3
    large_superblocks = bits.flag()
    bits.take(2)  # enable_filter_intra, enable_intra_edge_filter
    screen_content_tools = integer_mv = None
    order_hint_bits = 0
    if not is_reduced:
        bits.take(4)  # enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
        order_hint = bits.flag()
        bits.take(2 * order_hint)  # enable_jnt_comp, enable_ref_frame_mvs
        screen_content_tools = None if bits.flag() else bits.take(1)
        if screen_content_tools != 0:
            integer_mv = None if bits.flag() else bits.take(1)
        order_hint_bits = bits.take(3) + 1 if order_hint else 0
    superres, cdef, restoration = bits.flag(), bits.flag(), bits.flag()
    planes, subsampled, separate_uv_delta_q = _color_config(bits, profile)
    film_grain = bits.flag()
    check_trailing_bits(bits, body)
    return Sequence(
        width=width,
        height=height,
        size_bits=(size_bits[0], size_bits[1]),
        is_reduced=is_reduced,
        presentation_time_bits=times.presentation_time_bits,
        has_decoder_model=times.has_decoder_model,
        removal_time_bits=times.removal_time_bits,
        id_bits=id_bits,
        screen_content_tools=screen_content_tools,
        integer_mv=integer_mv,
        order_hint_bits=order_hint_bits,
        large_superblocks=large_superblocks,
        superres=superres,
        cdef=cdef,
        restoration=restoration,
        planes=planes,
        subsampled=subsampled,
        separate_uv_delta_q=separate_uv_delta_q,
        film_grain=film_grain,
    )


def _times(bits: Bits, *, is_reduced: bool, single: bool) -> _Times:
    """Timing, decoder model and operating points, of which a picture in one layer has one."""
    if is_reduced:
        bits.take(5)  # seq_level_idx
        return _Times()
    has_decoder_model, delay_bits, removal_bits, presentation_bits = False, 0, 0, 0
    if bits.flag():  # timing_info_present_flag
        bits.take(64)
        equal_picture_interval = bits.flag()
        if equal_picture_interval:
            bits.exponential()  # num_ticks_per_picture_minus_1
        has_decoder_model = bits.flag()
        if has_decoder_model:
            delay_bits = bits.take(5) + 1
            bits.take(32)
            removal_bits, presentation_bits = bits.take(5) + 1, bits.take(5) + 1
            presentation_bits *= not equal_picture_interval
    display_delay = bits.flag()
    count, has_removal_time = bits.take(5) + 1, False
    for _ in range(count):
        if bits.take(12) and single:  # operating_point_idc
            raise Unaccounted("an AV1 picture has layers")
        if bits.take(5) > 7:  # seq_level_idx
            bits.take(1)
        if has_decoder_model:
            has_removal_time = bits.flag()
            bits.take((2 * delay_bits + 1) * has_removal_time)
        if display_delay and bits.flag():
            bits.take(4)
    if single and count > 1:
        raise Unaccounted("an AV1 picture has several operating points")
    return _Times(has_decoder_model, presentation_bits, removal_bits * has_removal_time)


def _largest_size(bits: Bits) -> tuple[int, int, int, int]:
    """Width and height, and how many bits each takes."""
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1, width_bits, height_bits


def _color_config(bits: Bits, profile: int) -> tuple[int, bool, bool]:
    """Number of planes, whether chroma has half the width and height, separate_uv_delta_q (section 5.5.2)."""
    high_bitdepth = bits.flag()
    twelve_bit = profile == 2 and high_bitdepth and bits.flag()
    mono_chrome = profile != 1 and bits.flag()
    description = (bits.take(8), bits.take(8), bits.take(8)) if bits.flag() else (_UNSPECIFIED,) * 3
    if mono_chrome:
        bits.take(1)  # color_range
        return 1, True, False
    if description == (_BT_709, _SRGB, _IDENTITY):
        subsampled = False
    else:
        bits.take(1)  # color_range
        subsampled = profile == 0 or (twelve_bit and bits.flag() and bits.flag())
    bits.take(2 * subsampled)  # chroma_sample_position
    return 3, subsampled, bits.flag()


def check_trailing_bits(bits: Bits, body: bytes) -> None:
    """Make sure of a one and nothing but zeros behind it, up to the end of a unit's body (section 5.3.4).

    Raises:
        Unaccounted: there is something else.
    """
    if not bits.flag():
        raise Unaccounted("an AV1 header goes on behind its end")
    bits.align()
    if any(body[bits.position // 8 :]):
        raise Unaccounted("there are bytes behind an AV1 header")
