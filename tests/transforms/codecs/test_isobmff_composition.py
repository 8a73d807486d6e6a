"""Pictures put together from others: nothing that a part holds gets out unless the detector has seen it."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.codecs import decode_for_detection, encode_pixels, isobmff, probe, strip_metadata
from faceveil.transforms.codecs.isobmff_boxes import read_boxes, write_box
from faceveil.transforms.codecs.isobmff_composition import is_padding
from faceveil.transforms.codecs.isobmff_items import boxes_of
from faceveil.transforms.codecs.isobmff_read import read
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import noise_image
from tests.transforms.codecs.compositions import Item, coded, coded_parts, crop, grid, overlay, size, written

pillow_heif.register_heif_opener()
FACE = Image.fromarray(skimage.data.astronaut()[:256, 96:352])
CUP = Image.fromarray(skimage.data.coffee()[60:316, 150:406])
WHITE = Image.new("RGB", (256, 256), "white")


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def faceless_output(data: bytes) -> tuple[bytes, bool]:
    """What the job writes of an image in which it finds no face, and whether the compressed data were copied."""
    info = probe(data)
    preview = decode_for_detection(data, info, 4096)
    assert preview.pixels
    if not preview.hides_pixels:
        return strip_metadata(data, info), True
    return encode_pixels(preview.pixels, data, info), False


def shows_face(data: bytes) -> bool:
    """Whether any coded part of a file is the photo of the face, or has it somewhere."""
    face = np.asarray(FACE.convert("L").resize((64, 64))).astype(float)
    for part in coded_parts(data):
        pixels = np.asarray(Image.open(io.BytesIO(part)).convert("L")).astype(float)
        if pixels.shape[0] >= 256 and pixels.shape[1] >= 256:
            for left in range(0, pixels.shape[1] - 255, 64):
                window = pixels[:256, left : left + 256].reshape(64, 4, 64, 4).mean(axis=(1, 3))
                if window.std() > 1 and np.corrcoef(window.ravel(), face.ravel())[0, 1] > 0.9:
                    return True
    return False


def joined(*images: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (256 * len(images), 256))
    for number, image in enumerate(images):
        whole.paste(image, (256 * number, 0))
    return whole


def cropped_heic() -> bytes:
    item = coded(joined(CUP, FACE), "HEIC")
    item.properties.append(crop(256, 256, -128, 0))
    return written([item], [], "HEIC")


def covered_layer() -> bytes:
    items = [overlay(256, 256, [(0, 0), (0, 0)]), coded(FACE, "HEIC"), coded(CUP, "HEIC")]
    items[1].hidden = items[2].hidden = True
    return written(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)], "HEIC")


def layer_off_the_canvas() -> bytes:
    items = [overlay(256, 256, [(0, 0), (300, 0)]), coded(CUP, "HEIC"), coded(FACE, "HEIC")]
    items[1].hidden = items[2].hidden = True
    return written(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)], "HEIC")


def cut_grid(image_format: str, second: Image.Image = FACE) -> bytes:
    """Two tiles, of the second of which the canvas shows 16 columns."""
    items = [grid(2, 1, 272, 256), coded(CUP, image_format), coded(second, image_format)]
    items[1].hidden = items[2].hidden = True
    return written(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)], image_format)


def identity_with_crop() -> bytes:
    items = [Item(b"iden", b"", [size(512, 256), crop(256, 256, -128, 0)]), coded(joined(CUP, FACE), "HEIC")]
    items[1].hidden = True
    return written(items, [(b"dimg", 1, 2)], "HEIC")


def tile_with_crop() -> bytes:
    items = [grid(1, 1, 256, 256), coded(joined(CUP, FACE), "HEIC")]
    items[1].properties.append(crop(256, 256, -128, 0))
    items[1].hidden = True
    return written(items, [(b"dimg", 1, 2)], "HEIC")


def coded_with_original(image_format: str) -> bytes:
    items = [coded(CUP, image_format), coded(FACE, image_format)]
    items[1].hidden = True
    return written(items, [(b"dimg", 1, 2)], image_format)


HIDING: dict[str, Callable[[], bytes]] = {
    "a crop": cropped_heic,
    "a layer under another": covered_layer,
    "a layer off the canvas": layer_off_the_canvas,
    "HEIC tiles beyond the canvas": lambda: cut_grid("HEIC"),
    "AVIF tiles beyond the canvas": lambda: cut_grid("AVIF"),
    "an identity with a crop": identity_with_crop,
    "a tile with a crop": tile_with_crop,
    "a HEIC's original": lambda: coded_with_original("HEIC"),
    "an AVIF's original": lambda: coded_with_original("AVIF"),
}


@pytest.mark.parametrize("name", HIDING)
def test_a_part_that_is_not_shown_does_not_get_out(name: str) -> None:
    data = HIDING[name]()
    assert shows_face(data)  # whoever looks for it finds it
    try:
        output, _ = faceless_output(data)
    except Quarantine as refused:
        assert refused.reason in (Reason.CORRUPT_IMAGE, Reason.UNSUPPORTED_IMAGE)  # noqa: PT017
        return
    assert not shows_face(output)
    info = probe(output)
    assert (info.width, info.height) == (probe(data).width, probe(data).height)
    assert np.abs(decoded(output).astype(int) - decoded(data)).mean() < 3  # and it shows what it showed


def test_a_grid_that_its_tiles_fill_is_copied() -> None:
    for image_format in ("HEIC", "AVIF"):
        items = [grid(2, 1, 512, 256), coded(CUP, image_format), coded(FACE, image_format)]
        items[1].hidden = items[2].hidden = True
        data = written(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)], image_format)
        output, copied = faceless_output(data)
        assert copied
        assert all(item.data in output for item in items)


@pytest.mark.parametrize("image_format", ["HEIC", "AVIF"])
@pytest.mark.parametrize("filling", ["edge", "black"])
def test_padded_tiles_are_copied_as_cameras_write_them(image_format: str, filling: str) -> None:
    """A phone's 4032 x 3024 px are 8 x 6 tiles of 512 px, the last of which are filled up."""
    second = np.asarray(FACE).copy()
    second[:, 16:] = second[:, 15:16] if filling == "edge" else 0
    data = cut_grid(image_format, Image.fromarray(second))
    output, copied = faceless_output(data)
    assert copied
    np.testing.assert_array_equal(decoded(output), decoded(data))
    # Whoever decodes all tiles and cuts them gets what decoders of the file get.
    preview = decode_for_detection(data, probe(data), 4096)
    assert preview.pixels
    np.testing.assert_array_equal(preview.pixels.values, decoded(data))


def test_a_picture_that_hides_something_and_cannot_be_encoded_again_is_refused() -> None:
    data = cut_grid("AVIF")
    info = replace(probe(data), read_only="avif with more than 8 bits per channel")
    preview = decode_for_detection(data, info, 4096)
    assert preview.pixels
    assert preview.hides_pixels
    with pytest.raises(Quarantine, match="it has to be encoded again, but avif with more than 8 bits") as refused:
        encode_pixels(preview.pixels, data, info)
    assert refused.value.reason is Reason.UNSUPPORTED_IMAGE


def test_a_grid_of_fewer_tiles_than_it_says_is_refused() -> None:
    items = [grid(2, 2, 512, 512), coded(CUP, "HEIC"), coded(FACE, "HEIC")]
    data = written(items, [(b"dimg", 1, 2), (b"dimg", 1, 3)], "HEIC")
    with pytest.raises(Quarantine, match="not made of as many tiles"):
        isobmff.facts(data)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]))
def test_what_continues_the_edge_is_padding_and_a_picture_is_not(width: int, height: int, kind: type) -> None:
    canvas: np.ndarray = noise_image(height, width).astype(kind)
    padded = np.pad(canvas, ((0, 7), (0, 9), (0, 0)), mode="edge")
    assert is_padding(padded, width, height)
    noisy = padded.copy()
    noisy[:, width:] = noise_image(height + 7, 9, seed=1).astype(kind) * (np.iinfo(kind).max // 255)
    assert not is_padding(noisy, width, height)


def cropped_avif(orientation: int = 1, mode: str = "RGB") -> bytes:
    """The cup and the face beside it, of which those who apply crops show the cup."""
    image = joined(CUP, FACE).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    output = io.BytesIO()
    image.save(output, "AVIF", quality=90, exif=b"Exif\0\0" + orientation_exif(orientation))
    meta = read(output.getvalue())
    boxes = [write_box(b"pasp", struct.pack(">II", 4, 3)), crop(256, 200, -128, 0)]
    items = dict(meta.items)
    for number in {meta.primary, *isobmff._alpha_of(meta)}:
        new = [(len(meta.properties), False)] * (number == meta.primary) + [(len(meta.properties) + 1, True)]
        own = items[number].properties
        turns = [pair for pair in own if meta.properties[pair[0]][4:8] in (b"irot", b"imir")]
        kept = (pair for pair in own if pair not in turns)
        items[number] = replace(items[number], properties=(*kept, *new, *turns))
    changed = replace(meta, items=items, properties=[*meta.properties, *boxes])
    return isobmff._written(changed, b"", output.getvalue(), accounted=False)


def shown_by(data: bytes) -> list[list[bytes]]:
    """The properties of each picture of a file that say how it is shown, in their order."""
    meta = read(data)
    named = (b"clap", b"pasp", b"irot", b"imir")
    return [[box for box in boxes_of(meta, number) if box[4:8] in named] for number in sorted(meta.items)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_avif_s_crop_stays_and_so_does_what_is_beyond_for_readers_that_apply_none(
    mode: str, orientation: int
) -> None:
    data = cropped_avif(orientation, mode)
    assert decoded(data).shape == (256, 512, 3)  # by libavif, through Pillow
    output, copied = faceless_output(data)
    assert copied
    info = probe(data)
    pixels = decode_for_detection(data, info, 4096).pixels
    assert pixels
    encoded = encode_pixels(pixels, data, info)
    for written_again in (output, encoded):
        assert shown_by(written_again) == shown_by(data)
        assert np.abs(decoded(written_again).astype(int) - decoded(data)).mean() < 2
        assert probe(written_again).orientation == orientation
    assert output == strip_metadata(output, info)


@pytest.mark.skipif(shutil.which("heif-convert") is None, reason="needs heif-convert")
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reader_that_applies_crops_shows_the_same_of_an_avif_that_is_encoded_again(
    tmp_path: Path, orientation: int
) -> None:
    data = cropped_avif(orientation)
    info = probe(data)
    pixels = decode_for_detection(data, info, 4096).pixels
    assert pixels
    shown = []
    for name, content in (("before", data), ("after", encode_pixels(pixels, data, info))):
        (tmp_path / f"{name}.avif").write_bytes(content)
        subprocess.run(["heif-convert", tmp_path / f"{name}.avif", tmp_path / f"{name}.png"], check=True)
        shown.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int))
    assert shown[0].shape == ((200, 256, 3) if orientation == 1 else (256, 200, 3))
    assert np.abs(shown[0] - shown[1]).mean() < 2


def test_the_shape_of_pixels_stays_in_a_heic() -> None:
    item = coded(CUP, "HEIC")
    item.properties.append(write_box(b"pasp", struct.pack(">II", 4, 3)))
    data = written([item], [], "HEIC")
    info = probe(data)
    pixels = decode_for_detection(data, info, 4096).pixels
    assert pixels
    assert shown_by(encode_pixels(pixels, data, info)) == shown_by(data) != [[]]


@pytest.mark.parametrize("image_format", ["HEIC", "AVIF"])
def test_tiles_that_are_the_same_data_stay_so(image_format: str) -> None:
    """A sky of one colour takes one tile; twelve copies would be more than twice the file."""
    tile = coded(CUP, image_format)
    items = [
        grid(4, 3, 1024, 768),
        *(Item(tile.type, tile.data, list(tile.properties), hidden=True) for _ in range(12)),
    ]
    data = written(items, [(b"dimg", 1, number) for number in range(2, 14)], image_format)
    assert len(data) < 2 * len(tile.data) + 4000
    inner = np.s_[4:-4, 4:-4]  # chroma is interpolated over the edges of tiles
    shown = decoded(data)[256:512, 512:768]
    np.testing.assert_array_equal(shown[inner], decoded(written([tile], [], image_format))[inner])
    output, copied = faceless_output(data)
    assert copied
    assert len(output) <= len(data)
    np.testing.assert_array_equal(decoded(output), decoded(data))


def test_items_that_overlap_in_many_ways_are_refused() -> None:
    """Each is another part of the same bytes; together they would fill the memory."""
    tile = coded(Image.fromarray(noise_image(256, 256)), "AVIF")
    tiles = [Item(tile.type, tile.data, list(tile.properties)) for _ in range(64)]
    references = [(b"dimg", 1, number) for number in range(2, 66)]
    data = written([grid(8, 8, 2048, 2048), *tiles], references, "AVIF")
    at = data.index(b"iloc") + 4 + 8 + 14
    patched = bytearray(data)
    for number in range(64):
        (length,) = struct.unpack_from(">I", patched, at + 14 * number + 10)
        struct.pack_into(">I", patched, at + 14 * number + 10, length - number)
    with pytest.raises(Quarantine, match="overlap so often"):
        isobmff.facts(bytes(patched))


def brands(data: bytes) -> tuple[bytes, set[bytes]]:
    content = next(data[start:end] for name, start, end in read_boxes(data, 0, len(data)) if name == b"ftyp")
    return content[:4], {content[at : at + 4] for at in range(8, len(content), 4)}


@pytest.mark.parametrize(
    ("image_format", "profile", "others"), [("HEIC", b"MiHB", (b"tmap",)), ("AVIF", b"MA1B", (b"tmap", b"msf1"))]
)
def test_brands_of_what_is_left_out_go(image_format: str, profile: bytes, others: tuple[bytes, ...]) -> None:
    gain_map = coded(FACE.convert("L").convert("RGB"), image_format)
    gain_map.hidden = True
    tone_map = Item(b"tmap", bytes(62), [size(256, 256)])
    picture = coded(CUP, image_format)
    own = image_format.lower().encode()
    references = [(b"dimg", 2, 1), (b"dimg", 2, 3)]
    data = written([picture, tone_map, gain_map], references, image_format, (own, b"mif1", b"miaf", profile, *others))
    output, copied = faceless_output(data)
    assert copied
    assert brands(output) == (own, {own, b"mif1", b"miaf"})
    alone = written([picture], [], image_format, (own, b"mif1", b"miaf", profile))
    assert brands(faceless_output(alone)[0]) == (own, {own, b"mif1", b"miaf", profile})
