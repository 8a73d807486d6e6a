"""DICOM files (PS3.10, section 7): what their elements say of the picture, which tensorflow-io decodes.

Its decoder, DCMTK, shows what is there of a file that is cut off, and says nothing. So where the pixels begin and end
is found here. No element but those below is looked at: names of patients stay where they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.quarantine import Quarantine, Reason

_START = 132  # of the elements, behind the preamble and DICM
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Value representations whose length takes four bytes (PS3.5, section 7.1.2)."""
_DEEPEST = 32  # sequences within each other

_SYNTAX, _CLASS, _MODALITY = (2, 0x10), (8, 0x16), (8, 0x60)
_SAMPLES, _COLOURS, _FRAMES = (0x28, 2), (0x28, 4), (0x28, 8)
_ROWS, _COLUMNS, _ALLOCATED, _STORED = (0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x101)
_SLOPE = (0x28, 0x1053)
_PIXELS = (0x7FE0, 0x10)
_FLOAT_PIXELS = {(0x7FE0, 8), (0x7FE0, 9)}
_WANTED = {_SYNTAX, _CLASS, _MODALITY, _SAMPLES, _COLOURS, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED, _STORED, _SLOPE}

_UID = "1.2.840.10008.1.2"
_IMPLICIT, _BIG_ENDIAN, _RUN_LENGTHS = _UID, f"{_UID}.2", f"{_UID}.5"
_NATIVE = {_IMPLICIT, f"{_UID}.1", _BIG_ENDIAN}
_JPEG2000 = {f"{_UID}.4.90", f"{_UID}.4.91"}
_JPEG = {f"{_UID}.4.{number}" for number in (50, 51, 57, 70, 80, 81)} | _JPEG2000
"""JPEG, JPEG-LS and JPEG 2000, whose data all end with the marker FFD9 (PS3.6, annex A)."""

_GREYS = {"MONOCHROME1", "MONOCHROME2"}
_COLOUR = {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422"}
_TRANSFORMED = {"YBR_ICT", "YBR_RCT"}  # in JPEG 2000 alone
_VOLUMES = {"CT", "MR", "PT"}
_VOLUME_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "128", "130"))
"""Slices of computed tomography, magnetic resonance and positron emission (PS3.4, annex B.5)."""

_Tag = tuple[int, int]


@dataclass(frozen=True)
class _Element:
    """One data element: where its value begins, and its length in bytes, which may be undefined."""

    tag: _Tag
    start: int
    length: int


@dataclass(frozen=True)
class _Reader:
    """How elements are written: the byte order, and whether each tells its kind."""

    data: bytes
    order: str = "<"
    is_explicit: bool = True

    def element(self, at: int) -> _Element:
        """The one at a place."""
        group, number = self._numbers("2H", at)
        if group == 0xFFFE or not self.is_explicit:  # items tell no kind
            return _Element((group, number), at + 8, self._numbers("I", at + 4)[0])
        if self.data[at + 4 : at + 6] in _LONG:
            return _Element((group, number), at + 12, self._numbers("I", at + 8)[0])
        return _Element((group, number), at + 8, self._numbers("H", at + 6)[0])

    def end(self, element: _Element, depth: int = 0) -> int:
        """Where the next one begins."""
        if element.length != _UNDEFINED:
            return element.start + element.length
        if depth > _DEEPEST:
            raise Quarantine(Reason.CORRUPT_IMAGE, "dicom: sequences within sequences without end")
        last = _ITEM_END if element.tag == _ITEM else _SEQUENCE_END
        at = element.start
        while (inner := self.element(at)).tag != last:
            at = self.end(inner, depth + 1)
        return inner.start

    def text(self, element: _Element) -> str:
        """Its value, if it is text."""
        return self._value(element).rstrip(b"\0 ").decode("latin-1").strip()

    def number(self, element: _Element) -> int:
        """Its value, if it is a number of two bytes."""
        value = self._value(element)
        return int.from_bytes(value[:2], "big" if self.order == ">" else "little")

    def _value(self, element: _Element) -> bytes:
        value = self.data[element.start : element.start + element.length]
        if element.length == _UNDEFINED or len(value) < element.length:
            raise _truncated(self.data)
        return value

    def _numbers(self, kinds: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + kinds, self.data, at)
        except struct.error:
            raise _truncated(self.data) from None


def probe(data: bytes) -> ImageInfo:
    """What the elements say of the picture, and that it is all there.

    More than 8 bits, or values that are to be scaled, become 16.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE, MULTIPLE_FRAMES, TRUNCATED or CORRUPT_IMAGE.
    """
    found, pixels, reader = _read(data)
    texts = {tag: reader.text(found[tag]) for tag in (_SYNTAX, _CLASS, _MODALITY, _COLOURS, _FRAMES) if tag in found}
    numbers = {
        tag: reader.number(found[tag]) for tag in (_SAMPLES, _ROWS, _COLUMNS, _ALLOCATED, _STORED) if tag in found
    }
    if texts.get(_MODALITY) in _VOLUMES or texts.get(_CLASS, "").startswith(_VOLUME_CLASSES):
        raise _unsupported("of a volume's slice (CT, MR, PET), from all of which together a face can be rendered")
    if pixels is None or pixels.tag in _FLOAT_PIXELS:
        raise _unsupported(
            "with pixels of floating point" if pixels else "without pixels, such as a report or a folder"
        )
    syntax, colours = texts.get(_SYNTAX, ""), texts.get(_COLOURS, "")
    if syntax not in {*_NATIVE, *_JPEG, _RUN_LENGTHS}:
        raise _unsupported(f"of transfer syntax {syntax or 'that it does not tell'}")
    if colours not in _GREYS | _COLOUR | (_TRANSFORMED if syntax in _JPEG2000 else set()):
        raise _unsupported(f"of the colours {colours or 'that it does not tell'}")
    if (frames := texts.get(_FRAMES, "1")) not in ("", "1"):
        raise Quarantine(Reason.MULTIPLE_FRAMES, f"dicom: {frames} pictures in one file")
    width, height, samples = (numbers.get(tag, 0) for tag in (_COLUMNS, _ROWS, _SAMPLES))
    allocated, bits = numbers.get(_ALLOCATED, 0), numbers.get(_STORED, 0)
    expected = 1 if colours in {*_GREYS, "PALETTE COLOR"} else 3
    if not width or not height or not 0 < bits <= allocated or samples != expected:
        raise Quarantine(Reason.CORRUPT_IMAGE, "dicom: the size of its pixels makes no sense")
    if allocated not in (8, 16):
        raise _unsupported(f"with {allocated} bits per value")
    if syntax in _NATIVE:
        stored = 2 if colours == "YBR_FULL_422" else samples
        if pixels.start + pixels.length > len(data) or pixels.length * 8 < width * height * stored * allocated:
            raise _truncated(data)
    else:
        _check_fragments(reader, pixels, syntax in _JPEG)
    is_deep = colours != "PALETTE COLOR" and (bits > 8 or _SLOPE in found)
    mode = ("I;16" if is_deep else "L") if colours in _GREYS else "RGB;16" if is_deep else "RGB"
    return ImageInfo("png", width, height, 1, mode, hides_pixels=True, source="dicom")


def without_transform(data: bytes) -> bytes:
    """The file as DCMTK shows it: what JPEG 2000 has decoded is RGB, whatever transform the codestream has.

    DCMTK knows no YBR_ICT and YBR_RCT (PS3.3, section C.7.6.3.1.2), and shows nothing.
    """
    found, _, reader = _read(data)
    if reader.text(colours := found[_COLOURS]) not in _TRANSFORMED:
        return data
    end = colours.start + colours.length
    return data[: colours.start] + b"RGB".ljust(colours.length) + data[end:]


def _read(data: bytes) -> tuple[dict[_Tag, _Element], _Element | None, _Reader]:
    """The elements that are wanted, that of the pixels, and what reads those of the data set."""
    found: dict[_Tag, _Element] = {}
    reader, at = _Reader(data), _START
    while at < len(data) and (element := reader.element(at)).tag[0] == 2:
        found[element.tag] = element
        at = reader.end(element)
    syntax = reader.text(found[_SYNTAX]) if _SYNTAX in found else ""
    reader = _Reader(data, ">" if syntax == _BIG_ENDIAN else "<", syntax != _IMPLICIT)
    if syntax not in {*_NATIVE, *_JPEG, _RUN_LENGTHS}:  # it may be deflated
        return found, _Element(_PIXELS, 0, 0), reader
    for element in _elements(reader, at):
        if element.tag == _PIXELS or element.tag in _FLOAT_PIXELS:
            return found, element, reader
        if element.tag in _WANTED:
            found.setdefault(element.tag, element)
    return found, None, reader


def _elements(reader: _Reader, at: int) -> Iterator[_Element]:
    while at < len(reader.data):
        element = reader.element(at)
        yield element
        at = reader.end(element)
        if at > len(reader.data):
            raise _truncated(reader.data)


def _check_fragments(reader: _Reader, pixels: _Element, is_jpeg: bool) -> None:
    """Compressed pixels are pieces, the first of which says where frames begin (PS3.5, annex A.4)."""
    if pixels.length != _UNDEFINED:
        raise Quarantine(Reason.CORRUPT_IMAGE, "dicom: its compressed pixels are not in pieces")
    at, pieces = pixels.start, []
    while (item := reader.element(at)).tag != _SEQUENCE_END:
        at = item.start + item.length
        if item.tag != _ITEM or item.length == _UNDEFINED or at > len(reader.data):
            raise _truncated(reader.data)
        pieces.append(reader.data[item.start : at])
    if len(pieces) < 2 or (is_jpeg and not b"".join(pieces[-2:]).rstrip(b"\0").endswith(b"\xff\xd9")):
        raise _truncated(reader.data)


def _unsupported(kind: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, f"dicom {kind}, which is not read here")


def _truncated(data: bytes) -> Quarantine:
    return Quarantine(Reason.TRUNCATED, f"dicom: ends at byte {len(data)}, within an element or its pixels")
