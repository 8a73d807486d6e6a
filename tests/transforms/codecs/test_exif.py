import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import TAGS
from PIL.TiffImagePlugin import IFDRational

from faceveil.transforms.codecs import decode_pixels, encode_pixels, probe, strip_metadata, tiff
from faceveil.transforms.codecs.exif import exif_to_write
from faceveil.transforms.kept_exif import KEEPABLE
from tests.transforms.codecs.samples import GPS_IFD, encode, picture

EXIF_IFD, DATE, EXPOSURE_TIME, ISO = 0x8769, 0x9003, 0x829A, 0x8827
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]


def tags(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif.endian = "<"  # as the TIFFs that Pillow writes
    exif.update({0x0112: orientation, 0x010F: "Secret Camera", 0x0132: "2024:05:06 07:08:09", 0x9C9B: b"s\0e\0"})
    exif.get_ifd(GPS_IFD)[2] = (52.0, 31.0, 12.0)
    own = {
        DATE: "2023:01:02 03:04:05",
        0x9291: "12",
        EXPOSURE_TIME: IFDRational(1, 250),
        ISO: 200,
        0x829D: IFDRational(28, 10),
    }
    private = {0xA431: "serial 123", 0x927C: b"MakerNote", 0x9286: b"somebody", 0xA420: "id"}
    exif.get_ifd(EXIF_IFD).update({**own, **private})
    return exif


# Tags of TIFF's that say how the pixels are stored.
STRUCTURE = {*range(254, 283), 283, 284, 296, 317, 339} - {0x0112}


def kept(data: bytes) -> dict[int, object]:
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        found = {**exif, **exif.get_ifd(EXIF_IFD)}
    return {tag: value for tag, value in found.items() if tag not in STRUCTURE | {EXIF_IFD}}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("keep", [(), ("dates",), ("exposure",), ("dates", "exposure")])
def test_only_what_is_asked_for_is_kept(image_format: str, keep: tuple[str, ...], orientation: int) -> None:
    data = encode(picture(), image_format, exif=tags(orientation))
    if image_format == "TIFF":  # into which Pillow does not write them all
        data = tiff.strip(data, tags(orientation).tobytes().removeprefix(b"Exif\0\0"))
    assert b"MakerNote" in data
    info = probe(data, keep)
    dates: dict[int, object] = {0x0132: "2024:05:06 07:08:09", DATE: "2023:01:02 03:04:05", 0x9291: "12"}
    exposure: dict[int, object] = {EXPOSURE_TIME: 0.004, ISO: 200, 0x829D: 2.8}
    expected: dict[int, object] = {0x0112: orientation} if orientation != 1 else {}
    expected |= (dates if "dates" in keep else {}) | (exposure if "exposure" in keep else {})
    for written in (strip_metadata(data, info), encode_pixels(decode_pixels(data, info), data, info)):
        found = kept(written)
        if orientation == 1:
            found.pop(0x0112, None)  # TIFF may have it
        assert found == expected
        assert not [secret for secret in (b"Secret", b"serial", b"MakerNote", b"somebody") if secret in written]
        assert probe(written, keep) == info
        assert strip_metadata(written, info) is written


def test_a_date_that_is_a_text_goes() -> None:
    exif = Image.Exif()
    exif[0x0132] = "Jane Doe, at home"
    exif.get_ifd(EXIF_IFD).update({DATE: "2023:01:02 03:04:05 and a long story", ISO: b"somebody", 0x829D: (1.0,) * 9})
    assert exif_to_write(exif.tobytes(), 1, tuple(KEEPABLE)) == b""


STARTS = [b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0II*\0"]


@given(noise=st.binary(max_size=80), start=st.sampled_from(STARTS))
def test_damaged_exif_is_as_good_as_none_or_is_read(noise: bytes, start: bytes) -> None:
    written = exif_to_write(start + noise, 6, tuple(KEEPABLE))
    read_again = Image.Exif()
    read_again.load(written)
    assert read_again[0x0112] == 6


DATES = {
    **{"DateTimeOriginal": 0x9003, "DateTimeDigitized": 0x9004, "DateTime": 0x0132},
    **{"OffsetTime": 0x9010, "OffsetTimeOriginal": 0x9011, "OffsetTimeDigitized": 0x9012},
    **{"SubsecTime": 0x9290, "SubsecTimeOriginal": 0x9291, "SubsecTimeDigitized": 0x9292},
}
EXPOSURE = (
    *("ExposureTime", "FNumber", "ExposureProgram", "ISOSpeedRatings", "SensitivityType", "StandardOutputSensitivity"),
    *("RecommendedExposureIndex", "ShutterSpeedValue", "ApertureValue", "BrightnessValue", "ExposureBiasValue"),
    *("MaxApertureValue", "MeteringMode", "LightSource", "Flash", "FocalLength", "ExposureMode", "WhiteBalance"),
    *("DigitalZoomRatio", "FocalLengthIn35mmFilm", "SceneCaptureType"),
)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("group", sorted(KEEPABLE))
def test_each_tag_of_a_group_is_kept_by_its_name_and_no_other(group: str, orientation: int, order: str) -> None:
    """Every numeric tag that Pillow knows by name is in the original; TAGS is its list of Exif's names."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x0132] = "2024:05:06 07:08:09"
    own = exif.get_ifd(EXIF_IFD)
    numbers = {number for name, number in DATES.items() if name != "DateTime"}
    own.update({number: "12" if "Sub" in name else "2024:05:06" for name, number in DATES.items() if number in numbers})
    own.update({number: 7 for number, name in TAGS.items() if number >= 0x829A and number not in numbers})
    written = exif_to_write(exif.tobytes(), orientation, [group])
    found = Image.Exif()
    found.load(b"Exif\0\0" + written)
    names = {TAGS[tag] for tag in {**found, **found.get_ifd(EXIF_IFD)} if tag != EXIF_IFD}
    expected = set(DATES) if group == "dates" else set(EXPOSURE)
    assert names == expected | ({"Orientation"} if orientation != 1 else set())
    assert found.get(0x0112, 1) == orientation


@pytest.mark.parametrize(
    ("tag", "value", "stays"),
    [
        (0x829D, (1, 2), True),
        (0x829D, (1, 2, 3), False),
        (0x9204, IFDRational(-1, 3), True),
        (DATE, "2023:01:02 03:04:05", True),
        (DATE, "2023:01:02 03:04:05 ", False),
        (DATE, "x", False),
        (0x9291, "123456789012345678", True),
    ],
)
def test_what_may_hold_more_than_a_number_or_a_date_goes(tag: int, value: object, stays: bool) -> None:
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[tag] = value
    assert bool(exif_to_write(exif.tobytes(), 1, tuple(KEEPABLE))) is stays
