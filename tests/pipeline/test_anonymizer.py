"""Single images: the bytes of a job, arrays, what is refused, and threads, processes and loaders around it."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

import faceveil
from faceveil.pipeline.anonymizer import Anonymizer
from faceveil.pipeline.cli import main
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.arrays import RGB
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.tfrecord import frame, read_limited_records
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import SKIMAGE_DATA, noise_image

pytestmark = pytest.mark.usefixtures("default_detector")
SALT = "0123456789abcdef0123456789abcdef"
NAMES = ["people/astronaut.JPG", "people/portrait.jpeg", "people/space/astronaut.png", "things/rocket.jpg"]


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    """One for all tests, so that one model is loaded."""
    return Anonymizer(quality="fast")


@pytest.fixture(scope="module")
def portrait(photos: Path) -> bytes:
    return (photos / "people" / "portrait.jpeg").read_bytes()


@pytest.fixture(scope="module")
def astronaut() -> RGB:
    return np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB"))


def written(shard: Path) -> dict[str, bytes]:
    """The images of a shard by their keys."""
    with shard.open("rb") as file:
        records = [record for record in read_limited_records(file, 1 << 30) if isinstance(record, bytes)]
    examples = [tf.train.Example.FromString(record).features.feature for record in records]
    return {
        each["image/filename"].bytes_list.value[0].decode(): each["image/encoded"].bytes_list.value[0]
        for each in examples
    }


def pixels(encoded: bytes) -> RGB:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@pytest.mark.parametrize("method", FIELDS["method"].metadata["allowed"])
def test_bytes_are_those_that_a_job_writes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    flags = ["--output", str(tmp_path), "--quality", "fast", "--method", method, "--num_shards", "1"]
    assert main(["run", "--input", f"{photos}/**", "--exclude", "things/c*", *flags]) == 0
    expected = written(tmp_path / "data-00000-of-00001.tfrecord")
    assert sorted(expected) == NAMES
    anonymizer = Anonymizer(quality="fast", method=method)
    images = [(photos / name).read_bytes() for name in NAMES]
    assert list(anonymizer.anonymize_all(images, NAMES)) == list(expected.values())


def test_they_are_the_same_in_another_process(
    photos: Path, monkeypatch: pytest.MonkeyPatch, anonymizer: Anonymizer, astronaut: RGB
) -> None:
    """Where nothing is set up as jobs have set it up in this one."""
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    drawing = Anonymizer(quality="fast", method="synthesize")
    monkeypatch.delenv("FACEVEIL_SALT")
    images = [(photos / name).read_bytes() for name in NAMES]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for each in (anonymizer, drawing):
            keyed = list(zip(images, NAMES, strict=True))
            assert pool.starmap(each.anonymize, keyed) == list(each.anonymize_all(images, NAMES))
        made = pool.apply(anonymizer.anonymize, [astronaut])
    np.testing.assert_array_equal(made, anonymizer.anonymize(astronaut))


def test_a_salt_and_a_key_decide_how_new_faces_look(monkeypatch: pytest.MonkeyPatch, portrait: bytes) -> None:
    with pytest.raises(OptionError, match="synthesize: needs a secret salt"):
        Anonymizer(method="synthesize")
    monkeypatch.setenv("FACEVEIL_SALT", SALT)
    anonymizer = Anonymizer(quality="fast", method="synthesize")
    with pytest.raises(ValueError, match="key: with synthesize, the image's name is needed"):
        anonymizer.anonymize(portrait)
    with pytest.raises(ValueError, match="key"):
        anonymizer.anonymize_all([portrait])
    assert anonymizer.anonymize(portrait, "a") == anonymizer.anonymize(portrait, key="a")
    assert anonymizer.anonymize(portrait, "a") != anonymizer.anonymize(portrait, "b")


def test_arrays_change_within_the_masks_alone(anonymizer: Anonymizer, astronaut: RGB, photos: Path) -> None:
    before = astronaut.copy()
    made = anonymizer.anonymize(astronaut)
    faces = anonymizer.find_faces(astronaut)
    assert len(faces) == len(faces.scores) == 1
    masked = np.zeros(astronaut.shape[:2], bool)
    for box in faces.boxes:
        rectangle, mask = face_mask(box, MaskGeometry(), *astronaut.shape[:2])
        masked[rectangle] |= mask
    np.testing.assert_array_equal(made[~masked], before[~masked])
    assert (made[masked] != before[masked]).any(axis=-1).mean() > 0.9
    np.testing.assert_array_equal(astronaut, before)
    coffee = pixels((photos / "things" / "coffee.jpg").read_bytes())
    unchanged = anonymizer.anonymize(coffee)
    np.testing.assert_array_equal(unchanged, coffee)
    unchanged[:] = 0  # it is the caller's own


def test_an_array_is_what_it_shows_however_it_lies_in_memory(anonymizer: Anonymizer, astronaut: RGB) -> None:
    mirrored = astronaut[:, ::-1]
    expected = anonymizer.anonymize(np.ascontiguousarray(mirrored))
    np.testing.assert_array_equal(anonymizer.anonymize(mirrored), expected)
    np.testing.assert_array_equal(anonymizer.anonymize(np.asfortranarray(mirrored)), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_an_array_of_any_size_comes_back_in_its_shape(
    anonymizer: Anonymizer, height: int, width: int, seed: int
) -> None:
    image = noise_image(height, width, seed)
    faces = anonymizer.find_faces(image)
    made = anonymizer.anonymize(image)
    assert (made.shape, made.dtype) == (image.shape, image.dtype)
    if not len(faces):
        np.testing.assert_array_equal(made, image)


def test_the_faces_of_a_turned_photo_are_those_of_the_upright_one(anonymizer: Anonymizer, astronaut: RGB) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(astronaut))).save(buffer, "JPEG", quality=95, exif=exif)
    turned = anonymizer.find_faces(buffer.getvalue())
    np.testing.assert_allclose(turned.boxes, anonymizer.find_faces(astronaut).boxes, atol=8)
    made = Image.open(io.BytesIO(anonymizer.anonymize(buffer.getvalue())))
    assert made.getexif()[0x0112] == 6
    x0, y0, x1, y1 = turned.boxes[0].astype(int)
    upright = np.rot90(np.asarray(made), -1)[y0:y1, x0:x1].astype(int)
    assert np.abs(upright - astronaut[y0:y1, x0:x1]).mean() > 15


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        (np.zeros((8, 8, 3), np.float32), ValueError, r"not float32 of \(8, 8, 3\); scale its values to 0 to 255"),
        (np.zeros((8, 8), np.uint8), ValueError, r"not uint8 of \(8, 8\); np.stack"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"not uint8 of \(8, 8, 4\); image\[..., :3\] leaves alpha out"),
        (np.zeros((8, 8, 3), np.uint16), ValueError, "not uint16"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"not uint8 of \(0, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), ValueError, r"not uint8 of \(2, 8, 8, 3\)"),
        (np.array(["a"], object), ValueError, "not object"),
        ("photo.jpg", TypeError, "an image is bytes or an array, not str"),
        (Path("photo.jpg"), TypeError, "not PosixPath"),
        (Image.new("RGB", (8, 8)), TypeError, "not Image"),
        (None, TypeError, "not NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_refused(anonymizer: Anonymizer, image: Any, kind: type[Exception], said: str) -> None:
    for call in (anonymizer.anonymize, anonymizer.find_faces):
        with pytest.raises(kind, match=said):
            call(image)


def huge(height: int, width: int) -> RGB:
    """An array that takes no memory."""
    return np.broadcast_to(np.uint8(0), (height, width, 3))


def test_what_a_job_would_quarantine_is_an_error_with_its_reason(anonymizer: Anonymizer, portrait: bytes) -> None:
    wrong: list[tuple[Any, Reason]] = [
        (portrait[: len(portrait) // 2], Reason.TRUNCATED),
        (b"", Reason.EMPTY),
        (b"no image", Reason.NOT_AN_IMAGE),
        (frame(Example.empty().with_features({"image/encoded": portrait})), Reason.NOT_AN_IMAGE),
        (huge(100_000, 100_000), Reason.TOO_LARGE),
    ]
    for image, reason in wrong:
        for call in (anonymizer.anonymize, anonymizer.find_faces):
            with pytest.raises(Quarantine) as raised:
                call(image)
            assert raised.value.reason is reason
            assert isinstance(raised.value, faceveil.Error)
    small = Anonymizer(quality="fast", max_pixels=64)
    too_many: list[Any] = [np.zeros((9, 8, 3), np.uint8), portrait]
    for image in too_many:
        with pytest.raises(Quarantine, match=r"too_large: .* are more than 64"):
            small.anonymize(image)
    with pytest.raises(Quarantine, match="too_large: more than 1000 bytes"):
        Anonymizer(quality="fast", max_image_bytes="1KB").anonymize(portrait)


def test_one_of_many_that_fails_costs_no_other(anonymizer: Anonymizer, portrait: bytes, astronaut: RGB) -> None:
    expected = anonymizer.anonymize(portrait)
    images: list[Any] = [portrait, b"no image", astronaut, huge(100_000, 100_000), portrait]
    first, second, third, fourth, last = anonymizer.anonymize_all(iter(images))
    assert first == last == expected
    assert isinstance(second, Quarantine)
    assert isinstance(fourth, Quarantine)
    assert (second.reason, fourth.reason) == (Reason.NOT_AN_IMAGE, Reason.TOO_LARGE)
    np.testing.assert_array_equal(third, anonymizer.anonymize(astronaut))
    assert list(anonymizer.anonymize_all([])) == []
    with pytest.raises(ValueError, match="keys: there are more or fewer than images"):
        list(anonymizer.anonymize_all([portrait, portrait], ["one"]))


def test_images_are_taken_as_they_are_needed(anonymizer: Anonymizer, portrait: bytes) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield portrait

    made = anonymizer.anonymize_all(endless())
    assert next(made) == next(made) == anonymizer.anonymize(portrait)
    made.close()  # type: ignore[attr-defined]
    assert taken < 100


def test_threads_share_it(anonymizer: Anonymizer, photos: Path) -> None:
    images = [(photos / name).read_bytes() for name in NAMES]
    expected = [anonymizer.anonymize(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(anonymizer.anonymize, images * 4)) == expected * 4
    fresh = Anonymizer(quality="fast", threads=1)
    with ThreadPoolExecutor(6) as pool:  # the first call of each loads the model, or waits for it
        assert list(pool.map(fresh.anonymize, images)) == expected


def times_used(anonymizer: Anonymizer) -> int:
    """Counts on what is loaded."""
    worker: Any = anonymizer._worker()
    worker.used = getattr(worker, "used", 0) + 1
    return int(worker.used)


def test_a_process_loads_the_model_once_however_often_it_is_sent(portrait: bytes) -> None:
    anonymizer = Anonymizer(quality="fast", threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(times_used, [anonymizer] * 3, chunksize=1) == [1, 2, 3]
    assert pickle.loads(pickle.dumps(anonymizer)).anonymize(portrait) == anonymizer.anonymize(portrait)  # noqa: S301


_FORKS = """
import multiprocessing, os, sys
import faceveil
image = open(sys.argv[1], "rb").read()
anonymizers = [faceveil.Anonymizer(quality="fast", threads=2, method=method) for method in ("blur", "solid")]
expected = [each.anonymize(image) for each in anonymizers]
with multiprocessing.get_context("fork").Pool(2) as pool:  # as PyTorch's loaders do on Linux
    for each, made in zip(anonymizers, expected):
        assert pool.map(each.anonymize, [image] * 4, chunksize=1) == [made] * 4
child = os.fork()
if not child:
    list(anonymizers[0].anonymize_all([image] * 3))
    del anonymizers
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_from_one_with_a_model_loads_its_own(photos: Path) -> None:
    command = [sys.executable, "-c", _FORKS, str(photos / "people" / "portrait.jpeg")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stdout) == (0, "7\n"), ended.stderr


_GUEST = """
import json, logging, sys, warnings
import cv2, numpy as np
from PIL import Image
from faceveil import Anonymizer
def settings():
    filters = [str(each) for each in warnings.filters if "PIL" in str(each)]
    return cv2.getNumThreads(), Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL").level, filters
cv2.setNumThreads(3)
before = settings()
Anonymizer(quality="fast").anonymize(np.zeros((64, 64, 3), np.uint8))
print(json.dumps(before == settings()))
"""


def test_the_settings_of_libraries_stay_as_the_program_has_them() -> None:
    ended = subprocess.run([sys.executable, "-c", _GUEST], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) is True


def test_damaged_images_do_not_pass_for_whole_ones(
    anonymizer: Anonymizer, portrait: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(faceveil.Error, match="LOAD_TRUNCATED_IMAGES is set"):
        anonymizer.anonymize(portrait)


def test_tensorflow_s_datasets_take_it(anonymizer: Anonymizer, photos: Path, astronaut: RGB) -> None:
    paths = [str(photos / name) for name in NAMES]
    encoded = tf.data.Dataset.from_tensor_slices(paths).map(tf.io.read_file)
    made = encoded.map(lambda image: tf.numpy_function(anonymizer.anonymize, [image], tf.string), num_parallel_calls=2)
    assert [image.numpy() for image in made] == [anonymizer.anonymize(Path(path).read_bytes()) for path in paths]
    arrays = tf.data.Dataset.from_generator(
        lambda: anonymizer.anonymize_all([astronaut, astronaut]),
        output_signature=tf.TensorSpec(astronaut.shape, tf.uint8),
    )
    for image in arrays:
        np.testing.assert_array_equal(image, anonymizer.anonymize(astronaut))
    broken = tf.data.Dataset.from_tensors(b"no image").map(
        lambda image: tf.numpy_function(anonymizer.anonymize, [image], tf.string)
    )
    with pytest.raises(tf.errors.OpError, match="not_an_image"):
        next(iter(broken))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"output": "out"}, OptionError, "--output: has no effect here"),
        ({"image_feature": ["left"]}, OptionError, "--image_feature: has no effect here"),
        ({"image_timeout": 5}, OptionError, "--image_timeout: has no effect here"),
        ({"method": "smear"}, OptionError, "--method smear: must be one of"),
        ({"model": "no-such-model"}, faceveil.ModelError, "no-such-model"),
        ({"threads": 0}, OptionError, "threads 0: must be at least 1"),
        ({"metod": "solid"}, TypeError, "metod"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Anonymizer(**options)


def test_options_may_be_given_by_name_over_others(portrait: bytes) -> None:
    base = JobOptions(quality="fast", method="solid")
    solid = Anonymizer(base).anonymize(portrait)
    assert Anonymizer(base, method="bar").anonymize(portrait) != solid
    assert Anonymizer(quality="fast", method="solid").anonymize(portrait) == solid


def test_faces_have_boxes_scores_and_keypoints(anonymizer: Anonymizer, portrait: bytes) -> None:
    faces = anonymizer.find_faces(portrait)
    assert isinstance(faces, Faces)
    assert faces.boxes.shape == (1, 4)
    assert 0.21 <= faces.scores[0] <= 1
    assert faces.keypoints is not None
    assert faces.keypoints.shape == (1, 5, 2)
