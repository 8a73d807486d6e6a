import base64
import bz2
import gzip
import io
import os
import socket
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.read import (
    HoldsRecords,
    Source,
    begin_reading,
    image_names,
    load,
    read_records_of,
    read_sources,
    refuse_pixels,
)
from faceveil.transforms.shard.record import Outcome
from tests.conftest import as_nobody, noise_image

MAX_BYTES = 10**6


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(32, 32)).save(buffer, image_format)
    return buffer.getvalue()


def plan_of(path: Path, kind: str) -> ShardPlan:
    file = InputFile("data", path.name, str(path), path.stat().st_size if path.exists() else 0, "0.0", kind)  # type: ignore[arg-type]
    return ShardPlan("data", 0, 1, kind, (file,))  # type: ignore[arg-type]


def loaded(source: Source | Outcome, max_bytes: int = MAX_BYTES) -> tuple[bytes, ...]:
    assert isinstance(source, Source)
    images, _, _ = load(source, FeatureRoles(), max_bytes)
    return images


def example_source(**features: object) -> Source:
    serialized = Example.empty().with_features({name.replace("__", "/"): v for name, v in features.items()})  # type: ignore[misc]
    return Source("x#0", "x", serialized, len(serialized))


def refusal(outcome: Source | Outcome) -> tuple[str, str, str]:
    assert isinstance(outcome, Outcome)
    assert outcome.serialized is None
    return outcome.key, str(outcome.row.reason), str(outcome.row.detail)


def test_image_files_are_read_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    [source] = read_sources(plan_of(tmp_path / "a.jpg", "image"), FeatureRoles(), MAX_BYTES)
    assert source.key == "a.jpg"
    assert source.nbytes >= 7
    assert loaded(source) == (b"content",)


def test_records_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(b"1") + frame(b"22"))
    sources = list(read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"), FeatureRoles(), MAX_BYTES))
    assert [(s.key, s.serialized) for s in sources] == [("x.tfrecord#0", b"1"), ("x.tfrecord#1", b"22")]


def test_what_comes_before_damage_is_read_and_the_damage_is_one_record(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(b"1") + frame(b"22")[:-1])
    first, damage = read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"), FeatureRoles(), MAX_BYTES)
    assert first.serialized == b"1"
    said = "record 1 and what follows: the file ends inside the record at byte 17"
    assert refusal(damage) == ("x.tfrecord#1", "corrupt_record", said)


@pytest.mark.parametrize("size", [19, 20, 21])
def test_image_files_are_read_up_to_a_limit(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(size))
    [source] = read_sources(plan_of(tmp_path / "a.jpg", "image"), FeatureRoles(), 20)
    if size <= 20:
        assert loaded(source, 20) == (bytes(size),)
    else:
        with pytest.raises(Quarantine, match="too_large: more than 20 bytes"):
            loaded(source, 20)


def test_records_over_the_limit_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(b"1") + frame(bytes(21)) + frame(b"22"))
    first, large, last = read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"), FeatureRoles(), 20)
    assert (first.serialized, last.serialized) == (b"1", b"22")
    assert large.key == "x.tfrecord#1"
    assert refusal(large)[1] == "too_large"
    assert refusal(large)[2].startswith("record 1, at byte 17, has 21 bytes")


@pytest.mark.parametrize("kind", ["image", "tfrecord"])
def test_what_is_no_file_is_one_record_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    for name in ("pipe", "zero", "circle", "folder", "socket"):
        file = InputFile("data", name, str(tmp_path / name), 0, "0.0", kind)  # type: ignore[arg-type]
        [source] = read_sources(ShardPlan("data", 0, 1, kind, (file,)), FeatureRoles(), MAX_BYTES)  # type: ignore[arg-type]
        if kind == "tfrecord":
            _, reason, detail = refusal(source)
        else:
            with pytest.raises(Quarantine) as caught:
                loaded(source)
            reason, detail = caught.value.reason, caught.value.detail
        assert reason == "unreadable_file"
        assert str(tmp_path) not in detail


@pytest.mark.parametrize("kind", ["image", "tfrecord"])
def test_a_file_that_may_not_be_read_ends_the_job(public_folder: Path, kind: str) -> None:
    (public_folder / "a").touch(mode=0)

    def read() -> None:
        for source in read_sources(plan_of(public_folder / "a", kind), FeatureRoles(), MAX_BYTES):
            loaded(source)

    with as_nobody(), pytest.raises(AccessError, match="a: cannot be read: Permission denied"):
        read()


def replaced(path: Path, data: bytes) -> None:
    path.with_suffix(".new").write_bytes(data)
    os.utime(path.with_suffix(".new"), ns=(0, path.stat().st_mtime_ns + 4_000_000))
    path.with_suffix(".new").replace(path)


def listed(path: Path, kind: str) -> ShardPlan:
    [file] = (storage.stat(str(path)),)
    assert file
    return ShardPlan("data", 0, 1, kind, (InputFile("data", path.name, file.path, file.size, file.version, kind),))  # type: ignore[arg-type]


def test_an_image_file_that_was_replaced_ends_the_job(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    [source] = read_sources(listed(tmp_path / "a.jpg", "image"), FeatureRoles(), MAX_BYTES)
    replaced(tmp_path / "a.jpg", b"CONTENT")
    with pytest.raises(AccessError, match=r"a\.jpg: was changed while the job ran"):
        loaded(source)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_tfrecord_file_that_is_written_to_while_it_is_read_ends_the_job(tmp_path: Path, damaged: bool) -> None:
    path = tmp_path / "x.tfrecord"
    path.write_bytes(frame(b"1") * 100_000)
    sources = read_sources(listed(path, "tfrecord"), FeatureRoles(), MAX_BYTES)
    next(sources)
    with path.open("r+b") as file:
        if damaged:
            file.seek(500_000)
            file.write(bytes(1000))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 4_000_000))
    with pytest.raises(AccessError, match=r"x\.tfrecord: was changed while the job ran"):
        list(sources)
    with pytest.raises(AccessError, match=r"x\.tfrecord: was changed while the job ran"):
        list(
            read_sources(
                replace(listed(path, "tfrecord"), files=(InputFile("data", "k", str(path), 1, "1.0", "tfrecord"),)),
                FeatureRoles(),
                1,
            )
        )


def test_an_image_that_is_called_a_tfrecord_file_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(encoded("PNG"))
    [source] = read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"), FeatureRoles(), MAX_BYTES)
    assert source.key == "x.tfrecord"
    assert loaded(source) == (encoded("PNG"),)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress])
def test_tfrecords_that_are_called_an_image_are_told(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x.jpg").write_bytes(compress(frame(b"1") + frame(b"22")))
    [source] = read_sources(plan_of(tmp_path / "x.jpg", "image"), FeatureRoles(), MAX_BYTES)
    with pytest.raises(HoldsRecords):
        loaded(source)
    assert isinstance(source, Source)
    records = list(read_records_of(source, FeatureRoles(), MAX_BYTES))
    assert [(record.key, record.serialized) for record in records] == [("x.jpg#0", b"1"), ("x.jpg#1", b"22")]


def test_a_compression_that_tfrecords_do_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(bz2.compress(frame(b"1")))
    [source] = read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"), FeatureRoles(), MAX_BYTES)
    assert refusal(source)[1] == "corrupt_record"
    assert "the file begins as bzip2 does; TFRecords are read plain, or" in refusal(source)[2]


@pytest.mark.parametrize("kind", ["image", "tfrecord"])
def test_a_file_that_is_gone_is_one_record(tmp_path: Path, kind: str) -> None:
    [source] = read_sources(plan_of(tmp_path / "gone", kind), FeatureRoles(), MAX_BYTES)
    if kind == "tfrecord":
        assert refusal(source)[1] == "unreadable_file"
        return
    with pytest.raises(Quarantine, match="unreadable_file: No such file or directory"):
        loaded(source)


def test_the_image_of_an_example() -> None:
    images, example, _ = load(example_source(photo=b"content", label=[1]), FeatureRoles(("photo",)), MAX_BYTES)
    assert images == (b"content",)
    assert example
    assert example.names() == ["photo", "label"]


@pytest.mark.parametrize(
    ("features", "reason", "detail"),
    [
        (
            {"label": [1]},
            Reason.MISSING_IMAGE,
            "no bytes feature image/encoded; the Example's features: label",
        ),
        ({}, Reason.MISSING_IMAGE, "features: none"),
        ({"image__encoded": [1]}, Reason.MISSING_IMAGE, "no bytes feature"),
        ({"image__encoded": np.empty(0, object)}, Reason.MISSING_IMAGE, "feature image/encoded holds no value"),
        ({"image__encoded": b"1", "thumb": encoded("PNG")}, Reason.EMBEDDED_IMAGE, "feature thumb"),
        ({"image__encoded": b"1", "thumbs": [b"1", encoded("GIF")]}, Reason.EMBEDDED_IMAGE, "feature thumbs"),
    ],
)
def test_examples_that_are_held_back(features: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(Quarantine, match=detail) as caught:
        load(example_source(**features), FeatureRoles(), MAX_BYTES)
    assert caught.value.reason is reason


def test_a_name_that_holds_an_image_holds_a_record_back() -> None:
    name = base64.b64encode(encoded("PNG")).decode()
    with pytest.raises(Quarantine, match="embedded_image: the name of a feature holds an image: iVBOR"):
        load(example_source(image__encoded=b"1", **{name: [1]}), FeatureRoles(), MAX_BYTES)
    short = "GIF89a-frames"  # as a value it would be one
    assert load(example_source(image__encoded=b"1", **{short: [1]}), FeatureRoles(), MAX_BYTES)[0] == (b"1",)


def test_several_images_are_read_in_the_order_in_which_they_are_named() -> None:
    source = example_source(right=b"r", left=b"l", thumb=encoded("PNG"), depth=encoded("PNG"))
    roles = FeatureRoles(("left", "right"), dropped=("thumb",), allowed=("depth",))
    assert load(source, roles, MAX_BYTES)[0] == (b"l", b"r")
    with pytest.raises(Quarantine, match="missing_image: no bytes feature rear"):
        load(source, FeatureRoles(("left", "rear"), ("thumb", "right"), ("depth",)), MAX_BYTES)


def test_features_of_several_images_give_all_of_them() -> None:
    source = example_source(right=[b"r", b"s"], left=b"l")
    roles = FeatureRoles(("left", "right"))
    images, example, _ = load(source, roles, MAX_BYTES)
    assert images == (b"l", b"r", b"s")
    assert image_names(example, roles) == ["left", "right", "right"]
    assert image_names(None, roles) == ["left"]


def test_an_image_in_the_first_of_two_values_of_a_feature_never_gets_out() -> None:
    first = Example.empty().with_features({"thumb": encoded("PNG"), "image/encoded": b"1"})
    twice = first + Example.empty().with_features({"thumb": b"text"})
    _, example, _ = load(Source("x#0", "x", twice, len(twice)), FeatureRoles(), MAX_BYTES)
    assert example
    assert b"PNG" not in example.with_features({})


def sequence_source(**lists: list[Any]) -> Source:
    made = tf.train.SequenceExample()
    made.context.feature["image/encoded"].bytes_list.value.append(b"1")
    for name, steps in lists.items():
        for values in steps:
            step = made.feature_lists.feature_list[name].feature.add()
            kind = step.float_list if values and isinstance(values[0], float) else step.bytes_list
            kind.value.extend(values)
    serialized = made.SerializeToString()
    return Source("x#0", "x", serialized, len(serialized))


def test_lists_of_sequence_examples_are_features() -> None:
    source = sequence_source(frames=[[b"f"], [b"g", b"h"]], labels=[[b"a"], []])
    roles = FeatureRoles(("image/encoded", "frames"))
    images, example, _ = load(source, roles, MAX_BYTES)
    assert images == (b"1", b"f", b"g", b"h")
    assert image_names(example, roles) == ["image/encoded", *["frames"] * 3]


def test_images_in_any_step_of_a_list_hold_a_record_back() -> None:
    png = encoded("PNG")
    for steps in ([[b"a"], [png]], [[png[:20]], [png[20:]]]):
        with pytest.raises(Quarantine, match="embedded_image: feature thumbs"):
            load(sequence_source(thumbs=steps), FeatureRoles(), MAX_BYTES)
    noise = np.random.default_rng(0).random((3, 40 * 30)).tolist()
    _, _, others = load(sequence_source(depth=noise), FeatureRoles(), MAX_BYTES)
    with pytest.raises(Quarantine, match="feature depth may hold an image too"):
        refuse_pixels(others, [(40, 30)])
    with pytest.raises(Quarantine, match="invalid_example: feature odd: its steps hold values of several kinds"):
        load(sequence_source(odd=[[b"a"], [0.5]]), FeatureRoles(), MAX_BYTES)


def test_bytes_that_are_no_example_are_held_back() -> None:
    with pytest.raises(Quarantine, match="invalid_example"):
        load(Source("x#0", "x", b"\xff\xff", 2), FeatureRoles(), MAX_BYTES)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_images_of_every_format_hold_a_record_back(image_format: str) -> None:
    with pytest.raises(Quarantine, match="embedded_image: feature thumb"):
        load(example_source(image__encoded=b"1", thumb=encoded(image_format)), FeatureRoles(), MAX_BYTES)


@pytest.mark.parametrize("data", [b"", b"BM", b"BMW is a make of cars, not an image", b"\xff\xd8\xff", b"text" * 20])
def test_other_bytes_do_not(data: bytes) -> None:
    assert load(example_source(image__encoded=b"1", label=data), FeatureRoles(), MAX_BYTES)[0] == (b"1",)


def test_reading_that_was_begun_gives_the_same_records_or_the_same_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(frame(encoded(kind)) for kind in ("PNG", "JPEG", "BMP")))
    plan = plan_of(path, "tfrecord")
    with ThreadPoolExecutor(1) as thread:
        begun = begin_reading(plan, FeatureRoles(), MAX_BYTES, thread)
        assert list(begun) == list(read_sources(plan, FeatureRoles(), MAX_BYTES))
        empty = replace(plan, files=())
        assert not list(begin_reading(empty, FeatureRoles(), MAX_BYTES, thread))
        changed = replace(plan.files[0], size=plan.files[0].size + 1)
        refused = begin_reading(replace(plan, files=(changed,)), FeatureRoles(), MAX_BYTES, thread)
        with pytest.raises(AccessError, match="was changed"):
            next(refused)
