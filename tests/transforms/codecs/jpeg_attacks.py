"""Photos hidden in JPEGs, the job that is to find them, and somebody who wants them back."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from faceveil.transforms.codecs import decode_for_detection, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine
from tests.conftest import SKIMAGE_DATA
from tests.transforms.codecs.samples import encode

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SHOWN = Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB").resize((512, 512))
HIDDEN = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB")
BOTH = Image.new("RGB", (512, 1024))
BOTH.paste(SHOWN, (0, 0))
BOTH.paste(HIDDEN, (0, 512))
SIDE_BY_SIDE = Image.new("RGB", (1024, 512))
SIDE_BY_SIDE.paste(SHOWN, (0, 0))
SIDE_BY_SIDE.paste(HIDDEN, (512, 0))

# A thumbnail of seven kilobytes, less what all JPEGs begin with, and what of it is enough to have it found.
PAYLOAD = encode(HIDDEN.resize((200, 200)), "JPEG", quality=75).partition(b"\xff\xda")[2][12:]
PIECE = 6

CODINGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "a restart marker after each MCU": {"restart_marker_blocks": 1},
    "progressive, restart markers": {"progressive": True, "restart_marker_rows": 1},
}


def photo(image: Image.Image = SHOWN, **options: Any) -> bytes:
    return encode(image, "JPEG", quality=85, **options)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments, coded data with their scan's header: the attacker's own reader."""
    position = 2
    while data[position + 1] != 0xD9:
        marker = data[position + 1]
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            while data[end] != 0xFF or data[end + 1] in (0, 0xFF, *range(0xD0, 0xD8)):
                end += 1
        yield marker, data[position:end]
        position = end


def joined(segments: list[tuple[int, bytes]]) -> bytes:
    return SOI + b"".join(part for _, part in segments) + EOI


def is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def with_size(data: bytes, width: int | None = None, height: int | None = None) -> bytes:
    """The same JPEG said to be of another size."""
    changed = []
    for marker, part in parts(data):
        if is_frame(marker):
            old_height, old_width = struct.unpack(">HH", part[5:9])
            part = part[:5] + struct.pack(">HH", height or old_height, width or old_width) + part[9:]
        changed.append((marker, part))
    return joined(changed)


def run(data: bytes) -> bytes | None:
    """What the job writes of a photo in which it has found no face; None if it quarantines it."""
    try:
        info = probe(data)
        preview = decode_for_detection(data, info, 128)
        written = strip_metadata(data, info, faultless=preview.decoded.faultless)
        assert strip_metadata(written, info) is written, "what comes out is not taken for whole the next time"
        # Nor does a face elsewhere in the photo change anything of it.
        encode_pixels(decode_pixels(data, info), data, info)
    except Quarantine:
        return None
    return written


def pixels(data: bytes) -> np.ndarray:
    """What Pillow shows, however damaged it is."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def restored(data: bytes) -> Iterator[np.ndarray]:
    """Every picture that an attacker might get out of a JPEG."""
    found = list(parts(data))
    scans = [number for number, (marker, _) in enumerate(found) if marker == 0xDA]
    [(_, frame)] = [(marker, part) for marker, part in found if is_frame(marker)][:1]
    height, width = struct.unpack(">HH", frame[5:9])
    candidates = [data, with_size(data, height=2 * height), with_size(data, width=2 * width)]
    for scan in scans:  # alone, with all tables before it, and up to it
        candidates.append(joined([part for n, part in enumerate(found) if n == scan or (n < scan and n not in scans)]))
        candidates.append(joined(found[: scan + 1]))
    for candidate in candidates:
        try:
            shown = pixels(candidate)
        except (OSError, SyntaxError, ValueError):
            continue
        yield shown
        yield shown[height:] if shown.shape[0] > height else shown[:, width:]
        yield shown[: shown.shape[0] // 2]


def likeness(one: np.ndarray, other: Image.Image) -> float:
    """Correlation of two pictures' smallest thumbnails."""
    if min(one.shape[:2]) < 32:
        return 0.0
    a, b = (np.asarray(i.convert("L").resize((32, 32)), float).ravel() for i in (Image.fromarray(one), other))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1 and b.std() > 1 else 0.0


def is_hidden_in(data: bytes) -> bool:
    return max((likeness(picture, HIDDEN) for picture in restored(data)), default=0) > 0.8


def holds_payload(data: bytes) -> bool:
    """Whether a piece of the thumbnail is among the bytes, stuffed with zeros as coded data are or not."""
    forms = PAYLOAD, PAYLOAD.replace(b"\xff", b"\xff\0"), PAYLOAD.replace(b"\xff", b"")
    pieces = {form[at : at + PIECE] for form in forms for at in range(len(form) - PIECE)}
    return any(data[at : at + PIECE] in pieces for at in range(len(data)))


def assert_shown_as_before(written: bytes | None, data: bytes) -> None:
    if written is not None:
        np.testing.assert_array_equal(pixels(written), pixels(data))


def head(data: bytes) -> list[tuple[int, bytes]]:
    """All before the first scan but Huffman's tables."""
    found = list(parts(data))
    return [part for part in found[: [m for m, _ in found].index(0xDA)] if part[0] != 0xC4]


def scans(data: bytes) -> list[tuple[int, bytes]]:
    """The scans with their tables."""
    found = list(parts(data))
    before = head(data)
    return [part for part in found if part not in before]


def grey_dc_scan(image: Image.Image) -> list[tuple[int, bytes]]:
    """A progressive scan of all bits of the DC coefficients of one component: coded by the attacker."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), int)
    quantization = JpegImagePlugin.JpegImageFile(io.BytesIO(photo())).quantization[0]
    values = np.rint((grey - 128) * 8 / quantization[0]).astype(int).ravel()
    bits = ""
    for difference in np.diff(values, prepend=0):
        size = int(abs(difference)).bit_length()
        bits += format(size, "04b") + (
            format(difference if difference > 0 else difference + 2**size - 1, f"0{size}b") if size else ""
        )
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    # Twelve symbols, each with a code of four bits: its own number.
    table = segment(0xC4, b"\0" + bytes((0, 0, 0, 12, *[0] * 12)) + bytes(range(12)))
    return [(0xC4, table), (0xDA, segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + coded)]


def components_apart(image: Image.Image) -> bytes:
    """A baseline JPEG with a scan for each component, as jpegtran writes it with a script of scans."""
    planes = [encode(Image.fromarray(np.asarray(image.convert("YCbCr"))[..., n]), "JPEG", quality=85) for n in range(3)]
    [tables] = {b"".join(part for marker, part in parts(plane) if marker in (0xDB, 0xC4)) for plane in planes}
    frame = segment(0xC0, struct.pack(">BHHB", 8, 512, 512, 3) + bytes((1, 17, 0, 2, 17, 0, 3, 17, 0)))
    coded = []
    for number, plane in enumerate(planes, 1):
        [part] = [part for marker, part in parts(plane) if marker == 0xDA]
        coded.append((0xDA, part[:5] + bytes((number,)) + part[6:]))
    return joined([(0xDB, tables), (0xC0, frame), *coded])
