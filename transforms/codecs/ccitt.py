"""How many bytes of fax data the rows of a picture take (ITU-T T.4, tables 2 to 4; ITU-T T.6; TIFF 6.0, section 11)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs.accounting import Unaccounted

MODIFIED_HUFFMAN, T4, T6 = 2, 3, 4
"""Values of TIFF's Compression."""

_T4_TWO_DIMENSIONAL = 1  # a bit of T4Options
_LONGEST = 13
_END_OF_LINE_ZEROS = 11
_MAX_FILL = 2**16  # zeros before a mark that slow machines were given time with
_END_MARKS = 6  # at most, behind the last row (T.4, section 4.1.4)

_WHITE = """
00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 101010 101011 0100111
0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000 00000010 00000011 00011010 00011011
00010010 00010011 00010100 00010101 00010110 00010111 00101000 00101001 00101010 00101011 00101100 00101101 00000100
00000101 00001010 00001011 01010010 01010011 01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011
01001010 01001011 00110010 00110011 00110100
11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 011010010 011010011
011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 010011000 010011001 010011010 011000
010011011"""
_BLACK = """
0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 000011000 0000010111
0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000 00000010111 00000011000 000011001010
000011001011 000011001100 000011001101 000001101000 000001101001 000001101010 000001101011 000011010010 000011010011
000011010100 000011010101 000011010110 000011010111 000001101100 000001101101 000011011010 000011011011 000001010100
000001010101 000001010110 000001010111 000001100100 000001100101 000001010010 000001010011 000000100100 000000110111
000000111000 000000100111 000000101000 000001011000 000001011001 000000101011 000000101100 000001011010 000001100110
000001100111
0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 0000001101101
0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 0000001110100 0000001110101
0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 0000001010101 0000001011010 0000001011011
0000001100100 0000001100101"""
_LONG = """
00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 000000010111
000000011100 000000011101 000000011110 000000011111"""
_TERMINATING = 64  # codes of 0 to 63 pixels come first, then those of 64, 128, …, after which another code follows

_PASS, _HORIZONTAL = 100, 101
_MODES = {
    "0001": _PASS,
    "001": _HORIZONTAL,
    "1": 0,
    "011": 1,
    "000011": 2,
    "0000011": 3,
    "010": -1,
    "000010": -2,
    "0000010": -3,
}

_Codes = list[tuple[int, int] | None]
"""By the next 13 bits: how many of them are a code, and what it says."""


class _Tables(NamedTuple):
    runs: tuple[_Codes, _Codes]
    modes: _Codes


@functools.cache
def _tables() -> _Tables:
    runs = []
    for codes in (_WHITE, _BLACK):
        words = [*codes.split(), *_LONG.split()]
        lengths = [*range(_TERMINATING), *range(64, 64 * (len(words) - _TERMINATING + 1), 64)]
        runs.append(_table(dict(zip(words, lengths, strict=True))))
    return _Tables((runs[0], runs[1]), _table(_MODES))


def _table(codes: dict[str, int]) -> _Codes:
    table: _Codes = [None] * (1 << _LONGEST)
    for code, meaning in codes.items():
        first = int(code, 2) << _LONGEST - len(code)
        for place in range(first, first + (1 << _LONGEST - len(code))):
            table[place] = (len(code), meaning)
    return table


def used_bytes(data: bytes, width: int, height: int, compression: int, t4_options: int) -> int:
    """How many bytes of the data decoders read for a strip, with the marks of its end.

    Args:
        data: the strip, the most significant bit of each byte first.
        width: of a row, in pixels.
        height: in rows.
        compression: of TIFF: MODIFIED_HUFFMAN, T4 or T6.
        t4_options: of TIFF, for T4.

    Raises:
        Unaccounted: its rows cannot be followed.
    """
    reader = _Reader(data)
    row: list[int] = []
    for _ in range(height):
        two_dimensional = compression == T6
        if compression == T4:
            has_mark = reader.skip_end_of_line()
            if t4_options & _T4_TWO_DIMENSIONAL:
                if not has_mark:
                    raise Unaccounted("a row of its fax data does not begin with a mark")
                two_dimensional = not reader.take(1)
        row = reader.two_dimensional(width, row) if two_dimensional else reader.one_dimensional(width)
        if compression == MODIFIED_HUFFMAN:
            reader.align()
    for _ in range(0 if compression == MODIFIED_HUFFMAN else _END_MARKS):
        if reader.skip_end_of_line() and compression == T4 and t4_options & _T4_TWO_DIMENSIONAL:
            reader.take(1)
    reader.align()
    return reader.position // 8


class _Reader:
    """Rows as the places where the colour changes, which is white at first."""

    def __init__(self, data: bytes) -> None:
        padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
        words = padded[:-3] << 16 | padded[1:-2] << 8 | padded[2:-1]
        windows = np.empty((len(words), 8), np.uint16)  # the next 13 bits from each bit on
        for bit in range(8):
            windows[:, bit] = words >> 24 - _LONGEST - bit & (1 << _LONGEST) - 1
        self._windows = windows.reshape(-1).data
        self._bits = 8 * len(data)
        self.position = 0

    def take(self, count: int) -> int:
        """A number of so many bits."""
        value = self._windows[self.position] >> _LONGEST - count
        self._skip(count)
        return value

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > self._bits:
            raise Unaccounted("its fax data are cut off")

    def align(self) -> None:
        """Go to the end of the byte, whose other bits are 0."""
        rest = -self.position % 8
        if rest and self.take(rest):
            raise Unaccounted("bits behind its fax data are set")

    def skip_end_of_line(self) -> bool:
        """Skip the mark of 11 zeros or more and a one, if it comes next."""
        position = self.position
        end = min(self._bits, position + _MAX_FILL)
        while position < end and not self._windows[position] >> _LONGEST - 1:
            position += 1
        if position - self.position < _END_OF_LINE_ZEROS or position == end:
            return False
        self.position = position + 1
        return True

    def _code(self, codes: _Codes) -> int:
        found = codes[self._windows[self.position]] if self.position < self._bits else None
        if found is None:
            raise Unaccounted("there is an unknown code in its fax data")
        self._skip(found[0])
        return found[1]

    def _run(self, colour: int) -> int:
        codes, total = _tables().runs[colour], 0
        while True:
            length = self._code(codes)
            total += length
            if length < _TERMINATING:
                return total

    def one_dimensional(self, width: int) -> list[int]:
        """A row of runs."""
        changes, at, colour = [], 0, 0
        while at < width:
            at += self._run(colour)
            changes.append(at)
            colour ^= 1
        if at > width:
            raise Unaccounted("a row of its fax data is too long")
        return changes

    def two_dimensional(self, width: int, above: list[int]) -> list[int]:
        """A row by its differences to the one above."""
        modes = _tables().modes
        reference = [*above, width, width, width]
        changes: list[int] = []
        at, colour, index = -1, 0, 0
        while at < width:
            # The first change above to the right that goes from this row's colour to the other.
            while index > 0 and reference[index - 1] > at:
                index -= 1
            while (reference[index] <= at and reference[index] < width) or index & 1 != colour:
                index += 1
            mode = self._code(modes)
            if mode == _PASS:
                at = reference[index + 1]
            elif mode == _HORIZONTAL:
                first = max(at, 0) + self._run(colour)
                at = first + self._run(colour ^ 1)
                changes += [first, at]
            else:
                if reference[index] + mode < at:
                    raise Unaccounted("a row of its fax data goes backwards")
                at = reference[index] + mode
                changes.append(at)
                colour ^= 1
        if at > width:
            raise Unaccounted("a row of its fax data is too long")
        return changes
