"""How much LZW data hold, without decompressing them (GIF89a, appendix F; TIFF 6.0, section 13)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.codecs.accounting import Unaccounted

_MAX_ENTRIES, _LONGEST_CODE = 4096, 12
_BYTES_PER_CLEAR_CODE = 256  # a clear code stands behind some 3,800 codes; more of them only take time to follow


def used_bytes(data: bytes, literal_bits: int, length: int, *, tiff: bool) -> int:
    """How many bytes of the data are read until their end code, or until the picture is complete where there is none.

    Args:
        data: the codes: most significant bit first in TIFF, least significant first in GIF.
        literal_bits: of a literal code.
        length: how many pixels (GIF) or bytes (TIFF) they are to hold.
        tiff: whether the codes grow as TIFF's do, one entry before their time, not as GIF's.

    Raises:
        Unaccounted: they hold another number, or bits behind their end are set.
    """
    at, total = _follow(data, literal_bits, length, tiff=tiff)
    if total != length:
        raise Unaccounted(f"the LZW codes hold {total} of {length}")
    used = -(-at // 8)
    unused = 8 * used - at
    if unused and (data[used - 1] & (1 << unused) - 1 if tiff else data[used - 1] >> 8 - unused):
        raise Unaccounted("bits behind the LZW codes are set")
    return used


def _follow(data: bytes, literal_bits: int, length: int, *, tiff: bool) -> tuple[int, int]:
    """The bits read, and what they hold."""
    clear = 1 << literal_bits
    # Each code but the first adds an entry to the table; they grow with it.
    entries = np.maximum(np.arange(_MAX_ENTRIES) - 1, 0) + clear + 2 + int(tiff)
    growing = np.clip(np.floor(np.log2(entries)).astype(np.int64) + 1, literal_bits + 1, _LONGEST_CODE)
    longest = np.full(_MAX_ENTRIES, _LONGEST_CODE)
    grown_ends, longest_ends = np.cumsum(growing), np.cumsum(longest)
    padded = np.frombuffer(data + bytes(4), np.uint8)
    at, total, clears, is_new = 0, 0, 0, True
    strings = np.zeros(0, np.int64)
    while True:
        bits, ends = (growing, at + grown_ends) if is_new else (longest, at + longest_ends)
        count = int(np.searchsorted(ends, 8 * len(data), side="right"))
        if not count:
            return at, total
        bits, ends = bits[:count], ends[:count]
        codes = _codes(padded, ends - bits, bits, most_significant_first=tiff)
        control = np.flatnonzero((codes == clear) | (codes == clear + 1))
        stop = int(control[0]) if len(control) else count
        lengths = _lengths(codes[:stop] - clear - 2, None if is_new else strings)
        total += int(lengths.sum())
        if is_new:
            strings = lengths + 1  # the code behind one completes its entry: its string and one letter
        if total > length:
            return _end_of_picture(data, ends, lengths, total - length), length
        if stop == count:
            at, is_new = int(ends[-1]), False
            continue
        at = int(ends[stop])
        if codes[stop] == clear + 1:
            return at, total
        is_new, clears = True, clears + 1
        if clears > len(data) // _BYTES_PER_CLEAR_CODE + 16:
            raise Unaccounted("there are too many LZW clear codes")


def _codes(
    data: NDArray[np.uint8], starts: NDArray[np.int64], bits: NDArray[np.int64], *, most_significant_first: bool
) -> NDArray[np.int64]:
    at, shift = starts >> 3, starts & 7
    first, second, third = (data[at + offset].astype(np.int64) for offset in range(3))
    if most_significant_first:
        codes = (first << 16 | second << 8 | third) >> (24 - shift - bits)
    else:
        codes = (first | second << 8 | third << 16) >> shift
    values: NDArray[np.int64] = codes & (1 << bits) - 1
    return values


def _lengths(entries: NDArray[np.int64], strings: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The lengths of the codes' strings.

    Args:
        entries: the table's entries that the codes stand for; negative for literals.
        strings: the lengths of all entries, once the table is full. None for the codes behind a clear code, each of
            which adds an entry: its own string and one letter more.
    """
    number = len(entries) if strings is None else len(strings)
    if (entries >= (np.arange(number) if strings is None else number)).any():
        raise Unaccounted("there is an LZW code of no entry")
    if strings is not None:
        return np.where(entries < 0, 1, strings[entries])
    # A string is one letter longer than that of the code whose entry it is; all go back to a literal in doubling steps.
    before = np.append(np.where(entries < 0, number, entries), number)
    lengths = np.append(np.ones(number, np.int64), 0)
    while (before < number).any():
        lengths, before = lengths + lengths[before], before[before]
    return lengths[:number]


def _end_of_picture(data: bytes, ends: NDArray[np.int64], lengths: NDArray[np.int64], excess: int) -> int:
    """Where the picture is complete in codes that go on: some encoders write zeros in place of an end code."""
    behind = np.cumsum(lengths[::-1])
    index = int(np.searchsorted(behind, excess))
    at = int(ends[len(lengths) - 2 - index]) if index + 1 < len(lengths) else -1
    if behind[index] != excess or at < 0 or any(data[-(-at // 8) :]):
        raise Unaccounted("the LZW codes go on behind the picture")
    return at
