import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from faceveil.pipeline.cli import main
from faceveil.pipeline.graph import AnonymizeDataset
from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.transforms.errors import OutputError


def options_of(photos: Path, output: Path, **more: object) -> JobOptions:
    return JobOptions(input=(f"{photos}/**",), output=str(output), detect_size=320, num_shards=2, **more)  # type: ignore[arg-type]


def run(options: JobOptions) -> None:
    with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([])) as pipeline:
        assert_that(pipeline | AnonymizeDataset(options), equal_to([2]))


def files(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


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


def test_a_graph_without_an_input_is_refused() -> None:
    with pytest.raises(OptionError, match="--input: is required"):
        run(JobOptions(output="out"))
