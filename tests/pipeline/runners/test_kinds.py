import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import check_runner
from faceveil.pipeline.runners.kinds import processes, works_here


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--runner=DirectRunner"],
        ["--runner=direct"],
        ["--runner=FnApiRunner"],
        ["--runner=PrismRunner"],
        ["--runner=FlinkRunner", "--environment_type=LOOPBACK"],
        ["--runner=SparkRunner"],
    ],
)
def test_who_works_on_this_machine_needs_no_more(flags: list[str]) -> None:
    assert works_here(PipelineOptions(flags))
    check_runner(PipelineOptions(flags), JobOptions())  # does not ask for a folder that all workers reach


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], 1),
        (["--direct_running_mode=multi_threading", "--direct_num_workers=2"], 1),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=2"], 2),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=0"], 0),
        (["--runner=DataflowRunner"], 0),
        (["--runner=DataflowRunner", "--experiments=no_use_multiple_sdk_containers"], 1),
        (["--runner=PrismRunner"], 1),
        (["--runner=FlinkRunner", "--flink_master=localhost:8081"], 1),
        (["--runner=PortableRunner", "--sdk_worker_parallelism=4"], 4),
    ],
)
def test_it_is_known_how_many_processes_share_a_machine(flags: list[str], expected: int) -> None:
    assert processes(PipelineOptions(flags)) == expected
