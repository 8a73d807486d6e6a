"""Finding the faces of images: an image becomes views, views become candidates, candidates become faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.contract import check_boxes
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.merge import (
    AVERAGED_IOU,
    NMS_IOU,
    average_views,
    join_faces,
    suppress_overlaps,
)
from faceveil.transforms.detectors.quality import QUALITIES, Quality
from faceveil.transforms.detectors.verify import MIN_PROPOSAL, cut_proposals, verified
from faceveil.transforms.detectors.views import (
    ShownImage,
    View,
    faces_in_image,
    plan_windows,
    resize,
    side_needed,
    take_view,
)
from faceveil.transforms.faces import Faces
from faceveil.transforms.models.engines import Engine, EngineName, Precision
from faceveil.transforms.runtime.pool import usable_cores

_GPU_BATCH = 16

_MIN_CANDIDATE = 0.02
"""Where scores are averaged, over views or of two detectors, a low one counts too; the threshold is for the average."""

_MAX_SOURCE = 2
"""Of faces to be looked at again no more pixels are kept than of twice the side that the views need."""


@dataclass(frozen=True)
class DetectorConfig:
    """How faces are found.

    Attributes:
        model_dirs: SavedModels' folders or ONNX files; what any of them finds counts. With none nothing is looked at.
        verifies: whether the last model looks again at each face that the others find, instead of the image.
        shares_views: whether two models share the views and are averaged as if they were one: the second sees the
            mirrored and the smaller ones, the first all others. It takes models whose scores mean the same.
        engine: ``auto``, ``openvino`` or ``tensorflow``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        score_threshold: candidates below it are no faces, 0 to 1.
        quality: how closely an image is looked at.
        classes: the model's classes that count as faces, or None for all.
        threads: how many threads will detect at once; None for one on every core that the process may use, which is
            known only where the detector runs.
        second_opinion: another detector, whose agreement counts, see ``SecondOpinion``.
    """

    model_dirs: tuple[str, ...]
    engine: EngineName = "auto"
    precision: Precision = "auto"
    score_threshold: float = 0.21
    quality: Quality = QUALITIES["balanced"]
    classes: tuple[int, ...] | None = None
    threads: int | None = 1
    shares_views: bool = False
    verifies: bool = False
    second_opinion: DetectorConfig | None = None

    def moved(self, move: Callable[[str], str]) -> DetectorConfig:
        """The same with its models elsewhere: where a function says that each of them is."""
        second = self.second_opinion and self.second_opinion.moved(move)
        return replace(self, model_dirs=tuple(map(move, self.model_dirs)), second_opinion=second)

    @property
    def concurrency(self) -> int:
        """How many threads will detect at once, in this process."""
        return self.threads or usable_cores()


class Detector:
    """Finds faces with one or more models. All methods may be called from several threads at once.

    Example usage::

        detector = Detector(DetectorConfig((str(known_model("centerface")),)))
        views = detector.prepare(rgb, width, height)
        (faces,) = detector.detect([views])

    Raises:
        ModelError: the model does not load or is no detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self._models = [
            load_detector(
                path, config.engine, config.precision, config.concurrency, config.score_threshold, config.classes
            )
            for path in config.model_dirs
        ]
        self._verifier = self._models.pop() if config.verifies else None
        # Models of one size are shown views of it; those of any size share theirs.
        fitting = [config.quality.fitted(model.side, model.stretches) for model in self._models]
        self._qualities = tuple(dict.fromkeys(fitting)) or (config.quality,)
        self._look_through = [self._qualities.index(quality) for quality in fitting]

    @property
    def engines(self) -> list[Engine]:
        """What runs each of its models."""
        verifiers = [self._verifier] if self._verifier else []
        return [model.engine for model in (*self._models, *verifiers)]

    @property
    def batch_size(self) -> int:
        """How many images ``detect`` wants at once."""
        return _GPU_BATCH if self._models and all(model.takes_batches for model in self._models) else 1

    def side_needed(self, width: int, height: int) -> int:
        """The long side in pixels that ``prepare`` needs of an upright image of this size."""
        return max(side_needed(width, height, quality) for quality in self._qualities)

    def prepare(self, rgb: RGB, width: int, height: int) -> ShownImage:
        """What the detector is shown of an image.

        Args:
            rgb: uint8 ``[h, w, 3]``, upright; may be a reduced decode, of ``side_needed`` or more.
            width: the full upright image's width in pixels.
            height: its height in pixels.
        """
        views = tuple(
            replace(take_view(rgb, window, width, height), quality=number)
            for number, quality in enumerate(self._qualities)
            for window in plan_windows(width, height, quality)
        )
        if self._verifier is None:
            return ShownImage(views)
        most = _MAX_SOURCE * self.side_needed(width, height) / max(rgb.shape[:2])
        source = rgb if most >= 1 else resize(rgb, round(rgb.shape[1] * most), round(rgb.shape[0] * most))
        return ShownImage(views, source)

    def detect(self, images: Sequence[ShownImage]) -> list[Faces]:
        """The faces of each image, in pixels of its full upright size, cut to it, best score first.

        Args:
            images: what ``prepare`` gave, at best of ``batch_size`` images whose views have the same shapes.

        Raises:
            ModelError: the model's outputs break the detector contract: wrong shapes, scores that are no numbers,
                boxes that are nowhere in the image.
        """
        by_shape: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[int, View]]] = {}
        for number, image in enumerate(images):
            for view in image.views:
                by_shape.setdefault((view.pixels.shape, self._models_for(view)), []).append((number, view))
        # For each image, and each model, or all that share the views, its views with what was found in them.
        found: list[list[list[tuple[View, Faces]]]] = [[[] for _ in self._models] for _ in images]
        for (_, models), shown in by_shape.items():
            for start in range(0, len(shown), self.batch_size):
                numbers, views = zip(*shown[start : start + self.batch_size], strict=True)
                # One image is not copied.
                batch = np.stack([view.pixels for view in views]) if len(views) > 1 else views[0].pixels[np.newaxis]
                for model in models:
                    results = self._models[model].run(batch, self._min_candidate)
                    group = 0 if self.config.shares_views else model
                    for number, view, candidates in zip(numbers, views, results, strict=True):
                        found[number][group].append((view, faces_in_image(self._checked(candidates), view)))
        merged = [self._merged(by_model) for by_model in found]
        return [self._verified(image, faces) for image, faces in zip(images, merged, strict=True)]

    def _verified(self, image: ShownImage, proposals: Faces) -> Faces:
        """What the verifier, if there is one, leaves of the proposals."""
        if self._verifier is None or not len(proposals):
            return proposals
        assert image.source is not None  # `prepare` keeps it for a verifier
        cut = cut_proposals(image.source, image.views[0].image_width, proposals)
        found = [self._checked(candidates) for candidates in self._verifier.run(cut.mosaics, _MIN_CANDIDATE)]
        faces = verified(proposals, cut, found)
        return suppress_overlaps(faces.take(faces.scores >= self.config.score_threshold))

    def unite(self, shown: Sequence[Faces]) -> Faces:
        """The faces of an image that was shown in several renderings: what is seen in any of them counts."""
        if len(shown) == 1:
            return shown[0]
        return suppress_overlaps(join_faces(shown), AVERAGED_IOU if self.config.quality.averaged else NMS_IOU)

    def _models_for(self, view: View) -> tuple[int, ...]:
        """Which of the engines look through a view."""
        if not self.config.shares_views:
            return tuple(model for model, quality in enumerate(self._look_through) if quality == view.quality)
        window = view.window
        return (int(window.mirrored or window.min_face > 0),)

    @property
    def _min_candidate(self) -> float:
        if self._verifier:
            return MIN_PROPOSAL
        threshold = self.config.score_threshold
        return min(threshold, _MIN_CANDIDATE) if self.config.quality.averaged else threshold

    def _merged(self, by_model: Sequence[Sequence[tuple[View, Faces]]]) -> Faces:
        """The faces of one image: what any of the models finds counts."""
        if self.config.quality.averaged:
            averages = [average_views(parts) for parts in by_model]
            threshold = MIN_PROPOSAL if self._verifier else self.config.score_threshold
            faces = join_faces(faces.take(faces.scores >= threshold) for faces in averages)
            return suppress_overlaps(faces, AVERAGED_IOU)
        return suppress_overlaps(join_faces(faces for parts in by_model for _, faces in parts))

    def _checked(self, candidates: Candidates) -> Candidates:
        """The candidates of the wanted classes, all of whose boxes lie somewhere in the view."""
        if self.config.classes is not None and candidates.classes is not None:
            wanted = np.isin(candidates.classes, self.config.classes)
            keypoints = None if candidates.keypoints is None else candidates.keypoints[wanted]
            boxes, scores, classes = candidates.boxes[wanted], candidates.scores[wanted], candidates.classes[wanted]
            candidates = Candidates(boxes, scores, classes, keypoints)
        check_boxes(candidates.boxes)
        return candidates
