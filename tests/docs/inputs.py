"""The inputs that the commands of the pages name, made up: a folder to run them in."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from PIL import Image

from faceveil.transforms.detectors.models import known_model
from tests.conftest import ROOT, SKIMAGE_DATA
from tests.transforms.formats.test_tar_files import packed
from tests.transforms.formats.test_tfds import LABEL, dictionary, image

FACE = (88, 33, 138, 102)
"""Of the portrait: x0, y0, x1, y1."""


def make_inputs(folder: Path) -> None:
    """Writes all of them into a folder."""
    portrait = _jpeg(Image.open(SKIMAGE_DATA / "astronaut.png").resize((256, 256)))
    rocket = _jpeg(Image.open(SKIMAGE_DATA / "rocket.jpg").resize((320, 214)))
    _photos(folder / "photos", portrait, rocket)
    _annotations(folder)
    _records(folder, portrait, rocket)
    (folder / "configs").symlink_to(ROOT / "configs")
    for model in ("my-detector", "my/saved_model", "detector/saved_model"):
        (folder / model).parent.mkdir(exist_ok=True)
        (folder / model).symlink_to(known_model("centerface"))
    (folder / "plates.onnx").write_bytes((ROOT / "transforms" / "detectors" / "centerface.onnx").read_bytes())


def _photos(folder: Path, portrait: bytes, rocket: bytes) -> None:
    files = {"portrait.jpg": portrait, "rocket.jpg": rocket, "thumbnails/small.jpg": rocket}
    files |= {
        "people/anna.jpg": portrait,
        "train/one.jpg": portrait,
        "train/two.jpg": rocket,
        "val/three.jpg": portrait,
    }
    files |= {"portrait.txt": b"0 0.44 0.26 0.2 0.27\n", "instances.json": b'{"images": []}\n'}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    Image.open(io.BytesIO(rocket)).convert("P").save(folder / "rocket.gif")
    face = {"box": FACE, "invalid": 0, "skin": "light", "age": "adult"}
    annotated = [
        {"file": "portrait.jpg", "width": 256, "height": 256, "faces": [face]},
        {"file": "rocket.jpg", "width": 320, "height": 214, "faces": []},
    ]
    (folder / "annotations.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in annotated))
    (folder.parent / "files.txt").write_text("photos/train/*.jpg\nphotos/val/three.jpg\n")


def _annotations(folder: Path) -> None:
    x0, y0, x1, y1 = FACE
    _table(folder / "plates.csv", "key xmin ymin xmax ymax label", ["portrait.jpg", 10, 200, 60, 220, "license plate"])
    boxes = [
        {"id": number, "image_id": 1, "category_id": number, "bbox": [10 * number, 200, 30, 20]} for number in (1, 2, 3)
    ]
    names = enumerate(("license plate", "person", "dog"), 1)
    coco = {
        "images": [{"id": 1, "file_name": "portrait.jpg", "width": 256, "height": 256}],
        "categories": [{"id": number, "name": name} for number, name in names],
        "annotations": boxes,
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    parade = folder / "WIDER_val" / "images" / "0--Parade"
    parade.mkdir(parents=True)
    (parade / "0_Parade.jpg").write_bytes((folder / "photos" / "portrait.jpg").read_bytes())
    wider = f"0--Parade/0_Parade.jpg\n1\n{x0} {y0} {x1 - x0} {y1 - y0} 0 0 0 0 0 0\n"
    (folder / "wider_face_val_bbx_gt.txt").write_text(wider)
    _table(folder / "labels.csv", "file x0 y0 x1 y1 skin", ["0--Parade/0_Parade.jpg", *FACE, "light"])


def _records(folder: Path, portrait: bytes, rocket: bytes) -> None:
    box = dict(zip(("xmin", "ymin", "xmax", "ymax"), (side / 256 for side in FACE), strict=True))
    boxes = {f"image/object/bbox/{side}": tf.train.FloatList(value=[value]) for side, value in box.items()}
    examples = [{"image/encoded": tf.train.BytesList(value=[data]), **boxes} for data in (portrait, rocket)]
    _tfrecords(folder / "records" / "a.tfrecord", examples)
    declared = folder / "tensorflow_datasets" / "voc" / "2007" / "5.0.0"
    examples = [{"image": tf.train.BytesList(value=[data])} for data in (portrait, rocket)]
    _tfrecords(declared / "voc-train.tfrecord-00000-of-00001", examples)
    (declared / "features.json").write_text(json.dumps(dictionary(image=image(), label=LABEL)))

    for name in ("data", "stereo", "downloaded"):
        (folder / name).mkdir()
    column = [{"bytes": data, "path": "x.jpg"} for data in (portrait, rocket)]
    pq.write_table(pa.table({"image": column, "label": [0, 1]}), folder / "data" / "train-00000.parquet")
    pair = {"left": [portrait], "right": [rocket], "taken": [date(2024, 1, 1)]}
    pq.write_table(pa.table(pair), folder / "stereo" / "a.parquet")
    _tar(folder / "data" / "train-00000.tar", ("0.jpg", portrait), ("0.cls", b"0"), ("1.jpg", rocket), ("1.cls", b"1"))
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    pair_of_tar = ("0.left.jpg", portrait), ("0.right.jpg", rocket), ("0.npy", array.getvalue())
    _tar(folder / "stereo" / "a.tar", *pair_of_tar)
    told = json.dumps({"url": "https://example.org/a.jpg", "sha256": "0" * 64}).encode()
    _tar(folder / "downloaded" / "00000.tar", ("0.jpg", portrait), ("0.txt", b"an astronaut"), ("0.json", told))


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def _table(path: Path, header: str, *rows: Sequence[object]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(), *rows])


def _tfrecords(path: Path, examples: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True)
    kinds = {tf.train.BytesList: "bytes_list", tf.train.FloatList: "float_list"}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            feature = {name: tf.train.Feature(**{kinds[type(value)]: value}) for name, value in example.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> None:
    path.write_bytes(packed(*members))
