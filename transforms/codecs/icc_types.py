"""The types of ICC profiles' elements (ICC.1:2022, section 10): of known length, with nothing beside their values."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_LONGEST_TEXT = 200  # characters
_SCRIPT_CODE = 67  # bytes for a Macintosh (ICC.1:2001-04, section 6.5.17)
_PARAMETERS = (1, 3, 4, 5, 7)  # of each type of parametric curve (table 68)
_FIXED = {b"sig ": 12, b"view": 36, b"meas": 36, b"cicp": 12, b"XYZ ": 20, b"sf32": 44}
_LONGEST_WAY = 2 * 0xFFFF  # of a curve up and down again
_NOISE = 0.2  # of the range, on the average of all steps; of random values it is a third
_MIN_LOOKED_AT = 1024


class Parsed(NamedTuple):
    """An element whose bytes are accounted for, and of a table its channels: of what goes in and what comes out."""

    element: bytes
    channels: tuple[int, int] = (0, 0)


def parse_element(element: bytes) -> Parsed | None:
    """An element that is no text, its reserved bytes zero; None where its length is not what its content says.

    Raises:
        struct.error, IndexError, ValueError: it ends before its content does.
    """
    kind = element[:4]
    element = kind + bytes(4) + element[8:]
    if kind in _FIXED:
        return Parsed(element) if len(element) == _FIXED[kind] else None
    if kind == b"chrm":
        channels = struct.unpack_from(">H", element, 8)[0]
        return Parsed(element) if len(element) == 12 + 8 * channels and channels <= 4 else None
    if kind in (b"curv", b"para"):
        return Parsed(element) if _curve(element, 0) == len(element) else None
    if kind in (b"mft1", b"mft2"):
        return _table(element)
    return _functions(element)


def parse_text(element: bytes) -> bytes:
    """A text of one short printable line: the same element if it is one, else another of the same type.

    Raises:
        struct.error, IndexError, ValueError: it ends before its content does.
    """
    kind = element[:4]
    if kind == b"text":
        text = element[8:].rstrip(b"\0").decode("latin-1")
        # Some writers count the zeros that align what follows.
        if element[4:8] == bytes(4) and _is_short(text) and len(element) - 8 - len(text) <= 4:
            return element
        return b"text" + bytes(4) + _ascii(text) + b"\0"
    if kind == b"mluc":
        return _localised(element)
    return _described(element)


def _is_short(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and text.isprintable()


def _ascii(text: str) -> bytes:
    return "".join(c for c in text if c.isascii() and c.isprintable())[:_LONGEST_TEXT].encode()


def _localised(element: bytes) -> bytes:
    """multiLocalizedUnicodeType (section 10.15), with one language: English, or else the first."""
    count, size = struct.unpack_from(">II", element, 8)
    if size != 12 or not 0 < count <= 100:
        return b""
    records = [struct.unpack_from(">4sII", element, 16 + 12 * number) for number in range(count)]
    language, length, offset = next((record for record in records if record[0][:2] == b"en"), records[0])
    text = element[offset : offset + length].decode("utf-16-be", "ignore").rstrip("\0")
    text = "".join(c for c in text if c.isprintable() and ord(c) < 2**16)[:_LONGEST_TEXT]
    language = language if language.isalpha() else b"enUS"
    coded = text.encode("utf-16-be", "ignore")
    written = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, *struct.unpack(">HH", language), len(coded), 28) + coded
    # A zero at the end, or the bytes that align what follows, may be counted.
    rest = element[len(written) :]
    is_same = element[:20] == written[:20] and element[24:28] == written[24:28] and element[28:].startswith(coded)
    if is_same and len(rest) < 4 and not any(rest) and len(coded) <= length <= len(coded) + len(rest):
        return element
    return written


def _described(element: bytes) -> bytes:
    """textDescriptionType (ICC.1:2001-04, section 6.5.17): the same text in ASCII, Unicode and for a Macintosh."""
    (count,) = struct.unpack_from(">I", element, 8)
    ascii_text = element[12 : 12 + count].rstrip(b"\0").decode("latin-1")
    try:
        if element[4:8] == bytes(4) and _is_short(ascii_text) and _is_described(element, 12 + count, len(ascii_text)):
            return element
    except (struct.error, IndexError, UnicodeDecodeError):
        pass  # many are cut short
    text = _ascii(ascii_text) + b"\0"
    return b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(8 + 3 + _SCRIPT_CODE)


def _is_described(element: bytes, position: int, length: int) -> bool:
    if position - 12 - length > 1:
        return False
    language, count = struct.unpack_from(">II", element, position)
    unicode_text = element[position + 8 : position + 8 + 2 * count].decode("utf-16-be").rstrip("\0")
    position += 8 + 2 * count
    code, script_count = struct.unpack_from(">HB", element, position)
    script = element[position + 3 :]
    if len(script) - _SCRIPT_CODE not in range(4) or script_count > _SCRIPT_CODE or language >= 2**16 or code >= 256:
        return False
    return _is_short(unicode_text) and count <= len(unicode_text) + 1 and not any(script[script_count:])


def _curve(data: bytes, start: int) -> int:
    """Where a curve ends (curveType, section 10.6; parametricCurveType, section 10.18); -1 if it is none."""
    if data[start + 4 : start + 8] != bytes(4):
        return -1
    if data[start : start + 4] == b"para":
        kind, reserved = struct.unpack_from(">HH", data, start + 8)
        end = start + 12 + 4 * _PARAMETERS[kind] if kind < len(_PARAMETERS) and not reserved else -1
    elif data[start : start + 4] == b"curv":
        (count,) = struct.unpack_from(">I", data, start + 8)
        end = start + 12 + 2 * count
        if end <= len(data) and not _is_curve(np.frombuffer(data, ">u2", count, start + 12)):
            return -1
    else:
        return -1
    return end if end <= len(data) else -1


def _is_curve(values: NDArray[np.uint16]) -> bool:
    """Whether values go no way but up or down, or little else, as a curve of tones does and a picture's do not."""
    return int(np.abs(np.diff(values.astype(np.int32))).sum()) <= _LONGEST_WAY


def _table(element: bytes) -> Parsed | None:
    """lut8Type and lut16Type (sections 10.11 and 10.10)."""
    inputs, outputs, grid, padding = element[8:12]
    wide = element[:4] == b"mft2"
    before, after = struct.unpack_from(">HH", element, 48) if wide else (256, 256)
    start, dtype = (52, ">u2") if wide else (48, "u1")
    if padding or not (
        1 <= inputs <= 4 and 1 <= outputs <= 4 and grid > 1 and 2 <= before <= 4096 and 2 <= after <= 4096
    ):
        return None
    values = np.frombuffer(element, dtype, -1, start)
    entries = inputs * before + outputs * grid**inputs
    if len(values) != entries + outputs * after or not _is_smooth(values[inputs * before : entries], outputs):
        return None
    curves = [*values[: inputs * before].reshape(inputs, -1), *values[entries:].reshape(outputs, -1)]
    if not all(_is_smooth(curve, 1) for curve in curves):
        return None
    return Parsed(element, (inputs, outputs))


def _functions(element: bytes) -> Parsed | None:
    """lutAToBType and lutBToAType (sections 10.12 and 10.13): curves, a matrix, a table, in any order."""
    inputs, outputs = element[8:10]
    if any(element[10:12]) or not (1 <= inputs <= 4 and 1 <= outputs <= 4):
        return None
    a_to_b = element[:4] == b"mAB "
    b_at, matrix_at, m_at, table_at, a_at = struct.unpack_from(">5I", element, 12)
    spans = [(0, 32)]
    curves = ((b_at, outputs if a_to_b else inputs), (m_at, outputs if a_to_b else inputs))
    for start, count in (*curves, (a_at, inputs if a_to_b else outputs)):
        for _ in range(count if start else 0):
            end = _curve(element, start)
            if end < 0:
                return None
            spans.append((start, end))
            start = end + -end % 4
    if matrix_at:
        spans.append((matrix_at, matrix_at + 48))
    if table_at:
        grid = element[table_at : table_at + inputs]
        precision = element[table_at + 16]
        if precision not in (1, 2) or any(element[table_at + inputs : table_at + 16]) or 0 in grid:
            return None
        count = int(np.prod([int(n) for n in grid])) * outputs
        values = np.frombuffer(element, "u1" if precision == 1 else ">u2", count, table_at + 20)
        if any(element[table_at + 17 : table_at + 20]) or not _is_smooth(values, outputs):
            return None
        spans.append((table_at, table_at + 20 + count * precision))
    position = 0
    for start, end in sorted(set(spans)):
        if start < position or start - position > 3 or any(element[position:start]):
            return None
        position = end
    rest = element[position:]
    return Parsed(element, (inputs, outputs)) if position <= len(element) and len(rest) < 4 and not any(rest) else None


def _is_smooth(values: NDArray[np.uint8] | NDArray[np.uint16], outputs: int) -> bool:
    """Whether neighbours in a table are alike, as colours are, but not the bytes of something compressed."""
    if values.nbytes < _MIN_LOOKED_AT:
        return True
    most = np.iinfo(values.dtype).max
    steps = np.abs(np.diff(values.reshape(-1, outputs).astype(np.int32), axis=0))
    return float(steps.mean()) < _NOISE * most
