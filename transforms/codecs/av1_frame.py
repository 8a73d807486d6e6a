"""The frame header of an AV1 still picture: how its coded data are divided into tiles, and which filters follow.

AV1 Bitstream & Decoding Process Specification (https://aomediacodec.github.io/av1-spec/), sections 5.9 (frame header)
and 5.11.1 (tile groups); names of fields are those there. Only what a still picture may have is read: a key frame that
is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.av1_sequence import Sequence, check_trailing_bits
from faceveil.transforms.codecs.bits import Bits

_LONGEST_HEADER = 1024
"""Bytes; the longest one, of 64 x 64 tiles of chosen sizes, with eight segments and film grain, has some 400."""

_MAX_TILE_WIDTH, _MAX_TILE_AREA, _MAX_TILES = 4096, 4096 * 2304, 64  # section 3; the last one across and down
_KEY_FRAME, _DELTAS = 0, 8 + 2  # of the loop filter: for references and for modes
_MAX_SEGMENTS, _FEATURE_BITS, _FEATURES_SIGNED = 8, (8, 6, 6, 6, 6, 3, 0, 0), 5  # section 5.9.14
_SUPERRES_NUM, _SUPERRES_DENOM_MIN, _NARROWEST_SUPERRES = 8, 9, 16
_MAX_LUMA_POINTS, _MAX_CHROMA_POINTS = 14, 10  # of film grain, section 6.8.20

_CHROMA_REACH = 4
"""Pixels beyond a tile that its chroma tells on when it is enlarged: twice what linear interpolation takes."""

_RESTORATION_REACH, _SUPERRES_REACH = 6, 8
"""Of three samples (section 7.17), which of chroma are six pixels, and of four samples (section 7.16)."""

LONGEST_SIZE = 4  # bytes that may say how long a tile is

_Change = tuple[int, int, str]
"""Where bits of a header begin and end, and what stands in their place."""


@dataclass(frozen=True)
class FrameHeader:
    """What a frame's header says.

    Attributes:
        columns, rows: where tiles begin, and where the last one ends, in pixels before superres.
        tile_bits: how many bits the number of a tile takes.
        size_bytes: how many bytes say how long a tile is; 0 for a single one.
        reach: how many pixels beyond its edges a tile tells on in the plain frame, in pixels before superres.
        header: its bits, each a character.
        plain: which other bits of the header make a frame plain.
    """

    columns: tuple[int, ...]
    rows: tuple[int, ...]
    tile_bits: int
    size_bytes: int
    reach: int
    header: str
    plain: tuple[_Change, ...]

    @property
    def tiles(self) -> int:
        """How many there are."""
        return (len(self.columns) - 1) * (len(self.rows) - 1)

    def plain_header(self, *, alone: bool) -> bytes:
        """The header of a frame whose tiles are coded as this one's, but neither deblocked nor given film grain.

        Nor is there CDEF. The sizes of tiles take four bytes.

        Args:
            alone: whether nothing follows in the unit.
        """
        bits = self.header
        for begin, end, other in reversed(self.plain):
            bits = bits[:begin] + other + bits[end:]
        bits += "1" * alone
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")


def frame_header(body: bytes, sequence: Sequence, *, alone: bool) -> tuple[FrameHeader, int]:
    """The uncompressed header (section 5.9.2) that a unit begins with, and how many bytes it takes.

    Args:
        body: of a frame, or of a frame header.
        sequence: the header of its sequence.
        alone: whether nothing is to follow in the unit.

    Raises:
        Unaccounted: it is cut off, of another kind than a still picture's, or bits that fill it up are not zero.
    """
    bits = Bits(body[:_LONGEST_HEADER])
    frame = _uncompressed_header(bits, sequence, body)
    if alone:
        check_trailing_bits(bits, body)
    bits.align()
    return frame, bits.position // 8


def tile_group(body: bytes, frame: FrameHeader, *, whole: bool) -> tuple[int, int, int]:
    """The numbers of the first and last tile of a group that begins here, and how many bytes say so (section 5.11.1).

    Args:
        body: of a tile group, or what follows a frame's header.
        frame: the frame's header.
        whole: whether the group has to have all tiles, as in a frame's own unit.

    Raises:
        Unaccounted: it is cut off, does not have the tiles it must, or bits that fill it up are not zero.
    """
    if frame.tiles == 1:
        return 0, 0, 0
    bits = Bits(body[:4])
    first, last = 0, frame.tiles - 1
    if bits.flag():  # tile_start_and_end_present_flag
        if whole:
            raise Unaccounted("an AV1 frame does not hold all its tiles")
        first, last = bits.take(frame.tile_bits), bits.take(frame.tile_bits)
    bits.align()
    return first, last, bits.position // 8


def _uncompressed_header(bits: Bits, sequence: Sequence, body: bytes) -> FrameHeader:
    disable_frame_end_update_cdf = sequence.is_reduced
    if not sequence.is_reduced:
        show_existing_frame, frame_type, show_frame = bits.flag(), bits.take(2), bits.flag()
        if show_existing_frame or frame_type != _KEY_FRAME or not show_frame:
            raise Unaccounted("an AV1 frame is not a still picture's")
        bits.take(sequence.presentation_time_bits)
    disable_frame_end_update_cdf |= bits.flag()  # disable_cdf_update
    screen_content_tools = sequence.screen_content_tools
    if screen_content_tools is None:
        screen_content_tools = bits.take(1)
    if screen_content_tools and sequence.integer_mv is None:
        bits.take(1)  # force_integer_mv
    bits.take(sequence.id_bits)  # current_frame_id
    frame_size_override = not sequence.is_reduced and bits.flag()
    bits.take(sequence.order_hint_bits)
    if sequence.has_decoder_model and bits.flag():  # buffer_removal_time_present_flag
        bits.take(sequence.removal_time_bits)
    width, height = sequence.width, sequence.height
    if frame_size_override:
        width, height = (bits.take(count) + 1 for count in sequence.size_bits)
    superres = sequence.superres and bits.flag()
    if superres:
        denominator = bits.take(3) + _SUPERRES_DENOM_MIN
        width = (width * _SUPERRES_NUM + denominator // 2) // denominator
        if width < _NARROWEST_SUPERRES:
            raise Unaccounted("an AV1 frame is too narrow for superres: decoders differ in how wide it is")
    if bits.flag():  # render_and_frame_size_different
        bits.take(32)
    intrabc = bool(screen_content_tools) and not superres and bits.flag()
    if not disable_frame_end_update_cdf:
        bits.take(1)  # disable_frame_end_update_cdf
    plain: list[_Change] = []
    columns, rows, tile_bits, size_bytes = _tile_info(bits, width, height, 7 if sequence.large_superblocks else 6)
    if size_bytes:
        plain.append((bits.position - 2, bits.position, f"{LONGEST_SIZE - 1:02b}"))
    restores = _skip_filters(bits, sequence, plain, intrabc=intrabc, superres=superres)
    if sequence.film_grain:
        begin = bits.position
        if bits.flag():  # apply_grain
            _skip_film_grain(bits, sequence)
        plain.append((begin, bits.position, "0"))
    return FrameHeader(
        columns=columns,
        rows=rows,
        tile_bits=tile_bits,
        size_bytes=size_bytes,
        reach=_CHROMA_REACH + _RESTORATION_REACH * restores + _SUPERRES_REACH * superres,
        header="".join(f"{byte:08b}" for byte in body[: bits.position // 8 + 1])[: bits.position],
        plain=tuple(plain),
    )


def _tile_info(bits: Bits, width: int, height: int, shift: int) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """How a frame is divided into tiles: `FrameHeader`'s first four fields (section 5.9.15).

    Args:
        bits: the header.
        width: of the frame, in pixels.
        height: of the frame.
        shift: the logarithm of the side of a superblock.
    """
    across, down = ((side + 7 & ~7) + (1 << shift) - 1 >> shift for side in (width, height))
    widest, largest = _MAX_TILE_WIDTH >> shift, _MAX_TILE_AREA >> 2 * shift
    least_columns_log2 = _tile_log2(widest, across)
    least_log2 = max(least_columns_log2, _tile_log2(largest, across * down))
    if bits.flag():  # uniform_tile_spacing_flag
        columns_log2 = _increments(bits, least_columns_log2, across)
        columns = list(range(0, across, across + (1 << columns_log2) - 1 >> columns_log2))
        rows_log2 = _increments(bits, max(least_log2 - columns_log2, 0), down)
        rows = list(range(0, down, down + (1 << rows_log2) - 1 >> rows_log2))
    else:
        columns, broadest = _starts(bits, across, widest)
        columns_log2 = _tile_log2(1, len(columns))
        area = across * down >> (least_log2 + 1 if least_log2 else 0)
        rows, _ = _starts(bits, down, max(area // broadest, 1))
        rows_log2 = _tile_log2(1, len(rows))
    size_bytes = 0
    if columns_log2 or rows_log2:
        context_update_tile_id, size_bytes = bits.take(rows_log2 + columns_log2), bits.take(2) + 1
        if context_update_tile_id >= len(columns) * len(rows):
            raise Unaccounted("an AV1 frame refers to a tile that it does not have")
    if max(len(columns), len(rows)) > _MAX_TILES:
        raise Unaccounted("an AV1 frame has too many tiles")
    borders = [*(start << shift for start in columns), width], [*(start << shift for start in rows), height]
    return tuple(borders[0]), tuple(borders[1]), columns_log2 + rows_log2, size_bytes


def _tile_log2(size: int, target: int) -> int:
    """The least shift that makes a size as large as a target."""
    return max((target - 1) // size, 0).bit_length()


def _increments(bits: Bits, log2: int, superblocks: int) -> int:
    """The logarithm of the number of tiles across or down, which increments of 1 say."""
    while log2 < _tile_log2(1, min(superblocks, _MAX_TILES)) and bits.flag():
        log2 += 1
    return log2


def _starts(bits: Bits, superblocks: int, most: int) -> tuple[list[int], int]:
    """Where tiles of chosen sizes begin, and the largest of these sizes, in superblocks."""
    starts, start, largest = [], 0, 0
    while start < superblocks:
        starts.append(start)
        size = bits.below(min(superblocks - start, most)) + 1
        start, largest = start + size, max(largest, size)
    return starts, largest


def _skip_filters(bits: Bits, sequence: Sequence, plain: list[_Change], *, intrabc: bool, superres: bool) -> bool:
    """What stands between tiles and film grain: whether there is loop restoration.

    Its coefficients are in the tiles, so it cannot be turned off; what turns off other filters is added to `plain`.
    """
    base_q_idx, has_deltas = _quantization_params(bits, sequence)
    lossless = _segments_are_lossless(bits, base_q_idx) and not has_deltas
    if base_q_idx and bits.flag():  # delta_q_present
        bits.take(2)
        if not intrabc and bits.flag():  # delta_lf_present
            bits.take(3)
    if not (lossless or intrabc):
        plain.append(_loop_filter_params(bits, sequence))
        if sequence.cdef:
            bits.take(2)  # cdef_damping_minus_3
            strengths = (6 if sequence.planes == 1 else 12) << bits.take(2)
            plain.append((bits.position, bits.position + strengths, "0" * strengths))
            bits.take(strengths)
    restores = sequence.restoration and not intrabc and (superres or not lossless) and _restores(bits, sequence)
    if not lossless:
        bits.take(1)  # tx_mode_select
    bits.take(1)  # reduced_tx_set
    return restores


def _quantization_params(bits: Bits, sequence: Sequence) -> tuple[int, bool]:
    """base_q_idx, and whether other quantizers differ from it (section 5.9.12)."""
    base_q_idx = bits.take(8)
    deltas = [_delta_q(bits)]
    if sequence.planes > 1:
        differ = sequence.separate_uv_delta_q and bits.flag()
        deltas += [_delta_q(bits) for _ in range(4 if differ else 2)]
    if bits.flag():  # using_qmatrix
        bits.take(12 if sequence.separate_uv_delta_q else 8)
    return base_q_idx, any(deltas)


def _delta_q(bits: Bits) -> int:
    return bits.signed(7) if bits.flag() else 0


def _segments_are_lossless(bits: Bits, base_q_idx: int) -> bool:
    """Whether the index of each segment's quantizer is 0 (sections 5.9.14 and 7.12.2)."""
    if not bits.flag():  # segmentation_enabled
        return base_q_idx == 0
    indices = []
    for _ in range(_MAX_SEGMENTS):
        values = []
        for feature, count in enumerate(_FEATURE_BITS):
            enabled = bits.flag()
            values.append(bits.signed(1 + count) if enabled and feature < _FEATURES_SIGNED else 0)
            bits.take(count * (enabled and feature >= _FEATURES_SIGNED))
        indices.append(max(base_q_idx + values[0], 0))
    return not any(indices)


def _loop_filter_params(bits: Bits, sequence: Sequence) -> _Change:
    """What turns off deblocking (section 5.9.11): levels of 0 for luma, and then there are none for chroma."""
    begin = bits.position
    if bits.take(12) and sequence.planes > 1:
        bits.take(12)
    levels = (begin, bits.position, "0" * 12)
    bits.take(3)
    if bits.flag() and bits.flag():  # loop_filter_delta_enabled, loop_filter_delta_update
        for _ in range(_DELTAS):
            bits.take(7 * bits.flag())
    return levels


def _restores(bits: Bits, sequence: Sequence) -> bool:
    """Whether there is loop restoration, whose coefficients are in the tiles (section 5.9.20)."""
    types = [bits.take(2) for _ in range(sequence.planes)]
    if any(types):
        if bits.flag() and not sequence.large_superblocks:  # lr_unit_shift
            bits.take(1)
        if sequence.subsampled and any(types[1:]):
            bits.take(1)
    return any(types)


def _skip_film_grain(bits: Bits, sequence: Sequence) -> None:
    """Section 5.9.30."""
    bits.take(16)  # grain_seed
    luma = _skip_points(bits, _MAX_LUMA_POINTS)
    from_luma = sequence.planes > 1 and bits.flag()
    blue = red = 0
    if sequence.planes > 1 and not from_luma and (luma or not sequence.subsampled):
        blue, red = _skip_points(bits, _MAX_CHROMA_POINTS), _skip_points(bits, _MAX_CHROMA_POINTS)
    bits.take(2)  # grain_scaling_minus_8
    lag = bits.take(2)
    coefficients = 2 * lag * (lag + 1)
    bits.take(8 * coefficients * bool(luma))
    for points in (blue, red):
        bits.take(8 * (coefficients + bool(luma)) * (from_luma or bool(points)))
    bits.take(4)  # ar_coeff_shift_minus_6, grain_scale_shift
    bits.take(25 * (bool(blue) + bool(red)) + 2)  # multipliers and offsets; overlap_flag, clip_to_restricted_range


def _skip_points(bits: Bits, most: int) -> int:
    count = bits.take(4)
    if count > most:
        raise Unaccounted("an AV1 frame has too many points of film grain")
    bits.take(16 * count)
    return count
