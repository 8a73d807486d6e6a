"""Pictures that hide between the rows of an HEVC slice, each of which begins where its header says, and in headers."""

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs import isobmff_read
from tests.transforms.codecs.hidden import cleaned, cover, face, holds, payload
from tests.transforms.codecs.test_hidden_streams_isobmff import build, heic, parts

pillow_heif = pytest.importorskip("pillow_heif")

from tests.transforms.codecs.entry_points import Slice, extension, read, shown, with_header_extension  # noqa: E402

ROWS = 5  # of blocks of 64 pixels
CODINGS: dict[str, dict[str, Any]] = {
    "lossy": {"quality": 60},
    "lossless": {"quality": -1, "chroma": 444},
    "fine": {"quality": 95, "chroma": 444},
    "coarse": {"quality": 5},
}


@functools.cache
def picture(coding: str) -> tuple[list[bytes], Slice]:
    """Properties of a picture of rows that are coded apart, and its slice."""
    boxes, _, item = parts(cleaned(encoded(cover(192, 64 * ROWS), **CODINGS[coding])))
    return boxes, read(boxes, item, ROWS)


def encoded(image: Image.Image, **options: Any) -> bytes:
    output = io.BytesIO()
    pillow_heif.from_pillow(image).save(output, **options)
    return output.getvalue()


def escaped() -> bytes:
    """The JPEG, with what keeps three of its bytes from looking like the start of a unit."""
    return payload().replace(b"\0\0", b"\0\0\3")


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("row", range(ROWS))
def test_bytes_behind_a_row_of_blocks_do_not_pass(coding: str, row: int) -> None:
    boxes, slice_ = picture(coding)
    rows = [part + escaped() if number == row else part for number, part in enumerate(slice_.rows)]
    changed = build(boxes, b"hvc1", Slice(slice_.before, tuple(rows)).unit())
    np.testing.assert_array_equal(shown(changed), shown(build(boxes, b"hvc1", slice_.unit())))
    output = cleaned(changed)
    assert not holds(output, payload())
    # The last row's end is found and cut off. What lies between rows, nobody can tell from them: it is quarantined.
    assert bool(output) is (row == ROWS - 1)
    if output:
        assert len(parts(output)[2]) <= len(slice_.unit())


@pytest.mark.parametrize("gap", [b"\x80", b"\0\0\3", b"\x55" * 8])
def test_not_even_some_bytes_between_rows_pass(gap: bytes) -> None:
    boxes, slice_ = picture("lossy")
    rows = (slice_.rows[0], slice_.rows[1] + gap, *slice_.rows[2:])
    assert cleaned(build(boxes, b"hvc1", Slice(slice_.before, rows).unit())) == b""


def test_bytes_in_the_header_of_a_slice_do_not_pass() -> None:
    boxes, slice_ = picture("lossy")
    extended = with_header_extension(boxes)
    secret = payload()[:200]
    changed = build(extended, b"hvc1", Slice(slice_.before, slice_.rows, extension(secret)).unit())
    np.testing.assert_array_equal(shown(changed), shown(build(boxes, b"hvc1", slice_.unit())))
    assert cleaned(changed) == b""
    parameters = next(box for box in extended if box[4:8] == b"hvcC")
    at = parameters.index(bytes((34 << 1, 1)))
    unit = parameters[at - 2 : at + int.from_bytes(parameters[at - 2 : at], "big")]
    in_stream = b"\0\0" + unit + Slice(slice_.before, slice_.rows, extension(secret)).unit()
    assert cleaned(build(boxes, b"hvc1", in_stream)) == b""


def test_parts_of_several_slices_are_held_back() -> None:
    """Each might say where there are more parts than it has."""
    boxes, slice_ = picture("lossy")
    later = bytearray(slice_.unit())
    later[6] &= 0x7F  # first_slice_segment_in_pic_flag
    assert cleaned(build(boxes, b"hvc1", slice_.unit() + bytes(later))) == b""


ORDINARY: dict[str, Callable[[], bytes]] = {
    "odd": lambda: encoded(cover(97, 261)),
    "wide": lambda: encoded(cover(1000, 70)),
    "tall": lambda: encoded(cover(70, 1000), quality=90),
    "one block": lambda: encoded(cover(60, 60)),
    "grey": lambda: encoded(cover(192, 256).convert("L")),
    "alpha": lambda: encoded(Image.merge("RGBA", (*cover(200, 200).split(), face(200, 200).convert("L")))),
    "white": lambda: encoded(Image.new("RGB", (300, 300), "white")),
    "noise": lambda: encoded(Image.effect_noise((256, 256), 90).convert("RGB"), quality=95),
    "fast": lambda: encoded(cover(400, 300), enc_params={"preset": "ultrafast"}),
    "small blocks": lambda: encoded(cover(400, 300), enc_params={"x265:ctu": "16"}),
    "rows not apart": lambda: encoded(cover(400, 300), enc_params={"x265:wpp": "0"}),
    "scaling lists": lambda: encoded(cover(400, 300), enc_params={"x265:scaling-list": "default"}),
    "photo": lambda: heic(cover(1300, 1100)),
    **{name: functools.partial(encoded, cover(300, 400), **options) for name, options in CODINGS.items()},
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_stay_as_they_are_coded(name: str) -> None:
    data = ORDINARY[name]()
    meta, output = isobmff_read.read(data), isobmff_read.read(cleaned(data))
    assert len(output.items) == sum(item.type == b"hvc1" for item in meta.items.values())
    before = [item.data for item in meta.items.values()]
    for item in output.items.values():  # less what x265 says of itself
        assert any(data.endswith(item.data) for data in before)


def test_ten_bits_stay_as_they_are_coded() -> None:
    values = np.asarray(cover(192, 256)).astype(np.uint16) * 257
    output = io.BytesIO()
    pillow_heif.encode("RGB;16", (192, 256), values.tobytes(), output, quality=80)
    data = output.getvalue()
    assert parts(data)[2].endswith(parts(cleaned(data))[2])
