"""Memory: what this process does with what it has freed, and what happens when there is not enough."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import gc
import mmap
import re
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

from faceveil.transforms.errors import AccessError, OutOfMemoryError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP = 32 * 2**20
"""The most that glibc allows."""

_KEPT = 128 * 2**20
_LARGEST_IF_BOUNDED = 2**20

_SAID = re.compile(
    r"bad_alloc|\bMemoryError\b|can't start new thread"
    r"|out of memory|(insufficient|not enough) memory|memory allocation (error|failed)(?!: security limit)"
    r"|(cannot|can't|can not|could not|failed to|unable to) allocate",
    re.IGNORECASE,
)
"""How libraries say that memory ran out that have no error of its own for that: OpenCV, libjpeg, libheif, OpenVINO."""
_LONGEST_SAID = 200
_DEVICE_FULL = "ResourceExhaustedError"  # TensorFlow's, https://www.tensorflow.org/api_docs/python/tf/errors

_thread = threading.local()


def keep_freed_memory() -> None:
    """Has glibc keep freed memory at hand, up to 128 MiB of each of its heaps, for the next image.

    By default it gives the pages of an image's arrays back to the system and asks for as many for the next one, which
    the system clears first. Where memory is bounded, arrays are given back all the same, lest one thread keeps what
    another one needs. Where the C library is another one, nothing happens. The parameters' numbers are those of
    ``malloc.h`` (https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html).
    """
    with contextlib.suppress(AttributeError, OSError):
        set_parameter = ctypes.CDLL(None).mallopt
        set_parameter(_M_MMAP_THRESHOLD, _LARGEST_IF_BOUNDED if is_bounded() else _LARGEST_IN_HEAP)
        set_parameter(_M_TRIM_THRESHOLD, _LARGEST_IF_BOUNDED if is_bounded() else _KEPT)


def give_back_memory() -> None:
    """Gives what is kept back to the system (https://man7.org/linux/man-pages/man3/malloc_trim.3.html)."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def can_allocate(size: int) -> bool:
    """Whether the system would give this process so many bytes more; where it promises more than it has, it would."""
    try:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
            return True
    except (OSError, MemoryError):
        return False


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what has caused it, says that memory ran out.

    Example usage::

        >>> is_out_of_memory(MemoryError()), is_out_of_memory(OSError(errno.ENOMEM, "")), is_out_of_memory(ValueError())
        (True, True, False)
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, (MemoryError, OutOfMemoryError)) or type(error).__name__ == _DEVICE_FULL:
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        # Of errors of our own, which may quote names of files, what has caused them tells.
        if not type(error).__module__.startswith("faceveil.") and _SAID.search(str(error)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


@functools.cache
def is_bounded() -> bool:
    """Whether the system refuses memory to this process before there is none: by ``ulimit``, or since it promises no
    more than it has (https://docs.kernel.org/mm/overcommit-accounting.html).
    """
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    strict = False
    with contextlib.suppress(OSError):
        strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    return strict or any(limit != resource.RLIM_INFINITY for limit in limits)


@contextlib.contextmanager
def needs_memory(size: int) -> Iterator[None]:
    """Raises an OutOfMemoryError for what fails within the block unless it is known to have had the memory it needs.

    Libraries do not always say that they got no memory: where it is bounded, any failure may be one. What fails so is
    to be done again when nothing else is (``while_alone``). Then a failure counts as one if so many bytes were to be
    had, also if it is a lack of memory: a request for more than that is itself wrong.

    Args:
        size: what the work in the block takes at most, bytes.
    """
    had_it = getattr(_thread, "is_alone", False) and can_allocate(size)
    try:
        yield
    except (AccessError, OutOfMemoryError):
        raise
    except Exception as error:
        # How much memory a GPU had left is unknown.
        if type(error).__name__ == _DEVICE_FULL or (not had_it and (is_out_of_memory(error) or is_bounded())):
            raise out_of_memory(error) from error
        raise


@contextlib.contextmanager
def out_of_memory_errors() -> Iterator[None]:
    """Raises an OutOfMemoryError for whatever says within the block that memory ran out."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(error) from error
        raise


def out_of_memory(error: Exception) -> OutOfMemoryError:
    """What to raise where an error says, or may say, that memory ran out."""
    said = " ".join(str(error).split())[:_LONGEST_SAID]
    return OutOfMemoryError(f"memory ran out ({': '.join(filter(None, (type(error).__name__, said)))})")


@contextlib.contextmanager
def while_alone() -> Iterator[None]:
    """Within the block, in this thread: nothing else is at work in this process that takes much memory."""
    _thread.is_alone = True
    try:
        yield
    finally:
        _thread.is_alone = False
