import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.codecs import ImageInfo, probe
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import ShardResult
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.anonymize import Masking, anonymize, batch_by_pixels
from faceveil.transforms.shard.detect import DetectedImage
from faceveil.transforms.shard.record import Outcome, Record, in_order, quarantined
from tests.conftest import noise_image
from tests.transforms.codecs.test_label_maps import coloured, distances, face_parsing


def detected(data: bytes, faces: Faces, key: str = "a") -> Record[DetectedImage]:
    image = DetectedImage(data, probe(data), None, faces, faultless=False, hides_pixels=False)
    return Record(key, (image,), None)


def outcome_of(record: Record[DetectedImage], method: str) -> Outcome:
    [outcome] = anonymize([record], Masking(method, Style()), FeatureRoles())
    assert outcome.serialized
    return outcome


@given(st.lists(st.sampled_from([0, 1000, 4000]), max_size=12), st.integers(1, 5))
def test_batches_keep_the_order_and_hold_few_pixels(sides: list[int], size: int) -> None:
    face = Faces(np.array([[0, 0, 9, 9]], np.float32), np.array([0.9], np.float32))
    items: list[Record[DetectedImage] | Outcome] = []
    for number, side in enumerate(sides):
        info = ImageInfo("jpeg", side, side, 1, "RGB")
        image = DetectedImage(b"", info, None, face, faultless=False, hides_pixels=False)
        empty = quarantined(str(number), Quarantine(Reason.EMPTY))
        items.append(Record(str(number), (image,), None) if side else empty)
    batches = list(batch_by_pixels(items, size))
    assert [item for batch in batches for item in batch.items] == items
    assert list(in_order(batches)) == items
    for batch in batches:
        assert len(batch.items) <= size
        large = [item for item in batch.items if isinstance(item, Record) and item.images[0].info.width == 4000]
        assert len(large) <= 1


def jpeg(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(noise_image(60, 100)).save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


def anonymized(data: bytes, faces: Faces) -> tuple[bytes, dict[str, tf.train.Feature]]:
    serialized = outcome_of(detected(data, faces, "a.jpg"), "solid").serialized
    assert serialized
    feature = tf.train.Example.FromString(serialized).features.feature
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


def encoded(image_format: str, **options: Any) -> bytes:
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
        row = outcome_of(detected(data, found), "blur").row
        assert row.reencoded == expected
        result = ShardResult("data-00000-of-00001", "data")
        result.count(row)
        assert result.reencoded == expected


def label_map() -> bytes:
    buffer = io.BytesIO()
    coloured(face_parsing()).save(buffer, "png")
    return buffer.getvalue()


def distance_map() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(distances().astype(np.uint16)).save(buffer, "tiff")
    return buffer.getvalue()


@pytest.mark.parametrize("data", [label_map(), distance_map()])
def test_a_map_of_labels_or_distances_with_faces_is_quarantined_unless_an_option_allows_it(data: bytes) -> None:
    faces = Faces(np.array([[30, 40, 90, 120]], np.float32), np.array([0.75], np.float32))
    record = detected(data, faces)
    [refused] = anonymize([record], Masking("solid", Style()), FeatureRoles())
    assert (refused.serialized, refused.row.reason) == (None, Reason.LABEL_MAP)
    assert "a face found in" in str(refused.row.detail)
    assert "--allow_label_maps" in str(refused.row.detail)
    [masked] = anonymize([record], Masking("solid", Style(), allow_label_maps=True), FeatureRoles())
    assert masked.serialized
    assert masked.row.status == "anonymized"


@pytest.mark.parametrize("data", [label_map(), distance_map()])
def test_a_map_without_faces_passes_as_it_is(data: bytes) -> None:
    output, feature = anonymized(data, Faces.none())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(output))), np.asarray(Image.open(io.BytesIO(data))))
    assert feature["image/face/count"].int64_list.value == [0]
