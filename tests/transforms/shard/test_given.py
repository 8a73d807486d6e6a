from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import ImageInfo, stored_boxes
from faceveil.transforms.detectors.merge import NMS_IOU
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.box_table import BoxTable
from faceveil.transforms.formats.example import Example, FeatureValue
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.given import BoxSource, GivenBoxes, with_given

PREFIX = "image/object/bbox"
INFO = ImageInfo("png", 200, 100, 1, "RGB")


def example(features: dict[str, FeatureValue], prefix: str = PREFIX) -> Example:
    """Boxes by their sides, labels by the last part of their names."""
    folder = prefix.rpartition("/")[0]
    sides = {f"{prefix}/{name}": value for name, value in features.items() if "/" not in name}
    labels = {f"{folder}/{name}".removeprefix("/"): value for name, value in features.items() if "/" in name}
    return Example.parse(Example.empty().with_features({**sides, **labels}))


def sides(*boxes: tuple[float, float, float, float]) -> dict[str, FeatureValue]:
    return {name: [float(box[place]) for box in boxes] for place, name in enumerate(("xmin", "ymin", "xmax", "ymax"))}


def found(source: BoxSource, read: Example | None, info: ImageInfo = INFO) -> list[list[float]] | None:
    faces = GivenBoxes(source).find("a.jpg", read, info)
    if faces is None:
        return None
    assert faces.scores.tolist() == [1] * len(faces)
    assert faces.keypoints is None
    return faces.boxes.tolist()  # type: ignore[no-any-return]


def refusal(read: Example | None, source: BoxSource | None = None, info: ImageInfo = INFO) -> Quarantine:
    with pytest.raises(Quarantine) as raised:
        found(source or BoxSource(False, PREFIX), read, info)
    return raised.value


ONE = (0.1, 0.2, 0.5, 1.0)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("prefix", [PREFIX, "plates/bbox", "bbox"])
def test_boxes_of_an_example_are_shares_of_the_stored_image(prefix: str, replace: bool) -> None:
    source = BoxSource(replace, prefix)
    assert found(source, example(sides(ONE, (0, 0, 1, 0.5)), prefix)) == [[20, 20, 100, 100], [0, 0, 200, 50]]
    assert found(source, example(sides(), prefix)) == []


def test_what_reaches_a_little_beyond_is_cut() -> None:
    assert found(BoxSource(False, PREFIX), example(sides((-0.009, 0, 1.009, 1.005)))) == [[0, 0, 200, 100]]


def test_without_boxes_a_record_is_left_to_the_detector_or_quarantined() -> None:
    for read in (None, example({}), example(sides(ONE), "other")):
        assert found(BoxSource(False, PREFIX), read) is None
        assert refusal(read, BoxSource(True, PREFIX)).reason is Reason.MISSING_BOXES
    # A feature that holds no list at all says nothing.
    unset = tf.train.Example(features=tf.train.Features(feature={f"{PREFIX}/xmin": tf.train.Feature()}))
    assert refusal(Example.parse(unset.SerializeToString()), BoxSource(True, PREFIX)).reason is Reason.MISSING_BOXES


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "box",
    [
        *[(NAN, 0, 1, 1), (0, NAN, 1, 1), (0, 0, INF, 1), (-INF, 0, 1, 1), (0, 0, 3e38, 1)],
        *[(0.5, 0, 0.4, 1), (0, 0.5, 1, 0.4)],
        *[(10, 20, 60, 80), (0, 0, 1.02, 1), (-0.02, 0, 1, 1), (0, 0, 1, 2)],
        *[(1.001, 0, 1.005, 1), (-0.005, 0, -0.001, 1), (0, 1.0, 1, 1.0)],
    ],
    ids=str,
)
def test_what_is_no_box_of_the_image_quarantines_the_record(box: tuple[float, float, float, float]) -> None:
    for boxes in ((box,), (ONE, box)):
        error = refusal(example(sides(*boxes)))
        assert error.reason is Reason.INVALID_BOXES
        assert "no box in the stored image of 200 x 100 px" in error.detail


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({**sides(ONE), "xmin": [0.1, 0.2]}, "lists of different lengths"),
        ({**sides(ONE), "ymax": []}, "lists of different lengths"),
        ({name: value for name, value in sides(ONE).items() if name != "ymin"}, "there is no image/object/bbox/ymin"),
        ({"xmin": []}, "there is no image/object/bbox/ymin beside the others"),
        ({**sides(ONE), "xmax": [1]}, "image/object/bbox/xmax holds no floats"),
        ({**sides(ONE), "xmax": [b"1"]}, "image/object/bbox/xmax holds no floats"),
    ],
)
def test_lists_that_do_not_go_together_quarantine_the_record(features: dict[str, FeatureValue], said: str) -> None:
    error = refusal(example(features))
    assert (error.reason, said in error.detail) == (Reason.INVALID_BOXES, True)


TWO = sides(ONE, (0, 0, 1, 0.5))
FIRST, SECOND = [20, 20, 100, 100], [0, 0, 200, 50]


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ({"class/text": [b"face", b"plate"]}, ("plate",), [SECOND]),
        ({"class/label": [1, 2]}, ("1",), [FIRST]),
        ({"class/text": [b"face", b"plate"], "class/label": [1, 2]}, ("1", "plate"), [FIRST, SECOND]),
        ({"class/text": [b"face", b"plate"], "class/label": []}, ("person",), []),
        ({"class/text": ["Gesicht mit Bär".encode(), b"\xff"]}, ("Gesicht mit Bär",), [FIRST]),
        # Whatever they are, all are wanted.
        ({"class/text": [b"face"]}, (), [FIRST, SECOND]),
    ],
)
def test_classes_are_chosen_by_name_or_number(
    labels: dict[str, FeatureValue], classes: tuple[str, ...], expected: list[list[float]]
) -> None:
    assert found(BoxSource(True, PREFIX, classes), example({**TWO, **labels})) == expected


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, "2 boxes without labels"),
        ({"class/text": [], "class/label": []}, "2 boxes without labels"),
        ({"class/text": [b"plate"]}, "2 boxes and 1 values of image/object/class/text"),
        (
            {"class/text": [b"plate", b"face"], "class/label": [1, 2, 3]},
            "2 boxes and 3 values of image/object/class/la",
        ),
    ],
)
def test_boxes_whose_class_nobody_knows_quarantine_the_record(labels: dict[str, FeatureValue], said: str) -> None:
    error = refusal(example({**TWO, **labels}), BoxSource(False, PREFIX, ("plate",)))
    assert (error.reason, said in error.detail) == (Reason.INVALID_BOXES, True)
    # Where there are no boxes, there is nothing to know.
    assert found(BoxSource(True, PREFIX, ("plate",)), example(sides())) == []


@given(
    st.integers(1, 8),
    st.integers(1, 500),
    st.integers(1, 500),
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), min_size=1, max_size=4),
)
def test_boxes_are_of_the_stored_image_whatever_its_orientation(
    orientation: int, width: int, height: int, corners: list[tuple[float, float, float, float]]
) -> None:
    shares = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], np.float32)
    shares = shares[(shares[:, 0] < 1) & (shares[:, 1] < 1) & (shares[:, 2] > 0) & (shares[:, 3] > 0)]
    info = ImageInfo("jpeg", width, height, orientation, "RGB")
    faces = GivenBoxes(BoxSource(True, PREFIX)).find("", example(sides(*shares.tolist())), info)
    assert faces is not None
    size = np.array([info.upright_width, info.upright_height] * 2, np.float32)
    assert np.allclose(stored_boxes(faces.boxes / size, orientation), shares, atol=1e-5)


def test_of_a_turned_heic_nobody_knows_what_its_boxes_are_of() -> None:
    turned = ImageInfo("heif", 200, 100, 6, "RGB")
    assert refusal(example(sides(ONE)), info=turned).reason is Reason.INVALID_BOXES
    assert found(BoxSource(False, PREFIX), example(sides()), turned) == []
    assert found(BoxSource(False, PREFIX), example(sides(ONE)), ImageInfo("heif", 200, 100, 1, "RGB"))


def test_boxes_of_a_table_are_found_by_key_in_pixels(tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 30, 40], [5, 6, NAN, 8], [0, 0, 300, 10]], np.float32)
    BoxTable.of(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], np.array([0, 1, 2]), boxes).save(str(tmp_path))
    of = GivenBoxes(BoxSource(True, table=str(tmp_path)))
    first = of.find("a.jpg", None, INFO)
    assert first is not None
    assert first.boxes.tolist() == [[1, 2, 30, 40]]
    # What the Example says does not matter then.
    again = of.find("a.jpg", example(sides(ONE)), INFO)
    assert again is not None
    assert again.boxes.tolist() == first.boxes.tolist()
    sized = np.array([[200, 100], [100, 200], [400, 200], [0, 0]], np.int32)
    BoxTable.of(["a", "b", "c", "d"], np.array([0, 1, 2, 3]), boxes[[0] * 4], sizes=sized).save(str(tmp_path / "2"))
    of_sizes = GivenBoxes(BoxSource(False, table=str(tmp_path / "2")))
    for key in ("a", "d"):
        assert of_sizes.find(key, None, INFO)
    # As one draws on an upright image, or on one of another size.
    for key in ("b", "c"):
        with pytest.raises(Quarantine, match=r"drawn on an image of .* px, the stored image has 200 x 100 px") as wrong:
            of_sizes.find(key, None, INFO)
        assert wrong.value.reason is Reason.INVALID_BOXES
    none = of.find("d.jpg", None, INFO)
    assert none is not None
    assert len(none) == 0
    for key, reason in {"b.jpg": Reason.INVALID_BOXES, "c.jpg": Reason.INVALID_BOXES, "": Reason.MISSING_BOXES}.items():
        with pytest.raises(Quarantine) as raised:
            of.find(key, None, INFO)
        assert raised.value.reason is reason


def faces(boxes: FloatArray, keypoints: bool = False) -> Faces:
    points = np.arange(10 * len(boxes), dtype=np.float32).reshape(-1, 5, 2) if keypoints else None
    return Faces(boxes, np.linspace(0.9, 0.3, len(boxes), dtype=np.float32), points)


def proper(corners: list[tuple[int, int, int, int]]) -> FloatArray:
    x0, y0, width, height = np.array(corners, np.float32).reshape(-1, 4).T
    return np.stack([x0, y0, x0 + width + 1, y0 + height + 1], axis=1)


corners = st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=5).map(proper)


@given(
    corners,
    corners,
    st.sampled_from([1, 0.9, 0.5, 0.1]),
    st.sampled_from([0, 0.1, 1]),
    st.sampled_from(["box", "ellipse"]),
    st.booleans(),
)
def test_the_masks_of_both_cover_every_box_of_either(
    boxes: FloatArray, detected: FloatArray, coverage: float, margin: float, shape: Shape, keypoints: bool
) -> None:
    geometry = MaskGeometry(coverage, margin, shape)
    wanted = Faces(boxes, np.ones(len(boxes), np.float32))
    both = with_given(faces(detected, keypoints), wanted, geometry)
    assert len(boxes) <= len(both) <= len(boxes) + len(detected)
    assert both.scores[: len(boxes)].tolist() == [1] * len(boxes)
    painted = np.zeros((200, 200), bool)
    for box in both.boxes:
        rectangle, mask = face_mask(box + 50, geometry, 200, 200)
        painted[rectangle] |= mask
    for box in (*boxes, *detected):
        rectangle, mask = face_mask(box + 50, MaskGeometry(coverage, margin, "box"), 200, 200)
        assert painted[rectangle][mask].all()


@given(corners, corners, st.booleans())
def test_a_face_that_overlaps_a_given_box_counts_once(boxes: FloatArray, detected: FloatArray, keypoints: bool) -> None:
    wanted, found = Faces(boxes, np.ones(len(boxes), np.float32)), faces(detected, keypoints)
    both = with_given(found, wanted, MaskGeometry())
    alone = iou(detected, boxes).max(axis=1, initial=0) < NMS_IOU
    assert len(both) == len(boxes) + alone.sum()
    assert np.array_equal(both.boxes[len(boxes) :], detected[alone])
    assert np.array_equal(both.scores[len(boxes) :], found.scores[alone])
    if keypoints and len(detected):
        assert both.keypoints is not None
        assert found.keypoints is not None
        assert np.array_equal(both.keypoints[len(boxes) :], found.keypoints[alone])
        known = ~np.isnan(both.keypoints[: len(boxes)]).all(axis=(1, 2))
        # Each face's keypoints go to the box that it overlaps most, those of the best face first.
        owners = [int(row.argmax()) for row, single in zip(iou(detected, boxes), alone, strict=True) if not single]
        assert known.tolist() == [number in owners for number in range(len(boxes))]
    elif not keypoints:
        assert both.keypoints is None


def test_a_mask_that_ends_above_the_face_s_end_does_not_stand_for_it() -> None:
    tall, low = np.array([[0, 0, 10, 100]], np.float32), np.array([[0, 50, 10, 100]], np.float32)
    for coverage, count in ((1, 1), (0.7, 2)):
        both = with_given(faces(low), Faces(tall, np.ones(1, np.float32)), MaskGeometry(coverage))
        assert len(both) == count
