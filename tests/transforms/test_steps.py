import io
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import noise_image
from transforms.anonymizers.style import Style
from transforms.codecs import ImageInfo, probe
from transforms.detectors.views import View, Window
from transforms.faces import Faces
from transforms.features import FeatureRoles
from transforms.quarantine import Quarantine, Reason
from transforms.read import Loaded
from transforms.records import ShardResult, Status
from transforms.steps import (
    Decoded,
    DecodedImage,
    Detected,
    DetectedImage,
    Failed,
    anonymize,
    batch_like_shaped,
    detect_batch,
    finish,
    guarded,
    in_order,
)


def decoded(key: str, width: int = 32, image_width: int = 32) -> Decoded:
    info = ImageInfo("jpeg", image_width, 32, 1, "RGB")
    window = Window(0, 0, image_width, 32, width, 32)
    view = View(np.zeros((32, width, 3), np.uint8), window, image_width, 32)
    return Decoded(Loaded(key, (b"",), None), (DecodedImage(info, (view,), None),))


class FlakyDetector:
    """Fails as real engines do: the whole batch, for one of its images."""

    def detect(self, images: Sequence[Sequence[View]]) -> list[Faces]:
        if any(view.image_width == 666 for views in images for view in views):
            raise RuntimeError("out of memory")
        return [Faces.none() for _ in images]


@given(st.lists(st.sampled_from([32, 64, 96, None]), max_size=40), st.integers(1, 5))
def test_batches_are_like_shaped_and_the_order_comes_back(widths: list[int | None], size: int) -> None:
    failure = Quarantine(Reason.EMPTY)
    items = [decoded(str(n), w) if w else Failed(str(n), failure) for n, w in enumerate(widths)]
    batches = list(batch_like_shaped(iter(items), size))
    for batch in batches:
        assert len(batch.items) <= size
        shapes = {item.images[0].views[0].pixels.shape if isinstance(item, Decoded) else 0 for item in batch.items}
        assert len(shapes) == 1
    detected = [detect_batch(batch, FlakyDetector()) for batch in batches]  # type: ignore[arg-type]
    keys = [item.key if isinstance(item, Failed) else item.record.key for item in in_order(detected)]
    assert keys == [str(n) for n in range(len(items))]


def test_of_a_batch_that_fails_only_the_culprit_is_held_back() -> None:
    [batch] = batch_like_shaped([decoded("a"), decoded("b", image_width=666), decoded("c")], 3)
    items = detect_batch(batch, FlakyDetector()).items  # type: ignore[arg-type]
    assert [isinstance(item, Failed) for item in items] == [False, True, False]
    assert isinstance(items[1], Failed)
    assert str(items[1].error) == "detection_failed: RuntimeError: out of memory"


def test_whatever_a_step_raises_becomes_a_failure() -> None:
    def step(item: str) -> str:
        if item == "quarantine":
            raise Quarantine(Reason.TRUNCATED, "short")
        return item + str(1 // len(item))

    safe = guarded(step, str, Reason.CORRUPT_IMAGE)
    assert safe("a") == "a1"
    failures = [safe("quarantine"), safe("")]
    assert [str(f.error) for f in failures if isinstance(f, Failed)] == [
        "truncated: short",
        "corrupt_image: ZeroDivisionError: integer division or modulo by zero",
    ]
    assert safe(failures[0]) is failures[0]


def test_a_failure_is_written_by_name_and_reason_alone() -> None:
    finished = finish(Failed("a.jpg", Quarantine(Reason.EMPTY)))
    assert finished.serialized is None
    assert (finished.row.key, finished.row.status, finished.row.reason) == (
        "a.jpg",
        Status.QUARANTINED,
        "empty",
    )


def jpeg(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(noise_image(60, 100)).save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


def anonymized(data: bytes, faces: Faces) -> tuple[bytes, dict[str, tf.train.Feature]]:
    info = probe(data)
    detected = Detected(Loaded("a.jpg", (data,), None), (DetectedImage(info, None, faces),))
    finished = anonymize(detected, "solid", Style(), FeatureRoles())
    assert finished.serialized
    feature = tf.train.Example.FromString(finished.serialized).features.feature
    return feature["image/encoded"].bytes_list.value[0], feature


def test_an_image_without_faces_keeps_its_compressed_data() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(60, 100)).save(buffer, "jpeg")
    output, feature = anonymized(buffer.getvalue(), Faces.none())
    assert output == buffer.getvalue()
    assert feature["image/face/count"].int64_list.value == [0]
    assert feature["image/format"].bytes_list.value == [b"jpeg"]
    assert feature["image/filename"].bytes_list.value == [b"a.jpg"]
    assert feature["image/face/bbox/xmin"].WhichOneof("kind") == "float_list"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_mask_and_the_box_lie_where_the_face_is_in_the_stored_image(orientation: int) -> None:
    # Of the upright image, the face takes the upper left quarter.
    width, height = (60, 100) if orientation >= 5 else (100, 60)
    faces = Faces(np.array([[0, 0, width / 2, height / 2]], np.float32), np.array([0.75], np.float32))
    output, feature = anonymized(jpeg(orientation), faces)
    image = np.asarray(Image.open(io.BytesIO(output)).convert("L"), float)
    assert (feature["image/height"].int64_list.value, feature["image/width"].int64_list.value) == (
        [60],
        [100],
    )
    x0, y0, x1, y1 = (
        feature[f"image/face/bbox/{side}"].float_list.value[0] for side in ("xmin", "ymin", "xmax", "ymax")
    )
    box = image[round(y0 * 60) + 2 : round(y1 * 60) - 2, round(x0 * 100) + 2 : round(x1 * 100) - 2]
    assert (x1 - x0, y1 - y0) == (0.5, 0.5)
    assert box.max() < 30
    assert image.max() > 100
    upright = np.asarray(
        Image.open(io.BytesIO(output)).convert("L").transpose(_TRANSPOSE[orientation]) if orientation > 1 else image
    )
    assert upright[: height // 2 - 4, : width // 2 - 4].max() < 30
    assert Image.open(io.BytesIO(output)).getexif().get(0x0112, 1) == orientation


# As Exif defines them, see PIL.ImageOps.exif_transpose.
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def encoded(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(60, 100)).save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reencoded"),
    [
        (encoded("jpeg"), False),
        (encoded("jpeg")[:-2] + b"\0\0\0\0\xff\xd9", True),  # libjpeg complains of bytes before the end
        (encoded("png"), False),
        (encoded("webp", lossless=True), False),
        (encoded("webp"), True),
        (encoded("avif"), True),
    ],
)
def test_a_lossy_image_that_is_encoded_again_as_a_whole_is_counted(data: bytes, reencoded: bool) -> None:
    faces = Faces(np.array([[10, 10, 30, 30]], np.float32), np.array([0.75], np.float32))
    for found, expected in ((faces, reencoded), (Faces.none(), False)):
        detected = Detected(Loaded("a", (data,), None), (DetectedImage(probe(data), None, found),))
        row = anonymize(detected, "blur", Style(), FeatureRoles()).row
        assert row.reencoded == expected
        result = ShardResult("data-00000-of-00001", "data")
        result.count(row)
        assert result.reencoded == expected
