from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.given_boxes import AnnotationFile, box_source, resolve_boxes, shown_keys
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.runners.staging import staged_models
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.formats.box_table import BoxTable
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.kinds import Kind
from faceveil.transforms.inputs.keys import KeyHash
from faceveil.transforms.inputs.match import Input, InputFile
from faceveil.transforms.shard.given import BoxSource
from faceveil.transforms.shard.worker import Anonymization


def annotated(folder: Path, *keys: str, boxes_mode: str = "add") -> AnnotationFile:
    path = folder / "x.csv"
    path.write_text("key,xmin,ymin,xmax,ymax\n" + "".join(f"{key},1,2,3,4\n" for key in keys))
    found = resolve_boxes(JobOptions(input=("*",), output="out", boxes=str(path), boxes_mode=boxes_mode))
    assert found is not None
    return found


def note(file: AnnotationFile, key: str, kind: Kind = "image") -> None:
    file.note(InputFile("data", key, key, 1, "1", kind))


def test_without_a_file_there_is_none_to_read() -> None:
    options = JobOptions(input=("*",), output="out")
    assert resolve_boxes(options) is None
    assert box_source(options, None) is None
    options = JobOptions(boxes="a/b", boxes_mode="replace", box_classes=("1",))
    assert resolve_boxes(options) is None
    assert box_source(options, None) == BoxSource(True, "a/b", ("1",))


@pytest.mark.parametrize(
    ("keys", "inputs"),
    [
        (["a.jpg"], {"a.jpg": "image"}),
        (["b.jpg", "x.tfrecord#7"], {"a.jpg": "image", "x.tfrecord": "tfrecord"}),
        (["x#1.jpg"], {"x#1.jpg": "image"}),
        # A file that is taken for an image, and holds records in truth.
        (["x.jpg#3"], {"x.jpg": "image"}),
    ],
)
def test_one_input_that_is_named_is_enough(keys: list[str], inputs: dict[str, Kind], tmp_path: Path) -> None:
    file = annotated(tmp_path, *keys)
    for key, kind in inputs.items():
        note(file, key, kind)
    file.check_inputs()


@pytest.mark.parametrize("kind", ["image", "tfrecord"])
def test_keys_of_none_of_the_inputs_are_refused(kind: Kind, tmp_path: Path) -> None:
    file = annotated(tmp_path, "train/a.jpg", "x#1")
    for number in range(5000):
        note(file, f"{number:04}.jpg", kind)
    with pytest.raises(
        OptionError, match=r"names none of the inputs. Its first key is train/a.jpg, the inputs have 0000"
    ):
        file.check_inputs()


def test_images_on_either_side_alone_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    file = annotated(tmp_path, *(f"{number}.jpg" for number in range(5000)), boxes_mode="replace")
    for number in range(4990, 5010):
        note(file, f"{number}.jpg")
    file.check_inputs()
    assert [record.getMessage() for record in caplog.records] == [
        "--boxes names 10 of the 20 image files",
        "--boxes_mode replace: image files that it does not name will be quarantined: 10",
        "--boxes names images that are not among the inputs: 4990",
    ]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("key_hash", [None, KeyHash(b"salt")])
def test_a_key_in_a_file_means_the_record_that_the_job_shows_so(named: bool, key_hash: KeyHash | None) -> None:
    inputs = [Input(split, "*", named, key_hash) for split in (("train", "val") if named else ("data",))]
    for given in inputs:
        prefix = f"{given.split}/" if named else ""
        for path in ("a/b.jpg", "x.tfrecord", "é.jpg", "a#b#2", "x#1.jpg"):
            assert given.shown(path) in shown_keys(prefix + path, inputs)
            assert f"{given.shown(path)}#12" in shown_keys(f"{prefix}{path}#12", inputs)
    others = list(shown_keys("test/a.jpg", inputs))
    assert not {given.shown("a.jpg") for given in inputs} & set(others)


def test_workers_elsewhere_get_the_boxes_from_where_they_can_reach_them(tmp_path: Path) -> None:
    file = annotated(tmp_path, "a.jpg")
    config = Anonymization(DetectorConfig(()), "blur", Style(), FeatureRoles(), boxes=file.source)
    staged = staged_models(
        config, PipelineOptions(["--runner=DataflowRunner", f"--temp_location={tmp_path / 'temporary'}"])
    )
    assert staged.boxes is not None
    assert staged.boxes.table.startswith(f"{tmp_path}/temporary/faceveil-boxes/")
    table = BoxTable.open(staged.boxes.table)
    assert table.digest == file.description["sha256"]
    found = table.find("a.jpg")
    assert found is not None
    assert found.tolist() == [[1, 2, 3, 4]]
    # On this machine they stay where they are.
    assert staged_models(config, PipelineOptions([])) == config
