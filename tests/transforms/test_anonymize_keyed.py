from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue
from apache_beam.typehints.decorators import TypeCheckError

from faceveil.transforms import anonymize_keyed
from faceveil.transforms.anonymize_keyed import AnonymizeKeyed
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.limits import Limits
from faceveil.transforms.shard.worker import Anonymization


@pytest.fixture(scope="module")
def transform(centerface: str) -> AnonymizeKeyed:
    """One for all tests, so that one model is loaded."""
    detector = DetectorConfig((centerface,), quality=Quality(320))
    return AnonymizeKeyed(Anonymization(detector, "blur", Style(), FeatureRoles(), format="images"))


@pytest.fixture(scope="module")
def of_examples(transform: AnonymizeKeyed) -> AnonymizeKeyed:
    """The same of Examples."""
    config = replace(transform.config, limits=Limits(max_image_bytes=200_000), format="tfrecord")
    return AnonymizeKeyed(config)


def pipeline() -> beam.Pipeline:
    return beam.Pipeline("FnApiRunner", PipelineOptions([]))


def test_what_cannot_be_anonymized_costs_no_other_image(photos: Path, transform: AnonymizeKeyed) -> None:
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    images = {
        "a": photo,
        "half": photo[: len(photo) // 2],
        "text": b"no image",
        "records": frame(Example.empty().with_features({"image/encoded": photo})),
        "nothing": b"",
        "b": photo,
    }

    def check_main(made: list[tuple[str, bytes]]) -> None:
        assert sorted(key for key, _ in made) == ["a", "b"]
        assert len({image for _, image in made}) == 1
        assert photo not in dict(made).values()

    with pipeline() as graph:
        made = graph | beam.Create(images.items()) | transform
        assert_that(made.main, check_main, "main")
        # Reshuffled, so that its coder is used.
        reasons = made.quarantined | beam.Reshuffle() | beam.Map(lambda image: (image.key, image.reason))
        expected = {"half": "truncated", "text": "not_an_image", "records": "not_an_image", "nothing": "empty"}
        assert_that(reasons, equal_to(expected.items()), "quarantined")


def test_an_example_that_cannot_be_anonymized_costs_no_other(photos: Path, of_examples: AnonymizeKeyed) -> None:
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    whole = Example.empty().with_features({"image/encoded": photo, "label": [7]})
    sequence = tf.train.SequenceExample(context=tf.train.Example.FromString(whole).features)
    sequence.feature_lists.feature_list["frames"].feature.add().int64_list.value.append(1)
    examples = {
        "whole": whole,
        "nothing": b"",
        "no Example": b"\xff",
        "an image": photo,
        "no image": Example.empty().with_features({"label": [7]}),
        "two images": Example.empty().with_features({"image/encoded": [photo, photo]}),
        "a list": Example.empty().with_features({"image/encoded": [7]}),
        "too large": Example.empty().with_features({"image/encoded": photo, "more": bytes(200_000)}),
        "a sequence": sequence.SerializeToString(),
        "once more": whole,
    }

    def check_main(made: list[tuple[str, bytes]]) -> None:
        assert sorted(key for key, _ in made) == ["a sequence", "once more", "two images", "whole"]
        for key, record in made:
            features = tf.train.SequenceExample.FromString(record).context.feature
            images = 2 if key == "two images" else 1
            assert features["image/face/count"].int64_list.value == [images]
            assert len(features["image/encoded"].bytes_list.value) == images
            assert photo not in record
            if images == 1:
                assert features["label"].int64_list.value == [7]

    with pipeline() as graph:
        made = graph | beam.Create(examples.items()) | of_examples
        assert_that(made.main, check_main, "main")
        reasons = made.quarantined | beam.Reshuffle() | beam.Map(lambda record: (record.key, record.reason))
        invalid = dict.fromkeys(("no Example", "an image"), "invalid_example")
        missing = dict.fromkeys(("nothing", "no image", "a list"), "missing_image")
        expected = {**invalid, **missing, "too large": "too_large"}
        assert_that(reasons, equal_to(expected.items()), "quarantined")


@pytest.mark.parametrize("of", ["images", "examples"])
def test_windows_and_timestamps_stay_in_a_stream(
    photos: Path, transform: AnonymizeKeyed, of_examples: AnonymizeKeyed, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    transform = {"images": transform, "examples": of_examples}[of]
    monkeypatch.setattr(anonymize_keyed, "_BATCH_BYTES", 1)  # so that some are made before a bundle's end
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    if of == "examples":
        photo = Example.empty().with_features({"image/encoded": photo})
    stream = (
        test_stream.TestStream(coders.TupleCoder([coders.StrUtf8Coder(), coders.BytesCoder()]))
        .add_elements([TimestampedValue((str(second), photo), second) for second in (1, 12, 3)])
        .advance_watermark_to(10)
        .add_elements([TimestampedValue(("late", b""), 25)])
        .advance_watermark_to_infinity()
    )
    expected = [("1", 1, 0), ("3", 3, 0), ("12", 12, 10), ("late", 25, 20)]
    # The one of Beam's runners for one machine that plays a stream.
    with beam.Pipeline("BundleBasedDirectRunner", PipelineOptions(["--streaming"])) as graph:
        made = graph | stream | "Windows" >> beam.WindowInto(FixedWindows(10)) | transform
        told = [each | f"When{place}" >> beam.ParDo(_When()) for place, each in enumerate(made)]
        everything = told | beam.Flatten() | beam.WindowInto(GlobalWindows())
        assert_that(everything, equal_to(expected))


class _When(beam.DoFn):  # type: ignore[misc]
    def process(
        self, image: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Any:
        yield image[0], int(timestamp), int(window.start)


def test_other_types_are_refused_when_the_graph_is_built(transform: AnonymizeKeyed) -> None:
    with pytest.raises(TypeCheckError, match=r"expected Tuple\[<class 'str'>, <class 'bytes'>\]"):
        _ = pipeline() | beam.Create([("key", "text")]) | transform


def test_a_quarantined_image_is_one_in_every_process(tmp_path: Path, transform: AnonymizeKeyed) -> None:
    told = tmp_path / "told"
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    with beam.Pipeline("FnApiRunner", PipelineOptions(flags)) as graph:
        made = graph | beam.Create([("a", b"")]) | transform
        (
            made.quarantined | beam.Reshuffle() | beam.Map(_tell, str(told))
        )  # a worker's class is told by that worker alone
    assert told.read_text() == "faceveil.transforms.anonymize_keyed.QuarantinedRecord"


def _tell(value: object, path: str) -> None:
    Path(path).write_text(f"{type(value).__module__}.{type(value).__name__}")
