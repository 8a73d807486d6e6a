"""Annotated faces: readers of JSON lines, COCO's JSON, Pascal VOC's XML and WIDER FACE's text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np

from faceveil.evaluation import AnnotationFormat
from faceveil.transforms.arrays import BoolMask, FloatArray

FACE = "face"
"""The label of what has none, as in WIDER's text."""
_JSONL_KEYS = {"box", "invalid"}
_COCO_KEYS = {"id", "image_id", "bbox", "area", "segmentation", "iscrowd", "ignore", "attributes"}
_WIDER_ATTRIBUTES = {"blur": 4, "expression": 5, "illumination": 6, "occlusion": 8, "pose": 9}
"""Places in a face's line."""


class AnnotationError(ValueError):
    """Annotations cannot be understood, or do not belong to the images."""


@dataclass(frozen=True)
class AnnotatedImage:
    """The annotated faces of one image.

    Attributes:
        file: the image's path as the annotations name it, with forward slashes.
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels of the stored image.
        ignored: bool ``[N]``: faces that count neither as found nor as missed, such as WIDER's invalid ones, COCO's
            crowds, VOC's difficult ones, and boxes without area.
        size: width and height of the stored image in pixels, or None where the annotations do not tell.
        labels: of each face; ``FACE`` where the annotations tell none.
        attributes: of each face, what else the annotations say of it, by name; empty where they say nothing.
    """

    file: str
    boxes: FloatArray
    ignored: BoolMask
    size: tuple[int, int] | None = None
    labels: tuple[str, ...] = ()
    attributes: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)


def parse_annotations(text: str, annotation_format: AnnotationFormat = "auto") -> list[AnnotatedImage]:
    """Reads annotated faces, an entry for every image, those without faces included.

    * ``jsonl``: a line of JSON for every image, ``{"file", "width", "height", "faces": [{"box": [x0, y0, x1, y1],
      "label", "invalid"}]}``; ``invalid`` 1 is ignored; other keys of a face are its attributes.
    * ``coco``: https://cocodataset.org/#format-data, boxes as ``[x, y, width, height]``; every category counts as a
      face, its name is the label; ``iscrowd`` 1 or ``ignore`` 1 is ignored; other keys of an annotation are attributes,
      and so is what a dictionary ``attributes`` in it holds.
    * ``voc``: the XML of one image, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, as labelling tools
      write it: ``bndbox`` counts pixels from 0; ``difficult`` 1 is ignored. Entities are refused.
    * ``wider``: the text files of http://shuoyang1213.me/WIDERFACE/: a path, a count, and for every face a line
      ``x y width height blur expression illumination invalid occlusion pose``; a count of 0 is followed by one line
      of zeros; ``invalid`` 1 is ignored; blur, expression, illumination, occlusion and pose are attributes.

    Args:
        text: the file's content.
        annotation_format: ``auto`` tells them apart by how the text begins.

    Raises:
        AnnotationError: the text is not of this format, names an image twice, or holds no image at all.

    Example usage::

        >>> [image] = parse_annotations("a/b.jpg\\n1\\n10 20 30 40 0 0 0 0 0 0\\n")
        >>> image.file, image.boxes.tolist(), image.ignored.tolist()
        ('a/b.jpg', [[10.0, 20.0, 40.0, 60.0]], [False])
    """
    text = text.removeprefix("\ufeff")
    images = _READERS[_sniff(text) if annotation_format == "auto" else annotation_format](text)
    check_distinct(images)
    return images


def check_distinct(images: Sequence[AnnotatedImage]) -> None:
    """Refuses annotations that name an image twice, or none.

    Raises:
        AnnotationError: they do.
    """
    if not images:
        raise AnnotationError("holds no annotated image")
    seen: set[str] = set()
    for image in images:
        if image.file in seen:
            raise AnnotationError(f"names {image.file} twice")
        seen.add(image.file)


def locate_images(images: Sequence[AnnotatedImage], paths: Mapping[str, str]) -> list[str]:
    """The path of every annotated image, by its path below the folder of images, else by its bare name.

    Args:
        images: the annotated images.
        paths: where the images are, by their paths below the folder that was searched.

    Raises:
        AnnotationError: an image is not there, several have its bare name, or it would be another one's, too.

    Example usage::

        >>> image = AnnotatedImage("val/a.jpg", np.zeros((0, 4), np.float32), np.zeros(0, bool))
        >>> locate_images([image], {"photos/a.jpg": "/data/photos/a.jpg"})
        ['/data/photos/a.jpg']
    """
    by_name: dict[str, list[str]] = {}
    for path in paths.values():
        by_name.setdefault(_name(path), []).append(path)
    located: dict[str, str] = {}
    for image in images:
        candidates = [paths[image.file]] if image.file in paths else by_name.get(_name(image.file), [])
        if len(candidates) != 1:
            several = f"; of that name there are {' and '.join(candidates[:2])}" if candidates else ""
            raise AnnotationError(f"{image.file} is not among the {len(paths)} images{several}")
        [path] = candidates
        if path in located:
            raise AnnotationError(f"{located[path]} and {image.file} are both annotated, but only {path} is there")
        located[path] = image.file
    return list(located)


def _sniff(text: str) -> AnnotationFormat:
    if text.lstrip().startswith("<"):
        return "voc"
    if not text.lstrip().startswith("{"):
        return "wider"
    try:
        first = json.loads(text.lstrip().partition("\n")[0])
    except json.JSONDecodeError:
        return "coco"
    return "jsonl" if "file" in first else "coco"


def _parse_jsonl(text: str) -> list[AnnotatedImage]:
    images = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            faces = entry["faces"]
            invalid = [bool(face.get("invalid", 0)) for face in faces]
            size = (int(entry["width"]), int(entry["height"])) if "width" in entry else None
            labels = [str(face.get("label", FACE)) for face in faces]
            attributes = [{name: face[name] for name in face if name not in _JSONL_KEYS} for face in faces]
            boxes = [face["box"] for face in faces]
            images.append(_image(entry["file"], boxes, invalid, size, labels, attributes))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f"line {number}: is no annotated image: {_told(error)}") from error
    return images


def _parse_coco(text: str) -> list[AnnotatedImage]:
    try:
        content = json.loads(text)
        boxes: dict[Any, list[list[float]]] = {image["id"]: [] for image in content["images"]}
        ignored: dict[Any, list[bool]] = {image: [] for image in boxes}
        labels: dict[Any, list[str]] = {image: [] for image in boxes}
        names = {category["id"]: str(category["name"]) for category in content.get("categories", [])}
        attributes: dict[Any, list[dict[str, Any]]] = {image: [] for image in boxes}
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            boxes[annotation["image_id"]].append([x, y, x + width, y + height])
            ignored[annotation["image_id"]].append(bool(annotation.get("iscrowd") or annotation.get("ignore")))
            category = annotation.get("category_id")
            labels[annotation["image_id"]].append(names.get(category, FACE if category is None else str(category)))
            attributes[annotation["image_id"]].append(_coco_attributes(annotation))
        return [
            _image(
                image["file_name"],
                boxes[image["id"]],
                ignored[image["id"]],
                (int(image["width"]), int(image["height"])) if "width" in image else None,
                labels[image["id"]],
                attributes[image["id"]],
            )
            for image in content["images"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f"is no COCO JSON of images and annotations: {_told(error)}") from error


def _coco_attributes(annotation: Mapping[str, Any]) -> dict[str, Any]:
    nested = annotation.get("attributes")
    own = {name: value for name, value in annotation.items() if name not in _COCO_KEYS}
    return {**own, **nested} if isinstance(nested, dict) else own


def _parse_voc(text: str) -> list[AnnotatedImage]:
    # Entities, which may grow to gigabytes or name files, are declared in a document type: without one there are none.
    if "<!DOCTYPE" in text:
        raise AnnotationError("has a document type, which may define entities; remove it")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise AnnotationError(f"is no XML: {error}") from error
    try:
        objects = root.findall("object")
        boxes = [[_number(o, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] for o in objects]
        difficult = [o.findtext("difficult", "0").strip() == "1" for o in objects]
        labels = [o.findtext("name", FACE).strip() for o in objects]
        width, height = (int(_number(root, f"size/{side}")) if root.find("size") is not None else 0 for side in _SIDES)
        # Some tools write sizes of 0.
        size = (width, height) if width and height else None
        return [_image(_text(root, "filename"), boxes, difficult, size, labels)]
    except (KeyError, ValueError) as error:
        raise AnnotationError(f"is no XML of Pascal VOC: {_told(error)}") from error


def _number(element: ElementTree.Element, path: str) -> float:
    return float(_text(element, path))


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path, "").strip()
    if not text:
        raise KeyError(f"{element.tag}/{path}")
    return text


def _parse_wider(text: str) -> list[AnnotatedImage]:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    images = []
    number = 0
    try:
        for number, file in lines:
            number, count = next(lines)
            faces = []
            for _ in range(max(1, int(count))):
                number, line = next(lines)
                faces.append([float(value) for value in line.split()])
            images.append(_image(file, *_split_wider(faces[: int(count)])))
    except StopIteration:
        raise AnnotationError(f"line {number}: the text ends within the faces of an image") from None
    except (IndexError, ValueError) as error:
        raise AnnotationError(f"line {number}: is not WIDER's text: {_told(error)}") from error
    return images


def _split_wider(
    faces: Iterable[list[float]],
) -> tuple[list[list[float]], list[bool], None, None, list[dict[str, Any]]]:
    boxes, invalid, attributes = [], [], []
    for face in faces:
        if len(face) < 8:
            raise ValueError(f"a face is ten numbers, not {len(face)}")
        x, y, width, height = face[:4]
        boxes.append([x, y, x + width, y + height])
        invalid.append(bool(face[7]))
        attributes.append({name: face[place] for name, place in _WIDER_ATTRIBUTES.items() if place < len(face)})
    return boxes, invalid, None, None, attributes


def _image(
    file: str,
    boxes: Sequence[Sequence[float]],
    ignored: Sequence[bool],
    size: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    attributes: Sequence[Mapping[str, Any]] = (),
) -> AnnotatedImage:
    corners = np.array(boxes, np.float32).reshape(len(boxes), 4)
    if not np.isfinite(corners).all():
        raise ValueError(f"{file} has a box that is no four numbers")
    empty = ~(corners[:, 2:] > corners[:, :2]).all(axis=1)
    path = file.replace("\\", "/").removeprefix("./")
    told = [FACE] * len(boxes) if labels is None else labels
    return AnnotatedImage(path, corners, np.array(ignored, bool) | empty, size, tuple(told), tuple(attributes))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _told(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


_SIDES = ("width", "height")
_READERS = {"jsonl": _parse_jsonl, "coco": _parse_coco, "voc": _parse_voc, "wider": _parse_wider}
