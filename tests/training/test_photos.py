import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.evaluation.annotations import AnnotationError
from faceveil.training.photos import (
    AnnotatedPhoto,
    find_photos,
    hold_out,
    label_numbers,
    labels_of,
    merge_labels,
    photos_digest,
    show,
    source_number,
    without_copies,
    write_photos,
)
from faceveil.transforms.errors import AccessError


def entries(portraits: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (portraits / "annotations.jsonl").read_text().splitlines()]


def as_coco(folder: Path, portraits: Path) -> Path:
    names = ["with_mask", "without_mask"]
    images, annotations = [], []
    for number, entry in enumerate(entries(portraits)):
        images.append({"id": number, "file_name": entry["file"], "width": entry["width"], "height": entry["height"]})
        for face in entry["faces"]:
            x0, y0, x1, y1 = face["box"]
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": names.index(face["label"])}
            annotations.append({"image_id": number, **box})
    categories = [{"id": place, "name": name} for place, name in enumerate(names)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def as_wider(folder: Path, portraits: Path) -> Path:
    lines = []
    for entry in entries(portraits):
        [face] = entry["faces"]
        x0, y0, x1, y1 = face["box"]
        lines += [str(entry["file"]), "1", f"{x0} {y0} {x1 - x0} {y1 - y0} 0 0 0 0 0 0"]
    path = folder / "faces.txt"
    path.write_text("\n".join(lines))
    return path


def as_voc(folder: Path, portraits: Path) -> Path:
    xml = folder / "xml"
    xml.mkdir()
    for entry in entries(portraits):
        [face] = entry["faces"]
        sides = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), face["box"], strict=True))
        name = str(entry["file"]).rpartition("/")[2]
        size = f"<size><width>{entry['width']}</width><height>{entry['height']}</height></size>"
        object_ = f"<object><name>{escape(face['label'])}</name><bndbox>{sides}</bndbox></object>"
        (xml / f"{name}.xml").write_text(f"<annotation><filename>{name}</filename>{size}{object_}</annotation>")
    return xml


def as_tfrecord(folder: Path, portraits: Path, options: str = "") -> Path:
    path = folder / "train-00000-of-00001.tfrecord"

    def floats(value: float) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    with tf.io.TFRecordWriter(str(path), options) as writer:
        for entry in entries(portraits):
            [face] = entry["faces"]
            box = np.array(face["box"]) / np.tile([entry["width"], entry["height"]], 2)
            features = {
                f"image/object/bbox/{name}": floats(value)
                for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True)
            }
            data = (portraits / str(entry["file"])).read_bytes()
            for name, value in (("image/encoded", data), ("image/object/class/text", face["label"].encode())):
                features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def find(path: Path, images: Path | None = None) -> list[AnnotatedPhoto]:
    photos, left_out = find_photos([str(path)], str(images) if images else None)
    assert left_out == {}
    return photos


@pytest.mark.parametrize("write", [as_coco, as_wider, as_voc, as_tfrecord])
def test_all_formats_say_the_same(write: Callable[[Path, Path], Path], portraits: Path, tmp_path: Path) -> None:
    expected = find(portraits / "annotations.jsonl")
    found = find(write(tmp_path, portraits), portraits)
    assert len(found) == 4
    for one, other in zip(expected, found, strict=True):
        assert one.digest == other.digest
        np.testing.assert_allclose(one.annotated.boxes, other.annotated.boxes, atol=1e-3)
        assert other.annotated.labels == (("face",) if write is as_wider else one.annotated.labels)
        shown = show(other, 1)
        np.testing.assert_array_equal(shown.pixels, show(one, 1).pixels)
        np.testing.assert_allclose(shown.boxes, one.annotated.boxes, atol=1e-3)


def test_labels_are_merged_into_one(portraits: Path) -> None:
    photos = find(portraits / "annotations.jsonl")
    assert labels_of(photos) == ["with_mask", "without_mask"]
    assert [label_numbers(photo, labels_of(photos)).tolist() for photo in photos] == [[1], [2], [1], [2]]
    merged = merge_labels(photos, "FACE")
    assert labels_of(merged) == ["FACE"]
    assert [label_numbers(photo, ["FACE"]).tolist() for photo in merged] == [[1]] * 4
    assert photos_digest(merged) != photos_digest(photos)


def test_photos_that_cannot_be_decoded_are_left_out_by_name(portraits: Path, tmp_path: Path) -> None:
    shutil.copytree(portraits, tmp_path / "data")
    (tmp_path / "data" / "images" / "1.png").write_bytes(b"")
    (tmp_path / "data" / "images" / "2.png").write_bytes(b"no image")
    photos, left_out = find_photos([str(tmp_path / "data" / "annotations.jsonl")], str(tmp_path / "data/images/*.png"))
    assert [Path(photo.path).name for photo in photos] == ["0.png", "3.png"]
    assert {Path(name).name for name in left_out} == {"1.png", "2.png"}


def test_boxes_follow_the_orientation_tag(tmp_path: Path) -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[10:20, 5:25] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # it is shown turned clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.jsonl").write_text(json.dumps({"file": "a.png", "faces": [{"box": [5, 10, 25, 20]}]}))
    shown = show(find(tmp_path / "a.jsonl")[0], 1)
    assert shown.pixels.shape == (100, 60, 3)
    x0, y0, x1, y1 = shown.boxes[0].round().astype(int)
    assert shown.pixels[y0:y1, x0:x1].min() == 255
    assert shown.pixels.astype(int).sum() == 255 * 3 * (x1 - x0) * (y1 - y0)


def test_a_fifth_is_held_out_and_copies_stay_together(tmp_path: Path) -> None:
    lines = []
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number // 2, np.uint8))  # each of them twice
        lines.append(json.dumps({"file": f"{number}.png", "faces": [{"box": [1, 1, 5, 5]}]}))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    photos = find(tmp_path / "a.jsonl")
    learnt, held = hold_out(photos, 0.2, seed=1)
    assert (len(learnt), len(held)) == (32, 8)
    assert not {photo.digest for photo in learnt} & {photo.digest for photo in held}
    assert hold_out(photos[::-1], 0.2, seed=1)[1] == held[::-1]
    assert hold_out(photos, 0.2, seed=2)[1] != held
    assert hold_out(photos, 0, seed=1) == (photos, [])
    assert len(without_copies(photos, photos[:1])) == 38


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"width": 7}, AnnotationError, "is annotated as 7 x"),
        ({"file": "images/gone.png"}, AnnotationError, "gone.png is not among the 4 images"),
    ],
)
def test_annotations_have_to_fit(
    portraits: Path, tmp_path: Path, change: dict[str, object], error: type[Exception], message: str
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({**entries(portraits)[0], **change}))
    with pytest.raises(error, match=message):
        find_photos([str(tmp_path / "a.jsonl")], str(portraits))


def test_compressed_tfrecords_are_refused(portraits: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="is compressed"):
        find(as_tfrecord(tmp_path, portraits, "GZIP"))


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(AccessError, match=r"nowhere\.jsonl: does not exist"):
        find_photos(["nowhere.jsonl"], None)


def test_a_photo_that_changes_is_noticed(portraits: Path, tmp_path: Path) -> None:
    shutil.copytree(portraits, tmp_path / "data")
    photo = find(tmp_path / "data" / "annotations.jsonl")[0]
    shutil.copy(tmp_path / "data" / "images" / "1.png", photo.path)
    with pytest.raises(AccessError, match="has changed"):
        show(photo, 64)


def test_copies_are_the_photos_with_boxes_that_can_be_masked(portraits: Path, tmp_path: Path) -> None:
    first, second, *_ = entries(portraits)
    width, height = first["width"], first["height"]
    boxes = [[-50, 10, 30, 1e6], [5, 5, 5, 9], [width + 1, 0, width + 9, 9], [1, 2, 3, 4]]
    first["faces"] = [
        {"box": box, "label": f"n{place}\ud800", "invalid": place == 3} for place, box in enumerate(boxes)
    ]
    second["faces"] = []
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, (first, second))))
    photos = find_photos([str(tmp_path / "a.jsonl")], str(portraits))[0]
    write_photos(photos[::-1], str(tmp_path / "copies.tfrecord"))
    copies = find(tmp_path / "copies.tfrecord")
    assert [source_number(copy) for copy in copies] == [0, 1]
    assert [copy.digest for copy in copies] == [photo.digest for photo in photos[::-1]]
    assert len(copies[0].annotated.boxes) == 0
    annotated = copies[1].annotated
    np.testing.assert_allclose(annotated.boxes, [[0, 10, 30, height], [1, 2, 3, 4]], atol=1e-3)
    assert annotated.labels == (r"n0\ud800", r"n3\ud800")
    assert annotated.ignored.tolist() == [False, True]


def test_a_record_without_a_number_is_named(portraits: Path, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"#0: has no image/source_id"):
        source_number(find(as_tfrecord(tmp_path, portraits))[0])
