"""The job as Beam's own parts make it: RunInference with TensorFlow, WriteToTFRecord.

Without what faceveil adds: no quarantine, no order, no audit trail, no manifest, one thread an image.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import cv2
import numpy as np
import tensorflow as tf
from apache_beam.io import fileio
from apache_beam.io.tfrecordio import WriteToTFRecord
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.transforms.anonymizers.methods import METHODS
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.merge import suppress_overlaps
from faceveil.transforms.detectors.models import resolve_model
from faceveil.transforms.detectors.views import View, Window, faces_in_image
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.shard.progress import ProgressFile

_SCORE = 0.21


def main(folder: str, output: str, detect_size: int) -> None:
    """Blurs the faces in the photos of a folder into TFRecord files.

    Args:
        folder: of the photos.
        output: the prefix of the files.
        detect_size: long side in pixels at which the detector sees them.
    """
    cores = str(usable_cores())
    options = ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", f"--direct_num_workers={cores}"]
    progress = tempfile.mkdtemp(prefix="faceveil-progress-")
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        _ = (
            pipeline
            | fileio.MatchFiles(f"{folder}/*")
            | fileio.ReadMatches()
            | beam.Reshuffle()
            | beam.Map(_decode, detect_size)
            | RunInference(_SavedModel(str(resolve_model("centerface"))))
            | beam.ParDo(_Blur(progress))
            | WriteToTFRecord(output)
        )


def _decode(file: fileio.ReadableFile, detect_size: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo and what the detector sees of it, both RGB."""
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    scale = detect_size / max(image.shape[:2]) / 32
    height, width = (max(1, round(side * scale)) * 32 for side in image.shape[:2])
    return image, cv2.resize(image, (width, height))


class _SavedModel(ModelHandler):  # type: ignore[misc]
    """Beam's TFModelHandlerTensor loads by Keras, whose version 3 takes no SavedModels."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def load_model(self) -> Any:
        return tf.saved_model.load(self._folder)

    def run_inference(
        self,
        batch: Sequence[tuple[np.ndarray, np.ndarray]],
        model: Any,
        inference_args: Any = None,  # noqa: ARG002  Beam's
    ) -> Iterable[PredictionResult]:
        serve = model.signatures["serving_default"]
        for image, shown in batch:  # of many shapes, so one by one
            found = serve(tf.constant(shown[np.newaxis]))
            scores = found["detection_scores"][0].numpy()
            boxes = found["detection_boxes"][0].numpy()
            yield PredictionResult((image, shown), (boxes[scores >= _SCORE], scores[scores >= _SCORE]))


class _Blur(beam.DoFn):  # type: ignore[misc]
    def __init__(self, progress: str) -> None:
        self._directory = progress

    def setup(self) -> None:
        cv2.setNumThreads(1)
        self._progress = ProgressFile(self._directory)

    def process(self, result: PredictionResult) -> Iterable[bytes]:
        image, shown = result.example
        height, width = image.shape[:2]
        view = View(shown, Window(0, 0, width, height, shown.shape[1], shown.shape[0]), width, height)
        faces = suppress_overlaps(faces_in_image(Candidates(*result.inference), view))
        blurred = METHODS["blur"](image, faces, Style(), (0, 0, 0))
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(np.asarray(blurred), cv2.COLOR_RGB2BGR))
        self._progress.count(Row("", Status.ANONYMIZED, None, width, height, Faces.none()))
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded.tobytes()]))
        features = tf.train.Features(feature={"image/encoded": feature})
        yield tf.train.Example(features=features).SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
