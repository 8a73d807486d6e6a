"""Real photos to hide in files, and the way a job cleans these files."""

from __future__ import annotations

import functools
import io

import numpy as np
import skimage.data
from PIL import Image

from faceveil.transforms.codecs import decode_for_detection, decode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine
from tests.transforms.codecs.samples import encode


@functools.cache
def cover(width: int = 192, height: int = 160) -> Image.Image:
    """The photo that everybody may see: a cup of coffee."""
    return Image.fromarray(skimage.data.coffee()).resize((width, height))


@functools.cache
def face(width: int = 192, height: int = 160) -> Image.Image:
    """The photo that is hidden: an astronaut's face."""
    return Image.fromarray(skimage.data.astronaut()).crop((150, 0, 330, 180)).resize((width, height))


@functools.cache
def both(width: int = 192, height: int = 320) -> Image.Image:
    """The cup, and below it the face."""
    image = Image.new("RGB", (width, height))
    image.paste(cover(width, height // 2), (0, 0))
    image.paste(face(width, height // 2), (0, height // 2))
    return image


@functools.cache
def payload() -> bytes:
    """A JPEG of the face, of some 7 kB."""
    data = encode(face(256, 256), "JPEG", quality=60)
    assert 5000 < len(data) < 12000
    return data


def cleaned(data: bytes) -> bytes:
    """What a job writes for a file in which it found no face; empty when it is quarantined. The pixels stay."""
    try:
        info = probe(data)
        decode_for_detection(data, info, 640)
        before = decode_pixels(data, info)
        output = strip_metadata(data, info)
    except Quarantine:
        return b""
    after = decode_pixels(output, probe(output))
    assert after.mode == before.mode or {after.mode, before.mode} == {"L", "RGB"}
    np.testing.assert_array_equal(np.broadcast_to(after.values, before.values.shape), before.values)
    assert strip_metadata(output, probe(output)) is output
    return output


def holds(output: bytes, secret: bytes, length: int = 48) -> bool:
    """Whether any piece of a secret stands in the bytes."""
    return any(secret[at : at + length] in output for at in range(0, len(secret) - length, length))


def shows(data: bytes, secret: Image.Image) -> bool:
    """Whether what Pillow decodes looks like the secret, or its lower half does."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float)
    except Exception:  # noqa: BLE001  a picture that cannot be read is not shown
        return False
    width, height = secret.size
    if pixels.shape[0] < height or pixels.shape[1] < width:
        return False
    seen = pixels[-height:, -width:]
    return float(np.corrcoef(seen.ravel(), np.asarray(secret, dtype=float).ravel())[0, 1]) > 0.8
