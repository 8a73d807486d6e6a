"""A folder of photos with labels beside them, anonymized into a folder, and into TFRecords: what differs, and the time.

    python -m benchmarks.folders --data ../shared/data/wider-unseen --report DIR [--files 1000] [--repeat 5]

A quarter of the files are photos; YOLO's text, Pascal VOC's XML and a mask (a PNG with a palette) lie beside each, and
COCO's file is above them all. Told are: paths that the output lacks or has besides; labels with other bytes; images of
COCO's file that are not there in the size that it says, read with pycocotools and Pillow; and, of runs by turns,
the medians of both formats' times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from benchmarks.measure import audit_of

_COCO = "annotations/instances.json"
_FOLDERS = ("people", "people/Zoë & co", "street", "street/2024-05-01", "x")
_PALETTE = [0, 0, 0, 200, 60, 60, 60, 200, 60]


@dataclass(frozen=True)
class Run:
    """What a job took: from its start to its end, and CPU time of all its processes."""

    seconds: float
    cpu_seconds: float


def write_album(data: Path, folder: Path, count: int) -> None:
    """Writes so many annotated photos, again and again where there are fewer, with labels of four kinds."""
    annotated = [json.loads(line) for line in (data / "annotations.jsonl").read_text().splitlines()]
    coco: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "face"}]}
    for number in range(count):
        photo = annotated[number % len(annotated)]
        path = folder / _FOLDERS[number % len(_FOLDERS)] / f"{number:04d} {Path(photo['file']).name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / photo["file"], path)
        size = photo["width"], photo["height"]
        boxes = [face["box"] for face in photo["faces"]]
        path.with_suffix(".txt").write_text("".join(_yolo(box, *size) for box in boxes))
        path.with_suffix(".xml").write_bytes(_voc(path.name, boxes, *size))
        _mask(boxes, *size).save(path.with_suffix(".png"))
        name = str(path.relative_to(folder))
        coco["images"].append({"id": number + 1, "file_name": name, "width": size[0], "height": size[1]})
        for x0, y0, x1, y1 in boxes:
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            identity = {"id": len(coco["annotations"]) + 1, "image_id": number + 1, "category_id": 1}
            coco["annotations"].append(identity | box)
    (folder / _COCO).parent.mkdir(exist_ok=True)
    (folder / _COCO).write_text(json.dumps(coco))


def _yolo(box: Sequence[float], width: int, height: int) -> str:
    """A line of https://docs.ultralytics.com/datasets/detect/: class, centre and size as shares."""
    x0, y0, x1, y1 = box
    numbers = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
    return " ".join(["0", *(f"{number:.6f}" for number in numbers)]) + "\n"


def _voc(name: str, boxes: Sequence[Sequence[float]], width: int, height: int) -> bytes:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = name
    size = ElementTree.SubElement(root, "size")
    for tag, number in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, tag).text = str(number)
    for box in boxes:
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = "face"
        place = ElementTree.SubElement(thing, "bndbox")
        for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(place, tag).text = str(round(side))
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _mask(boxes: Sequence[Sequence[float]], width: int, height: int) -> Image.Image:
    mask = Image.new("P", (width, height))
    mask.putpalette(_PALETTE)
    drawing = ImageDraw.Draw(mask)
    for number, box in enumerate(boxes):
        drawing.rectangle([round(side) for side in box], fill=1 + number % 2)
    return mask


def run_job(album: Path, output: Path, *options: str) -> Run:
    """Runs a job to its end."""
    for place in (output, audit_of(output)):
        shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "faceveil", "run", "--input", f"{album}/**", "--output", str(output)]
    process = subprocess.Popen([*command, "--log_format", "json", *options], stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{output}: the job ended with status {os.waitstatus_to_exitcode(status)}")
    return Run(json.loads(said)["seconds"], usage.ru_utime + usage.ru_stime)


def differences(album: Path, output: Path) -> dict[str, int]:
    """What is not as it was: how many paths, labels and images of COCO's file."""
    before, after = (
        {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        for folder in (album, output)
    )
    del after["manifest.json"]
    labels = [name for name in before.keys() & after.keys() if not name.endswith((".jpg", ".png"))]
    coco = COCO(str(output / _COCO))
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in coco.dataset["images"]}
    manifest = json.loads((output / "manifest.json").read_bytes())
    return {
        "files": len(before),
        "paths missing": len(before.keys() - after.keys()),
        "paths added": len(after.keys() - before.keys()),
        "labels changed": sum(before[name].read_bytes() != after[name].read_bytes() for name in labels),
        "images of COCO's file that do not match": sum(
            name not in after or Image.open(after[name]).size != size for name, size in sizes.items()
        ),
        **{name: manifest["totals"][name] for name in ("anonymized", "no_faces", "quarantined", "copied", "ignored")},
    }


def main() -> None:
    """Prints what differs and the medians, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="photos with annotations.jsonl")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--report", type=Path, required=True, help="folder for folders.json")
    given = parser.parse_args()
    given.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faceveil-folders-") as name:
        album, images, records = (Path(name, part) for part in ("album", "images", "records"))
        write_album(given.data, album, given.files // 4)
        pairs = [
            (run_job(album, images, "--format", "images", "--copy_others"), run_job(album, records))
            for _ in range(given.repeat)
        ]
        told: dict[str, Any] = differences(album, images)
    for what in ("seconds", "cpu_seconds"):
        both = [tuple(getattr(run, what) for run in pair) for pair in pairs]
        told[f"{what} as images"], told[f"{what} as TFRecords"] = map(statistics.median, zip(*both, strict=True))
        told[f"{what}, TFRecords over images"] = statistics.median(records / images for images, records in both)
    (given.report / "folders.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
