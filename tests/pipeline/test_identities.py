import re
from pathlib import Path

import pytest

from faceveil.pipeline.identities import IdentityPhoto, read_identities
from faceveil.pipeline.option_values import OptionError
from faceveil.transforms.errors import AccessError
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame


def write_examples(folder: Path, *features: dict[str, object]) -> Path:
    path = folder / "people.tfrecord"
    path.write_bytes(b"".join(frame(Example.empty().with_features(each)) for each in features))  # type: ignore[arg-type]
    return path


def test_folders_name_persons(tmp_path: Path) -> None:
    for name in ("änne/2.jpg", "änne/1.jpg", "bob/deep/er/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "bob" / "notes.txt").write_text("no photo")
    assert list(read_identities(str(tmp_path), None, "image/encoded")) == [
        IdentityPhoto("bob/deep/er/1.jpg", "bob", b"bob/deep/er/1.jpg"),
        IdentityPhoto("änne/1.jpg", "änne", "änne/1.jpg".encode()),
        IdentityPhoto("änne/2.jpg", "änne", "änne/2.jpg".encode()),
    ]


def test_features_name_persons(tmp_path: Path) -> None:
    path = write_examples(tmp_path, {"who": b"anna", "img": b"1"}, {"who": [7], "img": b"2"})
    found = list(read_identities(str(path), "who", "img"))
    assert [(photo.person, photo.data) for photo in found] == [("anna", b"1"), ("7", b"2")]
    assert [photo.key for photo in found] == ["people.tfrecord#0", "people.tfrecord#1"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"img": b"1"}, "--identity_feature who: people.tfrecord#0 has no single value of it"),
        ({"img": b"1", "who": [1, 2]}, "--identity_feature who: people.tfrecord#0 has no single value of it"),
        ({"img": b"1", "who": [0.5]}, "--identity_feature who: people.tfrecord#0 has no single value of it"),
        ({"who": b"anna"}, "--image_feature img: people.tfrecord#0 has no single image in it"),
        ({"who": b"anna", "img": [1]}, "--image_feature img: people.tfrecord#0 has no single image in it"),
    ],
)
def test_examples_without_persons_or_images(tmp_path: Path, features: dict[str, object], message: str) -> None:
    path = write_examples(tmp_path, features)
    with pytest.raises(OptionError, match=re.escape(message)):
        list(read_identities(str(path), "who", "img"))


def test_photos_in_no_folder_and_no_photos(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(OptionError, match=r"a\.jpg is in no person's folder"):
        list(read_identities(str(tmp_path), None, "img"))
    with pytest.raises(OptionError, match="holds no TFRecord file"):
        list(read_identities(str(tmp_path), "who", "img"))
    path = write_examples(tmp_path, {"who": b"anna"})
    with pytest.raises(OptionError, match="holds no image; Examples need --identity_feature"):
        list(read_identities(str(path), None, "img"))


def test_damaged_records(tmp_path: Path) -> None:
    path = write_examples(tmp_path, {"who": b"anna", "img": b"1"})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AccessError, match=r"people\.tfrecord: cannot be read"):
        list(read_identities(str(path), "who", "img"))
