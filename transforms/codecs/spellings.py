"""Bytes spelt as text: base64, hexadecimal digits, escapes, lists of numbers; read back, wherever they stand.

What was no such text gives bytes too, which then mean nothing.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import urllib.parse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_SHORTEST = 130  # digits, two more than SHA-512 has; less spells no picture
_LONGEST_SLOW = 2**12  # of what Python reads digit by digit; a picture shows in its beginning

_WHITE_SPACE = b" \t\r\n\x0b\x0c"
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{%d,}" % _SHORTEST)
_HEX_RUN = re.compile(rb"[0-9A-Fa-f]{%d,}" % _SHORTEST)
_BASE32 = re.compile(rb"[A-Z2-7]{%d,}=*" % _SHORTEST)
_BASE85 = re.compile(rb"[!-~]{%d,}" % _SHORTEST)
_HEX_MARKS = re.compile(rb"0x|\\x|[\s,:;-]")
_QUOTED = re.compile(rb"(?:=[0-9A-F]{2}.{0,8}){8}", re.DOTALL)
_UUENCODED = re.compile(rb"begin [0-7]{3,4} [^\n]*\n")
_NUMBERS = re.compile(rb"[\s\d.,;:|()\[\]{}eE+-]+")
_SEPARATORS = bytes.maketrans(b",;:|()[]{}", b" " * 10)
_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")


def read_spelt(data: bytes) -> Iterator[bytes]:
    """What a text says if it is base64 or another spelling of bytes.

    Covered are base64 and base64url (RFC 4648), alone, in lines, in a data URI, in JSON or within any other text;
    hexadecimal digits, base32, base85, Ascii85, percent-encoding, quoted-printable, uuencode; escapes of JSON, C and
    Python; UTF-8 of Latin-1; UTF-16 and wider units that hold a byte each.
    """
    if len(data) < _SHORTEST:
        return
    yield from _narrowed(data)
    digits_alone = text = data.translate(None, _WHITE_SPACE)
    if b"\\" in text:
        yield from _unescaped(data)
        text = text.replace(b"\\n", b"").replace(b"\\r", b"").replace(b"\\/", b"/")
    for run in _BASE64_RUN.findall(text):
        digits = run.translate(_STANDARD_BASE64)
        for start in range(4):  # where words before it were joined to it
            length = (len(digits) - start) % 4
            end = len(digits) - (length == 1)  # of one digit alone no byte is left
            yield binascii.a2b_base64(digits[start:end] + b"=" * (-length % 4 if length > 1 else 0))
    if not data.isascii():
        yield from _from_latin1(data)
        return
    for run in _HEX_RUN.findall(_HEX_MARKS.sub(b"", text)):
        for start in range(2):
            yield bytes.fromhex(run[start : start + (len(run) - start) // 2 * 2].decode())
    if b"%" in data and data.count(b"%") >= 8:
        yield urllib.parse.unquote_to_bytes(data)
    if b"=" in data and _QUOTED.search(data):
        yield quopri.decodestring(data)
    if found := _UUENCODED.search(data):
        yield b"".join(_uudecoded(data[found.end() :]))
    if b" " not in data:
        yield from _in_large_bases(digits_alone)


def read_numbers(data: bytes) -> NDArray[np.float64] | None:
    """The numbers that a text lists, if it holds nothing else, such as JSON's arrays; None for other bytes."""
    if len(data) < _SHORTEST or not data[:64].isascii() or not _NUMBERS.fullmatch(data):
        return None
    try:
        return np.array(data.translate(_SEPARATORS).split(), np.float64)
    except ValueError:
        return None


def _narrowed(data: bytes) -> Iterator[bytes]:
    """The bytes that stand alone in units of two, as UTF-16 has them, or of more: all others are zero."""
    for start in range(2):
        if not any(data[1 - start : 64 : 2]) and not any(data[1 - start :: 2]) and any(narrow := data[start::2]):
            yield narrow


def _unescaped(data: bytes) -> Iterator[bytes]:
    if data.count(b"\\x") + data.count(b"\\u00") + data.count(b"\\0") + data.count(b"\\3") >= 8:
        yield data.decode("unicode_escape", "ignore").encode("latin-1", "ignore")


def _from_latin1(data: bytes) -> Iterator[bytes]:
    if data[:2] in (b"\xc2\xff", b"\xc3\xbf") or b"\xc3" in data or b"\xc2" in data:
        try:
            yield data.decode().encode("latin-1")
        except UnicodeError:
            return


def _uudecoded(lines: bytes) -> Iterator[bytes]:
    for line in lines.splitlines():
        try:
            yield binascii.a2b_uu(line)
        except binascii.Error:
            return


def _in_large_bases(text: bytes) -> Iterator[bytes]:
    if _BASE32.fullmatch(text):
        yield base64.b32decode(text[: min(len(text), _LONGEST_SLOW) // 8 * 8])
    if not _BASE85.fullmatch(text):
        return
    start = text[: _LONGEST_SLOW // 5 * 5]
    for decode, digits in (
        (base64.b85decode, start),
        (base64.a85decode, start.removeprefix(b"<~").partition(b"~>")[0]),
    ):
        try:
            yield decode(digits)
        except ValueError:
            continue
