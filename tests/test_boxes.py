"""Annotated boxes through the command: every layout, both modes, each quarantine; read with TensorFlow."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.pipeline.graph import AnonymizeDataset
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.inputs.keys import KeyHash
from tests.conftest import ROOT, SKIMAGE_DATA
from tests.test_end_to_end import FAST, command, examples, faceveil, files, image_of, rows

pytestmark = pytest.mark.usefixtures("centerface")
SIDES = ("xmin", "ymin", "xmax", "ymax")
Box = tuple[float, float, float, float]
# Masks of these are the boxes themselves, to the pixel.
EXACT = ("--method", "solid", "--shape", "box", "--margin", 0)
REPLACE = ("--boxes_mode", "replace")
PLATE, PERSON = (20.0, 300.0, 90.0, 340.0), (350.0, 10.0, 500.0, 511.0)
FACE = (190.0, 60.0, 270.0, 185.0)
"""Around the astronaut's face, larger than the detector's box."""
LABELLED = [(PLATE, "plate", 1), (FACE, "face", 2), (PERSON, "person", 3)]


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))


def png(pixels: np.ndarray, orientation: int = 1) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, "png", **({"exif": exif} if orientation > 1 else {}))
    return buffer.getvalue()


def feature(values: Sequence[Any]) -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def as_features(prefix: str, labelled: Sequence[tuple[Box, str, int]], side: float = 512) -> dict[str, Sequence[Any]]:
    """Boxes as the Object Detection API lays them out."""
    folder = prefix.rpartition("/")[0]
    return {
        **{f"{prefix}/{name}": [box[place] / side for box, *_ in labelled] for place, name in enumerate(SIDES)},
        f"{folder}/class/text": [name.encode() for _, name, _ in labelled],
        f"{folder}/class/label": [number for *_, number in labelled],
    }


def write_records(path: Path, *records: Mapping[str, Sequence[Any]]) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {name: feature(values) for name, values in record.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def write_boxes(path: Path, boxes: Mapping[str, Sequence[tuple[Box, str, int]]]) -> Path:
    """The boxes of images by their keys, in the layout that the file's name ends with."""
    if path.suffix == ".json":
        numbers = {number: name for labelled in boxes.values() for _, name, number in labelled}
        content = {
            "images": [
                {"id": number, "file_name": key, "width": 512, "height": 512} for number, key in enumerate(boxes)
            ],
            "annotations": [
                {"id": 0, "image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": category}
                for number, labelled in enumerate(boxes.values())
                for (x0, y0, x1, y1), _, category in labelled
            ],
            "categories": [{"id": number, "name": name} for number, name in numbers.items()],
        }
        path.write_text(json.dumps(content))
        return path
    lines: list[list[Any]] = [
        [key, *box, name]
        for key, labelled in boxes.items()
        for box, name, _ in labelled or [((None,) * 4, None, None)]  # type: ignore[list-item]
    ]
    names = ["key", *SIDES, "label"]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([names, *lines])
    return path


def inside(boxes: Sequence[Box], shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels any of some boxes touches."""
    mask = np.zeros(shape[:2], bool)
    for x0, y0, x1, y1 in boxes:
        mask[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    return mask


def check_masked(before: np.ndarray, after: np.ndarray, boxes: Sequence[Box]) -> None:
    """Black inside the boxes, untouched outside."""
    masked = inside(boxes, before.shape)
    assert (after[masked] == 0).all()
    assert np.array_equal(after[~masked], before[~masked])


def sides_of(face: Mapping[str, Any]) -> Box:
    """A face's box in the audit trail."""
    return face["x0"], face["y0"], face["x1"], face["y1"]


def said_by(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 2) -> str:
    capsys.readouterr()
    assert faceveil("run", *arguments) == status
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def records(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("boxes") / "x.tfrecord", astronaut)


def write_labelled(path: Path, picture: np.ndarray) -> Path:
    """Two records, with boxes and with none, under two prefixes."""
    image = {"image/encoded": [png(picture)]}
    return write_records(
        path,
        {**image, **as_features("image/object/bbox", LABELLED), **as_features("plates/bbox", LABELLED)},
        {**image, **as_features("image/object/bbox", []), **as_features("plates/bbox", [])},
    )


@pytest.mark.parametrize("layout", ["image/object/bbox", "plates/bbox/", "x.csv", "x.parquet", "x.JSON"])
def test_every_layout_gives_the_same_masks(
    layout: str, records: Path, astronaut: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes: object = layout
    if "." in layout:
        boxes = write_boxes(tmp_path / layout.lower(), {"x.tfrecord#0": LABELLED, "x.tfrecord#1": []})
        boxes = Path(str(boxes)).rename(tmp_path / layout)
    job = ("--input", records, "--boxes", boxes, *REPLACE, *EXACT)
    assert faceveil("run", *job, "--output", tmp_path / "all") == 0
    assert "2 records: 1 anonymized (3 faces, 3 of them given), 1 without faces" in capsys.readouterr().out
    found = examples(tmp_path / "all")
    check_masked(astronaut, image_of(found["x.tfrecord#0"]), [box for box, *_ in LABELLED])
    assert found["x.tfrecord#1"]["image/encoded"].bytes_list.value[0] == png(astronaut)
    for number, faces in enumerate((3, 0)):
        features = found[f"x.tfrecord#{number}"]
        assert features["image/face/count"].int64_list.value == [faces]
        assert features["image/face/score"].float_list.value == [1] * faces
        for place, side in enumerate(SIDES):
            values = [np.float32(box[place] / 512) for box, *_ in LABELLED[:faces]]
            assert features[f"image/face/bbox/{side}"].float_list.value == values
            assert features[f"image/object/bbox/{side}"].float_list.value == values
    manifest = json.loads((tmp_path / "all" / "manifest.json").read_text())
    assert manifest["model"] == {"name": "", "sha256": ""}
    assert manifest["job"]["boxes_mode"] == "replace"
    assert manifest["totals"]["given_faces"] == manifest["splits"]["data"]["given_faces"] == 3
    # Some classes, by name or number; COCO's and the features have both.
    for first in ("plate",) if layout in ("x.csv", "x.parquet") else ("plate", "1"):
        output = tmp_path / first
        assert faceveil("run", *job, "--output", output, "--box_classes", first, "person") == 0
        check_masked(astronaut, image_of(examples(output)["x.tfrecord#0"]), [PLATE, PERSON])


def test_what_a_job_wrote_can_be_given_to_another(records: Path, astronaut: np.ndarray, tmp_path: Path) -> None:
    first = tmp_path / "first"
    job = ("--boxes", "plates/bbox", "--box_classes", "plate", *REPLACE, *EXACT)
    assert faceveil("run", "--input", records, "--output", first, *job) == 0
    [shard] = first.glob("*.tfrecord")
    again = tmp_path / "again"
    assert faceveil("run", "--input", shard, "--output", again, "--boxes", "image/face/bbox", *REPLACE, *EXACT) == 0
    check_masked(astronaut, image_of(examples(again)[f"{shard.name}#0"]), [PLATE])


@pytest.fixture(scope="module")
def turned(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same stored pixels, which are wider than high, in each orientation."""
    folder = tmp_path_factory.mktemp("turned")
    for orientation in range(1, 9):
        (folder / f"{orientation}.png").write_bytes(png(astronaut[:400], orientation))
    return folder


@pytest.mark.parametrize("layout", ["x.csv", "features"])
def test_boxes_are_of_the_stored_image_in_every_orientation(
    layout: str, turned: Path, astronaut: np.ndarray, tmp_path: Path
) -> None:
    stored = astronaut[:400]
    boxes = [PLATE, FACE]
    given: object
    if layout == "features":
        shares: dict[str, Sequence[Any]] = {
            f"image/object/bbox/{side}": [box[place] / (512, 400)[place % 2] for box in boxes]
            for place, side in enumerate(SIDES)
        }
        images = [{"image/encoded": [(turned / f"{n}.png").read_bytes()], **shares} for n in range(1, 9)]
        inputs, given = write_records(tmp_path / "x.tfrecord", *images), "image/object/bbox"
    else:
        labelled = [(box, "", 0) for box in boxes]
        inputs = turned
        given = write_boxes(tmp_path / "x.csv", {f"{n}.png": labelled for n in range(1, 9)})
    job = ("--input", inputs, "--output", tmp_path / "out", "--boxes", given, *REPLACE, *EXACT)
    assert faceveil("run", *job) == 0
    found = examples(tmp_path / "out")
    assert len(found) == 8
    for features in found.values():
        check_masked(stored, image_of(features), boxes)
        for place, side in enumerate(SIDES):
            values = features[f"image/face/bbox/{side}"].float_list.value
            assert np.allclose(values, [box[place] / (512, 400)[place % 2] for box in boxes], atol=1e-6)


def test_added_boxes_are_masked_besides_the_faces_and_a_face_counts_once(
    astronaut: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ("face", "plate", "none", "unnamed")
    for name in names:
        (folder / f"{name}.png").write_bytes(png(astronaut))
    boxes = write_boxes(
        tmp_path / "x.csv", {"face.png": [LABELLED[1]], "plate.png": [LABELLED[0]], "none.png": [], "gone.png": []}
    )
    job = ("--input", folder, "--output", tmp_path / "out", "--boxes", boxes, *EXACT, *FAST)
    said = said_by(capsys, *job, status=0)
    assert "--boxes names 3 of the 4 image files" in said
    assert "--boxes names images that are not among the inputs: 1" in said
    trail, found = rows(tmp_path / "out"), examples(tmp_path / "out")
    detected = trail["unnamed.png"]["faces"]
    assert trail["none.png"]["faces"] == detected
    [face] = detected
    counts = {name: (len(trail[f"{name}.png"]["faces"]), trail[f"{name}.png"]["given_faces"]) for name in names}
    assert counts == {"face": (1, 1), "plate": (2, 1), "none": (1, 0), "unnamed": (1, 0)}
    [both] = trail["face.png"]["faces"]
    around = zip((min, min, max, max), sides_of(face), FACE, strict=True)
    assert sides_of(both) == tuple(pick(detected, given) for pick, detected, given in around)
    assert both["score"] == 1
    assert both["keypoints"] == face["keypoints"]
    plate, other = trail["plate.png"]["faces"]
    assert (sides_of(plate), plate["score"], plate["keypoints"]) == (PLATE, 1, None)
    assert other == face
    check_masked(astronaut, image_of(found["face.png"]), [sides_of(both)])
    check_masked(astronaut, image_of(found["plate.png"]), [PLATE, sides_of(face)])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["totals"]["faces"], manifest["totals"]["given_faces"]) == (5, 2)
    assert manifest["model"]["name"] == "yunet-s"


def test_what_says_nothing_or_nonsense_of_its_boxes_is_quarantined(astronaut: np.ndarray, tmp_path: Path) -> None:
    image = {"image/encoded": [png(astronaut)]}
    good = as_features("image/object/bbox", LABELLED)
    nan = float("nan")
    bad: dict[str, dict[str, Sequence[Any]]] = {
        "nothing": {},
        "two sides": {name: values for name, values in good.items() if not name.endswith("max")},
        "lengths": {**good, "image/object/bbox/xmin": [0.1]},
        "nan": as_features("image/object/bbox", [((nan, 0, 1, 1), "face", 1)]),
        "swapped": as_features("image/object/bbox", [((90, 0, 20, 9), "face", 1)]),
        "pixels": as_features("image/object/bbox", LABELLED, side=1),
        "outside": as_features("image/object/bbox", [((513, 0, 514, 9), "face", 1)]),
        "labels": {**good, "image/object/class/text": [b"face"]},
    }
    inputs = write_records(tmp_path / "x.tfrecord", *[{**image, **record} for record in (good, *bad.values())])
    job = ("--input", inputs, "--boxes", "image/object/bbox", "--box_classes", "face", "--max_quarantined", 1)
    assert faceveil("run", *job, "--output", tmp_path / "replace", *REPLACE) == 0
    assert faceveil("run", *job, "--output", tmp_path / "add", *FAST) == 0
    for mode in ("replace", "add"):
        trail = rows(tmp_path / mode)
        reasons = {name: trail[f"x.tfrecord#{number}"]["reason"] for number, name in enumerate(["good", *bad])}
        wrong = dict.fromkeys(list(bad)[1:], "invalid_boxes")
        missing = "missing_boxes" if mode == "replace" else None
        assert reasons == {"good": None, "nothing": missing, **wrong}
        assert len(examples(tmp_path / mode)) == (1 if mode == "replace" else 2)
    detail = rows(tmp_path / "replace")["x.tfrecord#1"]["detail"]
    assert detail.startswith("the Example has no features image/object/bbox/…")


def test_rows_of_a_file_that_are_no_boxes_quarantine_their_images_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "x.csv"
    table.write_text(
        "key,xmin,ymin,xmax,ymax\nchelsea.jpg,1,2,30,40\ncoffee.jpg,1,2,nan,40\ncoffee.jpg,1,2,30,40\nother.jpg,1,2,3,4\n"
    )
    job = ("--input", photos / "things", "--output", tmp_path / "out", "--boxes", table, *REPLACE)
    said = said_by(capsys, *job, status=3)
    assert "--boxes_mode replace: image files that it does not name will be quarantined: 1" in said
    reasons = {key: row["reason"] for key, row in rows(tmp_path / "out").items()}
    assert reasons == {"chelsea.jpg": None, "coffee.jpg": "invalid_boxes", "rocket.jpg": "missing_boxes"}
    assert list(examples(tmp_path / "out")) == ["chelsea.jpg"]


def test_other_images_of_a_record_are_looked_at_by_the_detector(astronaut: np.ndarray, tmp_path: Path) -> None:
    both = {name: [png(astronaut)] for name in ("left", "right")}
    inputs = write_records(tmp_path / "x.tfrecord", {**both, **as_features("image/object/bbox", LABELLED[:1])})
    images = ("--image_feature", "left", "right")
    job = ("--input", inputs, "--output", tmp_path / "out", "--boxes", "image/object/bbox", *REPLACE, *EXACT, *images)
    assert faceveil("run", *job, *FAST) == 0
    [found] = examples(tmp_path / "out").values()
    left, right = (np.asarray(Image.open(io.BytesIO(found[name].bytes_list.value[0]))) for name in ("left", "right"))
    check_masked(astronaut, left, [PLATE])
    [row] = rows(tmp_path / "out").values()
    [face] = row["other_images"][0]["faces"]
    check_masked(astronaut, right, [sides_of(face)])
    assert face["score"] < 1
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["totals"]["faces"], manifest["totals"]["given_faces"]) == (2, 1)
    assert manifest["model"]["name"] == "yunet-s"


@pytest.mark.workers
def test_every_worker_process_finds_the_boxes_and_writes_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    boxes = write_boxes(
        tmp_path / "x.parquet",
        {str(path.relative_to(photos)): [((5, 5, 50, 60), "", 0)] for path in sorted(photos.rglob("*.*"))},
    )
    job = ("run", "--input", f"{photos}/**", "--boxes", boxes, *REPLACE, "--num_shards", 4)
    assert faceveil(*job, "--output", tmp_path / "one") == 0
    more = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    subprocess.run(command(*job, "--output", tmp_path / "two", *more), check=True, cwd=ROOT)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(examples(tmp_path / "two")) == 6


@pytest.mark.parametrize("named", [False, True])
def test_keys_in_a_file_are_plain_where_names_are_hidden(
    records: Path, astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    salt = "0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("FACEVEIL_SALT", salt)
    (tmp_path / "a.png").write_bytes(png(astronaut))
    split, hashed = ("train/" if named else ""), KeyHash(salt.encode()).hashed
    table = write_boxes(
        tmp_path / "x.csv",
        {f"{split}a.png": [LABELLED[0]], f"{split}x.tfrecord#0": [LABELLED[2]], f"{split}x.tfrecord#1": []},
    )
    inputs = [f"{'train=' if named else ''}{path}" for path in (tmp_path / "a.png", records)]
    job = ("run", "--input", *inputs, "--output", tmp_path / "out", "--boxes", table, "--hash_keys", *REPLACE, *EXACT)
    assert faceveil(*job) == 0
    found = examples(tmp_path / "out")
    record = f"{split}{hashed('x.tfrecord')}#"
    assert set(found) == {f"{split}{hashed('a.png')}", f"{record}0", f"{record}1"}
    check_masked(astronaut, image_of(found[f"{split}{hashed('a.png')}"]), [PLATE])
    check_masked(astronaut, image_of(found[f"{record}0"]), [PERSON])
    check_masked(astronaut, image_of(found[f"{record}1"]), [])


def test_given_boxes_without_keypoints_are_left_to_the_fallback_method(
    records: Path, astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "0123456789abcdef0123456789abcdef")
    synthesize = ("--method", "synthesize", "--fallback_method", "solid", "--margin", 0)
    job = ("--input", records, "--boxes", "plates/bbox", *synthesize, *FAST)
    assert faceveil("run", *job, "--output", tmp_path / "out") == 0
    row = rows(tmp_path / "out")["x.tfrecord#0"]
    assert (len(row["faces"]), row["given_faces"], row["fallback_faces"]) == (3, 3, 2)
    after = image_of(examples(tmp_path / "out")["x.tfrecord#0"])
    for box in (PLATE, PERSON):
        assert (after[inside([box], after.shape)] == 0).all()
    face = inside([FACE], after.shape)
    assert (after[face] > 0).any()
    assert (after[face] != astronaut[face]).mean() > 0.9


def test_the_job_in_a_pipeline_of_one_s_own_takes_boxes_too(records: Path, tmp_path: Path) -> None:
    table = write_boxes(tmp_path / "x.parquet", {"x.tfrecord#0": LABELLED, "x.tfrecord#1": []})
    options = JobOptions(
        input=(str(records),), output=str(tmp_path / "out"), boxes=str(table), boxes_mode="replace", method="solid"
    )
    with beam.Pipeline() as pipeline:
        pipeline | AnonymizeDataset(options)
    after = image_of(examples(tmp_path / "out")["x.tfrecord#0"])
    assert (after[inside([box for box, *_ in LABELLED], after.shape)] == 0).all()
