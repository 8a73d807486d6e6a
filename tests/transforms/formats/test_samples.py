"""Samples in tars: read back by `tarfile` with WebDataset's own rule for keys, whatever the names."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.sample_tars import end_of_tar, write_member
from faceveil.transforms.formats.samples import (
    example_of_sample,
    file_sample_name,
    sample_of,
    spelt_key,
)
from faceveil.transforms.quarantine import Quarantine
from tests.conftest import noise_image
from tests.test_example_features import png

# As webdataset 1.0 has it, in tariterators.py.
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
_PASSED_OVER = re.compile(r"__[^/]*__($|/)")
ODD = [
    "a.b.jpg",
    ".jpg",
    "a/.hidden.png",
    "../up.jpg",
    "/root.jpg",
    "a//b.jpg",
    "a/",
    "__x__/1.jpg",
    "__x__.jpg",
    "%2E.jpg",
]
ODD += [
    "caf\u00e9/\U0001f600.png",
    "line\nbreak.jpg",
    "v1.2/x.jpg",
    ".",
    "..",
    "a/..",
    "00001-000002.jpg",
    "a b~2.JPG",
    "x" * 300,
]


def members(sample: bytes) -> dict[str, bytes]:
    example = Example.parse(sample)
    return {name: b"".join(example.bytes_values(name) or ()) for name in example.names()}


def made(features: dict[str, Any], images: tuple[str, ...] = ("image/encoded",), **more: Any) -> dict[str, bytes]:
    example = Example.parse(Example.empty().with_features(features))
    return members(sample_of(example, images, more.pop("columns", {}), **more))


def check_key(name: str) -> None:
    tar = io.BytesIO(write_member(f"{name}.jpg", b"1") + end_of_tar(1024))
    with tarfile.open(fileobj=tar) as opened:
        [info] = opened
    match = _KEY.match(info.name)
    assert match is not None
    assert match.groups() == (name, "jpg")
    assert not _PASSED_OVER.match(info.name)
    assert not info.name.startswith("/")
    assert not {"", ".", ".."} & set(info.name.split("/"))


@pytest.mark.parametrize("key", ODD)
def test_the_key_of_a_file_survives_whatever_it_is(key: str) -> None:
    name = file_sample_name(key)
    check_key(name)
    assert unquote(name) in (key, key.rpartition(".")[0])


@given(st.text("./_%-~a \n\0\u00e9\U0001f6000", min_size=1, max_size=12))
def test_the_key_of_any_file_survives(key: str) -> None:
    check_key(file_sample_name(key))
    assert key.startswith(unquote(file_sample_name(key)))


@given(st.binary(min_size=1, max_size=30).filter(lambda key: b"\0" not in key))
def test_the_key_of_any_sample_can_be_written(key: bytes) -> None:
    check_key(spelt_key(key.decode("utf-8", "surrogateescape")))


def test_keys_of_samples_stay_as_they_are_where_readers_take_them_for_keys() -> None:
    for key in ("0001", "set/0001", "v1.2/a%2Eb", "anna~2"):
        assert spelt_key(key) == key


def test_members_of_a_tar_stay_and_what_the_job_says_is_told_beside_them() -> None:
    picture = png(noise_image(8, 8))
    features = {"__key__": b"set/1", "cls": b"7", "json": b"{}", "seg.npy": b"\x93", "image/encoded": picture}
    found = made({**features, "image/face/count": [0]}, columns={"image/face/count": "int64"})
    assert found == {
        **{"__key__": b"set/1", "cls": b"7", "json": b"{}", "seg.npy": b"\x93", "png": picture},
        "faces.json": b'{"image/face/count": 0}',
    }


def test_a_sample_with_members_of_both_names_is_refused_rather_than_losing_one() -> None:
    features = {"json": b"{}", "faces.json": b"[]", "image/encoded": png(noise_image(8, 8))}
    assert made(features)["faces.json"] == b"[]"  # where nothing else is told
    with pytest.raises(Quarantine, match="leave no name"):
        made({**features, "image/face/count": [0]}, columns={"image/face/count": "int64"})


def test_other_features_are_told_in_json() -> None:
    features = {"image/class/label": [3], "image/source": b"\xc3\xa9", "weights": [0.5, 2.0], "none": [], "Cap": b"x"}
    picture = png(noise_image(8, 8))
    found = made({**features, "image/encoded": picture}, columns={"weights": "list<float>", "Cap": "string"})
    told = json.loads(found.pop("json"))
    assert told == {"image/class/label": [3], "image/source": ["\u00e9"], "weights": [0.5, 2.0], "none": [], "Cap": "x"}
    assert found == {"png": picture}


def test_each_image_is_a_member_that_ends_as_its_format_says() -> None:
    one, two = png(noise_image(8, 8)), b"P6\n1 1\n255\n\0\0\0"
    assert made({"left": one, "right": two}, ("left", "right")) == {"png": one, "right.ppm": two}
    assert made({"left.png": one, "right.jpg": two}, ("left.png", "right.jpg")) == {"left.png": one, "right.jpg": two}
    assert made({"frames": [one, two]}, ("frames",)) == {"0.png": one, "1.ppm": two}
    assert made({"a/b": one, "c": [two, one]}, ("a/b", "c")) == {"png": one, "c.0.ppm": two, "c.1.png": one}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"image/mask": b"\xff"}, "feature image/mask holds bytes that are no text, which JSON cannot hold"),
        ({"png": b"7"}, "two members of the sample would be called png"),
    ],
)
def test_what_has_no_place_is_refused(features: dict[str, Any], said: str) -> None:
    with pytest.raises(Quarantine) as refusal:
        made({**features, "image/encoded": png(noise_image(8, 8))})
    assert said in refusal.value.detail


_NAMES = st.sampled_from(["label", "image/source", "cls", "Cap", "seg.npy", "image/face/bbox/xmin", "weights", "none"])
_TEXTS = st.text('a1 \u00e9\n"', max_size=3)
_VALUES = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(lambda values: np.array(values, np.int64)),
    st.lists(st.floats(width=32), max_size=3).map(lambda values: np.array(values, np.float32)),
    st.lists(st.text('a1 \u00e9\n"', max_size=3).map(str.encode), max_size=3).map(
        lambda values: np.array(values, object)
    ),
)
_PICTURES = st.sampled_from([b"\xff\xd8\xff\xe0..JFIF", b"\x89PNG\r\n\x1a\n", b"P5 1 1", b"RIFF1234WEBPVP8 "])
_ROLES = st.sampled_from([("image/encoded",), ("left", "right"), ("left.jpg", "b/c.png"), ("frames",), ("jpg", "d.e")])


@given(_ROLES, st.data(), st.dictionaries(_NAMES, _VALUES, max_size=4), st.sampled_from([None, b"anna", b"a/b c"]))
def test_a_sample_is_made_the_example_again_that_it_was_made_of(
    images: tuple[str, ...], data: st.DataObject, features: dict[str, Any], key: bytes | None
) -> None:
    pictures = {name: data.draw(st.lists(_PICTURES, min_size=1, max_size=12)) for name in images}
    columns = data.draw(st.dictionaries(_NAMES, st.sampled_from(["list<int64>", "string", "int64"])))
    named = {"__key__": key} if key else {}
    of = Example.parse(Example.empty().with_features({**named, **features, **pictures}))
    try:
        sample = sample_of(of, images, columns)
    except Quarantine:
        return
    made = Example.parse(example_of_sample(sample, images))
    assert set(made.names()) == set(of.names())
    for name in made.names():
        was, now = of.values(name), made.values(name)
        assert was is not None
        assert now is not None
        if len(was):  # of an empty list JSON tells no kind
            assert type(was) is type(now)
            np.testing.assert_array_equal(now, was)
        assert len(was) == len(now)
    assert sample_of(made, images, columns) == sample


def test_the_sample_of_an_image_file_is_told_from_those_of_records() -> None:
    picture, two = png(noise_image(8, 8)), ("left", "right")
    own = Example.empty().with_features({"image/encoded": picture, "image/height": [8]})
    for sample in (
        sample_of(Example.parse(own), ("image/encoded",), {}, "a"),
        made_sample(left=picture, right=picture),
    ):
        names = Example.parse(example_of_sample(sample, two)).names()
        assert ("image/encoded" in names) != set(two).issubset(names)


def made_sample(**features: bytes) -> bytes:
    return sample_of(Example.parse(Example.empty().with_features(features)), ("left", "right"), {})


def test_a_member_that_only_looks_like_an_image_of_the_job_stays_a_member() -> None:
    picture = png(noise_image(8, 8))
    sample = Example.empty().with_features({"__key__": b"a", "seg.png": b"s", "jpg": b"j", "png": picture})
    for allowed, main in (((), b"j"), (("jpg",), picture)):
        made = Example.parse(example_of_sample(sample, ("image/encoded",), allowed))
        assert made.bytes_values("image/encoded") == [main]
        assert made.bytes_values("seg.png") == [b"s"]


@pytest.mark.parametrize(
    "told",
    [
        *(
            b"",
            b"\xff",
            b"[]",
            b"{",
            b'{"a":1}',
            b'{"a": 1, "a": 2}',
            b'{"b": 1, "a": 1}',
            b'{"a": true}',
            b'{"a": {}}',
        ),
        *(b'{"a": [1, "x"]}', b'{"a": 1e300}', b'{"a": 0.1}', b'{"a": 9223372036854775808}', b'{"a": "\\u00e9"}'),
        *(b'{"a": "\\ud800"}', b'{"image/encoded": "x"}', b"[" * 100_000, b'{"a": [[1]]}', b'{"a": null} '),
    ],
    ids=map(str, range(19)),
)
def test_json_that_no_job_writes_stays_a_member(told: bytes) -> None:
    sample = Example.empty().with_features({"jpg": b"j", "json": told})
    made = Example.parse(example_of_sample(sample, ("image/encoded",)))
    assert (made.names(), made.bytes_values("json")) == (["image/encoded", "json"], [told])


def test_a_member_that_would_take_the_place_of_images_is_refused() -> None:
    for members in ({"left": b"x", "png": b"1", "right.png": b"2"}, {"png": b"1", "right.png": b"2", "right": b"x"}):
        with pytest.raises(InvalidExampleError, match="has the name of a feature of images"):
            example_of_sample(Example.empty().with_features(members), ("left", "right"))
