"""A portrait hidden in a feature in every way that we could think of; each is read back first, then has to be found."""

from __future__ import annotations

import base64
import bz2
import functools
import gzip
import io
import json
import lzma
import pickle
import quopri
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms.formats.embedded import examine
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.read import Source, load, refuse_pixels
from tests.conftest import SKIMAGE_DATA

PORTRAIT = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB").crop((150, 0, 310, 160))


@functools.cache
def encoded(image_format: str = "JPEG", size: tuple[int, int] = (80, 80)) -> bytes:
    buffer = io.BytesIO()
    PORTRAIT.resize(size).save(buffer, image_format)
    return buffer.getvalue()


def pixels(mode: str = "L", size: tuple[int, int] = (32, 32)) -> np.ndarray:
    return np.asarray(PORTRAIT.resize(size).convert(mode))


def loaded(value: Any, roles: FeatureRoles | None = None) -> Any:
    serialized = Example.empty().with_features({"image/encoded": b"1", "hidden": value})
    return load(Source("x#0", "x", serialized, 1), roles or FeatureRoles(), 2**30)[2]


def refuse(value: Any, *sizes: tuple[int, int]) -> None:
    with pytest.raises(Quarantine, match="feature hidden") as caught:
        refuse_pixels(loaded(value), sizes)
    assert caught.value.reason is Reason.EMBEDDED_IMAGE
    for option in ("--drop_features", "--allow_features"):
        assert option in caught.value.detail


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a", encoded("BMP"))
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            info = tarfile.TarInfo("a")
            info.size = len(encoded("BMP"))
            tar.addfile(info, io.BytesIO(encoded("BMP")))
    return buffer.getvalue()


def saved(values: np.ndarray, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    if compressed:
        np.savez_compressed(buffer, a=values)
    else:
        np.save(buffer, values)
    return buffer.getvalue()


def tf_example(**features: Any) -> bytes:
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    made = tf.train.Example()
    for name, values in features.items():
        getattr(made.features.feature[name], kinds[type(values[0])]).value.extend(values)
    return bytes(made.SerializeToString())


def sequence(value: bytes) -> bytes:
    made = tf.train.SequenceExample()
    made.feature_lists.feature_list["frames"].feature.add().bytes_list.value.append(value)
    return bytes(made.SerializeToString())


def in_lines(text: bytes, width: int = 76) -> bytes:
    return b"\r\n".join(text[place : place + width] for place in range(0, len(text), width))


GREY = pixels().tobytes()
# Each with what an attacker does to get the hidden bytes back.
SPELT: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "as they are": (bytes, bytes),
    "behind white space": (lambda d: b" \r\n\t" + d, lambda s: s[4:]),
    "behind a byte order mark": (lambda d: b"\xef\xbb\xbf" + d, lambda s: s[3:]),
    "behind a header": (lambda d: b"\x01\x00\x00\x00my format" + d, lambda s: s[13:]),
    "base64": (base64.b64encode, base64.b64decode),
    "base64 for URLs": (base64.urlsafe_b64encode, base64.urlsafe_b64decode),
    "base64 without its end": (lambda d: base64.b64encode(d).rstrip(b"="), lambda s: base64.b64decode(s + b"===")),
    "base64 in lines": (base64.encodebytes, base64.decodebytes),
    "base64 in short lines": (lambda d: in_lines(base64.b64encode(d), 4), base64.b64decode),
    "base64 twice": (
        lambda d: base64.b64encode(base64.b64encode(d)),
        lambda s: base64.b64decode(base64.b64decode(s)),
    ),
    "a data URI": (
        lambda d: b"data:image/jpeg;base64," + base64.b64encode(d),
        lambda s: base64.b64decode(s.partition(b",")[2]),
    ),
    "a data URI in HTML": (
        lambda d: b'<p>Anna <img alt="a" src="data:;base64,' + base64.b64encode(d) + b'"></p>',
        lambda s: base64.b64decode(s.partition(b",")[2].partition(b'"')[0]),
    ),
    "base64 in JSON": (
        lambda d: json.dumps({"id": 7, "thumb": base64.encodebytes(d).decode()}).encode(),
        lambda s: base64.b64decode(json.loads(s)["thumb"]),
    ),
    "base64 in UTF-16": (
        lambda d: base64.b64encode(d).decode().encode("utf-16"),
        lambda s: base64.b64decode(s.decode("utf-16")),
    ),
    "hexadecimal digits": (lambda d: d.hex().encode(), lambda s: bytes.fromhex(s.decode())),
    "hexadecimal digits apart": (lambda d: d.hex(" ", 2).upper().encode(), lambda s: bytes.fromhex(s.decode())),
    "percent-encoding": (lambda d: urllib.parse.quote(d).encode(), urllib.parse.unquote_to_bytes),
    "quoted-printable": (
        lambda d: in_lines("".join(f"={byte:02X}" for byte in d).encode(), 75).replace(b"\r", b"=\r"),
        quopri.decodestring,
    ),
    "base32": (base64.b32encode, base64.b32decode),
    "base85": (base64.b85encode, base64.b85decode),
    "Ascii85": (lambda d: base64.a85encode(d, adobe=True), lambda s: base64.a85decode(s, adobe=True)),
    "Latin-1 in JSON": (
        lambda d: json.dumps(d.decode("latin-1")).encode(),
        lambda s: json.loads(s).encode("latin-1"),
    ),
    "Python's literal": (lambda d: repr(d).encode(), lambda s: eval(s)),  # noqa: S307  our own
    "UTF-8 of Latin-1": (lambda d: d.decode("latin-1").encode(), lambda s: s.decode().encode("latin-1")),
    "numbers in JSON": (lambda d: json.dumps(list(d)).encode(), lambda s: bytes(json.loads(s))),
    "16-bit units": (lambda d: np.frombuffer(d, np.uint8).astype("<u2").tobytes(), lambda s: s[::2]),
    "an Example": (lambda d: tf_example(a=[d]), lambda s: value_of(s)),
    "an Example in an Example": (
        lambda d: tf_example(a=[tf_example(a=[base64.b64encode(d), b"y"]), b"x"]),
        lambda s: base64.b64decode(value_of(value_of(s))),
    ),
    "a SequenceExample": (
        sequence,
        lambda s: (
            tf.train.SequenceExample.FromString(s).feature_lists.feature_list["frames"].feature[0].bytes_list.value[0]
        ),
    ),
    "a tensor": (
        lambda d: tf.io.serialize_tensor(tf.constant([d])).numpy(),
        lambda s: tf.io.parse_tensor(s, tf.string).numpy()[0],
    ),
    "a pickle": (pickle.dumps, pickle.loads),
}


def value_of(serialized: bytes) -> bytes:
    value: bytes = tf.train.Example.FromString(serialized).features.feature["a"].bytes_list.value[0]
    return value


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
def test_an_image_file_is_found_as_it_is_and_behind_a_header(image_format: str) -> None:
    refuse([encoded(image_format)])
    refuse([b"header: " + encoded(image_format)])
    refuse([base64.b64encode(encoded(image_format))])


@pytest.mark.parametrize("spelling", SPELT)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_an_image_file_is_found_however_it_is_spelt(image_format: str, spelling: str) -> None:
    spell, read_back = SPELT[spelling]
    data = encoded(image_format)
    spelt = spell(data)
    assert read_back(spelt) == data
    refuse([spelt])
    refuse([b"a label", spelt])


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, bz2.compress, lzma.compress])
def test_compressed_data_may_hold_an_image(compress: Callable[[bytes], bytes]) -> None:
    refuse([compress(encoded("BMP"))])
    refuse([base64.b64encode(compress(GREY))])
    refuse([compress(bytes(100_000))])


@pytest.mark.parametrize(
    "value",
    [
        archive("zip"),
        archive("tar"),
        saved(pixels("RGB")),
        saved(pixels("RGB"), compressed=True),
        b"<?xml version='1.0'?><svg width='9'><path d='M0 0'/></svg>",
        b"\xef\xbb\xbf <s:svg xmlns:s='http://www.w3.org/2000/svg'><s:circle r='9'/></s:svg>",
        b"%PDF-1.7\n" + bytes(40),
        b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01" + bytes(40),
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(40),
        b"RIFF\x40\0\0\0AVI LIST" + bytes(40),
        b"header " + b"RIFF\x40\0\0\0AVI LIST" + bytes(40),
    ],
)
def test_what_may_hold_pictures_holds_a_record_back(value: bytes) -> None:
    refuse([value])


def test_an_image_in_pieces_is_found() -> None:
    data = encoded("PNG")
    refuse([data[place : place + 5] for place in range(0, len(data), 5)])
    refuse([bytes([value]) for value in data])
    refuse([str(value).encode() for value in data])
    text = base64.b64encode(data)
    refuse([text[place : place + 60] for place in range(0, len(text), 60)])


@pytest.mark.parametrize("kind", [int, float])
def test_numbers_that_are_the_bytes_of_an_image_are_found(kind: type) -> None:
    data = encoded("PNG")
    refuse([kind(value) for value in data])
    refuse([kind(value) - 256 * (value > 127) for value in data])


@pytest.mark.parametrize("kind", ["<i8", ">i8", "<u4", ">u4", "<i4", "<u2", ">i2"])
def test_several_bytes_of_an_image_in_every_number_are_found(kind: str) -> None:
    data = encoded("JPEG")
    refuse(np.frombuffer(data[: len(data) // 8 * 8], kind).tolist())
    refuse(np.frombuffer(pixels("RGBA").tobytes(), kind).tolist())


def test_the_bits_of_an_image_are_found() -> None:
    data = encoded("JPEG")
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    refuse(bits.tolist())
    refuse(bits.astype(float).tolist())
    floats = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
    serialized = tf.train.Feature(float_list=tf.train.FloatList(value=floats)).SerializeToString()
    assert data[400:500] in serialized
    refuse(floats.tolist())


def test_what_is_wrapped_too_often_is_held_back() -> None:
    data = encoded("JPEG", (24, 24))
    for _ in range(9):
        data = base64.b64encode(data)
        refuse([data])


def test_the_name_of_a_feature_cannot_spell_an_image() -> None:
    name = base64.b64encode(encoded()).decode()
    serialized = Example.empty().with_features({"image/encoded": b"1", name: [1]})
    with pytest.raises(Quarantine, match="embedded_image: the name of a feature holds an image: /9j/"):
        load(Source("x#0", "x", serialized, 1), FeatureRoles(), 2**30)


def test_a_long_name_of_words_is_a_name() -> None:
    name = "what the person who labelled this image has written about it/" * 4
    serialized = Example.empty().with_features({"image/encoded": b"1", name: [1]})
    assert load(Source("x#0", "x", serialized, 1), FeatureRoles(), 2**30)[0] == (b"1",)


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize(("mode", "size"), [("L", (32, 32)), ("RGB", (32, 32)), ("RGBA", (40, 30)), ("L", (300, 200))])
def test_rows_of_pixels_are_found_whatever_their_type(mode: str, size: tuple[int, int], kind: str) -> None:
    values = pixels(mode, size).astype(kind) * (257 if kind.endswith("u2") else 1)
    if "f" in kind:
        values = (values / 255).astype(kind)
    for found in ([values.tobytes()], [b"header of mine\0\0" + values.tobytes()], [row.tobytes() for row in values]):
        refuse(found)
    refuse([np.moveaxis(np.atleast_3d(values), 2, 0).tobytes()])
    refuse([base64.b64encode(values.tobytes())])
    refuse([tf.io.serialize_tensor(tf.constant(pixels(mode, size))).numpy()])


def test_pixels_among_numbers_are_found() -> None:
    grey = pixels("L", (40, 30)).ravel()
    refuse(grey.tolist())
    refuse((grey / 255).tolist())
    refuse(((grey - 120.0) / 60).tolist())
    refuse([tf_example(a=grey.tolist())])
    refuse([tf_example(a=(grey / 255).tolist())])
    refuse([" ".join(map(str, grey.tolist())).encode()])
    refuse([json.dumps(pixels("RGB").tolist()).encode()])


@pytest.mark.parametrize(("width", "height"), [(97, 61), (61, 97), (160, 120), (33, 35)])
def test_as_many_values_as_pixels_quarantine_a_record_until_they_are_allowed(width: int, height: int) -> None:
    noise = np.random.default_rng(0)
    for divisor in (1, 2, 4, 8):
        for columns, rows in ((width // divisor, height // divisor), (-(-width // divisor), -(-height // divisor))):
            if columns * rows < 256:
                continue
            for channels in (1, 3, 4):
                count = columns * rows * channels
                refuse(noise.normal(size=count).tolist(), (9, 9), (width, height))
                refuse(noise.integers(-(2**40), 2**40, count).tolist(), (width, height))
                for element in (1, 2, 4, 8):
                    refuse([noise.bytes(count * element)], (width, height))
    mask = noise.integers(0, 2, width * height, np.uint8).tobytes()
    refuse([mask], (width, height))
    refuse([base64.b64encode(mask)], (width, height))
    refuse([bytes([value]) for value in mask], (width, height))
    refuse_pixels(loaded([mask], FeatureRoles(allowed=("hidden",))), [(width, height)])
    refuse_pixels(loaded([mask], FeatureRoles(dropped=("hidden",))), [(width, height)])
    refuse_pixels(loaded([mask], FeatureRoles(strict=True)), [(width, height)])
    if width > 100:  # else nearly every number is one of a reduction's
        refuse_pixels(loaded([noise.bytes(width * height + 1)]), [(width, height)])


def sha_like(rng: np.random.Generator) -> list[list[bytes]]:
    return [[rng.bytes(size)] for size in (16, 20, 32, 64)] + [
        [rng.bytes(size).hex().encode()] for size in (16, 20, 64)
    ]


@pytest.mark.parametrize("spelling", [{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])
@pytest.mark.parametrize("folder", ["people", "Zo\u00eb & Jos\u00e9", "\u4eba\u7269", "\u0443\u043b\u0438\u0446\u0430"])
def test_lines_of_labels_pass_whatever_language_names_are_in(folder: str, spelling: dict[str, Any]) -> None:
    chance = np.random.default_rng(0)
    images = [{"id": n, "file_name": f"{folder}/{n:04d}.jpg", "width": 1024, "height": 683} for n in range(250)]
    boxes = [[float(side) for side in chance.integers(8, 700, 4)] for _ in range(1500)]
    faces = [
        {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "id": n, "image_id": n // 6} for n, box in enumerate(boxes)
    ]
    text = json.dumps({"images": images, "annotations": faces}, **spelling)
    assert examine([text.encode()]).picture is None


def test_ordinary_features_pass() -> None:
    rng = np.random.default_rng(0)
    prose = (SKIMAGE_DATA.parent / "__init__.py").read_text().split()
    beginnings = ["BM", "GIF89", "P6", "RIFF", "DDS", "II*", "FORM"]
    words = [*prose, *beginnings]
    for _ in range(20):
        ordinary: list[Any] = [
            *sha_like(rng),
            [rng.bytes(int(size))] if (size := rng.integers(1, 900)) else [],
            [b"n02084071"],
            [" ".join(rng.choice(words, 200)).encode()],
            [f"{word} {' '.join(rng.choice(words, 40))}".encode() for word in beginnings],
            [word.encode() for word in rng.choice(words, 100)],
            "Ein Mädchen läuft über die Straße. " * 40,
            "女の子が走っている。" * 40,
            [
                json.dumps(
                    {"bbox": rng.uniform(0, 600, 4).tolist(), "polygon": rng.uniform(0, 600, 90).tolist()}
                ).encode()
            ],
            ["POLYGON((" + ", ".join(f"{x:.3f} {y:.3f}" for x, y in rng.uniform(0, 600, (90, 2))) + "))"],
            rng.normal(size=1024).tolist(),
            rng.normal(size=2048).tolist(),
            [rng.normal(size=2048).astype(np.float32).tobytes()],
            np.maximum(rng.normal(size=2048), 0).tolist(),
            np.eye(1000)[rng.integers(1000)].tolist(),
            np.cumsum(rng.integers(1, 40, 1500)).tolist(),
            rng.uniform(0, 1, (300, 4)).ravel().tolist(),
            list(range(2000)),
            [0] * 5000,
            [bytes(5000)],
        ]
        for value in ordinary:
            if isinstance(value, str):
                value = [value]
            if isinstance(value, list) and isinstance(value[0], str):
                value = [text.encode() for text in value]
            refuse_pixels(loaded(value), [(1024, 683)])
