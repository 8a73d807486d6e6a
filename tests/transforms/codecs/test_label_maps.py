"""Maps of labels and distances are told from photos by their values, whatever file they come in."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from skimage.segmentation import slic

from faceveil.transforms.codecs import Pixels, decode_pixels, kind_of_labels, probe
from tests.conftest import SKIMAGE_DATA, shared_data
from tests.transforms.codecs.samples import encode

PHOTOS = [Image.open(SKIMAGE_DATA / name).convert("RGB") for name in ("astronaut.png", "coffee.png", "rocket.jpg")]
NO_DITHER = Image.Dither.NONE


def pascal_voc_palette() -> list[int]:
    """The colours of PASCAL VOC's devkit: the bits of a class are spread over those of red, green and blue."""
    palette = []
    for number in range(256):
        colour, rest = [0, 0, 0], number
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << (7 - bit)
            rest >>= 3
        palette += colour
    return palette


def coloured(labels: Image.Image) -> Image.Image:
    painted = labels.copy()
    painted.putpalette(pascal_voc_palette())
    return painted


def face_parsing(side: int = 128) -> Image.Image:
    """The parts of a head, by classes as in a data set of them."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    parts = (
        *((5, 0.5, 0.425, 0.35, 0.375), (18, 0.5, 0.55, 0.25, 0.35), (2, 0.37, 0.42, 0.06, 0.015)),
        *((2, 0.63, 0.42, 0.06, 0.015), (3, 0.37, 0.47, 0.05, 0.02), (3, 0.63, 0.47, 0.05, 0.02)),
        *((17, 0.5, 0.6, 0.03, 0.08), (9, 0.5, 0.75, 0.08, 0.02), (9, 0.5, 0.78, 0.09, 0.02)),
    )
    for label, x, y, across, down in parts:
        draw.ellipse([side * value for value in (x - across, y - down, x + across, y + down)], fill=label)
    return image


def segments(photo: Image.Image, count: int, classes: int) -> Image.Image:
    """A photo's segments, each of a class at random."""
    numbers = slic(np.asarray(photo.resize((300, 200))), n_segments=count, compactness=10, start_label=0)
    chosen = np.random.default_rng(count).integers(0, classes, numbers.max() + 1)
    return Image.fromarray(chosen.astype(np.uint8)[numbers])


LABELS: dict[str, Callable[[], Image.Image]] = {
    "parts of a head": face_parsing,
    "parts of a head, 64 px": lambda: face_parsing(64),
    "segments of 21 classes": lambda: segments(PHOTOS[0], 40, 21),
    "segments of 150 classes": lambda: segments(PHOTOS[1], 300, 150),
    "segments of 4 classes": lambda: segments(PHOTOS[2], 100, 4),
    "a mask": lambda: face_parsing().point(lambda value: 255 * (value > 0)),
    "a mask of one bit": lambda: face_parsing().point(lambda value: 255 * (value > 0)).convert("1"),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize(
    ("image_format", "make", "options"),
    [
        ("PNG", lambda labels: labels, {}),
        ("PNG", coloured, {}),
        ("PNG", lambda labels: coloured(labels).convert("RGB"), {}),
        ("PNG", lambda labels: coloured(labels).convert("RGBA"), {}),
        ("GIF", coloured, {}),
        ("BMP", coloured, {}),
        ("TIFF", lambda labels: labels, {"compression": "tiff_lzw"}),
        ("WEBP", lambda labels: coloured(labels).convert("RGB"), {"lossless": True}),
    ],
)
def test_labels_are_known_in_every_lossless_format(
    name: str, image_format: str, make: Callable[[Image.Image], Image.Image], options: dict[str, object]
) -> None:
    labels = LABELS[name]()
    if labels.mode == "1" and make is coloured:
        labels = labels.convert("L")
    data = encode(make(labels) if labels.mode == "L" else labels.convert("L"), image_format, **options)
    kind = kind_of_labels(decode_pixels(data, probe(data)))
    assert kind == f"even areas of {len(np.unique(np.asarray(labels)))} values"


PHOTOS_OF_FEW_COLOURS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "an adaptive palette": lambda photo: photo.quantize(256),
    "an adaptive palette, dithered": lambda photo: photo.convert("P", palette=Image.Palette.ADAPTIVE),
    "a palette by an octree": lambda photo: photo.quantize(256, Image.Quantize.FASTOCTREE, dither=NO_DITHER),
    "the web's palette": lambda photo: photo.convert("P"),
    "64 colours": lambda photo: photo.quantize(64, dither=NO_DITHER),
    "16 colours": lambda photo: photo.quantize(16, dither=NO_DITHER),
    "8 colours": lambda photo: photo.quantize(8, dither=NO_DITHER),
    "16 colours, dithered": lambda photo: photo.quantize(palette=photo.quantize(16)),
    "grey": lambda photo: photo.convert("L"),
    "16 greys": lambda photo: photo.convert("L").point(lambda value: value // 17 * 17),
    "4 greys": lambda photo: photo.convert("L").point(lambda value: value // 64 * 85),
    "black and white dots": lambda photo: photo.convert("1"),
    "all colours": lambda photo: photo,
    "twice as large": lambda photo: photo.quantize(256).resize((2 * photo.width, 2 * photo.height)),
}


@pytest.mark.parametrize("name", PHOTOS_OF_FEW_COLOURS)
def test_photos_of_few_colours_are_photos(name: str) -> None:
    for photo in PHOTOS:
        data = encode(PHOTOS_OF_FEW_COLOURS[name](photo), "PNG")
        assert kind_of_labels(decode_pixels(data, probe(data))) == ""


def deep(grey: np.ndarray) -> Pixels:
    return Pixels(grey.astype(np.uint16)[..., np.newaxis], "I;16")


def halved(grey: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(grey.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


DEEP_PHOTOS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "8 bits made 16": lambda grey: grey.astype(np.uint16) * 257,
    "12 bits": lambda grey: grey.astype(np.uint16) << 4,
    "reduced": lambda grey: halved(grey) * 256,
    "linear in light": lambda grey: (grey / 255) ** 2.2 * 65535,
}


@pytest.mark.parametrize("name", DEEP_PHOTOS)
def test_photos_of_16_bits_are_photos(name: str) -> None:
    for photo in PHOTOS:
        assert kind_of_labels(deep(DEEP_PHOTOS[name](np.asarray(photo.convert("L"))))) == ""


def distances() -> np.ndarray:
    """Millimetres to a floor, a wall and a head before it."""
    down, across = np.mgrid[:240, :320]
    room = 2000 + 3000 * (1 - down / 240) + across / 2
    away = ((down - 100) ** 2 + (across - 150) ** 2) / 60**2
    return np.asarray(np.where(away < 1, 1200 - 150 * np.sqrt(np.maximum(1 - away, 0)), room))


def with_holes(values: np.ndarray) -> np.ndarray:
    unknown = cv2.GaussianBlur(np.random.default_rng(0).normal(size=values.shape), (0, 0), 6) > 0.05
    return np.where(unknown, 0, values)


DISTANCES: dict[str, Callable[[], np.ndarray]] = {
    "millimetres": distances,
    "millimetres with noise": lambda: distances() + np.random.default_rng(0).normal(0, 3, (240, 320)),
    "with holes": lambda: with_holes(distances()),
    "in a camera's steps, with holes": lambda: with_holes(350_000 / np.round(350_000 / distances())),
    "by a network": lambda: cv2.GaussianBlur(distances(), (0, 0), 1.5) * 13,
    "of a few points": lambda: np.where(np.random.default_rng(0).random((240, 320)) < 0.15, distances(), 0),
    "numbers of instances": lambda: distances() // 500 * 1000 + 7,
    "nothing known": lambda: np.zeros((240, 320)),
    "one distance": lambda: np.full((240, 320), 1234),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_and_numbers_of_16_bits_are_no_photos(name: str) -> None:
    assert kind_of_labels(deep(DISTANCES[name]())) == "16 bits per pixel without the texture of a photo"


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["L", "LA", "RGB", "RGBA", "CMYK", "I;16", "RGB;16"]))
def test_every_size_and_layout_gets_an_answer(width: int, height: int, mode: str) -> None:
    kind = np.uint16 if "16" in mode else np.uint8
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 1, "RGB;16": 3}[mode]
    values = np.random.default_rng(width).integers(0, np.iinfo(kind).max, (height, width, channels))
    noise: np.ndarray = values.astype(kind)
    assert isinstance(kind_of_labels(Pixels(noise, mode)), str)


def test_of_unseen_photos_none_is_taken_for_a_map() -> None:
    for path in sorted(shared_data("wider-unseen").rglob("*.jpg"))[::40]:
        photo = Image.open(path).convert("RGB")
        for colours in (256, 32):
            reduced = np.asarray(photo.quantize(colours, dither=NO_DITHER).convert("RGB"))
            assert kind_of_labels(Pixels(reduced, "RGB")) == "", path
        assert kind_of_labels(deep(np.asarray(photo.convert("L")).astype(np.uint16) * 257)) == "", path


def test_a_file_that_other_readers_show_as_classes_keeps_them() -> None:
    """The palette's numbers are what a data set's reader takes; decoding has only their colours."""
    data = encode(coloured(face_parsing()), "PNG")
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), np.asarray(face_parsing()))
