"""What needs the extra `tfio` says so without it; and how light becomes a picture. What it reads: `make test-tfio`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs import ImageInfo, Pixels, converted, decode_pixels, encode_pixels, probe
from faceveil.transforms.codecs.signatures import CONVERTED, find, sniff
from faceveil.transforms.formats.containers import look
from faceveil.transforms.formats.embedded import examine
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, picture
from tests.transforms.codecs.test_dicom import dicom_file
from tests.transforms.codecs.test_jpeg2000 import JP2, PROFILE, box, in_header
from tests.transforms.codecs.test_openexr import exr
from tests.transforms.codecs.test_radiance import hdr

FILES = {
    "dicom": dicom_file(),
    "openexr": exr(),
    "radiance hdr": hdr(),
    "jpeg2000": encode(picture(), "JPEG2000"),
    "jpeg2000 alone": encode(picture(), "JPEG2000", no_jp2=True),
    "radiance hdr named RGBE": hdr().replace(b"#?RADIANCE", b"#?RGBE", 1),
}


def test_each_is_here() -> None:
    assert {str(sniff(data)) for data in FILES.values()} == CONVERTED


@pytest.mark.skipif(converted.is_installed(), reason="tensorflow-io is installed")
@pytest.mark.parametrize("name", FILES)
def test_without_the_extra_each_is_refused_by_name_with_what_to_do(name: str) -> None:
    with pytest.raises(Quarantine) as caught:
        probe(FILES[name])
    assert caught.value.reason == Reason.UNSUPPORTED_IMAGE
    assert caught.value.detail.startswith(f"{sniff(FILES[name])}: needs tensorflow-io")
    assert "faceveil[tfio]" in caught.value.detail
    assert "docs/images.md" in caught.value.detail


@pytest.mark.parametrize("file_name", ["x", "x.hdr", "x.0001", "x.unknown"])
@pytest.mark.parametrize("name", FILES)
def test_each_counts_as_an_image_and_is_never_passed_over(tmp_path: object, name: str, file_name: str) -> None:
    path = f"{tmp_path}/{file_name}"
    storage.write_bytes(path, FILES[name])
    file = storage.stat(path)
    assert file
    assert look(file) == ("image", "")


@pytest.mark.parametrize("name", FILES)
def test_each_is_found_in_a_feature_that_nobody_named(name: str) -> None:
    assert examine([FILES[name]]).picture
    assert find(b"a header: " + FILES[name])


@pytest.mark.parametrize(
    ("mode", "kind", "channels"), [("RGB", np.uint8, 3), ("RGB;16", np.uint16, 3), ("L", np.uint8, 1)]
)
def test_what_is_written_is_a_png_with_the_profile_of_a_jpeg_2000_file(mode: str, kind: type, channels: int) -> None:
    data = in_header(JP2, box(b"colr", b"\2\0\0" + PROFILE))
    values: Values = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (61, 97, channels)).astype(kind)
    info = ImageInfo("png", 97, 61, 1, mode, hides_pixels=True, source="jpeg2000")
    written = encode_pixels(Pixels(values, mode), data, info)
    assert Image.open(io.BytesIO(written)).info["icc_profile"]
    assert np.array_equal(decode_pixels(written, probe(written)).values, values)


@given(st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_the_unit_of_light_does_not_matter(unit: float, seed: int) -> None:
    light = np.random.default_rng(seed).lognormal(size=(6, 5, 3)).astype(np.float32)
    there, here = converted.tone_mapped(light), converted.tone_mapped(light * np.float32(unit))
    assert np.abs(there.astype(int) - here.astype(int)).max() <= 1


@given(st.integers(0, 2**32 - 1))
def test_brighter_greys_stay_brighter(seed: int) -> None:
    light = np.sort(np.random.default_rng(seed).lognormal(0, 3, 64)).astype(np.float32)
    shown = converted.tone_mapped(light.reshape(8, 8, 1)).ravel()
    assert (np.diff(shown.astype(int)) >= 0).all()
    assert shown[-1] == 255


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, -np.inf, 3e38, 1e-40])
def test_any_values_become_a_picture(value: float) -> None:
    light = np.full((3, 4, 3), value, np.float32)
    assert converted.tone_mapped(light).shape == (3, 4, 3)
    light[1] = 0.5
    shown = converted.tone_mapped(light)
    assert shown.dtype == np.uint8
    if not value > 0:
        assert shown[0].max() == 0
