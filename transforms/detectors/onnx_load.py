"""Loading detectors of ONNX files: how one is to be read, and what has to hold before any work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from faceveil.transforms.arrays import RGB
from faceveil.transforms.codecs import decode_for_detection, probe
from faceveil.transforms.detectors.agreement import probe_images
from faceveil.transforms.detectors.candidates import OPTIONAL, REQUIRED, Candidates
from faceveil.transforms.detectors.contract import CONTRACT, senseless
from faceveil.transforms.detectors.declaration import KnownAnswer, parse_declaration
from faceveil.transforms.detectors.nms import iou, nms
from faceveil.transforms.detectors.onnx_detector import VIEW_MULTIPLE, OnnxDetector
from faceveil.transforms.detectors.onnx_layouts import Reading, complete, input_axes
from faceveil.transforms.detectors.views import resize
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import Contract, Engine, EngineName, Precision, openvino_signature
from faceveil.transforms.models.onnx_engine import InputForm, load_onnx, open_onnx, set_image_size, with_image_input
from faceveil.transforms.models.onnx_file import find_yaml, read_onnx, yaml_beside
from faceveil.transforms.quarantine import Quarantine

_LOGGER = logging.getLogger(__name__)

_TEST_SIDE = 640
"""Pixels of the longer side at which images with known answers are shown to models that take any size."""

_BEST = 20
"""Candidates of each image of noise whose boxes are looked at."""

_NO_SCORE = 1e-6
"""Rows that only fill a table up have less."""

_SAME_IOU = 0.5
"""What overlaps a known box by this much is that face, as PASCAL VOC counts it."""

_BLANK_SCORE = 0.21
"""Least score of what counts as found in an image of one colour, where a job has no higher threshold: its default."""


def read_reading(path: str) -> tuple[Reading, Any]:
    """How an ONNX file is to be read, as its declaration and its own shapes and names say, and OpenVINO's model of it.

    Args:
        path: of the file; ``FILE.yaml`` beside it declares what cannot be recognised.

    Raises:
        ModelError: it is no sound ONNX file, its declaration is wrong, or it is not recognised.
    """
    file = read_onnx(path)
    declaration = find_yaml(path)
    try:
        declared = parse_declaration(declaration.read_bytes(), str(declaration)) if declaration else {}
    except OSError as error:
        raise ModelError(f"{declaration} cannot be read: {error}") from error
    model = open_onnx(path)
    axes, size = input_axes(openvino_signature(model), declared, path)
    # Outputs have the shapes that follow from it, by which a layout may be recognised.
    set_image_size(model, axes, size, path)
    return complete(openvino_signature(model), axes, size, file.metadata, declared, path), model


def load_onnx_detector(
    path: str,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: int = 1,
    score_threshold: float = 0.21,
    classes: Sequence[int] | None = None,
) -> OnnxDetector:
    """Loads an ONNX file and tries it on images of one colour, of noise, and on those with known answers.

    Args:
        path: of the file.
        engine: ``auto`` or ``openvino``.
        precision: as `load_model` takes it.
        threads: likewise.
        score_threshold: least score of what counts as found.
        classes: which classes count; None for all.

    Raises:
        ModelError: it does not load, is not recognised, or finds what cannot be or not what is known to be there.
    """
    if engine == "tensorflow":
        raise ModelError(f"--engine tensorflow: {path} is an ONNX file, which OpenVINO runs; leave the option out")
    reading, model = read_reading(path)
    has_classes = reading.classes and not reading.background
    if classes is not None and has_classes and not any(each < len(reading.classes) for each in classes):
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(reading.classes[:20]))
        raise ModelError(f"--classes {' '.join(map(str, classes))}: {path} has none of these, but {known}")
    form = InputForm(reading.axes, reading.size, reading.mean, reading.scale)
    model = with_image_input(model, form, path)
    wanted = frozenset(classes) if classes is not None else None
    checks = _Checks(path, reading, max(score_threshold, _BLANK_SCORE), wanted)
    contract = Contract(lambda signature, name: None, checks.try_out, _asked_for(reading, model))  # noqa: ARG005
    return OnnxDetector(load_onnx(model, path, contract, precision, threads), reading)


def _asked_for(reading: Reading, model: Any) -> tuple[str, ...]:
    """The names of the outputs that are read, one for each; those of others need not be computed."""
    ports = openvino_signature(model).outputs
    if reading.layout == "object-detection-api":
        return REQUIRED + OPTIONAL
    if reading.outputs:
        return tuple(reading.outputs.values())
    return tuple(port.names[0] for port in ports)


@dataclass(frozen=True)
class _Checks:
    """What has to hold of a detector before any work.

    Attributes:
        path: of its file, for messages.
        reading: how it is read.
        threshold: least score of what counts as found.
        classes: which classes count; None for all.
    """

    path: str
    reading: Reading
    threshold: float
    classes: frozenset[int] | None

    def try_out(self, engine: Engine) -> None:
        """Raises ModelError where something is wrong."""
        missing = sorted(set(self._names()) - {name for port in engine.signature.outputs for name in port.names})
        if missing:
            raise ModelError(f"{self.path} has no output called {missing[0]}; declare `outputs` or another layout")
        detector = OnnxDetector(engine, self.reading)
        try:
            sees_noise = self._check_noise(detector)
            for answer in self.reading.tests:
                self._check_answer(detector, answer)
            if not self.reading.tests:
                self._check_blank(detector)
        except ModelError as error:
            raise ModelError(f"{self.path}, read as {self.reading.layout}: {error}") from error
        if not sees_noise and not self.reading.tests:
            _LOGGER.warning(
                "%s: nobody knows whether it finds anything, as it returns nothing for test images; name an image and "
                "what is in it in %s, as in `tests: [{image: a.jpg, boxes: [[x0, y0, x1, y1]]}]`",
                self.path,
                yaml_beside(self.path),
            )

    def _names(self) -> tuple[str, ...]:
        return (
            REQUIRED if self.reading.layout == "object-detection-api" else tuple((self.reading.outputs or {}).values())
        )

    def _check_noise(self, detector: OnnxDetector) -> bool:
        """Whether it returns anything for images of noise; it has to lie within them, and to be the same again."""
        boxes = []
        for image in self._shown(probe_images()):
            found, again = (detector.run(image[np.newaxis], _NO_SCORE)[0] for _ in range(2))
            if not (
                np.array_equal(found.boxes, again.boxes, equal_nan=True) and np.array_equal(found.scores, again.scores)
            ):
                raise ModelError("it returns something else for the same image, which no job may do")
            best = np.argsort(-found.scores, kind="stable")[:_BEST]
            boxes.append(found.boxes[best])
        together = np.concatenate(boxes)
        wrong = senseless(together)
        # Of noise, not of photos: a candidate with a low score may lie anywhere.
        if 2 * wrong.sum() > len(together):
            example = ", ".join(f"{side:g}" for side in together[wrong.argmax()])
            raise ModelError(
                f"it returns boxes that are nowhere in the image, such as {example} ({CONTRACT}); declare another "
                "`layout`, or the `units`, `columns` or `boxes` that it has"
            )
        return bool(len(together))

    def _check_blank(self, detector: OnnxDetector) -> None:
        for grey in (0, 127):
            image = np.full_like(self._shown(probe_images())[0], grey)
            found = self._counting(detector.run(image[np.newaxis], self.threshold)[0])
            if len(found.scores):
                raise ModelError(
                    f"it finds {len(found.scores)} boxes in an image that is all grey {grey}, with scores up to "
                    f"{found.scores.max():.2f}; declare `mean`, `scale`, `channels` or `scores`, or `tests` with "
                    "known answers, or raise --score_threshold"
                )

    def _check_answer(self, detector: OnnxDetector, answer: KnownAnswer) -> None:
        image = _decode(Path(self.path).parent / answer.image)
        height, width = image.shape[:2]
        share = (detector.side or _TEST_SIDE) / max(height, width)
        down, across = (
            max(VIEW_MULTIPLE, round(side * share / VIEW_MULTIPLE) * VIEW_MULTIPLE) for side in (height, width)
        )
        found = self._counting(detector.run(resize(image, across, down)[np.newaxis], self.threshold)[0])
        kept = nms(found.boxes, found.scores, _SAME_IOU)
        boxes = found.boxes[kept][:, [1, 0, 3, 2]] * np.array([width, height] * 2, np.float32)
        hint = "the known answer; look at `channels`, `mean`, `scale` and `fit`, or at the boxes that are declared"
        if not answer.boxes and len(boxes):
            raise ModelError(f"it finds {len(boxes)} boxes in {answer.image}, and none is {hint}")
        overlaps = iou(np.array(answer.boxes, np.float32).reshape(-1, 4), boxes)
        for box, row in zip(answer.boxes, overlaps, strict=True):
            if not (row >= _SAME_IOU).any():
                told = ", ".join(f"{side:g}" for side in box)
                raise ModelError(f"it finds nothing at {told} in {answer.image}, {hint}")

    def _counting(self, found: Candidates) -> Candidates:
        """Those of the wanted classes."""
        if self.classes is None or found.classes is None:
            return found
        wanted = np.isin(found.classes, sorted(self.classes))
        return Candidates(found.boxes[wanted], found.scores[wanted], found.classes[wanted])

    def _shown(self, images: Sequence[RGB]) -> list[RGB]:
        """Images at the size that a model of one size takes."""
        if self.reading.size is None:
            return list(images)
        height, width = self.reading.size
        return [cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST) for image in images]


def _decode(file: Path) -> RGB:
    """An image with known answers, upright."""
    try:
        data = file.read_bytes()
        info = probe(data)
        shown = next(iter(decode_for_detection(data, info, max(info.width, info.height)).renderings()))
        return np.ascontiguousarray(shown.rgb)
    except OSError as error:
        raise ModelError(f"{file}, an image with known answers, cannot be read: {error}; put it there") from error
    except Quarantine as error:
        raise ModelError(f"{file}, an image with known answers, cannot be decoded: {error}; name another") from error
