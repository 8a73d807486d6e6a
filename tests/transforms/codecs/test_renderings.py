"""A face that any reader shows is found, whatever hides it from others, and what is written shows it to none.

What comes out is restored as that reader would show it, and looked at by a detector.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
import tifffile
from PIL import Image

from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.codecs import decode_for_detection, jpeg_markers, probe
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.codecs.renderings import renderings
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.quality import QUALITIES
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.shard.detect import DetectedImage, decode, detect
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Record
from tests.transforms.codecs.samples import opencv

Restore = Callable[[bytes], np.ndarray]
PHOTO = skimage.data.astronaut()[:320, 64:384]
GREY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
BLACK, WHITE = np.zeros_like(PHOTO), np.full_like(PHOTO, 255)


@pytest.fixture(scope="module")
def detector(centerface_int8: str) -> Detector:
    return Detector(DetectorConfig((centerface_int8,), quality=QUALITIES["fast"]))


def faces_in(rgb: np.ndarray, detector: Detector) -> Faces:
    height, width = rgb.shape[:2]
    (faces,) = detector.detect([detector.prepare(np.ascontiguousarray(rgb), width, height)])
    return faces


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def on_page(grey: int) -> Restore:
    """How a viewer shows a picture on a page of this grey."""

    def restore(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            picture = image.convert("RGBA")
        page = Image.new("RGBA", picture.size, (grey, grey, grey, 255))
        return np.asarray(Image.alpha_composite(page, picture).convert("RGB"))

    return restore


def by_tensorflow(data: bytes) -> np.ndarray:
    return np.asarray(tf.io.decode_image(data, channels=3))


def stretched(data: bytes) -> np.ndarray:
    """What anybody sees who turns up the contrast."""
    values = opencv(data)
    return spread_out(values[..., ::-1] if values.ndim == 3 else np.dstack([values] * 3))


def spread_out(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (1, 98))
    return np.asarray(np.clip((values - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8))


def rgba(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, alpha]))


def palette_png() -> bytes:
    """All colours black; what differs is how much each lets through."""
    image = Image.fromarray(255 - GREY, "P")
    image.putpalette(bytes(768))
    return encoded(image, "PNG", transparency=bytes(range(256)))


def tiff(values: np.ndarray, **options: Any) -> bytes:
    output = io.BytesIO()
    tifffile.imwrite(output, values, **options)
    return output.getvalue()


def without_adobe(jpeg: bytes) -> bytes:
    """The same JPEG less the segment that says how its inks are to be read."""
    kept = (jpeg[start:end] for marker, start, end in jpeg_markers.segments(jpeg) if marker != jpeg_markers.APP14)
    return jpeg[:2] + b"".join(kept)


def cmyk_jpeg() -> bytes:
    """Shows the photo to readers that take 0 for no ink, and its negative to those that take 255 for it."""
    inks = np.dstack([BLACK, 255 - GREY])  # no colours; black where the photo is dark
    # Pillow stores the opposite of what it is given.
    return without_adobe(encoded(Image.fromarray(255 - inks, "CMYK"), "JPEG", quality=90))


def deep(bits: int, bright: int) -> np.ndarray:
    """10-bit data in 16 bits, with some bright pixels."""
    values: np.ndarray = (GREY.astype(np.uint16) << 8) >> (16 - bits)
    values[-1, -bright:] = 0xFFFF
    return values


HIDDEN: dict[str, tuple[Callable[[], bytes], Restore]] = {
    **{
        f"alpha of a black {kind} on white": (make, on_page(255))
        for kind, make in {
            "PNG": lambda: encoded(rgba(BLACK, 255 - GREY), "PNG"),
            "grey PNG": lambda: encoded(rgba(BLACK, 255 - GREY).convert("LA"), "PNG"),
            "palette PNG": palette_png,
            "lossy WebP": lambda: encoded(rgba(BLACK, 255 - GREY), "WEBP", quality=90, exact=True),
            "lossless WebP": lambda: encoded(rgba(BLACK, 255 - GREY), "WEBP", lossless=True, exact=True),
            "TIFF": lambda: tiff(np.dstack([BLACK, 255 - GREY]), photometric="rgb", extrasamples=["unassalpha"]),
            "premultiplied TIFF": lambda: tiff(
                np.dstack([BLACK, 255 - GREY]), photometric="rgb", extrasamples=["assocalpha"]
            ),
            "16-bit PNG": lambda: cv2.imencode(".png", np.dstack([BLACK, 255 - GREY]).astype(np.uint16) * 257)[
                1
            ].tobytes(),
            "AVIF": lambda: encoded(rgba(BLACK, 255 - GREY), "AVIF", quality=90),
        }.items()
    },
    "alpha of a white PNG on black": (lambda: encoded(rgba(WHITE, GREY), "PNG"), on_page(0)),
    "alpha of a grey PNG on white": (
        lambda: encoded(rgba(np.full_like(PHOTO, 90), 255 - GREY), "PNG"),
        on_page(255),
    ),
    "faint alpha on white": (
        lambda: encoded(rgba(BLACK, (255 - GREY) // 16), "PNG"),
        lambda data: spread_out(on_page(255)(data)),
    ),
    "colours under full transparency": (
        lambda: encoded(rgba(PHOTO, np.zeros_like(GREY)), "PNG"),
        lambda data: np.asarray(Image.open(io.BytesIO(data)))[..., :3],
    ),
    "CMYK without Adobe's word": (cmyk_jpeg, by_tensorflow),
    "10 bits of 16 and a bright pixel": (lambda: encoded(Image.fromarray(deep(10, 1)), "PNG"), stretched),
    "8 bits of 16 and bright pixels": (lambda: encoded(Image.fromarray(deep(8, 200)), "TIFF"), stretched),
    "low contrast": (lambda: encoded(Image.fromarray(GREY // 32 + 100), "PNG"), stretched),
    "very dark": (lambda: encoded(Image.fromarray(PHOTO // 40), "PNG"), stretched),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_face_that_a_reader_shows_is_found_and_gone(name: str, detector: Detector, tmp_path: Path) -> None:
    make, restore = HIDDEN[name]
    data = make()
    shown = restore(data)
    [before] = faces_in(shown, detector).boxes  # what the attacker has hidden can be seen
    path = tmp_path / "picture"
    path.write_bytes(data)
    found = _detected(path, detector)
    assert any(_overlap(box, before) > 0.5 for box in found.images[0].faces.boxes)
    written = _anonymized(found)
    assert not any(_overlap(box, before) > 0.2 for box in faces_in(restore(written), detector).boxes)


def _detected(path: Path, detector: Detector) -> Record[DetectedImage]:
    decoded = decode(Source("picture", str(path), None, 0), FeatureRoles(), detector, Limits())
    assert isinstance(decoded, Record)
    [detected] = detect([decoded], detector)
    return detected


def _anonymized(detected: Record[DetectedImage]) -> bytes:
    [finished] = anonymize([detected], Masking("solid", Style()), FeatureRoles())
    assert finished.serialized, finished.row
    feature = tf.train.Example.FromString(finished.serialized).features.feature
    return bytes(feature["image/encoded"].bytes_list.value[0])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - common)


def black_and_white() -> bytes:
    return encoded(Image.fromarray(PHOTO).convert("1"), "PNG")


def test_a_face_made_of_dots_is_found(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "dots.png"
    path.write_bytes(black_and_white())
    [expected] = faces_in(PHOTO, detector).boxes
    assert any(_overlap(box, expected) > 0.5 for box in _detected(path, detector).images[0].faces.boxes)


def ordinary() -> Iterator[tuple[str, bytes]]:
    photo = Image.fromarray(PHOTO)
    for image_format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        yield image_format, encoded(photo, image_format)
    yield "RGBA without transparency", encoded(photo.convert("RGBA"), "PNG")
    yield "grey", encoded(photo.convert("L"), "PNG")
    yield "dark", encoded(Image.fromarray(PHOTO // 3), "PNG")
    yield "CMYK by Adobe's rules", encoded(photo.convert("CMYK"), "JPEG")
    yield "one colour", encoded(Image.new("RGB", (64, 64), "navy"), "PNG")


@pytest.mark.parametrize(("name", "data"), list(ordinary()), ids=lambda value: value if isinstance(value, str) else "")
def test_an_ordinary_image_is_shown_once(name: str, data: bytes) -> None:
    assert len(list(decode_for_detection(data, probe(data), 640).renderings())) == 1, name


@pytest.mark.parametrize("page", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_composited_as_pillow_does(page: int, mode: str) -> None:
    picture = rgba(PHOTO, GREY).convert(mode)
    shown = list(renderings(Pixels(np.asarray(picture), mode)))
    expected = on_page(page)(encoded(picture, "PNG")).astype(int)
    assert min(np.abs(rgb - expected).max() for rgb in shown) <= 1


def test_premultiplied_colours_are_not_multiplied_again() -> None:
    alpha = np.full((1, 3, 1), 128, np.uint8)
    colours = np.array([[[128, 64, 0], [0, 0, 0], [255, 255, 255]]], np.uint8)  # the last is brighter than it may be
    shown = [rgb.tolist() for rgb in renderings(Pixels(np.dstack([colours, alpha]), "RGBa"))]
    assert [[[255, 191, 127], [127, 127, 127], [255, 255, 255]]] in shown
    assert [[[128, 64, 0], [0, 0, 0], [255, 255, 255]]] in shown
