from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.cli import main
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.shard_time import check_element_timeout
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.inputs.plan import lay_out
from faceveil.transforms.inputs.summary import InputSummary, SplitSummary

IMAGES = InputSummary({"train": SplitSummary(images=10**6, image_bytes=10**9), "val": SplitSummary(images=10)})


def of_tfrecords(size: int, plain: bool) -> InputSummary:
    split = SplitSummary()
    for number in range(20):
        file = InputFile("data", f"{number}", f"{number}.tfrecord", size, "0.0", "tfrecord")
        split.add(file)
        split.add_parts(file, file.size if plain else 1, (64 * 2**20, 32 * 2**20))
    return InputSummary({"data": split})


@pytest.mark.parametrize(
    ("summary", "options", "needed"),
    [
        (IMAGES, JobOptions(), 42),
        (IMAGES, JobOptions(quality="thorough"), 417),
        (IMAGES, JobOptions(num_shards=10_000), 2),
        (IMAGES, JobOptions(shard_bytes=2**20), 18),
        (of_tfrecords(2**30, plain=True), JobOptions(), 12),
        (of_tfrecords(2**30, plain=False), JobOptions(), 179),
        (of_tfrecords(2**20, plain=True), JobOptions(), 1),
    ],
)
def test_a_shard_is_given_the_time_that_it_may_take(summary: InputSummary, options: JobOptions, needed: int) -> None:
    layout = lay_out(summary, options.shard_bytes, options.num_shards)
    limit = "--element_processing_timeout_minutes={}".format
    check_element_timeout(options, PipelineOptions([limit(needed)]), summary, layout)
    check_element_timeout(options, PipelineOptions([limit(0)]), summary, layout)
    check_element_timeout(options, PipelineOptions([]), summary, layout)
    if needed > 1:
        with pytest.raises(OptionError) as refused:
            check_element_timeout(options, PipelineOptions([limit(needed - 1)]), summary, layout)
        told = str(refused.value)
        assert told.startswith(f"--element_processing_timeout_minutes {needed - 1}: ")
        assert f"may take {needed} minutes" in told
        assert "--shard_bytes" in told


def test_the_command_refuses_it_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(70):
        (tmp_path / f"{number}.jpg").touch()
    output = tmp_path / "out"
    given = ["--input", f"{tmp_path}/*.jpg", "--output", str(output), "--num_shards=1"]
    assert main(["run", *given, "--element_processing_timeout_minutes=1"]) == 2
    assert "a shard of about 70 images may take 2 minutes" in capsys.readouterr().err
    assert not output.exists()
