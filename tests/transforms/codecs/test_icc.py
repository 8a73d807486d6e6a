"""ICC profiles: colours stay, and nothing that hides beside them."""

import hashlib
import io
import struct
import warnings
import zlib
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from faceveil.transforms.codecs import decode_for_detection, decode_pixels, encode_pixels, icc, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine
from tests.conftest import SHARED_DATA, SKIMAGE_DATA
from tests.transforms.codecs.samples import encode, picture

HIDDEN = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB")
# A thumbnail of seven kilobytes, less what all JPEGs begin with.
PAYLOAD = encode(HIDDEN.resize((200, 200)), "JPEG", quality=75).partition(b"\xff\xda")[2][12:]
PIECE = 6
Space = Literal["sRGB", "LAB", "XYZ"]


def made(name: Space) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


SRGB = made("sRGB")


def found_profiles() -> dict[str, bytes]:
    """The profiles of all images there are, each once."""
    paths = [path for path in SKIMAGE_DATA.iterdir() if path.suffix in (".png", ".jpg")]
    if (SHARED_DATA / "tricky").exists():
        paths += [
            path
            for path in (SHARED_DATA / "tricky").rglob("*")
            if path.suffix in (".png", ".jpg", ".tif", ".tiff", ".avif")
        ]
    found: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(paths):
            try:
                with Image.open(path) as image:
                    profile = image.info.get("icc_profile")
            except Exception:  # noqa: BLE001, S112  some are broken
                continue
            if profile and profile not in found.values():
                found[path.name] = profile
    return found | {"sRGB": made("sRGB"), "LAB": made("LAB"), "XYZ": made("XYZ")}


PROFILES = found_profiles()
WITH_PRIVATE_TAGS = {"Tless0.tiff", "Crémieux11.tiff", "DudleyLeavittUtah.tiff", "BSG1.tiff", "color.png"}
BROKEN = {"crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif"}


def tags(profile: bytes) -> dict[bytes, bytes]:
    """Each tag with its element: an own reader."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count))
    return {tag: profile[start : start + length] for tag, start, length in entries}


def profile(elements: dict[bytes, bytes], header: bytes = SRGB) -> bytes:
    """A profile of these tags."""
    table, body = struct.pack(">I", len(elements)), b""
    for tag, element in elements.items():
        table += tag + struct.pack(">II", 132 + 12 * len(elements) + len(body), len(element))
        body += element + bytes(-len(element) % 4)
    return struct.pack(">I", 128 + len(table) + len(body)) + header[4:128] + table + body


def colours(profile: bytes, intent: int) -> np.ndarray:
    """What littlecms makes of some colours, in sRGB."""
    mode = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}[profile[16:20]]
    values = np.asarray(picture("CMYK" if mode == "CMYK" else "L" if mode == "L" else "RGB"))
    image = Image.frombytes(mode, (97, 61), values.tobytes())
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(
        ImageCms.profileToProfile(
            image, opened, ImageCms.createProfile("sRGB"), ImageCms.Intent(intent), outputMode="RGB"
        )
    )


def holds_payload(data: bytes) -> bool:
    pieces = {PAYLOAD[at : at + PIECE] for at in range(len(PAYLOAD) - PIECE)}
    return any(data[at : at + PIECE] in pieces for at in range(len(data)))


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_real_profiles_transform_colours_as_before(name: str) -> None:
    before = PROFILES[name]
    after = icc.clean(before)
    if name in BROKEN:
        assert after == b""
        return
    assert (after == before) == (name not in WITH_PRIVATE_TAGS)
    assert icc.clean(after) == after
    if before[16:20] != b"XYZ ":
        for intent in range(4):
            np.testing.assert_array_equal(colours(after, intent), colours(before, intent))


@pytest.mark.parametrize("name", ["sRGB", "LAB"])
def test_a_profile_that_had_to_be_cleaned_transforms_colours_as_before(name: Space) -> None:
    dirty = profile({**tags(made(name)), b"prIv": PAYLOAD}, made(name))
    clean = icc.clean(dirty)
    assert tags(clean).keys() == tags(made(name)).keys()
    for intent in range(4):
        np.testing.assert_array_equal(colours(clean, intent), colours(dirty, intent))


TEXT = PAYLOAD[:6000]
UTF_16 = "".join(chr(0x4E00 + byte) for byte in TEXT[:3000]).encode("utf-16-be")
LATIN = TEXT.hex().encode()


def described(text: bytes, unicode_text: bytes = b"", script: bytes = b"") -> bytes:
    return (
        b"desc" + struct.pack(">II", 0, len(text) + 1) + text + b"\0"
        + struct.pack(">II", 0, len(unicode_text) // 2) + unicode_text
        + struct.pack(">HB", 0, min(len(script), 67)) + script.ljust(67, b"\0")
    )  # fmt: skip


def localised(*texts: bytes) -> bytes:
    records, start = b"", 16 + 12 * len(texts)
    for number, text in enumerate(texts):
        records += b"en" + bytes((65 + number // 26, 65 + number % 26)) + struct.pack(">II", len(text), start)
        start += len(text)
    return b"mluc" + struct.pack(">III", 0, len(texts), 12) + records + b"".join(texts)


OTHER = {
    "a private tag": {b"prIv": b"data" + bytes(4) + PAYLOAD},
    "a private tag of a known type": {b"prIv": b"curv" + struct.pack(">II", 0, 3000) + PAYLOAD[:6000]},
    "a known tag of a private type": {b"wtpt": b"prIv" + bytes(4) + PAYLOAD},
    "a calibration of a video card": {b"vcgt": b"vcgt" + bytes(4) + PAYLOAD},
    "a target": {b"targ": b"text" + bytes(4) + LATIN},
    "a long text": {b"cprt": b"text" + bytes(4) + LATIN},
    "a text that is not printable": {b"cprt": b"text" + bytes(4) + TEXT},
    "a long description": {b"desc": described(LATIN)},
    "a long description in Unicode": {b"desc": described(b"sRGB", UTF_16)},
    "a description longer than its counts": {b"desc": described(b"sRGB") + PAYLOAD},
    "a description for a Macintosh behind its count": {b"desc": described(b"sRGB")[:-67] + PAYLOAD[:67]},
    "a long text in one language": {b"desc": localised(UTF_16)},
    "a text in many languages": {b"desc": localised(*[UTF_16[at : at + 60] for at in range(0, 6000, 60)])},
    "a text in a language, and bytes behind it": {b"desc": localised("sRGB".encode("utf-16-be")) + PAYLOAD},
    "a white point of many colours": {b"wtpt": b"XYZ " + bytes(4) + PAYLOAD[:6000]},
    "a curve that is none": {b"rTRC": b"curv" + struct.pack(">II", 0, 3000) + PAYLOAD[:6000]},
    "a curve shorter than its element": {b"rTRC": b"curv" + struct.pack(">IIH", 0, 1, 0x200) + PAYLOAD},
    "a curve of another colour space": {b"kTRC": b"curv" + struct.pack(">II", 0, 3000) + PAYLOAD[:6000]},
    "parameters without a meaning": {b"rTRC": b"para" + struct.pack(">IHHI", 0, 0, 0, 0x20000) + PAYLOAD},
    "a table of noise": {b"A2B0": b"mft2" + bytes(4) + bytes((3, 3, 9, 0)) + bytes(36) + struct.pack(">HH", 2, 2)
                         + bytes(12) + (PAYLOAD * 2)[: 2 * 3 * 729] + bytes(12)},
    "a table of another number of channels": {b"B2A0": b"mft1" + bytes(4) + b"\1\1\2\0" + bytes(36) + PAYLOAD[:514]},
    "reserved bytes": {b"chad": b"sf32" + PAYLOAD[:4] + bytes(36)},
}  # fmt: skip


def laden_profiles() -> dict[str, bytes]:
    laden = {name: profile({**tags(SRGB), **other}) for name, other in OTHER.items()}
    gap = bytearray(profile({**tags(SRGB), b"prIv": PAYLOAD}))
    entry = gap.index(b"prIv")
    gap[entry + 4 : entry + 12] = struct.pack(">II", 132, 0)
    return laden | {
        "no profile at all": PAYLOAD,
        "a header alone": struct.pack(">I", 132 + len(PAYLOAD)) + SRGB[4:128] + bytes(4) + PAYLOAD,
        "bytes behind the end": SRGB + PAYLOAD,
        "bytes behind the last element": struct.pack(">I", len(SRGB) + len(PAYLOAD)) + SRGB[4:] + PAYLOAD,
        "a gap": bytes(gap),
        "a link": profile(tags(SRGB), SRGB[:12] + b"link" + SRGB[16:]) + PAYLOAD,
        "reserved bytes of the header": SRGB[:100] + PAYLOAD[:28] + SRGB[128:],
        "attributes": SRGB[:56] + PAYLOAD[:8] + SRGB[64:],
        "many empty tags": profile({**tags(SRGB), **{PAYLOAD[at : at + 4]: b"" for at in range(0, 200, 4)}}),
    }


LADEN = laden_profiles()


@pytest.mark.parametrize("name", LADEN)
def test_nothing_is_left_of_what_hides_in_a_profile(name: str) -> None:
    clean = icc.clean(LADEN[name])
    assert not holds_payload(clean)
    assert LATIN[:200] not in clean or len(clean) < len(SRGB) + 500
    assert len(clean) < len(SRGB) + 500
    if clean:
        if name != "a table of noise":  # which colours went through
            np.testing.assert_array_equal(colours(clean, 0), colours(LADEN[name], 0))
        assert icc.clean(clean) == clean


def gif(data: bytes) -> bytes:
    pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
    block = b"\x21\xff\x0bICCRGBG1012" + b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"
    plain = encode(picture().quantize(16), "GIF")
    start = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    return b"GIF89a" + plain[6:start] + block + plain[start:]


def bmp(data: bytes) -> bytes:
    plain = encode(picture(), "BMP")
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<IIII", 4, 124 + len(plain) - 54, len(data), 0)
    size = 14 + 124 + len(plain) - 54 + len(data)
    return b"BM" + struct.pack("<III", size, 0, 138) + header + plain[54:] + data


SIXTEEN_BITS = Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100))
CONTAINERS = {
    "JPEG": lambda profile: encode(picture(), "JPEG", icc_profile=profile),
    "PNG": lambda profile: encode(picture(), "PNG", icc_profile=profile),
    "PNG of 16 bits": lambda profile: encode(SIXTEEN_BITS, "PNG", icc_profile=profile),
    "WebP": lambda profile: encode(picture(), "WEBP", icc_profile=profile),
    "TIFF": lambda profile: encode(picture(), "TIFF", icc_profile=profile),
    "AVIF": lambda profile: encode(picture(), "AVIF", icc_profile=profile),
    "GIF": gif,
    "BMP": bmp,
}  # fmt: skip
every_container = pytest.mark.parametrize("container", CONTAINERS)


def outputs(data: bytes) -> list[bytes]:
    """What the job writes of it, without and with a face."""
    info = probe(data)
    decode_for_detection(data, info, 64)
    return [strip_metadata(data, info), encode_pixels(decode_pixels(data, info), data, info)]


def profile_in(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "BMP":
            start, size = struct.unpack_from("<II", data, 14 + 112)
            return data[14 + start : 14 + start + size] if data[70:74] == b"DEBM" else b""
        found = image.info.get("icc_profile") or b""
        if image.format == "GIF":  # Pillow hands out the sizes of the blocks with them
            at = data.find(b"ICCRGBG1012")
            found, at = b"", at + 11
            while at > 10 and data[at]:
                found += data[at + 1 : at + 1 + data[at]]
                at += 1 + data[at]
        return found


@every_container
def test_an_ordinary_profile_stays_as_it_is(container: str) -> None:
    for name in ("sRGB", *[name for name in PROFILES if name not in WITH_PRIVATE_TAGS | BROKEN and name != "XYZ"][:3]):
        ordinary = PROFILES[name]
        if ordinary[16:20] == b"RGB ":
            data = CONTAINERS[container](ordinary)
            for written in outputs(data):
                assert profile_in(written) == ordinary
            if container not in ("AVIF", "TIFF"):  # whose boxes and directories are always written anew
                assert strip_metadata(data, probe(data)) == data


@every_container
@pytest.mark.parametrize("name", ["no profile at all", "a private tag", "bytes behind the end", "a long text", "a gap"])
def test_a_profile_is_cleaned_in_every_format(container: str, name: str) -> None:
    data = CONTAINERS[container](LADEN[name])
    assert holds_payload(data) or container.startswith("PNG") or name == "a long text"
    for written in outputs(data):
        assert profile_in(written) == icc.clean(LADEN[name])
        assert not holds_payload(written)
        assert not holds_payload(unpacked(written))
        assert LATIN[200:260] not in written


def unpacked(data: bytes) -> bytes:
    at = data.find(b"iCCP")
    return zlib.decompress(data[data.index(b"\0", at + 4) + 2 :]) if at > 0 else b""


def png_with_chunk(content: bytes) -> bytes:
    plain = encode(picture(), "PNG")
    chunk = struct.pack(">I", len(content)) + b"iCCP" + content + struct.pack(">I", zlib.crc32(b"iCCP" + content))
    return plain[:33] + chunk + plain[33:]


def test_a_png_chunk_holds_a_profile_and_nothing_else() -> None:
    packed = zlib.compress(SRGB)
    for content in (
        b"sRGB\0\0" + packed + PAYLOAD,
        PAYLOAD[:79].replace(b"\0", b"\1") + b"\0\0" + packed,
        b"sRGB\0\0" + zlib.compress(SRGB, 0) + PAYLOAD,
        b"sRGB\0\0" + PAYLOAD,
        b"sRGB\0\7" + packed,
    ):
        data = png_with_chunk(content)
        try:
            written = strip_metadata(data, probe(data))
        except Quarantine:
            continue
        assert not holds_payload(written)
        assert unpacked(written) in (SRGB, b"")
    # Empty blocks say nothing to a reader, and their unused bits anything.
    stored = packed[:2] + b"\xf8\0\0\xff\xff" * 2000 + packed[2:]
    assert zlib.decompress(stored) == SRGB
    data = png_with_chunk(b"sRGB\0\0" + stored)
    assert len(strip_metadata(data, probe(data))) < len(data) - 9000
    # A second chunk of the kind.
    twice = png_with_chunk(b"sRGB\0\0" + packed)
    at = twice.index(b"iCCP") - 4
    end = at + 12 + 6 + len(packed)
    twice = twice[:end] + twice[at:end] * 3 + twice[end:]
    assert strip_metadata(twice, probe(twice)).count(b"iCCP") == 1


def test_the_two_constants_are_those_of_macos() -> None:
    for digest in icc._CONSTANTS:
        for profile in PROFILES.values():
            if hashlib.sha256(profile).hexdigest() == digest:
                assert tags(profile).keys() == {
                    *(b"desc", b"dscm", b"cprt", b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"chad")
                }
                assert b"Generic RGB Profile" in profile


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_mutated_profiles_are_cleaned_once_and_for_all(data: st.DataObject) -> None:
    mutated = bytearray(data.draw(st.sampled_from(sorted(PROFILES.values()))))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated) - 1))
        mutated[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        if not mutated:
            break
    clean = icc.clean(bytes(mutated))
    assert icc.clean(clean) == clean
    assert len(clean) <= len(mutated) + 400
