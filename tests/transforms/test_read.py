import io
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import noise_image
from transforms.example import Example
from transforms.inputs import InputFile
from transforms.plan import ShardPlan
from transforms.quarantine import Quarantine, Reason
from transforms.read import Source, load, looks_like_image, read_sources
from transforms.tfrecord import frame


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(32, 32)).save(buffer, image_format)
    return buffer.getvalue()


def plan_of(path: Path, kind: str) -> ShardPlan:
    file = InputFile("data", path.name, str(path), path.stat().st_size if path.exists() else 0, 0.0, kind)  # type: ignore[arg-type]
    return ShardPlan("data", 0, 1, kind, (file,))  # type: ignore[arg-type]


def example_source(**features: object) -> Source:
    serialized = Example.empty().with_features({name.replace("__", "/"): v for name, v in features.items()})  # type: ignore[misc]
    return Source("x#0", "x", serialized, len(serialized))


def test_image_files_are_read_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    [source] = read_sources(plan_of(tmp_path / "a.jpg", "image"))
    assert source.key == "a.jpg"
    assert source.nbytes >= 7
    assert load(source, "image/encoded").data == b"content"


def test_records_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(b"1") + frame(b"22"))
    sources = list(read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord")))
    assert [(s.key, s.serialized) for s in sources] == [("x.tfrecord#0", b"1"), ("x.tfrecord#1", b"22")]


def test_what_comes_before_damage_is_read_and_the_damage_is_one_record(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(b"1") + frame(b"22")[:-1])
    first, damage = read_sources(plan_of(tmp_path / "x.tfrecord", "tfrecord"))
    assert first.serialized == b"1"
    with pytest.raises(Quarantine, match="corrupt_record: the file ends inside the record at byte 17"):
        load(damage, "image/encoded")


@pytest.mark.parametrize("kind", ["image", "tfrecord"])
def test_a_file_that_is_gone_is_one_record(tmp_path: Path, kind: str) -> None:
    [source] = read_sources(plan_of(tmp_path / "gone", kind))
    with pytest.raises(Quarantine, match="unreadable_file"):
        load(source, "image/encoded")


def test_the_image_of_an_example() -> None:
    loaded = load(example_source(photo=b"content", label=[1]), "photo")
    assert loaded.data == b"content"
    assert loaded.example
    assert loaded.example.names() == ["photo", "label"]


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
        ({"image__encoded": [b"1", b"2"]}, Reason.MISSING_IMAGE, "holds 2 values"),
        ({"image__encoded": b"1", "thumb": encoded("PNG")}, Reason.EMBEDDED_IMAGE, "feature thumb"),
    ],
)
def test_examples_that_are_held_back(features: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(Quarantine, match=detail) as caught:
        load(example_source(**features), "image/encoded")
    assert caught.value.reason is reason


def test_bytes_that_are_no_example_are_held_back() -> None:
    with pytest.raises(Quarantine, match="invalid_example"):
        load(Source("x#0", "x", b"\xff\xff", 2), "image/encoded")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_images_are_recognised(image_format: str) -> None:
    assert looks_like_image(encoded(image_format))


@pytest.mark.parametrize("data", [b"", b"BM", b"BMW is a make of cars, not an image", b"\xff\xd8\xff", b"text" * 20])
def test_other_bytes_are_not(data: bytes) -> None:
    assert not looks_like_image(data)
