"""Files of annotated images, and the images that they are about."""

from __future__ import annotations

import os

from faceveil.evaluation import AnnotationFormat
from faceveil.evaluation.annotations import AnnotatedImage, AnnotationError, check_distinct, parse_annotations
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.inputs.match import Input, list_inputs
from faceveil.transforms.inputs.paths import as_path


def read_annotations(path: str, annotation_format: AnnotationFormat = "auto") -> list[AnnotatedImage]:
    """The annotated images of a file, or of all XML files of Pascal VOC below a folder.

    Args:
        path: on disk or in an object store.
        annotation_format: see ``parse_annotations``.

    Raises:
        AccessError: it cannot be read.
        AnnotationError: it holds no annotations of this format; names the file where there are several.
    """
    files = _xml_files(path)
    if not files:
        return parse_annotations(_read_text(path), annotation_format)
    images = []
    for file in files:
        try:
            images += parse_annotations(_read_text(file), "voc")
        except AnnotationError as error:
            raise AnnotationError(f"{file}: {error}") from error
    check_distinct(images)
    return images


def _xml_files(folder: str) -> list[str]:
    """The XML files below a folder, sorted; none where it is a file, or nothing."""
    if storage.is_local(folder) and not os.path.isdir(folder):
        return []
    return sorted(file.path for file in storage.list_files(folder) if file.path.lower().endswith(".xml"))


def _read_text(path: str) -> str:
    try:
        return storage.read_bytes(path).decode()
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"is no text in UTF-8: {error}") from error


def list_images(pattern: str) -> dict[str, str]:
    """The paths of the images that a glob matches, by what of them is below the glob's folder.

    Raises:
        AccessError: it matches no image, or storage cannot be listed.
    """
    files = list_inputs([Input("data", as_path(pattern, glob=True))], 0)
    paths = {file.key: file.path for file in files if file.kind == "image"}
    if not paths:
        raise AccessError(f"--images {pattern}: matches no image; quote the glob, and use ** to include sub-folders")
    return paths
