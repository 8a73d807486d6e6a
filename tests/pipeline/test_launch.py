import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from faceveil.pipeline.launch import _check_runner, _original_error, _processes, _works_here
from faceveil.pipeline.options import JobOptions, OptionError
from faceveil.transforms.errors import AccessError, OutputError


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (AccessError("x: cannot be read [while running 'Step']"), AccessError, "x: cannot be read"),
        (
            RuntimeError("\nfaceveil.transforms.errors.OutputError: y is taken [while running 'Step']\n\nmore"),
            OutputError,
            "y is taken",
        ),
        (
            RuntimeError("<RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n\tdetails = 'Socket closed'>"),
            AccessError,
            "the runner has died or cannot be reached; the same command goes on where the job stopped",
        ),
        (RuntimeError("KeyboardInterrupt [while running 'Step']"), KeyboardInterrupt, ""),
        (
            RuntimeError("ValueError: a bug [while running 'Step']"),
            RuntimeError,
            "ValueError: a bug [while running 'Step']",
        ),
    ],
)
def test_a_worker_s_error_comes_back_as_what_it_was(raised: Exception, kind: type[BaseException], message: str) -> None:
    original = _original_error(raised)
    assert type(original) is kind
    assert str(original) == message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runner=FlinkRunner", "--flink_master=localhost:8081"], "--temp_location: is required"),
    ],
)
def test_runners_are_checked_first(flags: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        _check_runner(PipelineOptions(flags), JobOptions())


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
    assert _works_here(PipelineOptions(flags))
    _check_runner(PipelineOptions(flags), JobOptions())  # does not ask for a folder that all workers reach


@pytest.mark.parametrize(
    ("flags", "processes"),
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
def test_it_is_known_how_many_processes_share_a_machine(flags: list[str], processes: int) -> None:
    assert _processes(PipelineOptions(flags)) == processes
