import io
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import jpegio
import jpeglib
import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.codecs import (
    Pixels,
    decode_for_detection,
    decode_pixels,
    probe,
    splice,
    stored,
    strip_metadata,
    upright,
)
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine
from tests.conftest import annotated_images
from tests.transforms.codecs.samples import ICC, encode, exif, opencv, picture


def with_simplejpeg(sampling: str) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.asarray(picture()), quality=88, colorspace="RGB", colorsubsampling=sampling))


def with_jpegio(data: bytes, folder: Path, **properties: int) -> bytes:
    """The same coefficients, coded in another way."""
    path = folder / "sample.jpg"
    path.write_bytes(data)
    coded = jpegio.read(path)
    for name, value in properties.items():
        setattr(coded, name, value)
    coded.write(path)
    return path.read_bytes()


def with_factors(grey: bytes) -> bytes:
    """A single component's factors do not matter (ITU-T T.81, section A.2.2); some cameras write 2 x 2."""
    frame = grey.index(b"\xff\xc0")
    return grey[: frame + 11] + b"\x22" + grey[frame + 12 :]


def samples() -> dict[str, bytes]:
    colour, grey, ink = picture(), picture("L"), picture("CMYK")
    return {
        **{f"4:{s[1]}:{s[2]}": with_simplejpeg(s) for s in ("444", "422", "420", "440", "411")},
        "progressive 4:2:0": encode(colour, "JPEG", progressive=True),
        "progressive 4:4:4": encode(colour, "JPEG", progressive=True, subsampling=0, quality=97),
        "Huffman tables of its own": encode(colour, "JPEG", optimize=True, quality=20),
        "a table for each component": encode(colour, "JPEG", qtables=[[n] * 64 for n in (2, 5, 9)]),
        "lossless tables": encode(colour, "JPEG", qtables=[[1] * 64], subsampling=0),
        "restart markers": encode(colour, "JPEG", restart_marker_blocks=3),
        "restart markers, progressive": encode(colour, "JPEG", restart_marker_rows=1, progressive=True),
        "grey": encode(grey, "JPEG"),
        "grey, progressive": encode(grey, "JPEG", progressive=True),
        "grey, with sampling factors that mean nothing": with_factors(encode(grey, "JPEG")),
        "RGB": encode(colour, "JPEG", keep_rgb=True),
        "CMYK": encode(ink, "JPEG"),
        "YCCK": simplejpeg.encode_jpeg(np.asarray(ink), colorspace="CMYK", colorsubsampling="420"),
        "CMYK, progressive": encode(ink, "JPEG", progressive=True),
        "whole MCUs": encode(picture(width=96, height=64), "JPEG"),
        "one pixel": encode(picture(width=1, height=1), "JPEG"),
        "one column": encode(picture(width=1, height=61), "JPEG"),
    }


SAMPLES = samples()
every_sample = pytest.mark.parametrize("name", SAMPLES)


def coefficients(data: bytes, folder: Path) -> list[np.ndarray]:
    """Quantised coefficients ``[rows, columns, 8, 8]`` of each component, read with the IJG's libjpeg 6b."""
    path = folder / "coefficients.jpg"
    path.write_bytes(data)
    read = jpeglib.read_dct(str(path))
    read.load()
    return [component for component in (read.Y, read.Cb, read.Cr, read.K) if component is not None]


def touched_blocks(data: bytes, painted: np.ndarray) -> list[np.ndarray]:
    """For each component, which blocks lie in an MCU that holds a painted pixel: by ITU-T T.81, A.1.1 and A.2."""
    layers = [(across, down) for _, across, down, _ in JpegImagePlugin.JpegImageFile(io.BytesIO(data)).layer]
    layers = [(1, 1)] if len(layers) == 1 else layers
    max_across, max_down = np.max(layers, axis=0).tolist()
    height, width = painted.shape
    rows, columns = -(-height // (8 * max_down)), -(-width // (8 * max_across))
    mcus = np.zeros((rows, columns), bool)
    y, x = np.nonzero(painted)
    mcus[y // (8 * max_down), x // (8 * max_across)] = True
    touched = []
    for across, down in layers:
        blocks_down = math.ceil(math.ceil(height * down / max_down) / 8)
        blocks_across = math.ceil(math.ceil(width * across / max_across) / 8)
        touched.append(mcus.repeat(down, 0).repeat(across, 1)[:blocks_down, :blocks_across])
    return touched


def paint_black(data: bytes, painted: np.ndarray) -> bytes:
    info = probe(data)
    pixels = decode_pixels(data, info)
    values = pixels.values.copy()
    values[painted] = pixels.black
    spliced = splice(Pixels(values, pixels.mode, pixels.faultless), painted, data, info)
    assert spliced is not None
    return spliced


def ellipse(data: bytes, centre: tuple[float, float] = (0.6, 0.45), size: float = 0.3) -> np.ndarray:
    info = probe(data)
    y, x = np.mgrid[: info.height, : info.width]
    across, down = max(info.width * size, 1), max(info.height * size, 1)
    return np.asarray(((x - info.width * centre[0]) / across) ** 2 + ((y - info.height * centre[1]) / down) ** 2 <= 1)


MASKS = {
    "inside": ((0.6, 0.45), 0.3),
    "lower right corner": ((1.0, 1.0), 0.3),
    "upper left corner": ((0.0, 0.0), 0.2),
    "all": ((0.5, 0.5), 2.0),
}


@every_sample
@pytest.mark.parametrize("mask", MASKS)
def test_coefficients_outside_touched_mcus_stay_and_masks_are_black(name: str, mask: str, tmp_path: Path) -> None:
    data = SAMPLES[name]
    painted = ellipse(data, *MASKS[mask])
    spliced = paint_black(data, painted)
    touched = touched_blocks(data, painted)
    before, after = coefficients(data, tmp_path), coefficients(spliced, tmp_path)
    assert len(before) == len(after) == len(touched)
    for old, new, blocks in zip(before, after, touched, strict=True):
        assert old.shape == new.shape
        np.testing.assert_array_equal(new[~blocks], old[~blocks])
    pixels = np.asarray(Image.open(io.BytesIO(spliced)).convert("RGB").convert("L")).astype(int)
    inner = cv2.erode(painted.astype(np.uint8), np.ones((17, 17)), borderValue=1).astype(bool)
    if inner.any():
        assert pixels[inner].max() < 12


@every_sample
def test_how_it_is_coded_stays(name: str) -> None:
    data = SAMPLES[name]
    before = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    after = JpegImagePlugin.JpegImageFile(io.BytesIO(paint_black(data, ellipse(data))))
    assert (after.size, after.mode, after.layer) == (before.size, before.mode, before.layer)
    assert after.quantization == before.quantization
    for key in ("progressive", "adobe_transform", "jfif_density"):
        assert after.info.get(key) == before.info.get(key)
    assert restart_interval(paint_black(data, ellipse(data))) == restart_interval(data)


def restart_interval(data: bytes) -> bytes:
    """What follows the DRI marker and its length."""
    return data.partition(b"\xff\xdd\x00\x04")[2][:2]


@every_sample
def test_painting_what_is_there_hardly_changes_it(name: str) -> None:
    """Colours, sampling and the transform itself: coding a decoded picture again is nearly the identity."""
    data = SAMPLES[name]
    info, everything = probe(data), np.ones((probe(data).height, probe(data).width), bool)
    pixels = decode_pixels(data, info)
    spliced = splice(pixels, everything, data, info)
    assert spliced is not None
    again = decode_pixels(spliced, info).values.astype(int)
    assert np.abs(again - pixels.values).mean() < 1.5


def decoders(name: str) -> dict[str, Callable[[bytes], np.ndarray]]:
    found: dict[str, Callable[[bytes], np.ndarray]] = {"Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)))}
    if "CMYK" not in name and "YCCK" not in name:
        found["OpenCV"] = opencv
        found["TensorFlow"] = lambda data: tf.io.decode_jpeg(data).numpy()
    return found


@every_sample
def test_decoders_see_the_same_pixels_outside(name: str) -> None:
    data = SAMPLES[name]
    painted = ellipse(data)
    spliced = paint_black(data, painted)
    luma = touched_blocks(data, painted)[0]
    changed = luma.repeat(8, 0).repeat(8, 1)[: painted.shape[0], : painted.shape[1]].astype(np.uint8)
    # Decoders interpolate chroma between the centres of its samples: so far a change may show.
    across, down = np.max([layer[1:3] for layer in JpegImagePlugin.JpegImageFile(io.BytesIO(data)).layer], axis=0)
    outside = cv2.dilate(changed, np.ones((2 * down - 1, 2 * across - 1))) == 0
    for decoder in decoders(name).values():
        np.testing.assert_array_equal(decoder(spliced)[outside], decoder(data)[outside])


@every_sample
def test_nothing_of_what_was_under_the_mask_is_left(name: str, tmp_path: Path) -> None:
    """Whatever the original's coefficients in the touched MCUs, the same bytes come out."""
    data = SAMPLES[name]
    info, painted = probe(data), ellipse(data)
    pixels = decode_pixels(data, info)
    path = tmp_path / "other.jpg"
    path.write_bytes(data)
    coded = jpegio.read(path)
    random = np.random.default_rng(0)
    for array, touched in zip(coded.coef_arrays, touched_blocks(data, painted), strict=True):
        blocks = array.reshape(touched.shape[0], 8, touched.shape[1], 8).swapaxes(1, 2)
        blocks[touched] = random.integers(-8, 9, (np.count_nonzero(touched), 8, 8))
    coded.optimize_coding = name == "Huffman tables of its own"
    coded.write(path)
    other = path.read_bytes()
    assert name == "one pixel" or not np.array_equal(decode_pixels(other, info).values, pixels.values)
    assert splice(pixels, painted, other, info) == splice(pixels, painted, data, info)


def test_of_the_metadata_only_the_allowed_stays(tmp_path: Path) -> None:
    data = encode(picture(), "JPEG", exif=exif(6), icc_profile=ICC, comment=b"a comment", dpi=(300, 300)) + b"trailer"
    spliced = paint_black(data, ellipse(data))
    image = Image.open(io.BytesIO(spliced))
    assert (image.info["icc_profile"], image.info["dpi"], dict(image.getexif())) == (ICC, (300, 300), {0x0112: 6})
    for secret in (b"Secret Camera", b"THUMBNAIL", b"comment", b"trailer"):
        assert secret in data
        assert secret not in spliced
    # The rest is a JPEG like the input: without a mask, nothing else has changed.
    nothing = np.zeros((probe(data).height, probe(data).width), bool)
    unchanged = splice(decode_pixels(data, probe(data)), nothing, data, probe(data))
    assert unchanged is not None
    for old, new in zip(
        coefficients(strip_metadata(data, probe(data)), tmp_path), coefficients(unchanged, tmp_path), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def spliced_or_none(data: bytes) -> bytes | None:
    info = probe(data)
    pixels = decode_pixels(data, info)
    return splice(pixels, ellipse(data), data, info)


def test_what_cannot_be_spliced_is_said(tmp_path: Path) -> None:
    data = encode(picture(), "JPEG")
    assert spliced_or_none(data)
    assert spliced_or_none(with_jpegio(data, tmp_path, arith_code=1)) is None
    # Harmless to decoders, but libjpeg complains: bytes that belong to nothing.
    assert spliced_or_none(data[:-2] + b"\0\0\0\0" + data[-2:]) is None


def test_what_must_go_first_does_not_keep_from_splicing() -> None:
    # A second definition of a table, before the second scan, which nothing uses.
    progressive = encode(picture(), "JPEG", progressive=True)
    second_scan = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    tables = progressive[progressive.index(b"\xff\xdb") :][: 2 + 67]
    spliced = spliced_or_none(progressive[:second_scan] + tables + progressive[second_scan:])
    assert spliced == spliced_or_none(progressive)
    # Coefficients that are multiplied by zero.
    data = encode(picture(), "JPEG", qtables=[[1] * 64], subsampling=0)
    table = data.index(b"\xff\xdb") + 5
    assert spliced_or_none(data[:table] + b"\0" + data[table + 1 :])


def open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_files_raise_nothing_but_quarantine(draw: st.DataObject) -> None:
    data = bytearray(SAMPLES[draw.draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place : place + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    files_open = open_files()
    try:
        spliced = spliced_or_none(bytes(data))
    except Quarantine:
        return
    assert open_files() == files_open
    if spliced is not None:
        Image.open(io.BytesIO(spliced)).load()
        assert decode_pixels(spliced, probe(spliced)).faultless


def test_on_real_photos_no_other_coefficient_changes(wider_dev: Path, centerface: str, tmp_path: Path) -> None:
    detector = Detector(DetectorConfig(model_dirs=(centerface,)))
    faces_found = 0
    for annotated in annotated_images(wider_dev)[::20]:
        data = (wider_dev / annotated["file"]).read_bytes()
        info = probe(data)
        preview = decode_for_detection(data, info, detector.side_needed(info.upright_width, info.upright_height))
        views = detector.prepare(next(preview.renderings()).rgb, info.upright_width, info.upright_height)
        [faces] = detector.detect([views])
        faces_found += len(faces)
        spliced, painted = anonymized(data, faces)
        for old, new, blocks in zip(
            coefficients(data, tmp_path), coefficients(spliced, tmp_path), touched_blocks(data, painted), strict=True
        ):
            np.testing.assert_array_equal(new[~blocks], old[~blocks])
    assert faces_found > 30


def anonymized(data: bytes, faces: Faces) -> tuple[bytes, np.ndarray]:
    info = probe(data)
    pixels = decode_pixels(data, info)
    values = METHODS["blur"](upright(pixels.values, info.orientation), faces, Style(), pixels.black)
    painted = stored(painted_pixels("blur", faces, Style(), *values.shape[:2]), info.orientation)
    spliced = splice(Pixels(stored(values, info.orientation), pixels.mode, pixels.faultless), painted, data, info)
    assert spliced is not None
    return spliced, painted


@pytest.mark.parametrize("orientation", range(1, 9))
def test_blocks_are_those_of_the_stored_image(orientation: int, tmp_path: Path) -> None:
    data = encode(picture(), "JPEG", exif=exif(orientation))
    box = (8, 5, 30, 20)  # of the upright image
    spliced, painted = anonymized(data, Faces(np.array([box], np.float32), np.ones(1, np.float32)))
    assert 0 < np.count_nonzero(painted) < painted.size / 3
    for old, new, blocks in zip(
        coefficients(data, tmp_path), coefficients(spliced, tmp_path), touched_blocks(data, painted), strict=True
    ):
        np.testing.assert_array_equal(new[~blocks], old[~blocks])
        assert (new[blocks] != old[blocks]).any()
    assert probe(spliced) == probe(data)
    assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(spliced))) == 2
