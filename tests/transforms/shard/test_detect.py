import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.codecs import ImageInfo
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.detectors.views import ShownImage, View, Window
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.anonymize import Masking, anonymize
from faceveil.transforms.shard.detect import DecodedImage, batch_like_shaped, decode, detect
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome, Record, in_order, quarantined
from tests.conftest import SKIMAGE_DATA


def decoded(key: str, width: int = 32) -> Record[DecodedImage]:
    info = ImageInfo("jpeg", 32, 32, 1, "RGB")
    view = View(np.zeros((32, width, 3), np.uint8), Window(0, 0, 32, 32, width, 32), 32, 32)
    image = DecodedImage(b"", info, (ShownImage((view,)),), (1,), None, faultless=False, hides_pixels=False)
    return Record(key, (image,), None)


def _shape(record: Record[DecodedImage]) -> tuple[int, ...]:
    return record.images[0].renderings[0].views[0].pixels.shape


@given(st.lists(st.sampled_from([*range(32, 1024, 32), None]), max_size=80), st.integers(1, 5))
def test_batches_are_like_shaped_and_the_order_comes_back(widths: list[int | None], size: int) -> None:
    empty = Quarantine(Reason.EMPTY)
    items = [decoded(str(n), w) if w else quarantined(str(n), empty) for n, w in enumerate(widths)]
    taken = 0

    def take() -> Iterator[Record[DecodedImage] | Outcome]:
        nonlocal taken
        for item in items:
            taken += 1
            yield item

    batches = []
    given_back = 0
    for batch in batch_like_shaped(take(), size):
        assert taken - given_back <= 4 * size  # nothing waits for more than four batches
        given_back += len(batch.items)
        batches.append(batch)
        assert len(batch.items) <= size
        shapes = {_shape(item) if isinstance(item, Record) else 0 for item in batch.items}
        assert len(shapes) <= 1
    assert [item.key for item in in_order(batches)] == [str(n) for n in range(len(items))]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_nothing_is_like_waits_until_four_batches_do(size: int) -> None:
    taken = 0

    def take() -> Iterator[Record[DecodedImage] | Outcome]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield decoded(str(number), 32 * (number + 1))

    batches = batch_like_shaped(take(), size)
    first = next(batches)
    assert [item.key for item in first.items] == ["0"]
    assert taken == (1 if size == 1 else 4 * size)
    assert [item.key for batch in batches for item in batch.items] == [str(number) for number in range(1, 40)]


@pytest.fixture(scope="module")
def detector(centerface: str) -> Detector:
    return Detector(DetectorConfig((centerface,), quality=Quality(320)))


def wide_photo(orientation: int) -> bytes:
    """900 x 300 px, upright: the astronaut's face, 81 px wide, is at the right. Turned by the orientation tag alone."""
    photo = Image.new("RGB", (900, 300), "grey")
    photo.paste(Image.fromarray(skimage.data.astronaut()[:300, 100:400]), (600, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored = photo.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else photo
    stored.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_face_of_a_wide_photo_is_found_where_it_is(tmp_path: Path, detector: Detector, orientation: int) -> None:
    path = tmp_path / "wide.jpg"
    path.write_bytes(wide_photo(orientation))
    item = decode(Source("wide.jpg", str(path), None, 0), FeatureRoles(), detector, Limits())
    assert isinstance(item, Record)
    [detected] = detect([item], detector)
    [image] = detected.images
    best = image.faces.boxes[image.faces.scores.argmax()]
    np.testing.assert_allclose(best, [683, 63, 764, 178], atol=12)


@pytest.mark.parametrize(
    ("names", "detail"),
    [
        (("image/encoded",), "jpeg: image file is truncated"),
        (("image/encoded", "thumbnail"), "feature image/encoded: jpeg: image file is truncated"),
        (("thumbnail", "image/encoded"), "feature image/encoded: jpeg: image file is truncated"),
    ],
)
def test_of_several_images_the_broken_one_is_named(names: tuple[str, ...], detail: str, detector: Detector) -> None:
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[wide_photo(1)[: 2000 if "/" in name else None]]))
        for name in names
    }
    record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    with pytest.raises(Quarantine) as refused:
        decode(Source("a#0", "a", record, len(record)), FeatureRoles(names), detector, Limits())
    assert refused.value.reason is Reason.TRUNCATED
    assert refused.value.detail.startswith(detail)


@pytest.mark.parametrize("is_upright_as_stored", [False, True])
def test_a_face_is_found_and_masked_whichever_way_up_a_reader_shows_it(
    tmp_path: Path, centerface_int8: str, is_upright_as_stored: bool
) -> None:
    """Only some readers go by XMP. Upside down the detector does not find this face, so it has to look both ways."""
    portrait = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB").resize((128, 128))
    photo = Image.new("RGB", (1024, 1024), (120, 120, 120))
    photo.paste(portrait, (300, 500))
    as_stored = photo if is_upright_as_stored else photo.transpose(Image.Transpose.ROTATE_180)
    as_stored.save(tmp_path / "a.webp", lossless=True, xmp=b'<rdf:Description tiff:Orientation="3"/>')
    detector = Detector(DetectorConfig((centerface_int8,)))
    source = Source("a.webp", str(tmp_path / "a.webp"), None, 0)
    item = decode(source, FeatureRoles(), detector, Limits())
    assert isinstance(item, Record)
    [outcome] = anonymize(detect([item], detector), Masking("solid", Style()), FeatureRoles())
    assert outcome.serialized
    features = tf.train.Example.FromString(outcome.serialized).features.feature
    with Image.open(io.BytesIO(features["image/encoded"].bytes_list.value[0])) as written:
        assert dict(written.getexif()) == {}
        masked = written if is_upright_as_stored else written.transpose(Image.Transpose.ROTATE_180)
        face = np.asarray(masked.crop((347, 520, 365, 543)))
    assert (face == face[0, 0]).all()
    box = np.array(
        [features[f"image/face/bbox/{side}"].float_list.value[0] for side in ("xmin", "ymin", "xmax", "ymax")]
    )
    x0, y0, x1, y1 = box * 1024 if is_upright_as_stored else 1024 - box[[2, 3, 0, 1]] * 1024
    np.testing.assert_allclose((x0, y0, x1, y1), (345, 514, 368, 545), atol=5)
