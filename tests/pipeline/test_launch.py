import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.launch import _check_runner, _original_error, _threads
from pipeline.options import JobOptions, OptionError
from transforms.errors import AccessError, OutputError
from transforms.parallel import usable_cores


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (AccessError("x: cannot be read [while running 'Step']"), AccessError, "x: cannot be read"),
        (
            RuntimeError("Traceback\n ...\ntransforms.errors.OutputError: y is taken [while running 'Step']\n\nmore"),
            OutputError,
            "y is taken",
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
        (["--runner=FooRunner"], "--runner FooRunner: must be one of"),
        (["--runner=FlinkRunner"], "--temp_location: is required"),
    ],
)
def test_runners_are_checked_first(flags: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        _check_runner(PipelineOptions(flags), JobOptions())


@pytest.mark.parametrize("runner", ["DirectRunner", "direct", "FnApiRunner", None])
def test_local_runners_need_no_more(runner: str | None) -> None:
    _check_runner(PipelineOptions([f"--runner={runner}"] if runner else []), JobOptions())


@pytest.mark.parametrize(
    ("flags", "threads"),
    [
        ([], usable_cores()),
        (["--direct_running_mode=multi_threading", "--direct_num_workers=2"], usable_cores()),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=2"], max(1, usable_cores() // 2)),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=0"], 1),
        (["--runner=DataflowRunner"], 1),
    ],
)
def test_processes_share_the_cores(flags: list[str], threads: int) -> None:
    assert _threads(PipelineOptions(flags)) == threads
