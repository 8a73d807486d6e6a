"""The detector for Beam's RunInference, in pipelines of your own that want faces and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from faceveil.pipeline.detection import detector_config, resolve_models
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import refuse_others
from faceveil.transforms.arrays import RGB, check_rgb
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.detector_files import local_detector
from faceveil.transforms.faces import Faces
from faceveil.transforms.runtime.pool import usable_cores


class LoadedDetector:
    """A detector with a thread for every core; one serves all threads of a process.

    Raises:
        ModelError: a model does not load or is no detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._detector = Detector(config)
        self._threads = ThreadPoolExecutor(config.concurrency, "detect")

    def find_faces(self, images: Sequence[RGB]) -> list[Faces]:
        """The faces of each image, in its pixels, best score first.

        Args:
            images: uint8 ``[H, W, 3]`` each, RGB and upright; of any sizes.

        Raises:
            ValueError: an image is no such array.
            ModelError: the model's outputs break the detector contract.
        """
        size = self._detector.batch_size
        parts = (images[start : start + size] for start in range(0, len(images), size))
        return [faces for found in self._threads.map(self._find, parts) for faces in found]

    def _find(self, images: Sequence[RGB]) -> list[Faces]:
        for image in images:
            check_rgb(image)
        return self._detector.detect(
            [self._detector.prepare(image, image.shape[1], image.shape[0]) for image in images]
        )


class FaceDetectorModelHandler(ModelHandler[RGB, Faces, LoadedDetector]):  # type: ignore[misc]
    """Finds faces with Beam's RunInference: takes uint8 RGB arrays ``[H, W, 3]``, gives ``Faces``.

    A model that faceveil knows by name is built on the worker, where it is loaded once for each process.

    Args:
        options: how faces are found: the options about detection.
        max_batch_size: images that are handed over together; all of a batch's pixels are held in memory.
        more: what else Beam's ``ModelHandler`` takes, such as ``min_batch_size``; with ``large_model=True`` the
            processes of a machine share one model.

    Raises:
        OptionError: an option is not about detection.

    Example usage::

        keyed_arrays | RunInference(KeyedModelHandler(FaceDetectorModelHandler(JobOptions(quality="fast"))))
    """

    def __init__(self, options: JobOptions | None = None, *, max_batch_size: int = 32, **more: Any) -> None:
        super().__init__(max_batch_size=max_batch_size, **more)
        self._options = options or JobOptions()
        refuse_others(self._options, ["detection"])

    def load_model(self) -> LoadedDetector:
        """Finds the models, building those that are known by name if need be, and loads them.

        Raises:
            ModelError: one cannot be found, built or loaded.
            AccessError: one cannot be reached.
        """
        options = self._options
        folders = [local_detector(model.directory) for model in resolve_models(options.detector.models)]
        return LoadedDetector(detector_config(options, folders, options.score_threshold, usable_cores()))

    def run_inference(
        self, batch: Sequence[RGB], model: LoadedDetector, inference_args: dict[str, Any] | None = None
    ) -> list[Faces]:
        """As ``find_faces``; there are no ``inference_args``."""
        self.validate_inference_args(inference_args)
        return model.find_faces(batch)

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Refuses any.

        Raises:
            ValueError: there are some.
        """
        if inference_args:
            raise ValueError(f"{type(self).__name__} takes no inference_args")

    def get_num_bytes(self, batch: Sequence[RGB]) -> int:
        """Of the arrays."""
        return sum(image.nbytes for image in batch)

    def get_metrics_namespace(self) -> str:
        """That of faceveil's other metrics."""
        return "faceveil"
