"""Reading headers bit by bit, as video codecs write them."""

from __future__ import annotations

from faceveil.transforms.codecs.accounting import Unaccounted

_MAX_ZEROS = 31  # before a number in exponential Golomb code


class Bits:
    """Reads bits, the most significant of each byte first; each method raises Unaccounted when there are no more.

    Attributes:
        position: how many bits were read.
    """

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "big"), 8 * len(data)
        self.position = 0

    def take(self, count: int) -> int:
        """An unsigned number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise Unaccounted("a header is cut off")
        self.position += count
        return self._number >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        """One bit."""
        return bool(self.take(1))

    def signed(self, count: int) -> int:
        """A number of so many bits, in two's complement."""
        number = self.take(count)
        return number - (1 << count) if number >> count - 1 else number

    def exponential(self) -> int:
        """A number in exponential Golomb code (ITU-T H.265, section 9.2; AV1, section 4.10.3)."""
        zeros = 0
        while not self.flag():
            zeros += 1
        if zeros > _MAX_ZEROS:
            raise Unaccounted("a header has a number of more than 32 bits")
        return (1 << zeros) - 1 + self.take(zeros)

    def below(self, limit: int) -> int:
        """A number below a limit, of which the smaller ones take a bit less (AV1, section 4.10.7)."""
        bits = limit.bit_length()
        shorter = (1 << bits) - limit
        number = self.take(bits - 1)
        return number if number < shorter else (number << 1) - shorter + self.take(1)

    def align(self) -> None:
        """Zeros until a byte ends."""
        if self.take(-self.position % 8):
            raise Unaccounted("a header is not filled up with zeros")
