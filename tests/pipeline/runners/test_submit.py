import pytest

from faceveil.pipeline.runners.submit import original_error
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
            "the runner has died or cannot be reached; the same command resumes where the job stopped",
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
    original = original_error(raised)
    assert type(original) is kind
    assert str(original) == message
