import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from faceveil.pipeline.cli import main
from faceveil.pipeline.graph import AnonymizeDataset, AnonymizeExamples, AnonymizeImages
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import prepare
from faceveil.transforms import anonymize_shards
from faceveil.transforms.errors import OutputError
from faceveil.transforms.formats.example import Example, FeatureValue
from faceveil.transforms.formats.tfrecord import frame, read_limited_records
from faceveil.transforms.shard.worker import Anonymization, Worker
from tests.conftest import files_of_output


def options_of(photos: Path, output: Path, **more: object) -> JobOptions:
    return JobOptions(input=(f"{photos}/**",), output=str(output), detect_size=320, num_shards=2, **more)  # type: ignore[arg-type]


def run(options: JobOptions) -> None:
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([])) as pipeline:
        assert_that(pipeline | AnonymizeDataset(options), equal_to([2]))


def files(output: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_of_output(output).items()}


@pytest.mark.usefixtures("centerface")
def test_another_pipeline_s_graph_needs_nothing_but_options(photos: Path, tmp_path: Path) -> None:
    ours, command = tmp_path / "graph", tmp_path / "command"
    run(options_of(photos, ours))
    flags = ["--detect_size", "320", "--num_shards", "2"]
    assert main(["run", "--input", f"{photos}/**", "--output", str(command), *flags]) == 0
    made = files(ours)
    lock = json.loads(made.pop(".faceveil-lock.json"))
    assert lock["pid"] is None  # a later run knows whose shards these are
    assert made == files(command)
    run(options_of(photos, ours))
    assert main(["run", "--input", f"{photos}/**", "--output", str(ours), *flags]) == 0
    assert files(ours) == files(command)


@pytest.mark.usefixtures("centerface")
def test_in_another_pipeline_s_graph_another_job_s_output_is_safe(photos: Path, tmp_path: Path) -> None:
    run(options_of(photos, tmp_path / "out"))
    before = files(tmp_path / "out")
    with pytest.raises(OutputError, match="method: blur there, solid here"):
        run(options_of(photos, tmp_path / "out", method="solid"))
    with pytest.raises(OptionError, match="--overwrite: is for the command"):
        run(options_of(photos, tmp_path / "out", overwrite=True))
    assert files(tmp_path / "out") == before


@pytest.mark.usefixtures("default_detector")
def test_beam_s_checks_and_picklers_change_no_byte(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A TFRecord file that is divided is among the inputs, so that each step of the graph has something to do."""
    photo = (photos / "things" / "rocket.jpg").read_bytes()
    records = tmp_path / "several.tfrecord"
    records.write_bytes(frame(Example.empty().with_features({"image/encoded": photo})) * 3)
    inputs = ["--input", f"{photos}/people/*", str(records), "--quality", "fast", "--shard_bytes", "200KB"]

    def made(flag: str) -> dict[str, bytes]:
        output = tmp_path / (flag or "plain")
        assert main(["run", *inputs, "--output", str(output), *filter(None, [flag])]) == 0
        return files(output)

    plain = made("")
    assert len([name for name in plain if name.endswith(".tfrecord")]) > 2
    for flag in ("--runtime_type_check", "--performance_runtime_type_check", "--save_main_session"):
        assert made(flag) == plain, flag
    flag = "--pickle_library=dill_unsafe"
    if find_spec("dill"):
        assert made(flag) == plain
    else:
        assert main(["run", *inputs, "--output", str(tmp_path / "dill"), flag]) == 2
        assert "--pickle_library dill_unsafe: dill is not installed" in capsys.readouterr().err
        assert not (tmp_path / "dill").exists()


@pytest.mark.usefixtures("default_detector")
@pytest.mark.parametrize("method", ["pixelate", "synthesize"])
def test_images_of_a_pipeline_get_the_bytes_that_files_of_their_keys_get(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "0123456789abcdef0123456789abcdef")
    names = ["people/astronaut.JPG", "people/portrait.jpeg", "people/space/astronaut.png", "things/rocket.jpg"]
    output = tmp_path / "out"
    flags = ["--output", str(output), "--quality", "fast", "--method", method, "--num_shards", "1"]
    assert main(["run", "--input", f"{photos}/**", "--exclude", "things/c*", *flags]) == 0
    with (output / "data-00000-of-00001.tfrecord").open("rb") as file:
        examples = [
            Example.parse(record) for record in read_limited_records(file, 1 << 30) if isinstance(record, bytes)
        ]
    keys, expected = (
        [value for example in examples for value in example.bytes_values(name) or ()]
        for name in ("image/filename", "image/encoded")
    )
    assert [key.decode() for key in keys] == names
    images = [(name, (photos / name).read_bytes()) for name in names]
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--runtime_type_check"])) as pipeline:
        options = JobOptions(quality="fast", method=method)
        made = pipeline | beam.Create(images) | AnonymizeImages(options)
        assert_that(made.main, equal_to(list(zip(names, expected, strict=True))), "main")
        assert_that(made.quarantined, equal_to([]), "quarantined")


@pytest.mark.usefixtures("default_detector")
@pytest.mark.parametrize("method", ["blur", "synthesize"])
def test_examples_of_a_pipeline_get_the_bytes_that_records_of_their_keys_get(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "0123456789abcdef0123456789abcdef")
    face, rocket = ((photos / name).read_bytes() for name in ("people/portrait.jpeg", "things/rocket.jpg"))
    box: dict[str, FeatureValue] = {f"image/object/bbox/{side}": [0.25] for side in ("xmin", "ymin")}
    box |= {f"image/object/bbox/{side}": [0.75] for side in ("xmax", "ymax")}
    features: list[dict[str, FeatureValue]] = [
        {"left": face, "right": rocket, "label": [3], "note": b"to go", **box},
        {"left": rocket, "right": face, "seen": face, "label": [-1], "text": [b"a", b""], **box},
        {"left": rocket, "right": rocket},
        {"left": face, "label": [3]},
        {"left": face, "right": face[:3000]},
        {"left": face, "right": rocket, "preview": face},
    ]
    records = [Example.empty().with_features(each) for each in features]
    (tmp_path / "x.tfrecord").write_bytes(b"".join(map(frame, records)))
    output = tmp_path / "out"
    flags = ["--quality", "fast", "--method", method, "--image_feature", "left", "right", "--drop_features", "note"]
    flags += ["--allow_features", "seen", "--boxes", "image/object/bbox", "--max_quarantined", "1"]
    assert main(["run", "--input", f"{tmp_path}/x.tfrecord", "--output", str(output), *flags]) == 0
    with (output / "data-00000-of-00001.tfrecord").open("rb") as file:
        expected = list(read_limited_records(file, 1 << 30))
    assert len(expected) == 3
    options = JobOptions(
        quality="fast",
        method=method,
        image_feature=("left", "right"),
        drop_features=("note",),
        allow_features=("seen",),
        boxes="image/object/bbox",
    )
    keyed = [(f"x.tfrecord#{number}", record) for number, record in enumerate(records)]
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--runtime_type_check"])) as pipeline:
        made = pipeline | beam.Create(keyed) | AnonymizeExamples(options)
        names = [key for key, _ in keyed]
        assert_that(made.main, equal_to(list(zip(names, expected, strict=False))), "main")
        reasons = made.quarantined | beam.Map(lambda record: (record.key, record.reason))
        wrong = dict(zip(names[3:], ["missing_image", "truncated", "embedded_image"], strict=True))
        assert_that(reasons, equal_to(wrong.items()), "quarantined")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "out"}, "--output: has no effect here"),
        ({"boxes": "faces.csv"}, "--boxes faces.csv: a file is for whole data sets"),
    ],
)
def test_options_about_whole_data_sets_are_refused_for_examples(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        _ = beam.Pipeline() | beam.Create([("a", b"")]) | AnonymizeExamples(JobOptions(**options))


@pytest.mark.parametrize(
    "options", [{"output": "out"}, {"hash_keys": True, "salt_file": "salt"}, {"image_feature": ("left",)}]
)
def test_options_about_whole_data_sets_are_refused_for_images(options: dict[str, object], tmp_path: Path) -> None:
    if "salt_file" in options:
        options["salt_file"] = str(tmp_path / "salt")
        (tmp_path / "salt").write_text("0123456789abcdef0123456789abcdef")
    with pytest.raises(OptionError, match=f"--{next(iter(options))}: has no effect here"):
        _ = beam.Pipeline() | beam.Create([("a", b"")]) | AnonymizeImages(JobOptions(**options))  # type: ignore[arg-type]


@pytest.mark.usefixtures("centerface")
def test_a_model_that_is_loaded_before_a_job_is_not_loaded_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    class Counted(Worker):
        def __init__(self, config: Anonymization) -> None:
            super().__init__(config)
            loaded.append(config)

    monkeypatch.setattr(anonymize_shards, "Worker", Counted)
    options = options_of(photos, tmp_path / "out")
    job = prepare(options, PipelineOptions([]))
    job.anonymize.load()
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([])) as pipeline:
        assert_that(pipeline | AnonymizeDataset(options, job), equal_to([2]))
    assert len(loaded) == 1


def test_a_graph_without_an_input_is_refused() -> None:
    with pytest.raises(OptionError, match="--input: is required"):
        run(JobOptions(output="out"))
