import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import check_runner


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runner=FlinkRunner", "--flink_master=localhost:8081"], "--temp_location: is required"),
        (["--runtime_type_check", "--performance_runtime_type_check"], "does not go with --runtime_type_check"),
    ],
)
def test_runners_are_checked_first(flags: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_runner(PipelineOptions(flags), JobOptions())


def test_a_file_of_boxes_goes_through_a_folder_that_all_workers_reach() -> None:
    elsewhere = PipelineOptions(["--runner=FlinkRunner", "--flink_master=localhost:8081"])
    # Neither has a model that would have to be brought there.
    check_runner(elsewhere, JobOptions(boxes="image/object/bbox", boxes_mode="replace"))
    with pytest.raises(OptionError, match="--temp_location: is required"):
        check_runner(elsewhere, JobOptions(boxes="gs://bucket/plates.csv", boxes_mode="replace"))
