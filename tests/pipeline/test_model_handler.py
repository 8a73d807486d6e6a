from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from PIL import Image

from faceveil.pipeline.model_handler import FaceDetectorModelHandler
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.arrays import RGB
from faceveil.transforms.faces import Faces


@pytest.fixture(scope="module")
def handler(centerface: str) -> FaceDetectorModelHandler:
    return FaceDetectorModelHandler(JobOptions(model=(centerface,), quality="fast"), max_batch_size=2)


def array(path: Path) -> RGB:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_run_inference_finds_the_faces_of_arrays_of_any_size(photos: Path, handler: FaceDetectorModelHandler) -> None:
    images = [(path.name, array(path)) for path in sorted(photos.rglob("*.*"))]

    def check(found: list[tuple[str, Faces]]) -> None:
        counts = {name: len(faces) for name, faces in found}
        assert counts.keys() == {name for name, _ in images}
        assert {name for name, count in counts.items() if count} == {"astronaut.JPG", "astronaut.png", "portrait.jpeg"}
        for name, faces in found:
            height, width, _ = dict(images)[name].shape
            assert (faces.boxes >= 0).all()
            assert (faces.boxes <= [width, height] * 2).all()

    with beam.Pipeline("FnApiRunner", PipelineOptions([])) as pipeline:
        found = pipeline | beam.Create(images) | RunInference(KeyedModelHandler(handler)) | beam.Reshuffle()
        assert_that(found, check)
    counters = pipeline.result.metrics().query()["counters"]
    counted = {(c.key.metric.namespace, c.key.metric.name): c.committed for c in counters}
    assert counted["faceveil", "num_inferences"] == len(images)
    arrays = [image for _, image in images]
    assert handler.get_num_bytes(arrays) == sum(image.nbytes for image in arrays)


def test_what_is_no_image_is_refused(handler: FaceDetectorModelHandler) -> None:
    model = handler.load_model()
    with pytest.raises(ValueError, match=r"not float32 of \(4, 4, 3\)"):
        handler.run_inference([np.zeros((4, 4, 3), np.float32)], model)
    with pytest.raises(ValueError, match=r"not uint8 of \(4, 4\)"):
        handler.run_inference([np.zeros((4, 4), np.uint8)], model)
    with pytest.raises(ValueError, match="takes no inference_args"):
        _ = beam.Pipeline() | beam.Create([1]) | RunInference(handler, inference_args={"threshold": 0.5})


def test_only_options_about_detection_are_taken() -> None:
    with pytest.raises(OptionError, match="--method: has no effect here"):
        FaceDetectorModelHandler(JobOptions(method="solid"))
