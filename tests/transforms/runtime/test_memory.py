"""What a process does with memory that it has freed, and how it tells that there is none."""

import errno
import platform
import resource
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory
from tests.conftest import ROOT

_ROUNDS = """
import resource
import numpy as np
from faceveil.transforms.runtime.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
faults = []
for _ in range(6):
    arrays = [np.ones(3 << 20, np.uint8) for _ in range(10)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""
_PAGES = 10 * (3 << 20) // 4096
"""What the arrays of a round fill."""


def _faults_after_the_first_round(kept: bool) -> int:
    done = subprocess.run([sys.executable, "-c", _ROUNDS.format(kept=kept)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory")
def test_what_one_image_freed_the_next_one_gets_without_asking_the_system() -> None:
    assert _faults_after_the_first_round(kept=True) < _PAGES / 10
    assert _faults_after_the_first_round(kept=False) > 2 * _PAGES


def failing(function: object, *arguments: object) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  whatever it is
        function(*arguments)  # type: ignore[operator]
    assert isinstance(raised.value, Exception)
    return raised.value


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        failing(np.empty, 2**62, np.uint8),
        failing(cv2.resize, np.zeros((2, 2), np.uint8), (2**30, 2**30)),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ResourceExhaustedError("OOM when allocating tensor"),
        RuntimeError("[JSTRUCT] Insufficient memory (case 4)"),
        RuntimeError("Exception from src/inference/src/cpp/core.cpp:104: std::bad_alloc"),
        caused(Quarantine(Reason.CORRUPT_IMAGE, "png: "), MemoryError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_is_told_by_whatever_libraries_say(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken data stream"),
        Quarantine(Reason.MISSING_IMAGE, "no bytes feature out of memory"),
        caused(RuntimeError("x"), OSError(errno.ENOSPC, "No space left on device")),
        None,
    ],
)
def test_nothing_else_is(error: Exception | None) -> None:
    assert not is_out_of_memory(error)


def run_bounded(script: str, headroom: int) -> str:
    """What a script prints that has so many bytes more than it has taken after its line ``bound()``."""
    bound = """
        import resource
        from faceveil.transforms.runtime.memory import needs_memory, while_alone, is_bounded, OutOfMemoryError
        def bound():
            taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + {headroom}, resource.RLIM_INFINITY))
        """
    code = textwrap.dedent(bound).format(headroom=headroom) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the address space")


@ON_LINUX
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY, reason="memory is bounded")
def test_where_memory_is_not_bounded_a_failure_is_one() -> None:
    script = """
        try:
            with needs_memory(2**20):
                raise ValueError("broken")
        except Exception as error:
            print(is_bounded(), type(error).__name__)
        """
    assert run_bounded(script, 0) == "False ValueError"


@ON_LINUX
@pytest.mark.parametrize(
    ("alone", "needed", "raised"),
    [
        (False, 2**20, "OutOfMemoryError"),
        (True, 2**20, "ValueError"),
        (True, 2**30, "OutOfMemoryError"),
    ],
)
def test_where_it_is_bounded_only_who_had_what_it_needs_has_failed(alone: bool, needed: int, raised: str) -> None:
    script = f"""
        import contextlib
        bound()
        try:
            with while_alone() if {alone} else contextlib.nullcontext():
                with needs_memory({needed}):
                    raise ValueError("broken")
        except Exception as error:
            print(is_bounded(), type(error).__name__)
        """
    assert run_bounded(script, 100 * 2**20) == f"True {raised}"


@ON_LINUX
def test_an_image_that_wants_more_than_is_right_is_to_blame_itself() -> None:
    script = """
        bound()
        for needed in (2**20, 2**28):
            try:
                with while_alone(), needs_memory(needed):
                    bytearray(2**28)
            except Exception as error:
                print(type(error).__name__)
        """
    assert run_bounded(script, 100 * 2**20).split() == ["MemoryError", "OutOfMemoryError"]
