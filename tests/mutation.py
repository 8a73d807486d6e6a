"""Damage of all kinds, seeded, for files of any format."""

from __future__ import annotations

import random
from collections.abc import Callable


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to three kinds of damage, anywhere; now and then none at all."""
    if chance.random() < 0.1:
        return data
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(_DAMAGES)(bytearray(data), chance) if data else data
    return data


def _flip(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 2, 8, 40))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _drop(data: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 16, 500))]
    return bytes(data)


def _repeat(data: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.choice((1, 4, 64, 2000))] * chance.choice((1, 2, 50))
    return bytes(data)


def _overwrite_header(data: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(min(len(data), 400))
    value = chance.choice(
        (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xd8", b"\xff\xd9")
    )
    data[start : start + len(value)] = value
    return bytes(data)


def _append(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data) + chance.randbytes(chance.choice((1, 100, 5000)))


_DAMAGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    *(_flip, _flip, _cut, _drop, _repeat),
    *(_overwrite_header, _append),
)
